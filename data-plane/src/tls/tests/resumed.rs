//! Sessions that are taken up again, on both legs, and those that must not be.

use mailswitch_config::table::tls::TlsVersion;

use super::*;

async fn kind(client: &ClientTls, server: &ServerTls) -> Handshake {
    agreed(client, server).await.expect("a handshake").handshake
}

fn of_version(version: TlsVersion) -> Tls {
    let suites: &[&str] = match version {
        TlsVersion::Tls13 => &[],
        TlsVersion::Tls12 => &[
            "TLS_AES_256_GCM_SHA384",
            "TLS_AES_128_GCM_SHA256",
            "TLS_CHACHA20_POLY1305_SHA256",
        ],
    };
    let disable_cipher_suites = suites.iter().map(|suite| (*suite).to_owned()).collect();
    let protocols = TlsProtocols {
        disable_cipher_suites,
        ..TlsProtocols::default()
    };
    settings(&[], protocols)
}

#[tokio::test]
async fn the_second_connection_takes_the_first_ones_session_up_in_both_versions() {
    for (version, said) in [(TlsVersion::Tls13, "1.3"), (TlsVersion::Tls12, "1.2")] {
        let server = ServerTls::new(&of_version(version)).expect("a server");
        let client = client("localhost", Verification::None);
        for expected in [Handshake::Full, Handshake::Resumed, Handshake::Resumed] {
            let session = agreed(&client, &server).await.expect("a handshake");
            assert_eq!((session.version, session.handshake), (said, expected));
        }
    }
}

#[tokio::test]
async fn a_clients_ticket_outlives_the_replacement_of_a_certificate_and_of_the_settings() {
    let files = Files::new();
    let (certificate, _) = files.certificate("a", &["a.test"]);
    let server = server(std::slice::from_ref(&certificate));
    let client = client("a.test", Verification::None);
    assert_eq!(kind(&client, &server).await, Handshake::Full);
    files.certificate("a", &["a.test"]);
    server.look_again();
    assert_eq!(server.look_again().len(), 1);
    assert_eq!(kind(&client, &server).await, Handshake::Resumed);
    server
        .replace(&settings(&[certificate], TlsProtocols::default()))
        .expect("replaced");
    assert_eq!(kind(&client, &server).await, Handshake::Resumed);
}

/// A storm of logins finds as many tickets as the one before it got.
#[tokio::test]
async fn many_logins_at_once_each_find_a_ticket() {
    let server = server(&[]);
    let client = client("localhost", Verification::None);
    for expected in [Handshake::Full, Handshake::Resumed] {
        let mut open = Vec::new();
        for _ in 0..40 {
            let (ours, theirs) = handshake(&client, &server).await.expect("a handshake");
            assert_eq!(ours.session().expect("it is encrypted").handshake, expected);
            open.push((ours, theirs));
        }
        // The tickets come with the first bytes.
        for (ours, theirs) in &mut open {
            theirs.write_all(b"* OK").await.expect("written");
            theirs.flush().await.expect("flushed");
            ours.read_exact(&mut [0; 4]).await.expect("bytes");
        }
    }
}

#[tokio::test]
async fn the_legs_of_a_destination_do_not_share_sessions() {
    let server = server(&[]);
    let both = ClientTls::new(
        &destination("localhost", Verification::None),
        &mut PlatformTrust::default(),
    );
    let both = both.expect("a client");
    let (imap, submission) = (both.for_leg(), both.for_leg());
    assert_eq!(kind(&imap, &server).await, Handshake::Full);
    assert_eq!(kind(&submission, &server).await, Handshake::Full);
    assert_eq!(kind(&imap, &server).await, Handshake::Resumed);
}

/// A ticket that was got without a look at the certificate would let anybody past a pin.
#[tokio::test]
async fn a_session_from_before_a_pin_is_never_taken_up_under_it() {
    let files = Files::new();
    let (certificate, print) = files.certificate("a", &["a.test"]);
    let server = server(&[certificate]);
    let lax = client("a.test", Verification::None);
    assert_eq!(kind(&lax, &server).await, Handshake::Full);
    assert_eq!(kind(&lax, &server).await, Handshake::Resumed);
    assert!(!shows(&server, "a.test", [0; 32]).await, "another pin");
    let right = client("a.test", Verification::Pinned(print.into()));
    assert_eq!(kind(&right, &server).await, Handshake::Full);
}

/// Servers that demand one may end the handshake of a client that offers a session; and so each proves its key.
#[tokio::test]
async fn a_leg_that_shows_a_client_certificate_never_offers_a_session() {
    let files = Files::new();
    let (ours, _) = files.certificate("ours", &["proxy.test"]);
    let mut with = destination("localhost", Verification::None);
    with.client_certificate = Some(ClientCertificate {
        cert: ours.cert,
        key: ours.key,
    });
    let (server, with) = (server(&[]), leg(&with));
    for client in [&with, &with.for_leg()] {
        assert_eq!(kind(client, &server).await, Handshake::Full);
        assert_eq!(kind(client, &server).await, Handshake::Full);
    }
}
