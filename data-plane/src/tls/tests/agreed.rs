//! Versions and suites toward clients, as `[tls.protocols]` says.

use mailswitch_config::table::tls::TlsVersion;
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider};
use rustls::version::{TLS12, TLS13};

use super::*;

fn server_with(protocols: TlsProtocols) -> Result<ServerTls, InvalidServerTls> {
    ServerTls::new(&settings(&[], protocols))
}

fn without(suites: &[&str]) -> TlsProtocols {
    TlsProtocols {
        disable_cipher_suites: suites.iter().map(|suite| (*suite).to_owned()).collect(),
        ..TlsProtocols::default()
    }
}

fn localhost() -> ServerName<'static> {
    ServerName::try_from("localhost").expect("a name")
}

#[tokio::test]
async fn tls_1_2_is_served_unless_the_least_version_is_1_3() {
    let only_12 = || foreign(default_provider(), &[&TLS12]);
    let usual = server_with(TlsProtocols::default()).expect("a server");
    let stream = foreign_handshake(only_12(), localhost(), &usual)
        .await
        .expect("a handshake");
    assert_eq!(
        stream.get_ref().1.protocol_version(),
        Some(rustls::ProtocolVersion::TLSv1_2)
    );
    let least_13 = server_with(TlsProtocols {
        min_version: TlsVersion::Tls13,
        ..TlsProtocols::default()
    });
    let least_13 = least_13.expect("a server");
    assert!(
        foreign_handshake(only_12(), localhost(), &least_13)
            .await
            .is_err()
    );
    let only_13 = foreign(default_provider(), &[&TLS13]);
    assert!(foreign_handshake(only_13, localhost(), &least_13).await.is_ok());
}

#[tokio::test]
async fn suites_are_removed_by_either_spelling_in_any_case() {
    let anyone = client("localhost", Verification::None);
    let server = server_with(without(&["tls_aes_256_gcm_sha384", "TLS13_AES_128_GCM_SHA256"]));
    let session = agreed(&anyone, &server.expect("a server"))
        .await
        .expect("a handshake");
    assert_eq!(
        (session.version, session.cipher.as_str()),
        ("1.3", "TLS_CHACHA20_POLY1305_SHA256")
    );
    // Without any of TLS 1.3, TLS 1.2 is left, with what is left of it.
    let server = server_with(without(&[
        "TLS_AES_256_GCM_SHA384",
        "TLS_AES_128_GCM_SHA256",
        "tls13_chacha20_poly1305_sha256",
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        "tls_ecdhe_ecdsa_with_aes_128_gcm_sha256",
    ]));
    let session = agreed(&anyone, &server.expect("a server"))
        .await
        .expect("a handshake");
    assert_eq!(
        (session.version, session.cipher.as_str()),
        ("1.2", "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256")
    );
    let nothing = server_with(TlsProtocols {
        min_version: TlsVersion::Tls13,
        ..without(&[
            "TLS_AES_256_GCM_SHA384",
            "TLS_AES_128_GCM_SHA256",
            "TLS_CHACHA20_POLY1305_SHA256",
        ])
    });
    assert!(matches!(nothing, Err(InvalidServerTls::NoCipherSuite)));
}

#[tokio::test]
async fn the_clients_order_of_suites_wins_unless_it_is_ignored() {
    let prefers_chacha = || {
        let mut provider = default_provider();
        provider.cipher_suites = vec![
            cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
            cipher_suite::TLS13_AES_256_GCM_SHA384,
        ];
        foreign(provider, &[&TLS13])
    };
    for (ignore_client_order, expected) in [
        (false, rustls::CipherSuite::TLS13_CHACHA20_POLY1305_SHA256),
        (true, rustls::CipherSuite::TLS13_AES_256_GCM_SHA384),
    ] {
        let server = server_with(TlsProtocols {
            ignore_client_order,
            ..TlsProtocols::default()
        });
        let server = server.expect("a server");
        let stream = foreign_handshake(prefers_chacha(), localhost(), &server)
            .await
            .expect("a handshake");
        let agreed = stream.get_ref().1.negotiated_cipher_suite().expect("a suite");
        assert_eq!(agreed.suite(), expected);
    }
}

#[tokio::test]
async fn both_sides_agree_on_the_newest_http_that_both_speak_and_mail_has_no_say_in_it() {
    let (client, server) = (client("localhost", Verification::None), super::server(&[]));
    for (offer, agreed) in [
        (HttpVersions::Http1, HttpVersion::Http1),
        (HttpVersions::Http2, HttpVersion::Http2),
    ] {
        let (ours, theirs) = sockets().await;
        let (ours, theirs) = tokio::join!(
            client.upgrade_http(Stream::plain(ours), boundary(), offer),
            server.upgrade_http(Stream::plain(theirs), boundary())
        );
        assert_eq!(ours.expect("a handshake").0.http_version(), agreed);
        assert_eq!(theirs.expect("a handshake").0.http_version(), agreed);
    }
    let (ours, theirs) = sockets().await;
    let (ours, theirs) = tokio::join!(
        client.upgrade_http(Stream::plain(ours), boundary(), HttpVersions::Http2),
        server.upgrade(Stream::plain(theirs), boundary())
    );
    assert!(ours.is_ok() && theirs.is_ok());
}
