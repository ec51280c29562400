//! Sockets that a supervisor passes, by systemd's protocol (`LISTEN_FDS`, `LISTEN_PID`; sd_listen_fds(3)). They outlive the
//! process: connections wait in them while one ends and the next one starts.
//!
//! They are matched by the address that each is bound to, not by order or name. One that nothing in the configuration
//! names is an error: clients would connect to it, and nobody would accept them.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;

use listenfd::ListenFd;

use super::Inherited;

/// The sockets of this process's environment, as they came.
#[derive(Debug, Default)]
pub struct Passed(Vec<TcpListener>);

/// What was passed cannot be used. Nothing is served then.
#[derive(Debug, thiserror::Error)]
pub enum PassedError {
    /// Not a TCP socket.
    #[error(
        "socket {number} of LISTEN_FDS is not a TCP socket: `ListenStream=` with an address and a port makes one"
    )]
    NotTcp {
        /// As the supervisor counts, from 1.
        number: usize,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A connection, or one that nobody may connect to.
    #[error("socket {number} of LISTEN_FDS ({address}) does not listen: set `Accept=no`")]
    NotListening {
        /// As the supervisor counts, from 1.
        number: usize,
        /// Its address.
        address: SocketAddr,
    },
    /// Two of one address.
    #[error("two sockets of LISTEN_FDS are bound to {0}")]
    Twice(SocketAddr),
    /// Nothing in the configuration names it.
    #[error(
        "LISTEN_FDS has a socket that is bound to {address}, and no listener.*.bind, admin.bind or metrics.bind names \
         that address: add it to a listener, or take it out of the socket unit"
    )]
    Unnamed {
        /// Its address.
        address: SocketAddr,
    },
}

impl Passed {
    /// Takes them out of the environment. Before any other thread runs, and before any descriptor is opened.
    ///
    /// # Errors
    /// One of them is not a TCP socket that listens.
    pub fn from_environment() -> Result<Self, PassedError> {
        let mut descriptors = ListenFd::from_env();
        let mut sockets = Vec::new();
        for index in 0..descriptors.len() {
            let number = index + 1;
            let taken = descriptors.take_tcp_listener(index);
            let taken = taken.map_err(|source| PassedError::NotTcp { number, source })?;
            let Some(socket) = taken else { continue };
            let address = socket.local_addr();
            let address = address.map_err(|source| PassedError::NotTcp { number, source })?;
            if !socket2::SockRef::from(&socket).is_listener().unwrap_or(false) {
                return Err(PassedError::NotListening { number, address });
            }
            sockets.push(socket);
        }
        Ok(Self(sockets))
    }

    /// Each under its address, which has to be one of those that the configuration names.
    ///
    /// # Errors
    /// It is not, or another one has it too.
    pub fn named(self, addresses: &[SocketAddr]) -> Result<Inherited, PassedError> {
        let mut sockets = HashMap::new();
        for socket in self.0 {
            let Ok(address) = socket.local_addr() else {
                continue;
            };
            if !addresses.contains(&address) {
                return Err(PassedError::Unnamed { address });
            }
            if sockets.insert(address, OwnedFd::from(socket)).is_some() {
                return Err(PassedError::Twice(address));
            }
        }
        Ok(Inherited::from(sockets))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
        let address = listener.local_addr().expect("its address");
        (listener, address)
    }

    #[test]
    fn each_socket_goes_to_the_address_that_it_is_bound_to_whatever_its_place() {
        let ((first, at_first), (second, at_second), (_, other)) = (listener(), listener(), listener());
        let passed = Passed(vec![second, first]);
        let inherited = passed
            .named(&[at_first, other, at_second])
            .expect("all are named");
        for address in [at_first, at_second] {
            let socket = inherited.take(address).expect("it was passed");
            assert_eq!(socket.local_addr().ok(), Some(address));
        }
        assert!(inherited.take(other).is_none(), "it was not passed");
    }

    #[test]
    fn a_socket_that_nothing_names_and_one_that_came_twice_are_errors() {
        let ((named, at), (unnamed, elsewhere)) = (listener(), listener());
        let twin = named.try_clone().expect("a descriptor");
        let passed = Passed(vec![named, unnamed]);
        let refused = passed.named(&[at]);
        assert!(matches!(refused, Err(PassedError::Unnamed { address }) if address == elsewhere));
        let same = twin.try_clone().expect("a descriptor");
        let refused = Passed(vec![twin, same]).named(&[at]);
        assert!(matches!(refused, Err(PassedError::Twice(address)) if address == at));
    }
}
