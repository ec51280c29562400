//! What a supervisor is told (sd_notify(3)): that the node serves, that it ends. One datagram to the socket that `NOTIFY_SOCKET`
//! names; without one nobody asked. Nothing depends on whether it arrives.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Where to.
#[derive(Debug)]
pub(crate) struct Supervisor(Option<OsString>);

impl Supervisor {
    pub(crate) fn of_environment() -> Self {
        Self(std::env::var_os("NOTIFY_SOCKET").filter(|path| !path.is_empty()))
    }

    /// It serves: `systemctl start` returns now, and not before.
    pub(crate) fn is_ready(&self) {
        self.tell("READY=1");
    }

    /// It accepts no more.
    pub(crate) fn is_stopping(&self) {
        self.tell("STOPPING=1");
    }

    fn tell(&self, state: &str) {
        if let Some(socket) = &self.0
            && let Err(error) = send(socket, state)
        {
            tracing::warn!(%error, state, "the supervisor at NOTIFY_SOCKET cannot be told");
        }
    }
}

fn send(socket: &OsStr, state: &str) -> io::Result<()> {
    let address = match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        path => SocketAddr::from_pathname(OsStr::from_bytes(path))?,
    };
    UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(socket: &UnixDatagram) -> String {
        let mut bytes = [0; 64];
        let length = socket.recv(&mut bytes).expect("a datagram");
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    }

    #[test]
    fn a_supervisor_hears_it_at_a_path_or_at_an_abstract_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notify");
        let at_path = UnixDatagram::bind(&path).expect("a socket");
        let name = format!("mailswitch-notify-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("a name");
        let abstractly = UnixDatagram::bind_addr(&address).expect("a socket");
        for (socket, named) in [
            (&at_path, path.into_os_string()),
            (&abstractly, format!("@{name}").into()),
        ] {
            let supervisor = Supervisor(Some(named));
            supervisor.is_ready();
            assert_eq!(heard(socket), "READY=1");
            supervisor.is_stopping();
            assert_eq!(heard(socket), "STOPPING=1");
        }
    }

    #[test]
    fn one_that_is_gone_or_was_never_there_ends_nothing() {
        Supervisor(None).is_ready();
        Supervisor(Some("/nowhere/notify".into())).is_ready();
    }
}
