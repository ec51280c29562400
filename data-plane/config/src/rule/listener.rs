//! V2 to V5: the sockets of a node, each bound once and with a meaning.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::protocol::{Protocol, TlsMode};
use crate::read::{Place, Report};
use crate::table::listener::{Listener, ProxyProtocol};

/// Everything that the process listens on.
pub(crate) struct Sockets<'a> {
    /// Of clients.
    pub(crate) listeners: &'a [Listener],
    /// Others: where it stands, what it is called, the address.
    pub(crate) others: Vec<(Place, &'static str, SocketAddr)>,
}

pub(crate) fn check(report: &Report<'_>, sockets: &Sockets<'_>) {
    for listener in sockets.listeners {
        check_one(report, listener);
    }
    check_distinct(report, sockets);
}

fn check_one(report: &Report<'_>, listener: &Listener) {
    let place = Place::of(["listener", listener.name.as_str()]);
    let name = &listener.name;
    let trusted = place.key("proxy_trusted");
    if listener.proxy_protocol != ProxyProtocol::Off
        && listener.proxy_trusted.is_empty()
        && !report.has_errors_under(&trusted)
    {
        report.error(
            &place.key("proxy_protocol"),
            format!("listener \"{name}\" trusts nobody to send a PROXY header"),
            format!("add {trusted} with the load balancer's addresses, or write \"off\""),
        );
    }
    if listener.tls == TlsMode::StartTls {
        let protocol = listener.protocol;
        if protocol.is_pass_through() {
            report.error(
                &place.key("tls"),
                format!("listener \"{name}\" passes {protocol} through unread, and cannot offer STARTTLS"),
                "use plain or implicit: with \"plain\" the client's own STARTTLS passes through to the backend",
            );
        } else if protocol == Protocol::Http {
            report.error(
                &place.key("tls"),
                format!("http has no STARTTLS, at listener \"{name}\""),
                "write \"implicit\"",
            );
        }
    }
}

/// V2. Port 0 is a new port each time.
fn check_distinct(report: &Report<'_>, sockets: &Sockets<'_>) {
    let mut seen: BTreeMap<SocketAddr, String> = BTreeMap::new();
    let of_listeners = sockets.listeners.iter().flat_map(|listener| {
        let place = Place::of(["listener", listener.name.as_str(), "bind"]);
        listener
            .bind
            .iter()
            .map(move |bind| (place.clone(), format!("listener \"{}\"", listener.name), *bind))
    });
    let others = sockets
        .others
        .iter()
        .map(|(place, what, bind)| (place.clone(), (*what).to_owned(), *bind));
    for (place, what, bind) in of_listeners.chain(others).filter(|(_, _, bind)| bind.port() != 0) {
        match seen.get(&bind) {
            Some(first) => report.error(
                &place,
                format!("{what} binds {bind}, which {first} binds already"),
                "give each its own address or port",
            ),
            None => {
                seen.insert(bind, what);
            }
        }
    }
}
