//! The PROXY header of a client's connection: whom it is believed from, and what stands in its place (configuration §5).

use std::{net::IpAddr, time::Duration};

use anyhow::{Context, Result};
use mailswitch_tests::{
    ca::Ca,
    dovecot::{Announce, Dovecot, Plaintext},
    place::Place,
    raw::Raw,
    when::eventually,
};

use super::lone::{ALICE, Lone, SOON, Setup, destination};

const GREETED: &str = "S: * OK …";

fn v2(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
    let length = u16::try_from(addresses.len()).expect("short").to_be_bytes();
    [
        b"\r\n\r\n\0\r\nQUIT\n".as_slice(),
        &[0x20 | command, family],
        &length,
        addresses,
    ]
    .concat()
}

#[test]
fn a_header_is_believed_from_trusted_peers_only_and_whatever_stands_in_its_place_is_refused() -> Result<()> {
    let place = Place::new()?;
    let ca = Ca::new(place.path())?;
    let legacy = Dovecot::start(
        &place,
        &ca,
        "legacy",
        Announce::Proxy,
        Plaintext::Allowed,
        &[ALICE],
    )?;
    let (trusted, other) = (place.address(50), place.address(60));
    let ports = [
        place.port(place.address(2))?,
        place.port(place.address(2))?,
        place.port(place.address(2))?,
    ];
    let mut tables = destination("legacy", &legacy, None, "implicit", "forwarding = \"proxy\"\n");
    for (mode, port) in ["off", "optional", "required"].iter().zip(ports) {
        tables += &format!(
            "[listener.{mode}]\nprotocol = \"imap\"\nbind = [\"{port}\"]\ntls = \"starttls\"\n\
             proxy_protocol = \"{mode}\"\nproxy_trusted = [\"{trusted}/32\"]\npreauth_timeout = \"3s\"\n"
        );
    }
    tables += "[capabilities.imap]\nallow_plain_auth_without_tls = true\n";
    let node = Lone::start(
        &place,
        &ca,
        Setup {
            tables: &tables,
            ..Setup::default()
        },
    )?;
    let address = "PROXY TCP4 192.0.2.7 198.51.100.1 40000 143\r\n"
        .as_bytes()
        .to_vec();
    let binary = v2(1, 0x11, &[192, 0, 2, 8, 198, 51, 100, 1, 0x9c, 0x40, 0, 143]);
    let mapped = "PROXY TCP6 ::ffff:192.0.2.9 ::ffff:198.51.100.1 40000 143\r\n"
        .as_bytes()
        .to_vec();
    let local = v2(0, 0, &[]);
    let unknown = b"PROXY UNKNOWN\r\n".to_vec();
    let bad = b"PROXY TCP4 nonsense\r\n".to_vec();
    let endless = [b"PROXY ".as_slice(), &[b'x'; 1100]].concat();
    let [off, optional, required] = ports;
    let greeted = Some;
    let closed = None::<Option<&str>>;
    // Listener, client, what it begins with; None: closed without a byte; else the client as the backend sees it
    // (None: by its own socket).
    let cases = [
        ("off, a header", off, trusted, &address, closed.or(Some(None))),
        (
            "optional, text",
            optional,
            trusted,
            &address,
            greeted(Some("192.0.2.7")),
        ),
        (
            "optional, binary",
            optional,
            trusted,
            &binary,
            greeted(Some("192.0.2.8")),
        ),
        (
            "optional, mapped",
            optional,
            trusted,
            &mapped,
            greeted(Some("192.0.2.9")),
        ),
        ("optional, local", optional, trusted, &local, greeted(None)),
        ("optional, unknown", optional, trusted, &unknown, greeted(None)),
        ("optional, nothing", optional, trusted, &Vec::new(), greeted(None)),
        ("optional, bad", optional, trusted, &bad, closed),
        ("optional, endless", optional, trusted, &endless, closed),
        (
            "optional, a stranger",
            optional,
            other,
            &Vec::new(),
            greeted(None),
        ),
        (
            "required, text",
            required,
            trusted,
            &address,
            greeted(Some("192.0.2.7")),
        ),
        (
            "required, binary",
            required,
            trusted,
            &binary,
            greeted(Some("192.0.2.8")),
        ),
        ("required, local", required, trusted, &local, greeted(None)),
        (
            "required, a command",
            required,
            trusted,
            &b"a NOOP\r\n".to_vec(),
            closed,
        ),
        ("required, nothing", required, trusted, &Vec::new(), closed),
        ("required, bad", required, trusted, &bad, closed),
        ("required, a stranger", required, other, &address, closed),
    ];
    for (what, listener, client, begins, expected) in cases {
        let talk = || -> Result<()> {
            let mut raw = Raw::connect_from(client, listener)?;
            raw.patience(Duration::from_secs(10))?;
            let _ = raw.send(begins);
            let Some(seen) = expected else {
                return raw.play(node.client(), "END");
            };
            raw.play(node.client(), GREETED)?;
            if listener == off {
                // Application data: two commands that are none.
                return raw.play(node.client(), "S: PROXY BAD…");
            }
            let seen: IpAddr = seen.map_or(Ok(client), str::parse)?;
            let before = legacy.sessions_of(ALICE).len();
            raw.play(
                node.client(),
                &format!("C: a LOGIN {ALICE} secret\nS: a OK…\nC: b LOGOUT\nS: * BYE…"),
            )?;
            let session = eventually("the login is in Dovecot's log", SOON, || {
                legacy.sessions_of(ALICE).into_iter().nth(before)
            })?;
            assert_eq!(session.rip, seen, "{what}");
            Ok(())
        };
        talk().with_context(|| format!("{what}\n{}", node.log_tail()))?;
    }
    // The adopted address is the client's in the log, and the only one.
    let log = node.process.output();
    for text in ["session closed", "login read", "bridged"] {
        let mut lines = log.lines().filter(|line| line.contains(text));
        let of_header = lines.find(|line| line.contains("peer=192.0.2.8:40000"));
        assert!(
            of_header.is_some_and(|line| line.matches("peer=").count() == 1),
            "{text}: {of_header:?}"
        );
    }
    let closed = log
        .lines()
        .find(|line| line.contains("closed before the dialogue"));
    assert!(
        closed.is_some_and(|line| line.contains(&format!("peer={trusted}:"))),
        "{closed:?}"
    );
    Ok(())
}

#[test]
fn a_stranger_with_a_header_is_an_ordinary_client_whose_header_is_not_interpreted() -> Result<()> {
    let place = Place::new()?;
    let ca = Ca::new(place.path())?;
    let port = place.port(place.address(2))?;
    let tables = format!(
        "{}[listener.optional]\nprotocol = \"imap\"\nbind = [\"{port}\"]\ntls = \"plain\"\n\
         proxy_protocol = \"optional\"\nproxy_trusted = [\"192.0.2.0/24\"]\n",
        super::lone::DEAD
    );
    let node = Lone::start(
        &place,
        &ca,
        Setup {
            tables: &tables,
            ..Setup::default()
        },
    )?;
    let mut raw = Raw::connect(port)?;
    raw.send("PROXY TCP4 192.0.2.7 198.51.100.1 40000 143\r\n")?;
    raw.play(node.client(), "S: * OK …\nS: PROXY BAD…\nC: a NOOP\nS: a OK…")?;
    let own = raw.local()?;
    drop(raw);
    let log = node.process.output();
    assert!(!log.contains("192.0.2.7"), "{log}");
    assert!(own.ip().is_loopback());
    Ok(())
}
