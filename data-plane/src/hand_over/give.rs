//! The side that has the sockets.
//!
//! Only a process of our own user, or root, may have them: who accepts on them reads passwords.

use std::io::{self, BufRead as _, BufReader, IoSlice, Read as _, Write as _};
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener as Listener, UnixStream};
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use tokio::net::UnixListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::{GO, LONGEST_LINE, NO, YES, name_of};

/// A taker that has asked for sockets has this long to become able to serve.
const PATIENCE: Duration = Duration::from_secs(300);

/// What a node offers.
#[derive(Debug, Default)]
pub struct Offer(Vec<(SocketAddr, OwnedFd)>);

/// The node that has taken over. While this is held it knows that we live.
#[derive(Debug)]
pub struct Successor(#[expect(dead_code, reason = "its end is what the other side waits for")] UnixStream);

impl Offer {
    /// One more socket, bound to this address.
    pub fn add(&mut self, address: SocketAddr, socket: &impl AsFd) {
        match socket.as_fd().try_clone_to_owned() {
            Ok(socket) => self.0.push((address, socket)),
            Err(error) => tracing::warn!(%address, %error, "this socket cannot be handed over"),
        }
    }

    /// Until somebody has taken them over.
    pub async fn taken(self) -> Successor {
        let sockets = Arc::new(self.0);
        let (say, mut taken) = mpsc::channel(1);
        let mut doors = JoinSet::new();
        for (address, _) in sockets.iter() {
            doors.spawn(door(*address, Arc::clone(&sockets), say.clone()));
        }
        drop(say);
        match taken.recv().await {
            Some(successor) => successor,
            None => std::future::pending().await,
        }
    }
}

/// Answers at the name of one address.
async fn door(address: SocketAddr, sockets: Arc<Vec<(SocketAddr, OwnedFd)>>, say: mpsc::Sender<Successor>) {
    let listener = match listen(address).await {
        Ok(listener) => listener,
        Err(error) => {
            tracing::warn!(%address, %error, "its socket cannot be handed over: its name is taken");
            return;
        }
    };
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(RETRY).await;
            continue;
        };
        let ours = nix::unistd::geteuid().as_raw();
        match stream.peer_cred().map(|peer| peer.uid()) {
            Ok(uid) if uid == ours || uid == 0 => {}
            Ok(uid) => {
                tracing::warn!(uid, "another user asked for our sockets, and was refused");
                continue;
            }
            Err(_) => continue,
        }
        let Ok(stream) = stream.into_std() else { continue };
        let (sockets, say) = (Arc::clone(&sockets), say.clone());
        tokio::task::spawn_blocking(move || match give(stream, &sockets) {
            Ok(successor) => {
                let _ = say.blocking_send(successor);
            }
            Err(error) => tracing::warn!(%error, "a node that asked for our sockets did not take over"),
        });
    }
}

/// Its predecessor may still have the name.
const RETRY: Duration = Duration::from_millis(200);
const TRIES: u32 = 50;

async fn listen(address: SocketAddr) -> io::Result<UnixListener> {
    let name = name_of(address)?;
    let mut tried = 0;
    loop {
        tried += 1;
        match Listener::bind_addr(&name) {
            Ok(listener) => {
                listener.set_nonblocking(true)?;
                return UnixListener::from_std(listener);
            }
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && tried < TRIES => {
                tokio::time::sleep(RETRY).await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Answers until "go".
fn give(stream: UnixStream, sockets: &[(SocketAddr, OwnedFd)]) -> io::Result<Successor> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut lines = BufReader::new(stream.try_clone()?);
    loop {
        let mut line = String::new();
        if lines.by_ref().take(LONGEST_LINE).read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if line.trim_end() == GO {
            return Ok(Successor(stream));
        }
        let address: Option<SocketAddr> = line.trim_end().parse().ok();
        match sockets.iter().find(|(of, _)| Some(*of) == address) {
            Some((_, socket)) => send(&stream, socket)?,
            None => (&stream).write_all(&[NO])?,
        }
    }
}

fn send(stream: &UnixStream, socket: &OwnedFd) -> io::Result<()> {
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    let descriptors = [socket.as_fd()];
    beside.push(SendAncillaryMessage::ScmRights(&descriptors));
    sendmsg(stream, &[IoSlice::new(&[YES])], &mut beside, SendFlags::NOSIGNAL)?;
    Ok(())
}
