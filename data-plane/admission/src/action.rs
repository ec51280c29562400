//! What a step asks to be done, at most two things, in order.

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Action<D> {
    /// Look at the mapping and the holds now, and answer with `Event::Looked`.
    Look,
    /// Wait until the hold ends (A5).
    Wait,
    /// Connect, secure, greet, forward the client's identity.
    Dial(D),
    /// Replay the client's credentials on the leg.
    SendCredentials,
    /// End the leg and follow it to its end; of a dial under way: give it up.
    DropLeg,
    /// Reset the leg: what is queued on it is discarded, and nothing more is read (Q2). Of a dial under way: give it up.
    ResetLeg,
    /// Relay the backend's OK.
    TellClient,
    /// Move bytes.
    Bridge,
    /// End the bridge at its next quiet moment (Q3).
    EndWhenQuiet,
    /// Relay the backend's refusal, and close: never a bridge.
    RelayRefusal,
    /// The protocol's temporary failure, never an authentication failure.
    TemporaryFailure(Cause),
    /// Tell the holds that wait for this leg that it does not end (Q2).
    ReportStuck,
    /// Leave the registry. The leg is over, or there was none.
    Unregister,
}

/// Why a login failed for the time being.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// It waited on a hold for as long as a login may.
    Held,
    /// It has no destination.
    Refused,
    /// The backend was not reached, or gave no usable answer.
    Backend,
    /// It was kicked, or the process goes away.
    Cancelled,
    /// Its account moved again and again, for too long.
    Unsettled,
    /// A leg that had to be given up did not end.
    Stuck,
}

/// Actions, in the order in which they are to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actions<D>([Option<Action<D>>; 2]);

impl<D> Actions<D> {
    pub(crate) const fn none() -> Self {
        Self([None, None])
    }

    pub(crate) const fn one(action: Action<D>) -> Self {
        Self([Some(action), None])
    }

    pub(crate) const fn two(first: Action<D>, second: Action<D>) -> Self {
        Self([Some(first), Some(second)])
    }
}

impl<D> IntoIterator for Actions<D> {
    type Item = Action<D>;
    type IntoIter = std::iter::Flatten<std::array::IntoIter<Option<Action<D>>, 2>>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter().flatten()
    }
}
