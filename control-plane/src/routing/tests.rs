use mailswitch_proto::identifier::HashKey;

use super::log::Bounds;
use super::*;

fn loaded(position: Position) -> Loaded {
    Loaded {
        fleet: FleetId::from([1; 16]),
        state: State::load(position, HashKey([2; 16]), []).unwrap(),
        tail: Tail::new(position, Bounds::default()),
    }
}

#[tokio::test]
async fn whoever_needs_a_snapshot_at_the_same_time_gets_the_same_one() {
    let routing = Routing::new(loaded(Position::NONE));
    let epoch = routing.subscribe().borrow().0;
    let one = routing.snapshot(epoch, Revision::NONE).await.unwrap();
    let two = routing.snapshot(epoch, Revision::NONE).await.unwrap();
    assert!(Arc::ptr_eq(&one, &two));
    let next = Position::NONE.after(b"");
    routing.advance([(next, Bytes::new())]).await.unwrap();
    let three = routing.snapshot(epoch, next.revision).await.unwrap();
    assert_eq!(three.position, next, "not from before what was asked for");
}

#[tokio::test]
async fn nobody_is_sent_a_state_that_was_loaded_after_the_one_it_was_compared_with() {
    let ahead = Position::NONE.after(b"").after(b"");
    let routing = Arc::new(Routing::new(loaded(ahead)));
    let epoch = routing.subscribe().borrow().0;
    let waiting = tokio::spawn({
        let routing = Arc::clone(&routing);
        // A revision that will not come any more.
        async move { routing.snapshot(epoch, Revision(3)).await }
    });
    routing.replace(loaded(Position::NONE.after(b""))).await;
    assert!(waiting.await.unwrap().is_none());
    assert!(routing.snapshot(epoch, Revision::NONE).await.is_none());
    let now = routing.subscribe().borrow().0;
    assert!(routing.snapshot(now, Revision::NONE).await.is_some());
}
