//! A driver that holds dialogues to their contract: every step progresses, memory is bounded, TLS starts with nothing
//! left over, and the same bytes in other pieces end alike.
#![allow(dead_code)]

use std::sync::Arc;

use mailswitch_dialogue::*;

/// The end, what was said, and what was left.
pub fn play<D: Dialogue + ?Sized>(
    mut dialogue: Box<D>,
    data: &[u8],
    cut: usize,
) -> (Option<D::Done>, Vec<u8>, Vec<u8>) {
    let mut input = Input::new();
    let mut output = Output::new();
    let mut said = Vec::new();
    let mut rest = data;
    let mut upgrades = 0;
    loop {
        let before = input.len();
        let step = dialogue.step(&mut input, &mut output);
        let wrote = output.unwritten().len();
        assert!(wrote < 96 * 1024, "one step says too much");
        assert!(input.capacity() <= 68 * 1024);
        said.extend_from_slice(output.unwritten());
        output.written(wrote);
        match step {
            Step::Done(done) => {
                let behind = [&input.into_rest()[..], rest].concat();
                return (Some(done), said, behind);
            }
            Step::Flush => assert!(wrote > 0 || input.len() < before),
            Step::StartTls(boundary) => {
                assert!(input.is_empty());
                upgrades += 1;
                assert!(upgrades == 1, "TLS inside TLS");
                dialogue.tls_started(boundary.established());
            }
            Step::NeedInput if rest.is_empty() => return (None, said, Vec::new()),
            Step::NeedInput => {
                assert!(!input.spare().is_empty(), "asks for input and leaves no room");
                let size = if cut == 0 { rest.len() } else { cut.min(rest.len()) };
                let taken = input.push(&rest[..size]);
                assert!(taken > 0);
                rest = &rest[taken..];
            }
        }
    }
}

pub fn encrypted_client(protocol: Protocol) -> ClientSide {
    let proof = Input::new().tls_boundary().expect("empty").established();
    client_on(
        protocol,
        ClientLeg::Encrypted(proof),
        CleartextAuth::Refused,
        PeerTrust::Client,
    )
}

fn client_on(protocol: Protocol, leg: ClientLeg, cleartext: CleartextAuth, peer: PeerTrust) -> ClientSide {
    let words = || Arc::new(["ONE".to_owned(), "TWO".to_owned()]);
    client_side(ClientSideConfig {
        presentation: match protocol {
            Protocol::Imap => Presentation::Imap {
                banner: "hi".into(),
                advertise: words(),
            },
            Protocol::Pop3 => Presentation::Pop3 {
                banner: "hi".into(),
                implementation: "us",
            },
            Protocol::ManageSieve => Presentation::ManageSieve {
                implementation: "us".into(),
                sieve: words(),
            },
            Protocol::Submission => Presentation::Submission {
                hostname: "mx".into(),
                banner: "hi".into(),
                ehlo: words(),
            },
        },
        access: AccessConfig {
            sasl: Arc::new(Mechanism::ALL),
            cleartext,
            max_failures: 20,
            jwt_claim: "email".into(),
        },
        leg,
        peer,
    })
}

fn shown(end: &(Option<ClientOutcome>, Vec<u8>, Vec<u8>)) -> String {
    let credential = match &end.0 {
        Some(ClientOutcome::Login(login)) => login.credential.expose().to_vec(),
        _ => Vec::new(),
    };
    // Behind a closed connection nobody reads.
    let rest: &[u8] = if matches!(end.0, Some(ClientOutcome::Closed(_))) {
        b""
    } else {
        &end.2
    };
    format!(
        "{:?} {credential:?} {} {}",
        end.0,
        end.1.escape_ascii(),
        rest.escape_ascii()
    )
}

/// First byte: the pieces. Then what the client sends.
pub fn client(protocol: Protocol, data: &[u8]) {
    let Some((first, data)) = data.split_first() else {
        return;
    };
    let cut = usize::from(*first);
    let _ = play(
        client_on(
            protocol,
            ClientLeg::StartTls,
            CleartextAuth::Refused,
            PeerTrust::Proxy,
        ),
        data,
        cut,
    );
    for (cleartext, peer) in [
        (CleartextAuth::Refused, PeerTrust::Proxy),
        (CleartextAuth::Allowed, PeerTrust::Client),
    ] {
        let start = || client_on(protocol, ClientLeg::Plain, cleartext, peer);
        let whole = play(start(), data, 0);
        assert_eq!(shown(&whole), shown(&play(start(), data, cut)));
        if let Some(ClientOutcome::Login(login)) = whole.0 {
            assert_eq!(cleartext, CleartextAuth::Allowed, "a login in clear");
            assert!(
                data.ends_with(&whole.2),
                "what is left is the end of what was sent"
            );
            assert!(login.command.temporary_failure().ends_with(b"\r\n"));
        }
    }
}

/// First byte: the pieces, second: the leg. Then what the backend sends: the handshake's part, and the replay's.
pub fn backend(protocol: Protocol, data: &[u8]) {
    let [first, second, data @ ..] = data else { return };
    let cut = usize::from(*first);
    let script: &[u8] = match protocol {
        Protocol::Imap => b"a1 LOGIN ann pa55word\r\n",
        Protocol::Pop3 => b"UTF8\r\nUSER ann\r\nPASS pa55word\r\n",
        Protocol::ManageSieve => b"AUTHENTICATE \"PLAIN\" \"AGFubgBwYTU1d29yZA==\"\r\n",
        Protocol::Submission => b"AUTH PLAIN AGFubgBwYTU1d29yZA==\r\n",
    };
    let Some(ClientOutcome::Login(login)) = play(encrypted_client(protocol), script, 0).0 else {
        unreachable!()
    };
    let plaintext = if second & 4 == 0 {
        PlaintextAuth::Refused
    } else {
        PlaintextAuth::Allowed
    };
    let config = || HandshakeConfig {
        plaintext,
        leg: if second & 1 == 0 {
            BackendLeg::Plain
        } else {
            BackendLeg::StartTls
        },
        announce: if second & 2 == 0 {
            Announce::Nothing
        } else {
            Announce::Attributes(attributes())
        },
        helo: login.helo.clone(),
        hostname: None,
    };
    let start = || handshake(&login.command, config());
    let (end, said, rest) = play(start(), data, cut);
    assert!(!said.windows(8).any(|window| window == b"pa55word"));
    if second & 1 == 0 {
        let whole = play(start(), data, 0);
        assert_eq!(
            format!("{:?} {:?}", end, said),
            format!("{:?} {:?}", whole.0, whole.1)
        );
    }
    let in_clear = second & 1 == 0;
    if in_clear && plaintext == PlaintextAuth::Refused {
        assert!(said.is_empty() && !matches!(end, Some(Ok(_))));
    }
    let Some(Ok(ready)) = end else { return };
    let encrypted = ready.leg() == Leg::Encrypted;
    assert_eq!(encrypted, !in_clear);
    let (end, _, behind) = play(ready.replay(&login.credential), &rest, cut);
    if let Some(Ok(Answer::Accepted { relay })) = end {
        assert!(rest.ends_with(&behind));
        assert!(relay.as_bytes().ends_with(b"\r\n"));
    }
}

fn attributes() -> ClientAttributes {
    ClientAttributes {
        client: "192.0.2.7:40000".parse().expect("an address"),
        destination: "198.51.100.1:993".parse().expect("an address"),
        session: SessionId::new("s-1").expect("an id"),
        ttl: Hops(6),
        transport: Transport::Tls,
    }
}
