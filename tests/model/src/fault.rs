//! The faults that the model must find when they are put in: the list at the end of the promise, and some more.

/// One thing done wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "`text` says what each is")]
pub enum Fault {
    ResolveBeforeRegister,
    RegisterAfterLogin,
    DefaultOnError,
    LeaseFromReceipt,
    ClockBeyondMargin,
    LapseKeepsSessions,
    ArmedWithoutLease,
    AcknowledgeBeforeSync,
    UnnamedAcknowledgements,
    ConditionsBeforeFlip,
    QuiescedAtLocalClose,
    GoodbyeWithoutMark,
    GoodbyeWithoutInstance,
    FenceCountsAtOnce,
    UnfenceWithoutSync,
    OldSnapshot,
    ArmingAcknowledgedWithoutLease,
    GrantsAfterHold,
    GiveUpKeepsHold,
    AbortFollowsDomain,
    LapseOfAnotherArming,
    GrantToWhoIsBehind,
    VerifyOfAnotherHold,
    ArmedServedAfterRestart,
    FlipDespiteDoubt,
    DisarmingForgotten,
    ArmingRestsUnderHold,
    NobodyTakesOver,
    FencedNotWaitedFor,
}

impl Fault {
    /// Every one.
    pub const ALL: [Self; 29] = [
        Self::ResolveBeforeRegister,
        Self::RegisterAfterLogin,
        Self::DefaultOnError,
        Self::LeaseFromReceipt,
        Self::ClockBeyondMargin,
        Self::LapseKeepsSessions,
        Self::ArmedWithoutLease,
        Self::AcknowledgeBeforeSync,
        Self::UnnamedAcknowledgements,
        Self::ConditionsBeforeFlip,
        Self::QuiescedAtLocalClose,
        Self::GoodbyeWithoutMark,
        Self::GoodbyeWithoutInstance,
        Self::FenceCountsAtOnce,
        Self::UnfenceWithoutSync,
        Self::OldSnapshot,
        Self::ArmingAcknowledgedWithoutLease,
        Self::GrantsAfterHold,
        Self::GiveUpKeepsHold,
        Self::AbortFollowsDomain,
        Self::LapseOfAnotherArming,
        Self::GrantToWhoIsBehind,
        Self::VerifyOfAnotherHold,
        Self::ArmedServedAfterRestart,
        Self::FlipDespiteDoubt,
        Self::DisarmingForgotten,
        Self::ArmingRestsUnderHold,
        Self::NobodyTakesOver,
        Self::FencedNotWaitedFor,
    ];

    /// What is done wrong, in words.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::ResolveBeforeRegister => "a login resolves before it registers (A2)",
            Self::RegisterAfterLogin => "a login registers only once it is bridged (A2)",
            Self::DefaultOnError => "a node that cannot resolve takes the default destination (A4)",
            Self::LeaseFromReceipt => "a lease runs from when the grant came (L1)",
            Self::ClockBeyondMargin => "a node's clock is slower than the margin allows (L3)",
            Self::LapseKeepsSessions => "a lapse keeps the sessions that there are (L1)",
            Self::ArmedWithoutLease => "armed accounts are served without a lease (L1)",
            Self::AcknowledgeBeforeSync => "a hold is acknowledged before it is on the disk (Q5)",
            Self::UnnamedAcknowledgements => "acknowledgements do not name their hold (Q4)",
            Self::ConditionsBeforeFlip => {
                "the flip's conditions are decided before its transaction, which looks at no term (F1)"
            }
            Self::QuiescedAtLocalClose => "a leg counts as over once it is closed on our side (Q2)",
            Self::GoodbyeWithoutMark => "a goodbye is said without a mark in the state file (N2)",
            Self::GoodbyeWithoutInstance => "a goodbye does not name its instance (N2)",
            Self::FenceCountsAtOnce => "a fenced node counts as gone at once (N3)",
            Self::UnfenceWithoutSync => "a node that is no longer fenced serves before it has synced (N3)",
            Self::OldSnapshot => "a Hello is answered with a snapshot of before (N4)",
            Self::ArmingAcknowledgedWithoutLease => "an arming is acknowledged without a lease (L4)",
            Self::GrantsAfterHold => "grants after a hold extend the lease of the held account (L3)",
            Self::GiveUpKeepsHold => "revisions are given up under the hold that was there (D4)",
            Self::AbortFollowsDomain => "an abort lets the account follow its domain again (F2)",
            Self::LapseOfAnotherArming => {
                "a lapse counts for an arming that the node did not acknowledge (L4)"
            }
            Self::GrantToWhoIsBehind => {
                "a lease is granted to a node that is behind an armed account's changes (L2)"
            }
            Self::VerifyOfAnotherHold => "a verification of another hold counts (Q4)",
            Self::ArmedServedAfterRestart => "a node that starts from its file serves armed accounts (N5)",
            Self::FlipDespiteDoubt => "an account moves while the database may have gone back in time (D3)",
            Self::DisarmingForgotten => "a lease is granted to a node that is behind a disarming (L2)",
            Self::ArmingRestsUnderHold => {
                "an arming begins to rest on a lease that came under a hold (L3, L4)"
            }
            Self::FencedNotWaitedFor => {
                "a fenced node that has not heard of it is not asked where it stands (D3, N3)"
            }
            Self::NobodyTakesOver => "nobody takes over what a dead driver has left (D1)",
        }
    }
}
