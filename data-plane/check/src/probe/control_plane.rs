//! The control planes of a node in a fleet: whether each can be reached. Who they are is checked when the node connects.

use std::net::SocketAddr;
use std::time::Duration;

use futures::future::join_all;
use mailswitch_config::table::destination::Host;

use crate::dial;
use crate::report::Group;
use crate::subject::Subject;

pub(crate) async fn check(subject: &Subject) -> Group {
    let mut group = Group::new("control plane");
    let tried = join_all(subject.control_planes.iter().map(|endpoint| reach(endpoint))).await;
    for (endpoint, tried) in subject.control_planes.iter().zip(tried) {
        match tried {
            Ok((from, took)) => {
                let took = took.as_micros() as f64 / 1000.0;
                group.ok(format!(
                    "{endpoint} can be reached in {took:.1} ms, from {}",
                    from.ip()
                ));
            }
            Err(why) => {
                let remedy = "start it, or correct control_plane.endpoints; a node with none serves what it has on its disk";
                group.failed(format!("{endpoint} cannot be reached: {why}"), remedy);
            }
        }
    }
    group
}

async fn reach(endpoint: &str) -> Result<(SocketAddr, Duration), String> {
    let said = |error: std::io::Error| super::leg::said(&error);
    let (host, port) = parts(endpoint).ok_or("it is no https://HOST:PORT")?;
    let mut last = String::new();
    for address in dial::resolve(&host).await.map_err(said)? {
        match dial::connect(SocketAddr::new(address, port), None).await {
            Ok(connected) => {
                let local = connected.tcp.local_addr().map_err(said)?;
                return Ok((local, connected.took));
            }
            Err(error) => last = said(error),
        }
    }
    Err(last)
}

fn parts(endpoint: &str) -> Option<(Host, u16)> {
    let (host, port) = endpoint
        .strip_prefix("https://")?
        .trim_end_matches('/')
        .rsplit_once(':')?;
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let host = match bare.parse() {
        Ok(address) => Host::Address(address),
        Err(_) => Host::Name(host.to_owned()),
    };
    Some((host, port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_that_is_there_and_one_that_is_not_are_told_apart() {
        let there = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoints = [&there, &gone].map(|listener| format!("https://{}", listener.local_addr().unwrap()));
        drop(gone);
        let subject = Subject {
            control_planes: endpoints.to_vec(),
            ..Subject::of_fleet(&mailswitch_config::FleetConfig::empty())
        };
        let group = check(&subject).await;
        let found: Vec<_> = group.findings.iter().map(|finding| finding.status).collect();
        assert_eq!(found, [crate::Status::Ok, crate::Status::Failed]);
        assert!(group.findings[1].what.contains(&endpoints[1]), "{group:?}");
    }

    #[test]
    fn an_endpoint_is_a_host_and_a_port() {
        let name = Host::Name("cp.example.org".to_owned());
        assert_eq!(parts("https://cp.example.org:7443"), Some((name, 7443)));
        let v6 = Host::Address("2001:db8::1".parse().unwrap());
        assert_eq!(parts("https://[2001:db8::1]:7443/"), Some((v6, 7443)));
        assert_eq!(parts("cp.example.org"), None);
    }
}
