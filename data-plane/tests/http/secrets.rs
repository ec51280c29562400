//! Nothing of a credential, a cookie or a query is in any log, however loud it is (behaviour §12). A test binary has one
//! subscriber, so this one listens to everything that runs beside it, too.

use std::io;
use std::sync::{Arc, Mutex};

use crate::rig::{Differences, Talk, ok, world};

#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl io::Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn no_log_of_any_level_holds_a_credential_a_cookie_or_a_query() {
    let kept = Kept::default();
    let writer = kept.clone();
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .init();
    let secrets = [
        "c3VwZXI",
        "supersecret",
        "biscuit-of-ann",
        "token-in-query",
        "/folder-of-ann",
    ];
    for listener in ["", "tls = \"implicit\""] {
        let world = world(Differences {
            listener,
            routes: "[[http.route]]\nmatch = \"/none\"\ndestination = \"new\"\n[[http.route]]\nmatch = \"/**\"\nextract = { from = \"authorization\" }\n",
            ..Differences::default()
        })
        .await;
        let rows = [
            ("Basic YW5uOmMzVndaWEk=", true),
            ("Bearer sw1.supersecret.YW5uQGV4YW1wbGUub3Jn", true),
            ("Basic !supersecret!", false),
        ];
        for (authorization, is_passed_on) in rows {
            let request = format!(
                "GET /folder-of-ann?access=token-in-query HTTP/1.1\r\nHost: a\r\nAuthorization: {authorization}\r\nCookie: s=biscuit-of-ann\r\n\r\n"
            );
            if listener.is_empty() {
                let mut client = Talk::to(world.node.address).await;
                client.say(&request).await;
                if is_passed_on {
                    let mut backend = world.old.accept().await;
                    backend.message().await;
                    backend.say(ok("done")).await;
                }
                client.message().await;
            } else {
                let mut client = crate::http2::client(&world.node).await;
                let request = http::Request::builder()
                    .uri("https://a/folder-of-ann?access=token-in-query")
                    .header("authorization", authorization)
                    .header("cookie", "s=biscuit-of-ann")
                    .body(crate::http2::empty())
                    .expect("a request");
                let answer = tokio::spawn(client.send_request(request));
                if is_passed_on {
                    let mut backend = world.old.accept().await;
                    backend.message().await;
                    backend.say(ok("done")).await;
                }
                answer.await.expect("no panic").expect("an answer");
            }
        }
    }
    let said = String::from_utf8_lossy(&kept.0.lock().expect("no panic")).into_owned();
    assert!(said.contains("session closed"), "it listens");
    for line in said.lines() {
        for secret in secrets {
            assert!(!line.contains(secret), "{line}");
        }
    }
}
