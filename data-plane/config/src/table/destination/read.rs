//! Reading `[destination.*]`, with the rules that one destination alone decides: V9 to V14, and V25 of its legs.

use std::collections::BTreeMap;
use std::net::IpAddr;

use rustls_pki_types::{DnsName, ServerName};

use super::{ClientCertificate, Destination, Endpoint, Host, Pin, Verification};
use crate::name::DestinationName;
use crate::pem;
use crate::protocol::{Forwarding, Keyword as _, Protocol, TlsMode, choices};
use crate::read::{Files, Node, TableReader, Wrong, value};

impl Destination {
    /// None when it cannot be used at all; it may also be unusable in part: whatever is wrong is reported.
    pub(crate) fn read(name: DestinationName, mut table: TableReader<'_, '_>) -> Option<Self> {
        let host = table.require("host", "name the server, or write its IP address", value::filled);
        let allow_plaintext_auth = table.switch("allow_plaintext_auth", false);
        let forwarding = read_forwarding(&mut table);
        let endpoints = read_endpoints(&mut table, forwarding);
        let tls_server_name = read_server_name(&mut table, host.as_deref(), &endpoints);
        let mut destination = Self {
            name,
            host: Host::Name(String::new()),
            tls_server_name,
            verification: read_verification(&mut table),
            client_certificate: read_client_certificate(&mut table),
            source_ips: table.list("source_ips", address).unwrap_or_default(),
            forwarded: table.switch("forwarded", false),
            hide_auth_errors: table.switch("hide_auth_errors", false),
            allow_plaintext_auth,
            endpoints,
        };
        destination.check_legs(&table);
        table.finish();
        // Read before it is put together, so that everything that is wrong is reported also without a host.
        destination.host = host.map(|host| host.parse().map_or(Host::Name(host), Host::Address))?;
        for (protocol, endpoint) in &mut destination.endpoints {
            if protocol.is_pass_through() && endpoint.tls == TlsMode::StartTls {
                endpoint.tls = TlsMode::Plain;
            }
        }
        Some(destination)
    }

    /// V9, V14, V25.
    fn check_legs(&self, table: &TableReader<'_, '_>) {
        for (protocol, endpoint) in &self.endpoints {
            let place = table.at("protocol").key(protocol.as_str());
            let report = table.report;
            let name = &self.name;
            if protocol.bears_credentials() && endpoint.tls == TlsMode::Plain && !self.allow_plaintext_auth {
                report.error(
                    &place.key("tls"),
                    format!("passwords would go in clear to {protocol} of destination \"{name}\""),
                    format!(
                        "write \"implicit\"{}, or set {} = true if the network between is safe",
                        if *protocol == Protocol::Http {
                            ""
                        } else {
                            " or \"starttls\""
                        },
                        table.at("allow_plaintext_auth")
                    ),
                );
            }
            if *protocol == Protocol::Http && endpoint.tls == TlsMode::StartTls {
                report.error(
                    &place.key("tls"),
                    format!("http has no STARTTLS, at destination \"{name}\""),
                    "write \"implicit\", or \"plain\" with allow_plaintext_auth",
                );
            }
            if protocol.is_pass_through() && endpoint.tls == TlsMode::StartTls {
                report.warning(
                    &place.key("tls"),
                    format!(
                        "{protocol} is passed through unread, so this leg of destination \"{name}\" is plain"
                    ),
                    "write \"plain\": the client's own STARTTLS passes through",
                );
            }
            let can_tell = protocol.is_interactive();
            if endpoint.forwarding == Forwarding::Xclient && !can_tell {
                report.warning(
                    &place,
                    format!("forwarding = \"xclient\" has no effect on {protocol} of destination \"{name}\""),
                    format!("write forwarding = \"proxy\" or \"none\" in {place}"),
                );
            }
            if endpoint.http2 && *protocol != Protocol::Http {
                report.warning(
                    &place.key("http2"),
                    format!("http2 has no effect on {protocol} of destination \"{name}\""),
                    "remove this key: it belongs to protocol.http",
                );
            }
        }
    }
}

fn read_forwarding(table: &mut TableReader<'_, '_>) -> Forwarding {
    let absent = if table.switch("proxy_protocol", true) {
        Forwarding::Proxy
    } else {
        Forwarding::None
    };
    table.keyword("forwarding", absent)
}

fn read_endpoints(table: &mut TableReader<'_, '_>, forwarding: Forwarding) -> BTreeMap<Protocol, Endpoint> {
    table
        .named_tables("protocol")
        .into_iter()
        .filter_map(|(name, leg)| {
            let Some(protocol) = Protocol::from_keyword(&name) else {
                let remedy = match value::nearest(&name, Protocol::ALL.iter().map(|one| one.as_str())) {
                    Some(near) => format!("did you mean \"{near}\"?"),
                    None => format!("it can be {}", choices::<Protocol>()),
                };
                leg.report.note(
                    leg.report.unknown_keys,
                    &leg.place,
                    crate::read::Show::Nothing,
                    "this protocol is unknown".to_owned(),
                    remedy,
                );
                return None;
            };
            Some((protocol, Endpoint::read(leg, forwarding)?))
        })
        .collect()
}

impl Endpoint {
    fn read(mut table: TableReader<'_, '_>, absent: Forwarding) -> Option<Self> {
        let port = table.require("port", "write a number from 1 to 65535", |node| {
            value::integer(node, 1_u16, u16::MAX)
        });
        let tls = table.require("tls", &format!("write {}", choices::<TlsMode>()), value::keyword);
        let forwarding = table.keyword("forwarding", absent);
        let http2 = table.switch("http2", false);
        table.finish();
        Some(Self {
            // Zero never leaves: it was reported, and the rules of TLS are checked all the same.
            port: port.unwrap_or_default(),
            tls: tls?,
            forwarding,
            http2,
        })
    }
}

/// V10, V11: the name that TLS legs verify.
fn read_server_name(
    table: &mut TableReader<'_, '_>,
    host: Option<&str>,
    endpoints: &BTreeMap<Protocol, Endpoint>,
) -> Option<ServerName<'static>> {
    let written = table.text("tls_server_name");
    let over_tls: Vec<&str> = endpoints
        .iter()
        .filter(|(protocol, endpoint)| {
            endpoint.tls != TlsMode::Plain && !protocol.is_pass_through() || endpoint.tls == TlsMode::Implicit
        })
        .map(|(protocol, _)| protocol.as_str())
        .collect();
    let key = if written.is_some() {
        "tls_server_name"
    } else {
        "host"
    };
    let name = written.as_deref().or(host)?;
    let legal = DnsName::try_from(name.to_owned()).ok();
    if legal.is_some() || over_tls.is_empty() {
        return legal.map(ServerName::DnsName);
    }
    let legs = over_tls.join(", ");
    if key == "host" && name.parse::<IpAddr>().is_ok() {
        table.report.error(
            &table.at("host"),
            format!("a certificate cannot be checked against an address, and these legs use TLS: {legs}"),
            format!(
                "add {} with the name in the server's certificate",
                table.at("tls_server_name")
            ),
        );
    } else {
        table.report.error(
            &table.at(key),
            format!("this is no DNS name that a certificate could hold, and these legs use TLS: {legs}"),
            format!(
                "write {} with the name in the server's certificate",
                table.at("tls_server_name")
            ),
        );
    }
    None
}

/// V13, V25. The pin wins over `tls_allow_invalid_certs`.
fn read_verification(table: &mut TableReader<'_, '_>) -> Verification {
    let pin = table.get("tls_pinned_cert_sha256", |node| {
        Pin::parse(&value::string(node)?).ok_or_else(|| {
            Wrong::new(
                "this is no SHA-256 of a certificate",
                "write 64 hexadecimal digits, from: openssl x509 -in cert.pem -outform der | sha256sum",
            )
        })
    });
    let anything = table.switch("tls_allow_invalid_certs", false);
    let place = table.at("tls_allow_invalid_certs");
    match (pin, anything) {
        (Some(pin), false) => Verification::Pinned(pin),
        (Some(pin), true) => {
            table.report.warning(
                &place,
                "the certificate is pinned as well: only the pinned one is accepted",
                "remove this key",
            );
            Verification::Pinned(pin)
        }
        (None, true) => {
            table.report.warning(
                &place,
                "whoever stands between can read every password that goes to this destination",
                "remove this key and set tls_pinned_cert_sha256, or trust the server's authority",
            );
            Verification::None
        }
        (None, false) => Verification::Platform,
    }
}

/// V12.
fn read_client_certificate(table: &mut TableReader<'_, '_>) -> Option<ClientCertificate> {
    let cert = table.text("tls_client_cert");
    let key = table.text("tls_client_key");
    let (cert, key) = match (cert, key) {
        (None, None) => return None,
        (Some(cert), Some(key)) => (cert, key),
        (cert, _) => {
            let (present, absent) = if cert.is_some() {
                ("tls_client_cert", "tls_client_key")
            } else {
                ("tls_client_key", "tls_client_cert")
            };
            if !table.report.has_errors_under(&table.at(absent)) {
                table.report.error(
                    &table.at(present),
                    format!("there is no {absent} beside it"),
                    format!("add {absent}, or remove {present}"),
                );
            }
            return None;
        }
    };
    if table.report.files == Files::Here {
        let places = [table.at("tls_client_cert"), table.at("tls_client_key")];
        pem::check_pair(table.report, &places, cert.as_ref(), key.as_ref());
    }
    Some(ClientCertificate {
        cert: cert.into(),
        key: key.into(),
    })
}

fn address(node: &Node) -> Result<IpAddr, Wrong> {
    value::parsed(node, "IP address", "192.0.2.7")
}
