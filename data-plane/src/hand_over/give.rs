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

use super::{Before, DIRECTORY, GO, LONGEST_LINE, NO, YES, name_of};
use crate::state_file::{DirectoryId, Estate};

/// A taker that has asked for sockets has this long to become able to serve.
const PATIENCE: Duration = Duration::from_secs(300);

/// What a node offers.
#[derive(Debug, Default)]
pub struct Offer {
    sockets: Vec<(SocketAddr, OwnedFd)>,
    estate: Option<Arc<Estate>>,
}

/// The node that has taken over. While this is held it knows that we live.
#[derive(Debug)]
pub struct Successor {
    #[expect(dead_code, reason = "its end is what the other side waits for")]
    stream: UnixStream,
    /// What becomes of us.
    pub we: Before,
}

impl Offer {
    /// One more socket, bound to this address.
    pub fn add(&mut self, address: SocketAddr, socket: &impl AsFd) {
        match socket.as_fd().try_clone_to_owned() {
            Ok(socket) => self.sockets.push((address, socket)),
            Err(error) => tracing::warn!(%address, %error, "this socket cannot be handed over"),
        }
    }

    /// A node of a fleet has this, too.
    pub(crate) fn leave(&mut self, estate: Arc<Estate>) {
        self.estate = Some(estate);
    }

    /// Until somebody has taken them over.
    pub async fn taken(self) -> Successor {
        let sockets = Arc::new(self);
        let (say, mut taken) = mpsc::channel(1);
        let mut doors = JoinSet::new();
        for (address, _) in &sockets.sockets {
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
async fn door(address: SocketAddr, offer: Arc<Offer>, say: mpsc::Sender<Successor>) {
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
        let (offer, say) = (Arc::clone(&offer), say.clone());
        tokio::task::spawn_blocking(move || {
            let mut we = Before::Ends;
            match give(&stream, &offer, &mut we) {
                Ok(()) => {
                    if let Some(estate) = offer.estate.as_ref().filter(|_| we == Before::Retires) {
                        estate.is_gone_for_good();
                    }
                    let _ = say.blocking_send(Successor { stream, we });
                }
                Err(error) => {
                    tracing::warn!(%error, "a node that asked for our sockets did not take over");
                    if let Some(estate) = offer.estate.as_ref().filter(|_| we == Before::Retires) {
                        estate.take_back_when_free();
                    }
                }
            }
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

/// Answers until "go". `we`: what becomes of us, as soon as it is known.
fn give(stream: &UnixStream, offer: &Offer, we: &mut Before) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut lines = BufReader::new(stream.try_clone()?);
    loop {
        let mut line = String::new();
        if lines.by_ref().take(LONGEST_LINE).read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if line.trim_end() == GO {
            return Ok(());
        }
        if let Some(id) = directory(line.trim_end()) {
            let given = leave(offer, id);
            if given {
                *we = Before::Retires;
            }
            (&*stream).write_all(&[if given { YES } else { NO }])?;
            continue;
        }
        let address: Option<SocketAddr> = line.trim_end().parse().ok();
        match offer.sockets.iter().find(|(of, _)| Some(*of) == address) {
            Some((_, socket)) => send(stream, socket)?,
            None => (&*stream).write_all(&[NO])?,
        }
    }
}

fn directory(line: &str) -> Option<DirectoryId> {
    let (device, inode) = line.strip_prefix(DIRECTORY)?.trim().split_once(' ')?;
    Some(DirectoryId {
        device: device.parse().ok()?,
        inode: inode.parse().ok()?,
    })
}

/// Whether it is ours, and theirs from now on.
fn leave(offer: &Offer, id: DirectoryId) -> bool {
    let Some(estate) = offer.estate.as_ref().filter(|estate| estate.is(id)) else {
        return false;
    };
    match estate.hand_over() {
        Ok(()) => {
            tracing::info!("another process of this node has the state directory");
            true
        }
        Err(error) => {
            tracing::error!(%error, "the state directory cannot be handed over: this process goes on");
            false
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
