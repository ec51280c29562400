//! Handing the sockets over: one node takes the listening sockets of another on the same machine, which then accepts no
//! more, lets what it has come to its end, and ends. No connection is refused in between: both hold the same sockets,
//! and what waits in them is accepted by whoever accepts next.
//!
//! Two processes of one node of a fleet hand the state directory over, too, and before: the new one registers beside the
//! old one, which keeps its sessions and answers for them until the last one is over (decision 0027).
//!
//! - `give`: every node offers its sockets at an abstract Unix address, named after each of them, to its own user.
//! - `take`: `--take-over` asks for them, prepares the whole node, and only when it can serve says "go".
//! - `passed`: they come from a supervisor instead, which keeps them while no node runs.
//!
//! Whatever fails before "go" changes nothing: the other node has its sockets, and goes on.

mod give;
mod passed;
mod take;

use std::net::SocketAddr;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::SocketAddr as UnixAddress;

pub use give::{Offer, Successor};
pub use passed::{Passed, PassedError};
pub use take::{Inherited, Predecessor, TakeError, Taking};

/// "The socket of this address, please": the answer is a byte, and with `YES` the descriptor.
const YES: u8 = b'Y';
/// It has no such socket.
const NO: u8 = b'N';
/// "This state directory, please": behind it its file system and its number there. The answer is a byte. One that was
/// given before is given again: whoever asked before us is gone, or has it locked.
const DIRECTORY: &str = "directory";
/// The last line: the taker serves from here on.
const GO: &str = "go";
/// The longest line: an IPv6 address with a scope and a port.
const LONGEST_LINE: u64 = 128;

/// What becomes of the other node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Before {
    /// It ends, as at a stop; until then nobody answers for its sessions.
    Ends,
    /// It keeps its sessions, and answers for them.
    Retires,
}

/// Where a node offers the socket of an address. The name space is the network's, as of the address itself.
fn name_of(address: SocketAddr) -> std::io::Result<UnixAddress> {
    UnixAddress::from_abstract_name(format!("mailswitch-node {address}"))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
        let address = listener.local_addr().expect("its address");
        (listener, address)
    }

    fn offer(listener: &TcpListener, address: SocketAddr) -> Offer {
        let mut offer = Offer::default();
        offer.add(address, listener);
        offer
    }

    /// As soon as it is offered.
    async fn ask(addresses: Vec<SocketAddr>) -> (Taking, Inherited) {
        loop {
            let addresses = addresses.clone();
            match tokio::task::spawn_blocking(move || Taking::ask(&addresses, |_| true))
                .await
                .expect("no panic")
            {
                Err(TakeError::Nobody) => tokio::time::sleep(Duration::from_millis(5)).await,
                asked => return asked.expect("the sockets"),
            }
        }
    }

    #[tokio::test]
    async fn a_connection_that_waits_in_a_socket_is_accepted_by_who_took_it_over() {
        let (listener, address) = listener();
        let (_, other) = self::listener();
        let taken = tokio::spawn(offer(&listener, address).taken());
        drop(listener);
        let client = TcpStream::connect(address).expect("it listens");
        let (taking, inherited) = ask(vec![address, other]).await;
        assert!(inherited.take(other).is_none(), "it never had this one");
        let predecessor = taking.go().expect("it lives");
        let successor = tokio::time::timeout(SOON, taken)
            .await
            .expect("in time")
            .expect("no panic");
        let socket = inherited.take(address).expect("the socket");
        let (_, from) = socket.accept().expect("who waited");
        assert_eq!(Some(from), client.local_addr().ok());
        // Its end is seen when it comes, and not before.
        let gone = tokio::spawn(predecessor.gone());
        assert!(!gone.is_finished());
        drop(successor);
        let gone = tokio::time::timeout(SOON, gone).await.expect("in time");
        gone.expect("no panic").expect("seen");
    }

    #[tokio::test]
    async fn who_asks_and_goes_away_takes_nothing_and_the_next_one_may_ask() {
        let (listener, address) = listener();
        let taken = tokio::spawn(offer(&listener, address).taken());
        for _ in 0..3 {
            drop(ask(vec![address]).await);
        }
        assert!(!taken.is_finished());
        let (taking, _inherited) = ask(vec![address]).await;
        taking.go().expect("it lives");
        tokio::time::timeout(SOON, taken)
            .await
            .expect("in time")
            .expect("no panic");
    }

    #[tokio::test]
    async fn without_anybody_who_offers_them_there_is_nothing_to_take() {
        let (_listener, address) = listener();
        let asked = tokio::task::spawn_blocking(move || Taking::ask(&[address], |_| true));
        assert!(matches!(asked.await.expect("no panic"), Err(TakeError::Nobody)));
    }
}
