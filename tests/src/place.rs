//! A directory and a loopback network of a test's own.
//!
//! The directory's name is short, because Unix sockets live in it (107 bytes). The network is 127.a.b.0/24 with
//! a and b made from the process id, so that tests that run at the same time never want the same port, and a
//! client address in a backend's log says which client it was. Ports stay below the range that the kernel
//! hands out for outgoing connections. On a host of a net of its own (`net.rs`) the network is that net's.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU16, AtomicU32, Ordering},
};

use anyhow::{Context, Result, bail};

use crate::net::CIDR;

/// A directory and a network. The directory is removed when the value is dropped, unless `MAILSWITCH_KEEP` is
/// set or the test is panicking.
#[derive(Debug)]
pub struct Place {
    directory: Option<tempfile::TempDir>,
    path: PathBuf,
    network: Network,
    next_port: AtomicU16,
}

#[derive(Debug, Clone, Copy)]
enum Network {
    /// 127.a.b.0/24.
    Loopback(u8, u8),
    /// The servers' address on this host.
    Host(IpAddr),
}

static PLACES: AtomicU32 = AtomicU32::new(0);

impl Place {
    pub fn new() -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("ms-").tempdir_in("/tmp")?;
        let path = directory.path().to_owned();
        // The servers drop their privileges and must still get in.
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
        let number = std::process::id()
            .wrapping_mul(7)
            .wrapping_add(PLACES.fetch_add(1, Ordering::Relaxed));
        let network = Network::Loopback(
            16 + u8::try_from((number >> 8) % 200)?,
            u8::try_from(number & 0xff)?,
        );
        Ok(Self {
            directory: Some(directory),
            path,
            network,
            next_port: AtomicU16::new(10_000),
        })
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The same directory on a host of a net; to be used on that host, and not after `self`.
    #[must_use]
    pub fn on_host(&self, server: IpAddr) -> Self {
        Self {
            directory: None,
            path: self.path.clone(),
            network: Network::Host(server),
            next_port: AtomicU16::new(10_000),
        }
    }

    /// The address with this last octet.
    #[must_use]
    pub fn address(&self, host: u8) -> IpAddr {
        match self.network {
            Network::Loopback(a, b) => IpAddr::V4(Ipv4Addr::new(127, a, b, host)),
            Network::Host(server) => server,
        }
    }

    /// The servers' address.
    #[must_use]
    pub fn server(&self) -> IpAddr {
        self.address(1)
    }

    /// Whom a backend believes what it is told about its clients.
    #[must_use]
    pub fn trusted(&self) -> &'static str {
        match self.network {
            Network::Loopback(..) => "127.0.0.0/8",
            Network::Host(_) => CIDR,
        }
    }

    /// A port on `address` that nobody listens on.
    pub fn port(&self, address: IpAddr) -> Result<SocketAddr> {
        for _ in 0..1000 {
            let port = self.next_port.fetch_add(1, Ordering::Relaxed);
            let socket = SocketAddr::new(address, port);
            if TcpListener::bind(socket).is_ok() {
                return Ok(socket);
            }
        }
        bail!("no free port on {address}")
    }

    /// A new directory in the place, for servers that drop their privileges.
    pub fn folder(&self, name: &str) -> Result<PathBuf> {
        let path = self.path.join(name);
        std::fs::create_dir(&path).with_context(|| path.display().to_string())?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
        Ok(path)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let keep = std::thread::panicking() || std::env::var_os("MAILSWITCH_KEEP").is_some();
        if let Some(directory) = self.directory.take()
            && keep
        {
            eprintln!("kept: {}", directory.keep().display());
        }
    }
}
