//! Who counts among those who have not signed in: everybody until a request of his is on its way to a backend.

use tokio::net::TcpSocket;

use crate::rig::{Differences, Talk, World, ok, world_for};

/// From a client of its own: no limit per client is in the way.
async fn dial(to: std::net::SocketAddr, client: u8) -> Talk {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(([127, 0, 1, client], 0).into()).expect("an address");
    Talk::over(socket.connect(to).await.expect("a connection"))
}

/// As few as a node may have.
const ROOM: u8 = 16;

#[tokio::test]
async fn a_client_whose_request_reaches_no_backend_has_not_signed_in() {
    let World { node, old, .. } = world_for(
        0,
        Differences {
            routes: "[[http.route]]\nmatch = \"/token\"\nextract = { from = \"body\", regex = \"user=([^&]+)\" }\n[[http.route]]\nmatch = \"/**\"\n",
            ..Differences::default()
        },
    )
    .await;
    let token = "POST /token HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n";
    let mut clients = Vec::new();
    for number in 0..ROOM {
        let mut client = dial(node.address, number).await;
        client.say(token).await;
        // Read, but whose it is nobody knows yet.
        assert_eq!(client.head().await.start, "HTTP/1.1 100 Continue");
        clients.push(client);
    }
    dial(node.address, ROOM).await.is_gone().await;
    // They go on to the backend, and make room.
    for client in &mut clients {
        client.say("user=anna").await;
        let mut leg = old.accept().await;
        leg.message().await;
        leg.say(ok("in")).await;
        assert_eq!(client.message().await.text(), "in");
    }
    let mut next = dial(node.address, ROOM).await;
    next.say("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    old.accept().await.message().await;
}
