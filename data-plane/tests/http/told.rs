//! What an operator tells a lone node of an account over its API, while the account is used over HTTP: kick and delay
//! (behaviour 9.3, management API 4.4).

use std::time::Duration;

use mailswitch_data_plane::sessions::{Sessions, Which};
use mailswitch_proto::identifier::{Identifier, Normalization};

use crate::cutover::{ANN, ask, idle_legs_of_two, of_bob, registered};
use crate::rig::{Differences, Node, Talk, World, ok, world};

fn sessions(node: &Node) -> &Sessions {
    node.running.as_ref().expect("a node").node().knowledge.sessions()
}

#[tokio::test]
async fn better_than_the_reference_a_delay_holds_requests_until_it_is_taken_back() {
    let World { node, old, .. } = world(Differences::default()).await;
    let ann = Identifier::written(ANN, &Normalization::Lowercase).expect("an identifier");
    sessions(&node).delay(&ann, Duration::from_secs(60));
    let mut client = Talk::to(node.address).await;
    client.say(ask("GET", "")).await;
    assert!(old.nobody_comes(Duration::from_millis(200)).await, "delayed");
    let mut bob = Talk::to(node.address).await;
    bob.say(of_bob()).await;
    let mut leg = old.accept().await;
    assert_eq!(leg.message().await.start, "GET /bob HTTP/1.1");
    sessions(&node).delay(&ann, Duration::ZERO);
    let mut leg = old.accept().await;
    leg.message().await;
    leg.say(ok("ann")).await;
    assert_eq!(client.message().await.text(), "ann");
}

#[tokio::test]
async fn better_than_the_reference_a_kick_ends_connections_that_are_kept_for_an_accounts_next_request() {
    let World { node, old, .. } = world(Differences::default()).await;
    let (mut client, mut anns, mut bobs) = idle_legs_of_two(&node, &old).await;
    registered(&node, 2).await;
    let sessions = sessions(&node);
    let key = sessions.with_table(|table| table.hash_key().key_of(ANN));
    let which = Which {
        keys: vec![key],
        ..Which::default()
    };
    assert_eq!(sessions.kick(&which), 1);
    assert!(anns.more().await.is_none(), "half-closed");
    drop(anns);
    registered(&node, 1).await;
    // Whose next request is hers finds another one; his is kept.
    client.say(ask("GET", "")).await;
    let mut anns = old.accept().await;
    anns.message().await;
    anns.say(ok("ann")).await;
    assert_eq!(client.message().await.text(), "ann");
    client.say(of_bob()).await;
    assert_eq!(bobs.message().await.start, "GET /bob HTTP/1.1");
}
