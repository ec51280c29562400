//! What of a request's fields a backend gets, and of an answer's a client (behaviour 8.1, 8.3, 7.4).

use anyhow::Result;
use mailswitch_tests::{
    http::{
        nginx::{Nginx, Told},
        recorder::{Recorder, Reply},
        web::{BY_LOGIN, at},
    },
    raw::Raw,
};

use super::{Scene, answer, dial};

#[test]
fn fields_pass_unchanged_and_what_belongs_to_the_connection_does_not() -> Result<()> {
    let scene = Scene::new()?;
    let backend = Recorder::start(&scene.place, |_| {
        Reply::Keep(
            b"HTTP/1.1 200 Fine\r\nConnection: x-internal, keep-alive\r\nX-Internal: 1\r\nKeep-Alive: timeout=5\r\n\
              Proxy-Authenticate: Basic\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nX-Back: yes\r\nContent-Length: 2\r\n\r\nok"
                .to_vec(),
        )
    })?;
    let node = scene.recorded(&backend, "")?;
    let mut raw = dial(&node)?;
    raw.send(
        "REPORT /dav/%C3%A9?q=%20&r HTTP/1.1\r\nHost: Mail.Example:8443\r\nCookie: a=b; c=d\r\nX-Two: 1\r\nX-Two: 2\r\n\
         X-Bytes: \u{e9}\r\nConnection: X-Gone, Cookie, Host\r\nX-Gone: 1\r\nTE: trailers\r\nKeep-Alive: 5\r\n\
         Proxy-Authorization: Basic c2VjcmV0\r\nProxy-Connection: x\r\nUpgrade: h2c\r\nContent-Length: 3\r\n\r\nabc",
    )?;
    let got = answer(&mut raw)?;
    let asked = backend.asked().remove(0);
    assert_eq!(asked.line(), "REPORT /dav/%C3%A9?q=%20&r HTTP/1.1");
    assert_eq!(asked.header("host"), ["Mail.Example:8443"]);
    assert_eq!(asked.header("cookie"), ["a=b; c=d"]);
    assert_eq!(asked.header("x-two"), ["1", "2"]);
    assert_eq!(asked.header("x-bytes"), ["\u{e9}"]);
    assert_eq!(asked.body, b"abc");
    for name in [
        "x-gone",
        "te",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "upgrade",
        "x-forwarded-for",
        "forwarded",
    ] {
        assert_eq!(asked.header(name), Vec::<&str>::new(), "{name}");
    }
    let via = asked.header("via").concat();
    assert!(via.starts_with("1.1 ") && !via.contains("example"), "{via}");

    assert_eq!(got.head[0], "HTTP/1.1 200 Fine");
    assert_eq!(
        got.head
            .iter()
            .filter(|line| line.to_ascii_lowercase().starts_with("set-cookie:"))
            .count(),
        2
    );
    assert_eq!(got.header("x-back"), Some("yes"));
    for name in ["x-internal", "keep-alive", "proxy-authenticate"] {
        assert_eq!(got.header(name), None, "{name}");
    }
    Ok(())
}

#[test]
fn a_client_is_told_of_by_its_own_address_and_trusted_only_where_the_listener_says_so() -> Result<()> {
    let scene = Scene::new()?;
    let backend = Recorder::named(&scene.place, "legacy")?;
    let (client, trusting) = (scene.place.address(42), scene.place.port(scene.place.address(2))?);
    let tables = at(
        "legacy",
        backend.address,
        "plain",
        "forwarding = \"none\"\nforwarded = true\n",
    ) + BY_LOGIN
        + &format!(
            "[listener.trusting]\nprotocol = \"http\"\nbind = [\"{trusting}\"]\ntls = \"plain\"\nforwarded = \"trust\"\n"
        );
    let node = scene.node(&tables, "")?;
    let request = "GET / HTTP/1.1\r\nHost: a\r\nForwarded: for=6.6.6.6\r\nX-Forwarded-For: 6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\n\
                   X-Forwarded-Proto: http\r\nForwarded: for=7.7.7.7\r\nX-Forwarded-For: 7.7.7.7, 8.8.8.8\r\n\
                   Connection: x-forwarded-for\r\n\r\n";
    for (listener, forwarded, x_forwarded_for, real_ip) in [
        (
            node.at("http", "plain")?,
            format!("for={client}"),
            client.to_string(),
            &[][..],
        ),
        (
            trusting,
            format!("for=6.6.6.6, for=7.7.7.7, for={client}"),
            // Named by Connection, so what came in is of that connection only; ours is added behind that.
            client.to_string(),
            &["6.6.6.6"],
        ),
    ] {
        let mut raw = Raw::connect_from(client, listener)?;
        raw.send(request)?;
        assert_eq!(answer(&mut raw)?.status, 200);
        let asked = backend.asked().pop().expect("it was asked");
        assert_eq!(asked.header("forwarded"), [forwarded]);
        assert_eq!(asked.header("x-forwarded-for"), [x_forwarded_for]);
        assert_eq!(asked.header("x-real-ip"), real_ip);
    }
    Ok(())
}

#[test]
fn better_than_the_reference_all_instances_of_a_trusted_client_reach_the_backend_in_order() -> Result<()> {
    let scene = Scene::new()?;
    let backend = Recorder::named(&scene.place, "legacy")?;
    let (client, trusting) = (scene.place.address(42), scene.place.port(scene.place.address(2))?);
    let tables = at(
        "legacy",
        backend.address,
        "plain",
        "forwarding = \"none\"\nforwarded = true\n",
    ) + BY_LOGIN
        + &format!(
            "[listener.trusting]\nprotocol = \"http\"\nbind = [\"{trusting}\"]\ntls = \"plain\"\nforwarded = \"trust\"\n"
        );
    let _node = scene.node(&tables, "")?;
    let mut raw = Raw::connect_from(client, trusting)?;
    raw.send(
        "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 7.7.7.7, 8.8.8.8\r\n\r\n",
    )?;
    assert_eq!(answer(&mut raw)?.status, 200);
    assert_eq!(
        backend.asked()[0].header("x-forwarded-for"),
        [format!("6.6.6.6, 7.7.7.7, 8.8.8.8, {client}")]
    );
    Ok(())
}

#[test]
fn a_proxy_header_tells_nginx_the_client_of_each_connection() -> Result<()> {
    let scene = Scene::new()?;
    let nginx = Nginx::start(&scene.place, &scene.ca, "legacy", Told::ProxyHeader)?;
    let tables = at("legacy", nginx.https, "implicit", "forwarding = \"proxy\"\n") + BY_LOGIN;
    let node = scene.node(&tables, "")?;
    for host in [51, 52] {
        let client = scene.place.address(host);
        let got = scene.curl(&node)?.from(client).all(&["/name", "/nothing"])?;
        assert_eq!(
            (got[0].status, got[0].body.as_str(), got[1].status),
            (200, "legacy HTTP/1.1\n", 204)
        );
    }
    let served = nginx.served();
    let clients: Vec<_> = served.iter().map(|served| served.peer).collect();
    assert_eq!(clients, [51, 51, 52, 52].map(|host| scene.place.address(host)));
    // Kept alive for one client, and never for two.
    assert_eq!(
        served.iter().map(|served| served.requests).collect::<Vec<_>>(),
        [1, 2, 1, 2]
    );
    Ok(())
}

#[test]
fn better_than_the_reference_a_request_that_comes_back_to_us_is_508() -> Result<()> {
    let scene = Scene::new()?;
    let backend = Recorder::named(&scene.place, "legacy")?;
    let node = scene.recorded(&backend, "")?;
    let mut raw = dial(&node)?;
    raw.send("GET / HTTP/1.1\r\nHost: a\r\nVia: 1.0 elsewhere\r\n\r\n")?;
    assert_eq!(answer(&mut raw)?.status, 200);
    let via = backend.asked()[0].header("via").concat();
    assert!(via.starts_with("1.0 elsewhere, 1.1 "), "{via}");
    let mut raw = dial(&node)?;
    raw.send(format!(
        "GET / HTTP/1.1\r\nHost: a\r\nVia: {via}, 1.1 another\r\n\r\n"
    ))?;
    let got = answer(&mut raw)?;
    assert_eq!((got.status, got.body.as_str()), (508, "508 Loop Detected"));
    assert_eq!(raw.rest()?, "");
    assert_eq!(backend.asked().len(), 1);
    Ok(())
}

#[test]
fn trailers_pass_both_ways_without_those_that_frame_or_route() -> Result<()> {
    let scene = Scene::new()?;
    let backend = Recorder::start(&scene.place, |_| {
        Reply::Keep(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Back, Content-Length\r\n\r\n2\r\nok\r\n0\r\n\
              X-Back: 2\r\nContent-Length: 99\r\n\r\n"
                .to_vec(),
        )
    })?;
    let node = scene.recorded(&backend, "")?;
    let mut raw = dial(&node)?;
    raw.send(
        "POST / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE\r\nTrailer: X-Sum, Host\r\nTransfer-Encoding: chunked\r\n\r\n\
         3\r\nabc\r\n0\r\nX-Sum: 1\r\nHost: evil\r\n\r\n",
    )?;
    assert_eq!(answer(&mut raw)?.body, "ok");
    let heard = raw.heard.join("\n").to_ascii_lowercase();
    assert!(heard.contains("x-back: 2"), "{heard}");
    assert!(!heard.contains("content-length: 99"), "{heard}");
    let text = backend.text().to_ascii_lowercase();
    assert!(text.contains("\r\nx-sum: 1\r\n"), "{text}");
    assert!(!text.contains("evil"), "{text}");
    Ok(())
}
