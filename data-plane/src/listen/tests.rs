//! Binding: the idiom of both wildcards, and a failure that says what cannot be had.

use std::net::Ipv6Addr;
use std::time::Duration;

use mailswitch_config::table::listener::{InboundForwarded, ProxyProtocol};
use mailswitch_config::{Protocol as Spoken, TlsMode};
use tokio::net::TcpStream;

use super::*;

fn listener(name: &str, bind: &[String]) -> Listener {
    Listener {
        name: name.into(),
        protocol: Spoken::Imap,
        bind: bind
            .iter()
            .map(|address| address.parse().expect("an address"))
            .collect(),
        tls: TlsMode::Plain,
        proxy_protocol: ProxyProtocol::Off,
        proxy_trusted: Vec::new(),
        max_connections: 10,
        preauth_timeout: Duration::from_secs(30),
        max_auth_attempts: 3,
        forwarded: InboundForwarded::Off,
    }
}

/// A port that nobody has, in either family.
fn free_port() -> u16 {
    let socket = std::net::TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).expect("IPv6");
    socket.local_addr().expect("its address").port()
}

#[tokio::test]
async fn both_wildcards_of_one_port_are_bound_also_over_two_listeners() {
    let port = free_port();
    let together = listener("a", &[format!("0.0.0.0:{port}"), format!("[::]:{port}")]);
    assert_eq!(
        bind_all(&[together], &[], &Inherited::default())
            .expect("both")
            .len(),
        2
    );
    let port = free_port();
    let four = listener("four", &[format!("0.0.0.0:{port}")]);
    let six = listener("six", &[format!("[::]:{port}")]);
    assert_eq!(
        bind_all(&[six, four], &[], &Inherited::default())
            .expect("both")
            .len(),
        2
    );
}

#[tokio::test]
async fn an_ipv6_wildcard_alone_takes_ipv4_too() {
    let bound = bind_all(
        &[listener("six", &["[::]:0".to_owned()])],
        &[],
        &Inherited::default(),
    )
    .expect("a socket");
    let port = bound[0].address.port();
    assert!(TcpStream::connect(("127.0.0.1", port)).await.is_ok());
    assert!(TcpStream::connect(("::1", port)).await.is_ok());
}

#[tokio::test]
async fn a_socket_that_cannot_be_had_is_named_with_its_listener() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a socket");
    let address = taken.local_addr().expect("its address").to_string();
    let error = bind_all(
        &[listener("imaps", std::slice::from_ref(&address))],
        &[],
        &Inherited::default(),
    )
    .expect_err("it is taken");
    let said = crate::error_chain(&error);
    assert!(
        said.contains("listener.imaps") && said.contains(&address) && said.contains("in use"),
        "{said}"
    );
}
