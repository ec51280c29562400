//! The loop check (behaviour §7.4): a destination that is one of our own listeners would be dialled for ever.
//!
//! Done after the name is resolved: a host name can lead here too.

use std::net::{IpAddr, SocketAddr};

/// A destination's address that is ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{target} is this node's own listener on {bind}: a loop")]
pub struct Loop {
    target: SocketAddr,
    bind: SocketAddr,
}

/// The addresses that this node listens on.
#[derive(Debug, Clone, Default)]
pub struct OwnListeners(Vec<SocketAddr>);

impl OwnListeners {
    /// As bound.
    #[must_use]
    pub fn new(binds: Vec<SocketAddr>) -> Self {
        Self(binds)
    }

    /// # Errors
    /// When connecting to `target` would reach one of them.
    pub fn check(&self, target: SocketAddr) -> Result<(), Loop> {
        self.check_against(target, local_addresses)
    }

    fn check_against(&self, target: SocketAddr, local: impl Fn() -> Vec<IpAddr>) -> Result<(), Loop> {
        let ip = target.ip().to_canonical();
        let reached = self
            .0
            .iter()
            .filter(|bind| bind.port() == target.port())
            .find(|bind| {
                let own = bind.ip().to_canonical();
                own == ip
                    || (own.is_unspecified()
                        && (ip.is_loopback() || ip.is_unspecified() || local().contains(&ip)))
            });
        match reached {
            Some(bind) => Err(Loop { target, bind: *bind }),
            None => Ok(()),
        }
    }
}

/// The addresses of all interfaces. Asked only when a port matches a wildcard bind: they may change at any time.
fn local_addresses() -> Vec<IpAddr> {
    let Ok(interfaces) = nix::ifaddrs::getifaddrs() else {
        return Vec::new();
    };
    interfaces
        .filter_map(|interface| interface.address)
        .filter_map(|address| {
            let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(binds: &[&str], target: &str) -> Result<(), Loop> {
        let address = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let own = OwnListeners::new(binds.iter().map(|text| address(text)).collect());
        own.check_against(address(target), || vec![IpAddr::from([192, 0, 2, 10])])
    }

    #[test]
    fn an_address_that_we_listen_on_is_a_loop() {
        let error = check(&["192.0.2.10:993"], "192.0.2.10:993").expect_err("a loop");
        assert!(error.to_string().contains("loop"), "{error}");
        assert!(check(&["192.0.2.10:993"], "192.0.2.10:143").is_ok());
        assert!(check(&["192.0.2.10:993"], "192.0.2.11:993").is_ok());
        assert!(check(&["192.0.2.10:993"], "[::ffff:192.0.2.10]:993").is_err());
    }

    #[test]
    fn behind_a_wildcard_every_address_of_this_machine_is_a_loop() {
        for target in ["127.0.0.1:993", "127.8.8.8:993", "[::1]:993", "192.0.2.10:993"] {
            assert!(check(&["0.0.0.0:993"], target).is_err(), "{target}");
            assert!(check(&["[::]:993"], target).is_err(), "{target}");
        }
        assert!(check(&["0.0.0.0:993"], "192.0.2.11:993").is_ok());
    }

    #[test]
    fn the_interfaces_of_this_machine_are_found() {
        assert!(local_addresses().contains(&IpAddr::from([127, 0, 0, 1])));
    }
}
