//! What a hold finds, and what stays true once it is quiet.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use mailswitch_proto::id::HoldId;
use mailswitch_proto::identifier::HashKey;
use tokio::task::JoinHandle;

use super::world::{HASH, Path, Truth, World, about, change, flipped, held, mapped, released, turns, who};
use crate::route::Look;
use crate::session::admit::{Outcome, admit};
use crate::sessions::registered::STUCK_LEG_FOLLOWED_FOR;
use crate::sessions::{
    ActingFor, DrainCause, End, LEG_END_TIMEOUT, Order, Phase, Registered, Stuck, WaitPolicy, Which,
};
use crate::table::{Serving, Table};

/// Each account with its two login forms.
const ACCOUNTS: [(&str, [&str; 2]); 3] = [
    ("ann", ["ann", "ann@example.org"]),
    ("bob", ["bob", "bob@example.org"]),
    ("cyd", ["cyd", "cyd@example.org"]),
];

/// Promise Q4, on the real registry, table and admission loop, with real threads: logins in every stage meet holds,
/// flips and releases. The legs are counted at the backends' side, which also panics when one account is open on two
/// destinations.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn once_a_hold_is_quiet_no_leg_is_left_and_none_is_made_until_it_ends() {
    let world = World::new(WaitPolicy::default());
    let truth = Arc::new(Truth::default());
    for (_, logins) in ACCOUNTS {
        world.change(&logins, mapped("old"));
    }
    let stop = Arc::new(AtomicBool::new(false));
    let bridged = Arc::new(AtomicUsize::new(0));
    let mut clients = tokio::task::JoinSet::new();
    for n in 0..24 {
        let (account, logins) = ACCOUNTS[n % 3];
        let (world, truth, stop, bridged) = (world.clone(), truth.clone(), stop.clone(), bridged.clone());
        clients.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                one_session(&world, &truth, account, logins[n % 2], &bridged).await;
                turns().await;
            }
        });
    }
    let mut movers = tokio::task::JoinSet::new();
    for (account, logins) in ACCOUNTS {
        let (world, truth) = (world.clone(), truth.clone());
        movers.spawn(async move {
            let mut home = "old";
            for _ in 0..150 {
                let hold = HoldId::random();
                world.change(&logins, held(hold));
                // Released before it was quiet, now and then: sessions that were told to end may go on.
                if rand::random_ratio(1, 4) {
                    turns().await;
                    world.change(&logins, released(hold, home));
                    continue;
                }
                world.quiet(hold).await;
                for _ in 0..20 {
                    assert_eq!(truth.open(account), 0, "a leg of {account} under a quiet hold");
                    assert!(world.is_quiet(hold), "quiet is a level");
                    tokio::task::yield_now().await;
                }
                home = if home == "old" { "new" } else { "old" };
                world.change(&logins, flipped(hold, home));
                assert!(
                    !world.is_quiet(hold),
                    "a hold that ended is no longer acknowledged"
                );
                turns().await;
            }
        });
    }
    while let Some(moved) = movers.join_next().await {
        moved.unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
    assert!(
        bridged.load(Ordering::Relaxed) > 100,
        "only {bridged:?} sessions were bridged: nothing was tried"
    );
}

async fn one_session(
    world: &World,
    truth: &Arc<Truth>,
    account: &'static str,
    login: &str,
    bridged: &AtomicUsize,
) {
    let registered = world.register(login);
    let mut path = Path {
        truth: truth.clone(),
        account,
    };
    let impatient = rand::random_ratio(1, 10);
    let client_gone = async {
        if impatient {
            turns().await;
        } else {
            std::future::pending().await
        }
    };
    if let Outcome::Admitted(admitted) = admit(registered, &mut path, client_gone).await {
        bridged.fetch_add(1, Ordering::Relaxed);
        let guard = admitted.guard;
        tokio::select! {
            _told = guard.registered().told_to_end() => {}
            () = turns() => {}
        }
        assert_eq!(
            guard.end_leg(Path::end_of(admitted.leg)).await,
            End::BackendClosed
        );
    }
}

impl Path {
    async fn end_of(leg: super::world::Leg) {
        <Self as crate::session::admit::Backend>::end(leg).await;
    }
}

#[tokio::test]
async fn a_drain_is_taken_back_when_its_hold_is_released() {
    let world = World::new(WaitPolicy::default());
    world.change(&["ann"], mapped("old"));
    let session = world.register("ann");
    assert!(matches!(session.look(), Look::Route(_)));
    session.enters(Phase::Bridged, Some(&"old".into()));
    let hold = HoldId::random();
    world.change(&["ann"], held(hold));
    assert!(matches!(session.order(), Order::Drain { cause: DrainCause::Hold(by), .. } if by == hold));
    assert!(!world.is_quiet(hold));
    world.change(&["ann"], released(hold, "old"));
    assert_eq!(session.order(), Order::Stay);
    let over = session.until_leg_is_over(async {}).await;
    session.unregister(over);
}

#[tokio::test]
async fn an_earlier_hold_of_the_account_says_nothing_about_the_next() {
    let world = World::new(WaitPolicy::default());
    let (first, second) = (HoldId::random(), HoldId::random());
    world.change(&["ann"], held(first));
    assert!(world.is_quiet(first));
    world.change(&["ann"], released(first, "old"));
    let session = world.register("ann");
    assert!(matches!(session.look(), Look::Route(_)));
    session.enters(Phase::Dialling, Some(&"old".into()));
    let at = world.change(&["ann"], held(second));
    assert!(!world.is_quiet(first) && !world.is_quiet(second));
    // What names the first hold ends nothing.
    world.change(&["bob"], released(first, "old"));
    assert_eq!(session.check(), Look::Held);
    let over = session.until_leg_is_over(async {}).await;
    session.unregister(over);
    let quiesced = world.sessions.quiesced();
    assert_eq!(
        (quiesced.len(), quiesced[0].hold, quiesced[0].applied),
        (1, second, at)
    );
}

#[tokio::test]
async fn a_session_is_held_under_every_identifier_that_it_acts_for() {
    let world = World::new(WaitPolicy::default());
    world.change(&["ann", "bob"], mapped("old"));
    let session = world
        .sessions
        .register(ActingFor::one(who("ann"), [who("bob")]), about("both"));
    assert!(matches!(session.look(), Look::Route(_)));
    let hold = HoldId::random();
    world.change(&["bob"], held(hold));
    assert_eq!(session.check(), Look::Held);
    assert!(!world.is_quiet(hold));
}

#[tokio::test]
async fn a_hold_on_a_domain_finds_who_follows_it_and_nobody_else() {
    let world = World::new(WaitPolicy::default());
    world.apply(vec![
        change(HASH, &["@example.org"], mapped("old")),
        change(HASH, &["own@example.org"], mapped("old")),
    ]);
    let (follows, own) = (
        world.register("ann@example.org"),
        world.register("own@example.org"),
    );
    for session in [&follows, &own] {
        assert!(matches!(session.look(), Look::Route(_)));
        session.enters(Phase::Bridged, Some(&"old".into()));
    }
    let hold = HoldId::random();
    world.change(&["@example.org"], held(hold));
    assert_ne!(follows.order(), Order::Stay);
    assert_eq!(own.order(), Order::Stay);
    assert!(!world.is_quiet(hold));
    let over = follows.until_leg_is_over(async {}).await;
    follows.unregister(over);
    assert!(world.is_quiet(hold));
    drop(own);
}

#[tokio::test]
async fn a_task_that_goes_away_with_a_leg_blocks_its_hold_until_an_operator_kicks_the_session() {
    let world = World::new(WaitPolicy::default());
    world.change(&["ann"], mapped("old"));
    let session = world.register("ann");
    assert!(matches!(session.look(), Look::Route(_)));
    session.enters(Phase::Authenticating, Some(&"old".into()));
    drop(session);
    let hold = HoldId::random();
    world.change(&["ann"], held(hold));
    assert!(!world.is_quiet(hold), "nobody saw the end of that leg");
    let listing = world.sessions.list(&Which::default(), 10);
    assert_eq!((listing.total, listing.sessions[0].phase), (1, Phase::Lost));
    assert_eq!(world.sessions.kick(&Which::default()), 1);
    assert!(world.is_quiet(hold));
}

#[tokio::test]
async fn a_backend_that_does_not_close_is_reported_and_not_quiet_until_it_does() {
    let world = World::new(WaitPolicy::default());
    world.change(&["ann"], mapped("old"));
    let session = world.register("ann");
    assert!(matches!(session.look(), Look::Route(_)));
    session.enters(Phase::Bridged, Some(&"old".into()));
    let hold = HoldId::random();
    world.change(&["ann"], held(hold));
    let (close, closed) = tokio::sync::oneshot::channel::<()>();
    let ending = tokio::spawn(async move {
        let over = session.until_leg_is_over(async { closed.await.unwrap() }).await;
        let how = over.how();
        session.unregister(over);
        how
    });
    let stuck = std::future::poll_fn(|cx| world.stuck.lock().poll_recv(cx))
        .await
        .unwrap();
    assert_eq!(stuck.holds, [hold]);
    assert_eq!(stuck.destination, Some("old".into()));
    assert_eq!(
        world.sessions.stuck_legs().len(),
        1,
        "it can be said again after a Hello"
    );
    assert!(!world.is_quiet(hold));
    close.send(()).unwrap();
    assert_eq!(ending.await.unwrap(), End::BackendClosed);
    assert!(world.is_quiet(hold));
    assert!(world.sessions.stuck_legs().is_empty());
}

/// A bridged session of `ann` on `old`.
fn bridged(world: &Arc<World>) -> Registered {
    world.change(&["ann"], mapped("old"));
    let session = world.register("ann");
    assert!(matches!(session.look(), Look::Route(_)));
    session.enters(Phase::Bridged, Some(&"old".into()));
    session
}

/// Follows the session's leg, and leaves the registry.
fn ends(session: Registered, leg: impl Future<Output = ()> + Send + 'static) -> JoinHandle<End> {
    tokio::spawn(async move {
        let over = session.until_leg_is_over(leg).await;
        let how = over.how();
        session.unregister(over);
        how
    })
}

async fn next_stuck(world: &World) -> Stuck {
    std::future::poll_fn(|cx| world.stuck.lock().poll_recv(cx))
        .await
        .unwrap()
}

#[tokio::test]
async fn a_stuck_leg_is_found_by_the_next_hold() {
    let world = World::new(WaitPolicy::default());
    let session = bridged(&world);
    let first = HoldId::random();
    world.change(&["ann"], held(first));
    let (close, closed) = tokio::sync::oneshot::channel::<()>();
    let ending = ends(session, async { closed.await.unwrap() });
    assert_eq!(next_stuck(&world).await.holds, [first]);
    // Beyond the time for which a leg is read on that nobody waits for: somebody did.
    tokio::time::sleep(STUCK_LEG_FOLLOWED_FOR + Duration::from_secs(1)).await;
    world.change(&["ann"], released(first, "old"));
    // The cutover is tried again: the backend still has not closed.
    let second = HoldId::random();
    world.change(&["ann"], held(second));
    assert_eq!(next_stuck(&world).await.holds, [second]);
    assert!(!world.is_quiet(second));
    close.send(()).unwrap();
    assert_eq!(ending.await.unwrap(), End::BackendClosed);
    assert!(world.is_quiet(second));
}

#[tokio::test]
async fn a_hold_finds_the_leg_of_a_client_that_went_long_before() {
    let world = World::new(WaitPolicy::default());
    let session = bridged(&world);
    let (close, closed) = tokio::sync::oneshot::channel::<()>();
    let ending = ends(session, async { closed.await.unwrap() });
    // Longer than a backend may take; it is still busy with what it has read.
    tokio::time::sleep(LEG_END_TIMEOUT + Duration::from_secs(1)).await;
    let hold = HoldId::random();
    world.change(&["ann"], held(hold));
    assert!(!world.is_quiet(hold));
    assert_eq!(next_stuck(&world).await.holds, [hold]);
    close.send(()).unwrap();
    assert_eq!(ending.await.unwrap(), End::BackendClosed);
    assert!(world.is_quiet(hold));
}

#[tokio::test]
async fn a_stuck_leg_is_reset_when_no_hold_has_waited_for_it_for_long() {
    let world = World::new(WaitPolicy::default());
    let session = bridged(&world);
    let begun = tokio::time::Instant::now();
    let ending = ends(session, std::future::pending());
    assert_eq!(ending.await.unwrap(), End::Reset);
    assert!(begun.elapsed() >= STUCK_LEG_FOLLOWED_FOR);
    assert_eq!(world.sessions.list(&Which::default(), 1).total, 0);
}

#[tokio::test]
async fn a_stuck_leg_is_reset_by_order_when_no_hold_waits_for_it() {
    for shut_down in [false, true] {
        let world = World::new(WaitPolicy::default());
        let session = bridged(&world);
        let begun = tokio::time::Instant::now();
        let ending = ends(session, std::future::pending());
        tokio::time::sleep(LEG_END_TIMEOUT + Duration::from_secs(1)).await;
        if shut_down {
            world.sessions.shut_down();
        } else {
            world.sessions.kick(&Which::default());
        }
        assert_eq!(ending.await.unwrap(), End::Reset);
        assert!(begun.elapsed() < STUCK_LEG_FOLLOWED_FOR, "not by order");
    }
}

#[tokio::test]
async fn a_kicked_session_whose_leg_is_stuck_is_reset_once_its_hold_ended() {
    let world = World::new(WaitPolicy::default());
    world.change(&["ann"], mapped("old"));
    let session = world.register("ann");
    assert!(matches!(session.look(), Look::Route(_)));
    session.enters(Phase::Bridged, Some(&"old".into()));
    let (first, second) = (HoldId::random(), HoldId::random());
    world.change(&["ann"], held(first));
    world.sessions.kick(&Which::default());
    let ending = tokio::spawn(async move { session.until_leg_is_over(std::future::pending()).await.how() });
    std::future::poll_fn(|cx| world.stuck.lock().poll_recv(cx))
        .await
        .unwrap();
    // The next hold finds the leg, too, and hears of it.
    world.change(&["ann"], held(second));
    let stuck = std::future::poll_fn(|cx| world.stuck.lock().poll_recv(cx))
        .await
        .unwrap();
    assert_eq!(stuck.holds, [first, second]);
    world.change(&["ann"], released(first, "old"));
    world.change(&["ann"], released(second, "old"));
    assert_eq!(ending.await.unwrap(), End::Reset);
}

#[tokio::test]
async fn a_lapse_resets_a_leg_at_once_stuck_or_not_and_no_hold_takes_that_for_its_end() {
    for waited in [Duration::ZERO, LEG_END_TIMEOUT + Duration::from_secs(1)] {
        let world = World::new(WaitPolicy::default());
        let session = bridged(&world);
        let hold = HoldId::random();
        world.change(&["ann"], held(hold));
        let (leg, dropped) = tokio::sync::oneshot::channel::<()>();
        let ending = ends(session, async move {
            std::future::pending::<()>().await;
            drop(leg);
        });
        tokio::time::sleep(waited).await;
        let begun = tokio::time::Instant::now();
        assert_eq!(world.sessions.reset(&Which::default()), 1);
        assert_eq!(ending.await.unwrap(), End::Reset);
        assert!(dropped.await.is_err(), "the connection is gone");
        assert!(begun.elapsed() < LEG_END_TIMEOUT, "not at once");
        // The backend may still do what it has read: the operation is told, again and again, and never that it is quiet.
        assert_eq!(next_stuck(&world).await.holds, [hold]);
        let said: Vec<_> = world
            .sessions
            .stuck_legs()
            .into_iter()
            .map(|leg| leg.holds)
            .collect();
        assert_eq!(said, [[hold]]);
        world.change(&["ann"], held(hold));
        assert!(!world.is_quiet(hold), "nor when the hold is collected once more");
        world.change(&["ann"], released(hold, "old"));
        assert!(world.sessions.stuck_legs().is_empty());
        // The next hold has nothing to wait for.
        let next = HoldId::random();
        world.change(&["ann"], held(next));
        assert!(world.is_quiet(next));
    }
}

/// A table as a snapshot brings it.
fn another_table(hash: HashKey, changes: &[mailswitch_proto::fleet::v1::Change]) -> Table {
    let mut table = Table::empty(hash);
    let set = mailswitch_proto::fleet::v1::ChangeSet {
        changes: changes.to_vec(),
        traceparent: String::new(),
    };
    let at = mailswitch_proto::revision::Position::NONE.after(b"elsewhere");
    let _ = table.apply(&set, at);
    table.serve(Serving::Yes);
    table
}

#[tokio::test]
async fn a_snapshot_with_another_hash_key_finds_the_sessions_that_were_there() {
    let world = World::new(WaitPolicy::default());
    world.change(&["ann", "bob"], mapped("old"));
    let (ann, bob) = (world.register("ann"), world.register("bob"));
    for session in [&ann, &bob] {
        assert!(matches!(session.look(), Look::Route(_)));
        session.enters(Phase::Bridged, Some(&"old".into()));
    }
    let (hash, hold) = (HashKey([8; 16]), HoldId::random());
    world.sessions.adopt(another_table(
        hash,
        &[
            change(hash, &["ann"], mapped("old")),
            change(hash, &["bob"], mapped("new")),
            change(hash, &["ann"], held(hold)),
        ],
    ));
    assert!(matches!(ann.order(), Order::Drain { .. }), "it is held now");
    assert_eq!(bob.order(), Order::Kick, "it is elsewhere now");
    assert!(!world.is_quiet(hold));
    let over = ann.until_leg_is_over(async {}).await;
    ann.unregister(over);
    assert!(world.is_quiet(hold));
}

#[tokio::test]
async fn a_flip_that_did_not_wait_for_this_node_ends_what_is_elsewhere() {
    let world = World::new(WaitPolicy::default());
    world.change(&["ann"], mapped("old"));
    let session = world.register("ann");
    assert!(matches!(session.look(), Look::Route(_)));
    session.enters(Phase::Bridged, Some(&"old".into()));
    let hold = HoldId::random();
    world.change(&["ann"], held(hold));
    world.change(&["ann"], flipped(hold, "new"));
    assert_eq!(session.order(), Order::Kick);
    drop(session);
}
