//! What the attempts on a leg mean, and what to do.

use std::net::IpAddr;

use mailswitch_config::{Forwarding, Protocol, TlsMode};
use mailswitch_dialogue::{Announced, HandshakeError};

use super::Belief;
use super::attempt::{Done, Error, Header};
use super::web::{self, Web};
use crate::report::Group;
use crate::subject::LegOf;

/// Whether the server expects a PROXY header: `way` is as configured, `other` the other way.
pub(super) fn header(
    group: &mut Group,
    leg: LegOf<'_>,
    egress: IpAddr,
    header: Header,
    (way, other): (bool, bool),
) {
    let key = leg.key();
    match (header, way, other) {
        (Header::Sent, true, true) => group.ok("answers both with a PROXY header and without one"),
        (Header::Sent, true, false) => group.ok("answers only with a PROXY header, as it should"),
        (Header::Sent, false, true) => {
            let what = format!("answers only without a PROXY header: it does not trust {egress}");
            let instead = match leg.protocol.is_pass_through() || leg.protocol == Protocol::Http {
                true => format!("{key}.forwarding = \"none\""),
                false => format!("{key}.forwarding = \"xclient\" for Dovecot and Postfix"),
            };
            let remedy = format!(
                "let it expect one from {egress} (haproxy_trusted_networks, proxyTrustedNetworks), or write {instead}"
            );
            group.failed(what, remedy);
        }
        (Header::None, false, true) => {
            let remedy = format!("write {key}.forwarding = \"proxy\"");
            group.failed("answers only with a PROXY header, and none is sent", remedy);
        }
        (Header::None, true, _) | (_, false, false) => {}
    }
}

/// It would take a login.
pub(super) fn done(group: &mut Group, leg: LegOf<'_>, egress: IpAddr, done: &Done) -> Option<Belief> {
    let protocol = leg.protocol;
    match (protocol, &done.greeting, &done.offer) {
        (_, Some(greeting), _) => group.ok(format!("greets with {greeting:?}, and takes our name")),
        (_, None, Some(_)) if leg.endpoint.tls == TlsMode::StartTls => {
            group.ok(format!("answers as {protocol}, with STARTTLS"));
        }
        (_, None, Some(_)) => group.ok(format!("answers as {protocol}")),
        // HTTP: said by `web`.
        (_, None, None) => {}
    }
    let asked = leg.endpoint.forwarding == Forwarding::Xclient && done.offer.is_some();
    asked.then(|| announced(group, leg, egress, done))
}

/// Where an HTTP server sends JMAP clients: past the proxy they would not follow an account.
pub(super) fn web(group: &mut Group, leg: LegOf<'_>, web: &Web, hostname: Option<&str>) {
    group.ok(format!("answers as http, with {}", web.status));
    let mut hosts: Vec<&str> = web.urls.iter().filter_map(|url| web::host_of(url)).collect();
    hosts.dedup();
    for host in hosts {
        match hostname {
            Some(public) if !public.eq_ignore_ascii_case(host) => {
                let what = format!(
                    "sends JMAP clients to {host}, not to server.hostname {public}: they leave the proxy, and follow no account"
                );
                let remedy = format!(
                    "set the public URL of {} to https://{public}",
                    leg.destination.name
                );
                group.warning(what, remedy);
            }
            Some(_) => group.ok(format!("names {host} in its JMAP session")),
            None => group.note(format!(
                "sends JMAP clients to {host}: that has to be the name that clients use here"
            )),
        }
    }
    let in_clear = web.urls.iter().any(|url| {
        url.get(..5)
            .is_some_and(|scheme| scheme.eq_ignore_ascii_case("http:"))
    });
    if in_clear {
        let what = "names http:// URLs: clients that came over TLS would ask again in clear";
        group.warning(
            what,
            format!("write {}.tls = \"implicit\", or set its public URL", leg.key()),
        );
    }
    match (web.status, web.urls.is_empty()) {
        (401 | 403, _) => group.note(
            "asks for a login before its JMAP session: sign in there once, and see that apiUrl names the host that clients use here",
        ),
        (404, true) => group.note(format!("has no JMAP at {}", web::SESSION)),
        _ => {}
    }
}

fn announced(group: &mut Group, leg: LegOf<'_>, egress: IpAddr, done: &Done) -> Belief {
    let imap = leg.protocol == Protocol::Imap;
    let word = if imap { "ID" } else { "XCLIENT" };
    // A Dovecot takes logins in clear from whom it trusts (login_trusted_networks).
    let refuses_in_clear = done
        .offer_in_clear
        .as_ref()
        .is_some_and(|offer| offer.has("LOGINDISABLED"));
    match done.announced {
        Announced::Accepted if imap && refuses_in_clear => {
            let what = format!(
                "takes ID and does not believe it: {egress} is not trusted (LOGINDISABLED before TLS)"
            );
            group.failed(what, trust(leg.protocol, egress));
            Belief::NotTrusted
        }
        // Said when the other legs of the destination are known.
        Announced::Accepted if imap => Belief::NotShown,
        Announced::Accepted => {
            group.ok(format!("takes {word} from {egress}"));
            Belief::Trusted
        }
        Announced::Nothing | Announced::NotOffered | Announced::Ignored => {
            let what = format!(
                "does not take {word} from {egress}: not trusted, every client has our address there"
            );
            group.failed(what, trust(leg.protocol, egress));
            Belief::NotTrusted
        }
    }
}

/// What an IMAP server does not show, another leg of it may: `login_trusted_networks` is one for all protocols.
pub(super) fn by_its_other_legs(group: &mut Group, egress: IpAddr, others: &[(Protocol, Belief)]) {
    let of = |belief| others.iter().find(|(_, other)| *other == belief);
    match (of(Belief::NotTrusted), of(Belief::Trusted)) {
        (Some((protocol, _)), _) => {
            let what = format!("takes ID, and will not believe it: its {protocol} does not trust {egress}");
            group.failed(what, trust(Protocol::Imap, egress));
        }
        (None, Some((protocol, _))) => {
            group.ok(format!("takes ID from {egress}, which its {protocol} trusts"));
        }
        (None, None) => group.note(format!(
            "takes ID; whether it believes it shows only in its log (rip=): login_trusted_networks has to hold {egress}"
        )),
    }
}

/// Where our address goes.
fn trust(protocol: Protocol, egress: IpAddr) -> String {
    match protocol {
        Protocol::Submission => format!(
            "add our address {egress} to smtpd_authorized_xclient_hosts (Postfix) or login_trusted_networks (Dovecot), \
             and reload it"
        ),
        _ => format!("add our address {egress} to login_trusted_networks (Dovecot), and reload it"),
    }
}

/// It says nothing in clear, and takes a TLS handshake.
pub(super) fn speaks_tls(group: &mut Group, leg: LegOf<'_>) {
    let what = format!(
        "speaks TLS from the first byte, and is to be {}",
        leg.endpoint.tls
    );
    group.failed(what, format!("write {}.tls = \"implicit\"", leg.key()));
}

/// It would not. `other`: it answers the other way, and that was said already.
pub(super) fn failed(group: &mut Group, leg: LegOf<'_>, egress: IpAddr, error: &Error, other: bool) {
    let key = leg.key();
    let protocol = leg.protocol;
    let port = format!("correct {key}.port, or {key}.tls");
    match error {
        // The header is the cause.
        _ if other && !matches!(error, Error::Settings(_)) => {}
        Error::Silent(budget) => {
            let what = format!("says nothing within {} s", budget.as_secs());
            group.failed(what, format!("look into its log; or {port}"));
        }
        Error::Settings(why) => {
            let table = leg.table();
            let remedy = format!("correct tls_server_name, tls_client_cert and tls_client_key of {table}");
            group.failed(format!("TLS cannot be set up: {why}"), remedy);
        }
        Error::Tls(why) => {
            let remedy = match leg.endpoint.tls {
                TlsMode::Implicit => {
                    format!("does it speak in clear first? then {key}.tls = \"starttls\" or \"plain\"")
                }
                _ => "look into its log: it offers STARTTLS, and cannot do it".to_owned(),
            };
            group.failed(format!("the TLS handshake failed: {why}"), remedy);
        }
        Error::Connection(why) => {
            group.failed(format!("the connection failed: {why}"), "look into its log");
        }
        Error::Refused { command, said } => {
            let remedy = match command.starts_with("the ") {
                true => port,
                false => "set server.hostname to a full name that it takes, or let it take any \
                          (reject_non_fqdn_helo_hostname, session.ehlo.reject-non-fqdn)"
                    .to_owned(),
            };
            group.failed(format!("answers {command} with {said:?}"), remedy);
        }
        Error::Handshake(HandshakeError::StartTlsMissing) => {
            let remedy = format!("enable it there, or write {key}.tls = \"implicit\" or \"plain\"");
            group.failed("does not offer STARTTLS", remedy);
        }
        Error::Handshake(HandshakeError::Closed) => {
            let what = "closes the connection before a login";
            let remedy = format!("look into its log: it may have banned {egress}; or {port}");
            group.failed(what, remedy);
        }
        Error::Handshake(HandshakeError::XclientRefused(said)) => {
            group.failed(format!("refuses XCLIENT: {said}"), trust(protocol, egress));
        }
        Error::Handshake(error) => {
            group.failed(error.to_string(), format!("is this its {protocol} port? {port}"))
        }
    }
}
