//! How logins wait on a hold (promise A5).

use std::sync::Arc;
use std::time::Duration;

use mailswitch_proto::id::HoldId;

use super::world::{Path, Truth, World, flipped, held, mapped, who};
use crate::session::admit::{Outcome, TemporaryFailure, admit};
use crate::sessions::delay::LONGEST_WAIT;
use crate::sessions::{Phase, WaitPolicy, Which};

type Answer = Outcome<super::world::Leg, (), &'static str>;

async fn login(world: Arc<World>, name: &'static str, gone: impl Future<Output = ()> + Send) -> Answer {
    let mut path = Path {
        truth: Arc::new(Truth::default()),
        account: name,
    };
    admit(world.register(name), &mut path, gone).await
}

async fn waiting(world: &World, logins: usize) {
    while world.sessions.waiting() != logins {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_held_login_waits_for_the_hold_login_timeout_and_then_gets_the_temporary_failure() {
    let timeout = Duration::from_millis(300);
    let world = World::new(WaitPolicy {
        hold_login_timeout: timeout,
        ..WaitPolicy::default()
    });
    world.change(&["ann"], held(HoldId::random()));
    let before = tokio::time::Instant::now();
    let answer = login(world.clone(), "ann", std::future::pending()).await;
    assert!(matches!(
        answer,
        Outcome::TemporaryFailure(TemporaryFailure::Held)
    ));
    assert!(before.elapsed() >= timeout);
    assert_eq!(world.sessions.list(&Which::default(), 1).total, 0);
    assert_eq!(world.sessions.waiting(), 0);
}

#[tokio::test]
async fn a_held_login_lands_where_the_flip_says() {
    let world = World::new(WaitPolicy::default());
    world.change(&["ann"], mapped("old"));
    let hold = HoldId::random();
    world.change(&["ann"], held(hold));
    loop {
        let task = tokio::spawn(login(world.clone(), "ann", std::future::pending()));
        waiting(&world, 1).await;
        assert_eq!(
            world.sessions.list(&Which::default(), 1).sessions[0].phase,
            Phase::Waiting
        );
        assert!(world.is_quiet(hold), "a login that waits does not count");
        world.change(&["ann"], flipped(hold, "new"));
        match task.await.unwrap() {
            Outcome::Admitted(admitted) => {
                assert_eq!(admitted.route.destination.as_str(), "new");
                drop(admitted.leg);
                admitted.guard.end_leg(async {}).await;
                let counted = world.sessions.report().message(0).hold_waits.unwrap();
                assert!(counted.count >= 1 && counted.buckets.iter().sum::<u64>() == counted.count);
                return;
            }
            // The backend of these tests refuses now and then. Its leg ends a little later.
            _ => {
                while world.sessions.list(&Which::default(), 1).total > 0 {
                    tokio::task::yield_now().await;
                }
                world.change(&["ann"], held(hold));
            }
        }
    }
}

#[tokio::test]
async fn a_login_whose_client_goes_gives_its_place_back() {
    let world = World::new(WaitPolicy::default());
    world.change(&["ann"], held(HoldId::random()));
    let (hang_up, gone) = tokio::sync::oneshot::channel::<()>();
    let gone = async {
        let _ = gone.await;
    };
    let task = tokio::spawn(login(world.clone(), "ann", gone));
    waiting(&world, 1).await;
    hang_up.send(()).unwrap();
    assert!(matches!(task.await.unwrap(), Outcome::ClientGone));
    assert_eq!(world.sessions.waiting(), 0);
    assert_eq!(world.sessions.list(&Which::default(), 1).total, 0);
}

#[tokio::test]
async fn more_logins_than_may_wait_get_the_temporary_failure_at_once() {
    let world = World::new(WaitPolicy {
        hold_login_timeout: Duration::from_secs(600),
        per_identifier: 2,
        per_node: 3,
        ..WaitPolicy::default()
    });
    world.change(&["ann", "bob"], held(HoldId::random()));
    let full = |answer: &Answer| matches!(answer, Outcome::TemporaryFailure(TemporaryFailure::Held));
    let mut waiters = Vec::new();
    for n in 1..=2 {
        waiters.push(tokio::spawn(login(world.clone(), "ann", std::future::pending())));
        waiting(&world, n).await;
    }
    assert!(
        full(&login(world.clone(), "ann", std::future::pending()).await),
        "two of one identifier"
    );
    waiters.push(tokio::spawn(login(world.clone(), "bob", std::future::pending())));
    waiting(&world, 3).await;
    assert!(
        full(&login(world.clone(), "bob", std::future::pending()).await),
        "three on the node"
    );
    // A task that is aborted gives its place back, too.
    for waiter in waiters {
        waiter.abort();
    }
    waiting(&world, 0).await;
}

#[tokio::test]
async fn a_kicked_login_that_waits_goes_on_waiting_and_gets_in_where_the_flip_says() {
    let world = World::new(WaitPolicy::default());
    world.change(&["ann"], mapped("old"));
    let hold = HoldId::random();
    world.change(&["ann"], held(hold));
    let task = tokio::spawn(login(world.clone(), "ann", std::future::pending()));
    waiting(&world, 1).await;
    let kicked = world
        .sessions
        .kick_to_the_end(&Which::default(), Duration::from_secs(60))
        .await;
    assert_eq!(
        (kicked.signalled, kicked.open),
        (1, 0),
        "it has no leg that could end"
    );
    world.change(&["ann"], flipped(hold, "new"));
    // The backend of these tests refuses now and then; nobody else does.
    match task.await.unwrap() {
        Outcome::Admitted(admitted) => assert_eq!(admitted.route.destination, "new".into()),
        Outcome::Refused(()) | Outcome::TemporaryFailure(TemporaryFailure::Backend(_)) => {}
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_drained_node_refuses_those_that_wait_and_those_that_come() {
    let world = World::new(WaitPolicy::default());
    world.change(&["ann"], held(HoldId::random()));
    let task = tokio::spawn(login(world.clone(), "ann", std::future::pending()));
    waiting(&world, 1).await;
    world.sessions.drain(std::time::Instant::now());
    let refused = |answer: &Answer| {
        matches!(
            answer,
            Outcome::TemporaryFailure(TemporaryFailure::NoDestination(_))
        )
    };
    assert!(refused(&task.await.unwrap()));
    assert!(refused(
        &login(world.clone(), "bob", std::future::pending()).await
    ));
    world.sessions.resume();
    assert!(!world.sessions.is_draining());
}

#[tokio::test]
async fn a_login_waits_for_a_delay_no_longer_than_the_longest_wait_however_long_the_delay_is() {
    let world = World::new(WaitPolicy::default());
    world.change(&["ann"], mapped("old"));
    world.sessions.delay(&who("ann"), Duration::from_secs(86_400));
    let before = tokio::time::Instant::now();
    let answer = login(world.clone(), "ann", std::future::pending()).await;
    let Outcome::Admitted(admitted) = answer else {
        panic!("it is let in")
    };
    assert!(before.elapsed() >= LONGEST_WAIT);
    assert_eq!(admitted.route.destination.as_str(), "old");
    drop(admitted.leg);
    admitted.guard.end_leg(async {}).await;
    assert_eq!(world.sessions.waiting(), 0);
}
