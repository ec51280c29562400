//! The side that takes the sockets.

use std::collections::HashMap;
use std::io::{self, IoSliceMut, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use super::{Before, DIRECTORY, GO, YES, name_of};
use crate::state_file::DirectoryId;

/// The other node answers from memory.
const ANSWER: Duration = Duration::from_secs(10);

/// A table of millions is written within this.
const DISK: Duration = Duration::from_secs(120);

/// Why nothing was taken over. The other node, if there is one, goes on.
#[derive(Debug, thiserror::Error)]
pub enum TakeError {
    /// Nobody offers any of the sockets.
    #[error(
        "no node on this machine offers the sockets of this configuration; start this one without --take-over"
    )]
    Nobody,
    /// A process of somebody else pretends to.
    #[error("a process of user {0} offers the sockets of this configuration, and is not believed")]
    Stranger(u32),
    /// It does not answer as it should.
    #[error("the node that has the sockets does not answer")]
    Lost(#[from] io::Error),
    /// The node did not become able to serve.
    #[error(
        "this node cannot serve after {0:?}: it has not synced with the control plane; the other node goes on"
    )]
    NotReady(Duration),
}

/// Sockets that another process has handed over: each is taken by whoever would bind its address.
#[derive(Debug, Default)]
pub struct Inherited(Mutex<HashMap<SocketAddr, OwnedFd>>);

/// The conversation with the node that has the sockets, until "go".
#[derive(Debug)]
pub struct Taking {
    stream: UnixStream,
    other: Before,
}

/// The node before us, which still has connections.
#[derive(Debug)]
pub struct Predecessor(UnixStream);

impl From<HashMap<SocketAddr, OwnedFd>> for Inherited {
    fn from(sockets: HashMap<SocketAddr, OwnedFd>) -> Self {
        Self(Mutex::new(sockets))
    }
}

impl Inherited {
    /// Whether there is one of this address.
    #[must_use]
    pub fn has(&self, address: SocketAddr) -> bool {
        self.0.lock().contains_key(&address)
    }

    /// These too.
    pub fn add(&self, more: Self) {
        self.0.lock().extend(more.0.into_inner());
    }

    /// The socket of an address, once.
    #[must_use]
    pub fn take(&self, address: SocketAddr) -> Option<TcpListener> {
        let socket = self.0.lock().remove(&address)?;
        Some(TcpListener::from(socket))
    }
}

impl Taking {
    /// Asks whoever has sockets of these addresses for those that are `wanted`. Those that the other node has not are absent.
    ///
    /// # Errors
    /// Nobody offers them.
    pub fn ask(
        addresses: &[SocketAddr],
        wanted: impl Fn(SocketAddr) -> bool,
    ) -> Result<(Self, Inherited), TakeError> {
        let taking = Self {
            stream: connect(addresses)?,
            other: Before::Ends,
        };
        taking.stream.set_read_timeout(Some(ANSWER))?;
        let mut sockets = HashMap::new();
        for address in addresses.iter().filter(|address| wanted(**address)) {
            if let Some(socket) = taking.socket(*address)? {
                sockets.insert(*address, socket);
            }
        }
        Ok((taking, Inherited(Mutex::new(sockets))))
    }

    fn socket(&self, address: SocketAddr) -> Result<Option<OwnedFd>, TakeError> {
        (&self.stream).write_all(format!("{address}\n").as_bytes())?;
        let mut answer = [0];
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut beside = RecvAncillaryBuffer::new(&mut space);
        let received = recvmsg(
            self.stream.as_fd(),
            &mut [IoSliceMut::new(&mut answer)],
            &mut beside,
            RecvFlags::CMSG_CLOEXEC,
        )
        .map_err(io::Error::from)?;
        if received.bytes == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        let descriptor = beside.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None,
        });
        Ok(descriptor.filter(|_| answer[0] == YES))
    }

    /// Asks for the state directory, if it is the other node's: both are processes of one node of a fleet then. Until "go" the
    /// other one gets it back when we end.
    ///
    /// # Errors
    /// It does not answer.
    pub fn directory(&mut self, path: &Path) -> Result<(), TakeError> {
        let Some(DirectoryId { device, inode }) = DirectoryId::of(path) else {
            return Ok(());
        };
        (&self.stream).write_all(format!("{DIRECTORY} {device} {inode}\n").as_bytes())?;
        // It writes all that it knows before it answers.
        self.stream.set_read_timeout(Some(DISK))?;
        let mut answer = [0];
        (&self.stream).read_exact(&mut answer)?;
        if answer[0] == YES {
            self.other = Before::Retires;
        }
        Ok(())
    }

    /// What becomes of the other node.
    #[must_use]
    pub fn other(&self) -> Before {
        self.other
    }

    /// From here on this node serves, and the other accepts no more.
    ///
    /// # Errors
    /// The other node is gone, and its sockets are ours alone: never a reason not to serve.
    pub fn go(self) -> Result<Predecessor, TakeError> {
        (&self.stream).write_all(format!("{GO}\n").as_bytes())?;
        Ok(Predecessor(self.stream))
    }
}

impl Predecessor {
    /// Waits for its end: of the process, whatever ended it.
    ///
    /// # Errors
    /// Its end cannot be seen.
    pub async fn gone(self) -> io::Result<()> {
        tokio::task::spawn_blocking(move || {
            self.0.set_read_timeout(None)?;
            // It never says anything; a reset is an end too.
            match (&self.0).read(&mut [0]) {
                Err(error) if error.kind() != io::ErrorKind::ConnectionReset => Err(error),
                _ => Ok(()),
            }
        })
        .await
        .unwrap_or(Ok(()))
    }
}

fn connect(addresses: &[SocketAddr]) -> Result<UnixStream, TakeError> {
    for address in addresses {
        let Ok(stream) = UnixStream::connect_addr(&name_of(*address)?) else {
            continue;
        };
        // Anybody can take a name while it is free: sockets are taken from our own user or root.
        let peer = nix::sys::socket::getsockopt(&stream, nix::sys::socket::sockopt::PeerCredentials)
            .map_err(io::Error::from)?;
        return match peer.uid() {
            0 => Ok(stream),
            uid if uid == nix::unistd::geteuid().as_raw() => Ok(stream),
            uid => Err(TakeError::Stranger(uid)),
        };
    }
    Err(TakeError::Nobody)
}
