//! Proxies before and behind the node: hop counts that end a loop, and the addresses that are passed on in their
//! right family (behaviour §5, §7.4).

use anyhow::{Context, Result};
use mailswitch_tests::{
    ca::Ca,
    dovecot::{Announce, Dovecot, Plaintext},
    place::Place,
    raw::Raw,
    scripted::Scripted,
    when::eventually,
};

use super::{
    lone::{ALICE, ALL, DEAD, Lone, SOON, Setup, destination, plain},
    scripts,
};

#[test]
fn the_hop_count_of_a_trusted_proxy_goes_on_one_less_and_the_last_one_goes_nowhere() -> Result<()> {
    let place = Place::new()?;
    let ca = Ca::new(place.path())?;
    let issued = ca.issue(&place.folder("backend")?, "scripted.test", place.server())?;
    let frame = |number| plain(&scripts::user(number), "pw");
    // What each connection is told: by a proxy with 5, by a stranger that says 5.
    let ttl = |number: usize| ["4", "6"][number.min(1)];
    let imap_frame = frame(0);
    let imap = Scripted::start(&place, &issued, move |number| {
        format!(
            "S: * OK [CAPABILITY IMAP4rev1 ID SASL-IR] x\nC: F1 ID (…\"x-proxy-ttl\" \"{}\"…)\nS: F1 OK x\n\
             C: a AUTHENTICATE PLAIN {imap_frame}\nS: a OK in\nEND",
            ttl(number)
        )
    })?;
    let smtp_frame = frame(1);
    let smtp = Scripted::start(&place, &issued, move |number| {
        format!(
            "S: 220 x\nC: EHLO …\nS: 250-x\nS: 250 XCLIENT TTL HELO\nC: XCLIENT TTL={}{}\nS: 220 x\nC: EHLO …\nS: 250 x\n\
             C: AUTH PLAIN {smtp_frame}\nS: 235 in\nEND",
            ttl(number),
            if number == 0 { "" } else { " HELO=me.example" },
        )
    })?;
    let mut tables = DEAD.to_owned();
    tables += &scripts::destination(0, &imap, &issued, "imap", "plain", "forwarding = \"xclient\"\n");
    tables += &scripts::destination(
        1,
        &smtp,
        &issued,
        "submission",
        "plain",
        "forwarding = \"xclient\"\n",
    );
    let proxy = place.address(50);
    let listener = format!(", proxy_protocol = \"optional\", proxy_trusted = [\"{proxy}\"]");
    let setup = Setup {
        listener: &listener,
        tables: &tables,
        moved: "u0@x.example d0\nu1@x.example d1\n",
        ..Setup::default()
    };
    let node = Lone::start(&place, &ca, setup)?;
    let connect = |client, protocol| -> Result<Raw> {
        let mut raw = Raw::connect_from(client, node.at(protocol, "implicit"))?;
        raw.tls(node.client())?;
        Ok(raw)
    };
    let stranger = place.address(60);
    let login = format!("C: a AUTHENTICATE PLAIN {}\n", frame(0));
    for (client, hops, answer) in [
        (proxy, "5", "S: a OK in"),
        (stranger, "5", "S: a OK in"),
        (proxy, "1", "S: a NO [UNAVAILABLE]…\nS: * BYE…\nEND"),
    ] {
        let id = format!("S: * OK …\nC: i ID (\"x-proxy-ttl\" \"{hops}\")\nS: * ID NIL\nS: i OK…\n");
        connect(client, "imap")?
            .play(node.client(), &format!("{id}{login}{answer}"))
            .with_context(|| format!("imap {client} {hops}\n{}", node.log_tail()))?;
    }
    let auth = format!("C: AUTH PLAIN {}\n", frame(1));
    for (client, xclient, answer) in [
        (proxy, "C: XCLIENT TTL=5\nS: 220 …\n", "S: 235 in"),
        (
            stranger,
            "C: XCLIENT TTL=5\nS: 503 5.5.1…\nC: HELO me.example\nS: 250 …\n",
            "S: 235 in",
        ),
        (proxy, "C: XCLIENT TTL=1\nS: 220 …\n", "S: 421 4.3.0…\nEND"),
    ] {
        connect(client, "submission")?
            .play(node.client(), &format!("S: 220 …\n{xclient}{auth}{answer}"))
            .with_context(|| format!("submission {client} {xclient}\n{}", node.log_tail()))?;
    }
    for backend in [&imap, &smtp] {
        assert_eq!(backend.accepted(), 2, "nothing is dialled for the last hop");
        eventually("both are over", SOON, || {
            (backend.played().len() == 2).then_some(())
        })?;
        for played in backend.played() {
            assert_eq!(played.fault, None);
        }
    }
    // Only a proxy is told that it may say so.
    for (client, offered) in [(proxy, true), (stranger, false)] {
        let mut raw = connect(client, "submission")?;
        raw.play(node.client(), "S: 220 …\nC: EHLO me.example\nC: QUIT\n")?;
        let said = raw.rest()?;
        assert_eq!(said.contains("250-XCLIENT TTL\r\n"), offered, "{said}");
    }
    Ok(())
}

/// Who says nothing about the client cannot be in a chain that counts: a file with `proxy_ttl = 1` routes as the
/// reference has it.
#[test]
fn the_last_hop_ends_only_legs_that_tell_of_hops() -> Result<()> {
    let place = Place::new()?;
    let ca = Ca::new(place.path())?;
    let issued = ca.issue(&place.folder("backend")?, "scripted.test", place.server())?;
    let login = |number| format!("AUTHENTICATE PLAIN {}", plain(&scripts::user(number), "pw"));
    let script = format!(
        "S: * OK [CAPABILITY IMAP4rev1 ID SASL-IR] x\nC: a {}\nS: a OK in\nEND",
        login(0)
    );
    let silent = Scripted::start(&place, &issued, move |_| script.clone())?;
    let telling = Scripted::start(&place, &issued, |_| "END".to_owned())?;
    let tables = DEAD.to_owned()
        + &scripts::destination(0, &silent, &issued, "imap", "plain", "forwarding = \"none\"\n")
        + &scripts::destination(
            1,
            &telling,
            &issued,
            "imap",
            "plain",
            "forwarding = \"xclient\"\n",
        );
    let setup = Setup {
        server: "proxy_ttl = 1\nlog_level = \"debug\"\n",
        tables: &tables,
        moved: "u0@x.example d0\nu1@x.example d1\n",
        ..Setup::default()
    };
    let node = Lone::start(&place, &ca, setup)?;
    node.play(
        "imap",
        "implicit",
        &format!("S: * OK …\nC: a {}\nS: a OK in", login(0)),
    )?;
    let refused = format!(
        "S: * OK …\nC: a {}\nS: a NO [UNAVAILABLE]…\nS: * BYE…\nEND",
        login(1)
    );
    node.play("imap", "implicit", &refused)?;
    assert_eq!(telling.accepted(), 0);
    assert!(node.process.output().contains("loop"));
    Ok(())
}

#[test]
fn two_nodes_in_a_row_count_the_hops_down_in_every_protocol() -> Result<()> {
    let (place, behind) = (Place::new()?, Place::new()?);
    let ca = Ca::new(place.path())?;
    let issued = ca.issue(&behind.folder("backend")?, "scripted.test", behind.server())?;
    let frame = plain("ann@x.example", "pw");
    // Of what the first one says, the second takes the hop count: its client is the first. (A PROXY header would name
    // the client too.)
    let client = place.address(50);
    let xclient = format!("C: XCLIENT ADDR={client} … TTL=5 …\n");
    let scripts = [
        format!(
            "S: * OK [CAPABILITY IMAP4rev1 ID SASL-IR] x\nC: F1 ID (\"x-originating-ip\" \"{client}\" …\"x-proxy-ttl\" \"5\" …)\n\
             S: F1 OK x\nC: a AUTHENTICATE PLAIN {frame}\nS: a OK in\nEND"
        ),
        format!(
            "S: +OK [XCLIENT] x\nC: CAPA\nS: +OK\nS: UTF8\nS: .\n{xclient}S: +OK\nC: UTF8\nS: +OK\nC: AUTH PLAIN {frame}\n\
             S: +OK in\nEND"
        ),
        format!(
            "S: \"XCLIENT\"\nS: OK\n{xclient}S: OK\nC: AUTHENTICATE \"PLAIN\" \"{frame}\"\nS: OK \"in\"\nEND"
        ),
        format!(
            "S: 220 x\nC: EHLO me.example\nS: 250-x\nS: 250 XCLIENT ADDR PORT TTL HELO\n\
             C: XCLIENT ADDR={client} PORT=… TTL=5 HELO=me.example\nS: 220 x\nC: EHLO me.example\nS: 250 x\n\
             C: AUTH PLAIN {frame}\nS: 235 in\nEND"
        ),
    ];
    let mut backends = Vec::new();
    let mut endpoints = String::new();
    for (protocol, script) in ALL.iter().zip(scripts) {
        let backend = Scripted::start(&behind, &issued, move |_| script.clone())?;
        endpoints += &format!(
            "{protocol} = {{ port = {}, tls = \"plain\" }}\n",
            backend.address.port()
        );
        backends.push(backend);
    }
    let legacy = |host, more: &str, endpoints: &str| {
        format!(
            "[destination.legacy]\nhost = \"{host}\"\nforwarding = \"xclient\"\nallow_plaintext_auth = true\n{more}\
             [destination.legacy.protocol]\n{endpoints}"
        )
    };
    let second = Lone::start(
        &behind,
        &ca,
        Setup {
            protocols: ALL,
            listener: &format!(", proxy_protocol = \"optional\", proxy_trusted = [\"{client}\"]"),
            tables: &legacy(behind.server(), "", &endpoints),
            ..Setup::default()
        },
    )?;
    let endpoints: String = ALL
        .iter()
        .map(|protocol| {
            let port = second.at(protocol, "implicit").port();
            format!("{protocol} = {{ port = {port}, tls = \"implicit\" }}\n")
        })
        .collect();
    let more = format!("tls_server_name = \"node.test\"\nsource_ips = [\"{client}\"]\n");
    let first = Lone::start(
        &place,
        &ca,
        Setup {
            protocols: ALL,
            tables: &legacy(behind.address(2), &more, &endpoints),
            ..Setup::default()
        },
    )?;
    let sieve = scripts::GREETED;
    for (protocol, dialogue) in [
        (
            "imap",
            format!("S: * OK …\nC: a AUTHENTICATE PLAIN {frame}\nS: a OK in"),
        ),
        (
            "pop3",
            format!("S: +OK …\nC: UTF8\nS: +OK…\nC: AUTH PLAIN {frame}\nS: +OK in"),
        ),
        (
            "managesieve",
            format!("{sieve}C: AUTHENTICATE \"PLAIN\" \"{frame}\"\nS: OK \"in\""),
        ),
        (
            "submission",
            format!("S: 220 …\nC: HELO me.example\nS: 250 …\nC: AUTH PLAIN {frame}\nS: 235 in"),
        ),
    ] {
        let mut raw = first.connect(protocol, "implicit")?;
        raw.play(first.client(), &dialogue)
            .with_context(|| format!("{protocol}: {}\nbehind: {}", first.log_tail(), second.log_tail()))?;
    }
    for backend in &backends {
        let played = eventually("the backend's side is over", SOON, || backend.played().pop())?;
        assert_eq!(played.fault, None);
    }
    Ok(())
}

#[test]
fn an_ipv4_client_of_an_ipv6_socket_is_an_ipv4_client_and_an_ipv6_client_is_itself() -> Result<()> {
    let place = Place::new()?;
    let ca = Ca::new(place.path())?;
    let dovecot = Dovecot::start(&place, &ca, "legacy", Announce::Id, Plaintext::Allowed, &[ALICE])?;
    // Free on every address, as near as one can tell.
    let port = std::net::TcpListener::bind("[::]:0")?.local_addr()?.port();
    let tables = destination("legacy", &dovecot, None, "implicit", "forwarding = \"xclient\"\n")
        + &format!(
            "[listener.both]\nprotocol = \"imap\"\nbind = [\"[::]:{port}\"]\ntls = \"plain\"\n\
             [capabilities.imap]\nallow_plain_auth_without_tls = true\n"
        );
    let setup = Setup {
        tables: &tables,
        ..Setup::default()
    };
    let node = Lone::start(&place, &ca, setup)?;
    for (server, seen) in [("127.0.0.1", "127.0.0.1"), ("[::1]", "::1")] {
        let before = dovecot.sessions_of(ALICE).len();
        let mut raw = Raw::connect(format!("{server}:{port}").parse()?)?;
        raw.play(
            node.client(),
            &format!("S: * OK …\nC: a LOGIN {ALICE} secret\nS: a OK …\nC: b LOGOUT\nS: * BYE…"),
        )
        .with_context(|| node.log_tail())?;
        let session = eventually("the login is in Dovecot's log", SOON, || {
            dovecot.sessions_of(ALICE).into_iter().nth(before)
        })?;
        assert_eq!(
            (session.rip.to_string(), session.lip.to_string()),
            (seen.into(), seen.into())
        );
    }
    assert!(!node.process.output().contains("ffff"), "{}", node.log_tail());
    Ok(())
}
