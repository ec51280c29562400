//! What a lease, its lapse and a hold mean for the sessions of armed accounts (promise L1, L3, L4).

use std::sync::Arc;
use std::time::{Duration, Instant};

use mailswitch_admission::Lease as Seen;
use mailswitch_proto::fleet::v1 as wire;
use mailswitch_proto::fleet::v1::change::Kind;
use mailswitch_proto::id::{ArmingId, HoldId};
use mailswitch_proto::revision::{Position, Revision};

use super::world::{Path, Truth, World, held, mapped, released};
use crate::lease::{Boot, Grant, Lapse, watch};
use crate::route::Look;
use crate::session::admit::{Outcome, admit};
use crate::sessions::{End, LEG_END_TIMEOUT, Order, Phase, Registered, WaitPolicy};

/// Long enough for whatever a test does within it on a busy machine.
const LONG: Duration = Duration::from_secs(60);
/// It is waited for; before that a test does a few things, also on a machine that is busy.
const SHORT: Duration = Duration::from_millis(1500);
const PATIENCE: Duration = Duration::from_secs(20);

fn armed(arming: ArmingId) -> Kind {
    Kind::Armed(wire::Armed {
        arming: arming.to_vec(),
        operation: Vec::new(),
    })
}

fn disarmed(arming: ArmingId) -> Kind {
    Kind::Disarmed(wire::Disarmed {
        arming: arming.to_vec(),
    })
}

fn world() -> Arc<World> {
    let world = World::new(WaitPolicy::default());
    watch(&world.sessions).unwrap();
    for name in ["ann", "bob", "cyd"] {
        world.change(&[name], mapped("old"));
    }
    world
}

impl World {
    /// A lease that was asked for now, with this applied.
    fn grant(&self, at: Position, length: Duration) -> Grant {
        let asked = Boot::now();
        let grant = Grant {
            asked,
            until: asked.after(length),
            revision: at.revision,
        };
        self.sessions.granted(grant);
        grant
    }

    fn bridged(&self, name: &str) -> Registered {
        let session = self.register(name);
        assert!(session.look().route().is_some());
        session.enters(Phase::Bridged, Some(&"old".into()));
        session
    }

    fn seen(&self, name: &str) -> Look {
        let session = self.register(name);
        session.look()
    }

    fn lease_of(&self, name: &str) -> Option<Seen> {
        match self.seen(name) {
            Look::Armed(_, seen) => Some(seen),
            Look::Route(_) | Look::Held | Look::AskSource | Look::Refused(_) => None,
        }
    }
}

/// Waits until the session is told to end; how.
async fn told(session: &Registered) -> Order {
    tokio::time::timeout(PATIENCE, session.told_to_end())
        .await
        .expect("it was told nothing")
}

async fn lapsed(grant: Grant) {
    while Boot::now() < grant.until {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn a_login_of_an_armed_account_waits_for_a_lease_and_lands() {
    let world = world();
    let at = world.change(&["ann"], armed(ArmingId::random()));
    assert_eq!(world.lease_of("ann"), Some(Seen::Lapsed));
    assert_eq!(world.lease_of("bob"), None, "others are admitted as ever");
    let login = world.register("ann");
    let truth = Arc::<Truth>::default();
    let mut path = Path {
        truth: Arc::clone(&truth),
        account: "ann",
    };
    let admission = admit(login, &mut path, std::future::pending());
    let (outcome, ()) = tokio::join!(admission, async {
        while world.sessions.waiting() == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(truth.open("ann"), 0, "nothing is dialled without a lease");
        world.grant(at, LONG);
    });
    assert!(!matches!(outcome, Outcome::ClientGone));
    assert_eq!(world.lease_of("ann"), Some(Seen::Live));
}

#[tokio::test]
async fn a_lease_that_was_asked_for_before_the_arming_neither_admits_nor_acknowledges_it() {
    let world = world();
    let before = world.change(&["bob"], armed(ArmingId::random()));
    world.grant(before, LONG);
    let arming = ArmingId::random();
    let at = world.change(&["ann"], armed(arming));
    assert_eq!(world.lease_of("ann"), Some(Seen::Lapsed));
    assert_eq!(world.lease_of("bob"), Some(Seen::Live));
    assert!(!world.sessions.all_resting().iter().any(|(id, _)| *id == arming));
    world.grant(at, LONG);
    assert_eq!(world.lease_of("ann"), Some(Seen::Live));
    assert!(world.sessions.all_resting().contains(&(arming, at)));
}

#[tokio::test]
async fn a_session_that_was_open_when_its_account_was_armed_outlives_the_wait_for_the_first_lease() {
    let world = world();
    let session = world.bridged("ann");
    let at = world.change(&["ann"], armed(ArmingId::random()));
    assert_eq!(session.order(), Order::Stay, "every cutover begins like this");
    assert!(session.may_move());
    assert!(
        world.sessions.all_resting().is_empty(),
        "and nothing is said of it"
    );
    world.grant(at, LONG);
    assert_eq!(session.order(), Order::Stay);
    assert_eq!(world.sessions.all_resting().len(), 1);
}

#[tokio::test]
async fn a_session_that_was_open_ends_when_no_first_lease_comes() {
    let world = world();
    let first_lease = Duration::from_millis(30);
    world.sessions.set_policy(WaitPolicy {
        first_lease,
        ..WaitPolicy::default()
    });
    let (ann, bob) = (world.bridged("ann"), world.bridged("bob"));
    world.change(&["ann"], armed(ArmingId::random()));
    assert_eq!(told(&ann).await, Order::Reset);
    assert!(!ann.may_move());
    assert_eq!((bob.order(), bob.may_move()), (Order::Stay, true));
}

#[tokio::test]
async fn when_the_lease_lapses_armed_sessions_are_reset_and_ordinary_ones_go_on() {
    let world = world();
    let (ann, bob) = (world.bridged("ann"), world.bridged("bob"));
    let at = world.change(&["ann"], armed(ArmingId::random()));
    let grant = world.grant(at, Duration::from_millis(50));
    assert_eq!(told(&ann).await, Order::Reset);
    assert!(Boot::now() >= grant.until, "not before its end");
    assert_eq!(world.lease_of("ann"), Some(Seen::Lapsed));
    assert_eq!((bob.order(), bob.may_move()), (Order::Stay, true));
    assert_eq!(world.lease_of("bob"), None);
    // The leg goes at once: nobody waits for a backend that does not close.
    let over = ann.until_leg_is_over(std::future::pending()).await;
    assert_eq!(over.how(), End::Reset);
    ann.unregister(over);
    // Another lease admits again, and takes nothing back.
    world.grant(at, LONG);
    assert_eq!(world.lease_of("ann"), Some(Seen::Live));
}

#[tokio::test]
async fn a_lease_that_is_renewed_in_time_ends_nothing() {
    let world = world();
    let ann = world.bridged("ann");
    let at = world.change(&["ann"], armed(ArmingId::random()));
    let first = world.grant(at, SHORT);
    world.grant(at, LONG);
    lapsed(first).await;
    world.sessions.lapse(Lapse::WhatIsDue);
    assert_eq!((ann.order(), ann.may_move()), (Order::Stay, true));
}

#[tokio::test]
async fn a_jump_of_the_clocks_ends_every_lease() {
    let world = world();
    let (ann, bob, cyd) = (world.bridged("ann"), world.bridged("bob"), world.bridged("cyd"));
    let hold = HoldId::random();
    let at = world.change(&["ann", "bob"], armed(ArmingId::random()));
    world.grant(at, LONG);
    world.change(&["bob"], held(hold));
    world.sessions.lapse(Lapse::Everything);
    assert_eq!((ann.order(), bob.order()), (Order::Reset, Order::Reset));
    assert_eq!(cyd.order(), Order::Stay);
    assert_eq!(world.lease_of("ann"), Some(Seen::Lapsed));
    // What was reset stays so, also under a new lease.
    world.grant(at, LONG);
    assert_eq!(ann.order(), Order::Reset);
}

#[tokio::test]
async fn a_hold_freezes_the_lease_of_its_account_and_of_no_other() {
    let world = world();
    let (ann, bob) = (world.bridged("ann"), world.bridged("bob"));
    let at = world.change(&["ann", "bob"], armed(ArmingId::random()));
    let first = world.grant(at, SHORT);
    let hold = HoldId::random();
    let held_at = world.change(
        &["ann"],
        Kind::Held(wire::Held {
            drain_timeout_millis: 3_600_000,
            ..match held(hold) {
                Kind::Held(held) => held,
                _ => unreachable!("a hold"),
            }
        }),
    );
    world.grant(held_at, LONG);
    assert!(
        matches!(ann.order(), Order::Drain { .. }),
        "until then it drains like any other"
    );
    while ann.order() != Order::Reset {
        assert!(Boot::now() < first.until.after(PATIENCE), "it lives on");
        let order = ann.order();
        tokio::time::timeout(PATIENCE, ann.order_other_than(order))
            .await
            .expect("it is told");
    }
    assert!(Boot::now() >= first.until);
    assert_eq!(
        (bob.order(), bob.may_move()),
        (Order::Stay, true),
        "the other one lives on the new lease"
    );
    assert!(!world.is_quiet(hold), "not before it has confirmed its end");
    let over = ann.until_leg_is_over(std::future::pending()).await;
    ann.unregister(over);
    assert!(!world.is_quiet(hold), "a reset is not its end");
    assert_eq!(world.sessions.stuck_legs()[0].holds, [hold]);
}

#[tokio::test]
async fn a_busy_session_is_ended_while_its_backend_has_time_to_end_it_too_before_its_frozen_lease_does() {
    let world = world();
    let ann = world.bridged("ann");
    let at = world.change(&["ann"], armed(ArmingId::random()));
    let lease = world.grant(at, LONG);
    let hold = HoldId::random();
    world.change(
        &["ann"],
        Kind::Held(wire::Held {
            drain_timeout_millis: 3_600_000,
            ..match held(hold) {
                Kind::Held(held) => held,
                _ => unreachable!("a hold"),
            }
        }),
    );
    let Order::Drain { deadline, .. } = ann.order() else {
        panic!("{:?}", ann.order());
    };
    let left = lease.until.since(Boot::now());
    let quiet = deadline.saturating_duration_since(std::time::Instant::now());
    assert!(
        quiet <= left - LEG_END_TIMEOUT.min(left / 2) + Duration::from_millis(1) && quiet < left,
        "{quiet:?} of {left:?}"
    );
    let over = ann.until_leg_is_over(async {}).await;
    ann.unregister(over);
    world.quiet(hold).await;
}

#[tokio::test]
async fn a_hold_that_is_released_gives_its_sessions_the_lease_back() {
    let world = world();
    let ann = world.bridged("ann");
    let at = world.change(&["ann"], armed(ArmingId::random()));
    let first = world.grant(at, SHORT);
    let hold = HoldId::random();
    let held_at = world.change(&["ann"], held(hold));
    world.grant(held_at, LONG);
    world.change(&["ann"], released(hold, "old"));
    let in_time = Boot::now() < first.until;
    lapsed(first).await;
    world.sessions.lapse(Lapse::WhatIsDue);
    if in_time {
        assert_eq!((ann.order(), ann.may_move()), (Order::Stay, true));
    }
    assert_eq!(world.lease_of("ann"), Some(Seen::Live));
}

/// Nobody may count on the lapse of sessions that never lived on a lease: they drain like those of any hold.
#[tokio::test]
async fn an_arming_that_a_hold_overtook_is_not_acknowledged_before_that_hold_ends() {
    let world = world();
    let ann = world.bridged("ann");
    let (arming, hold) = (ArmingId::random(), HoldId::random());
    let at = world.change(&["ann"], armed(arming));
    let held_at = world.change(&["ann"], held(hold));
    world.grant(held_at, LONG);
    assert_eq!(world.sessions.all_resting(), []);
    assert!(matches!(ann.order(), Order::Drain { .. }));
    world.change(&["ann"], released(hold, "old"));
    assert_eq!(world.sessions.newly_resting(), [(arming, at)]);
    assert_eq!(world.sessions.newly_resting(), [], "said once");
    assert_eq!(ann.order(), Order::Stay);
}

#[tokio::test]
async fn what_is_disarmed_needs_no_lease_and_whoever_waits_for_one_goes_on() {
    let world = world();
    let arming = ArmingId::random();
    let at = world.change(&["ann"], armed(arming));
    let grant = world.grant(at, SHORT);
    let ann = world.bridged("ann");
    world.change(&["ann"], disarmed(arming));
    lapsed(grant).await;
    world.sessions.lapse(Lapse::WhatIsDue);
    assert_eq!((ann.order(), ann.may_move()), (Order::Stay, true));
    assert_eq!(world.lease_of("ann"), None);
    assert!(!world.sessions.rests_on_the_lease());
}

#[tokio::test]
async fn who_follows_an_armed_domain_needs_the_lease_and_who_has_a_mapping_of_its_own_does_not() {
    let world = world();
    world.change(&["@example.org", "own@example.org"], mapped("old"));
    let (follows, own) = (world.bridged("ann@example.org"), world.bridged("own@example.org"));
    let at = world.change(&["@example.org"], armed(ArmingId::random()));
    world.grant(at, LONG);
    assert_eq!(world.lease_of("ann@example.org"), Some(Seen::Live));
    assert_eq!(world.lease_of("own@example.org"), None);
    world.sessions.lapse(Lapse::Everything);
    assert_eq!((follows.order(), own.order()), (Order::Reset, Order::Stay));
}

/// A snapshot says at which revision it was made, not when this node learnt of what is in it.
#[tokio::test]
async fn a_snapshot_of_what_is_known_ends_no_session() {
    let world = world();
    let ann = world.bridged("ann");
    let arming = ArmingId::random();
    let at = world.change(&["ann"], armed(arming));
    world.grant(at, LONG);
    let (begin, changes) = world
        .sessions
        .with_table(|table| (table.snapshot_begin(), table.snapshot_changes()));
    let later = wire::SnapshotBegin {
        revision: begin.revision + 100,
        ..begin
    };
    let mut builder = crate::table::Builder::begin(&later, None).unwrap();
    builder.chunk(&changes);
    let (table, _) = builder.end(Revision(later.revision)).unwrap();
    world.sessions.adopt(table);
    assert_eq!((ann.order(), ann.may_move()), (Order::Stay, true));
    assert_eq!(world.lease_of("ann"), Some(Seen::Live));
    assert_eq!(world.sessions.all_resting(), [(arming, at)]);
}

/// L1, under load: whatever logins, lapses and renewals do at the same time, no leg of an armed account stands behind a
/// lapse that was noticed.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_leg_of_an_armed_account_outlives_a_lapse() {
    let world = world();
    let truth = Arc::<Truth>::default();
    let at = world.change(&["ann"], armed(ArmingId::random()));
    let stop = Instant::now() + Duration::from_millis(1500);
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (world, truth) = (Arc::clone(&world), Arc::clone(&truth));
        clients.spawn(async move {
            let mut bridged = 0;
            while Instant::now() < stop {
                let mut path = Path {
                    truth: Arc::clone(&truth),
                    account: "ann",
                };
                let gone = tokio::time::sleep(Duration::from_millis(50));
                if let Outcome::Admitted(admitted) = admit(world.register("ann"), &mut path, gone).await {
                    bridged += 1;
                    let _ = tokio::time::timeout(
                        Duration::from_millis(30),
                        admitted.guard.registered().told_to_end(),
                    )
                    .await;
                    let leg = admitted.leg;
                    admitted.guard.end_leg(async move { drop(leg) }).await;
                }
            }
            bridged
        });
    }
    let mut lapses = 0;
    while Instant::now() < stop {
        let grant = world.grant(at, Duration::from_millis(40));
        lapsed(grant).await;
        let none = async {
            while truth.open("ann") > 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, none)
            .await
            .expect("a leg stands without a lease");
        assert_eq!(truth.open("ann"), 0);
        lapses += 1;
    }
    let mut bridged = 0;
    while let Some(client) = clients.join_next().await {
        bridged += client.unwrap();
    }
    assert!(
        lapses > 3 && bridged > 10,
        "{lapses} lapses, {bridged} sessions: nothing was tried"
    );
}
