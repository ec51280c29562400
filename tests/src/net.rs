//! Hosts of a test's own: network namespaces on one bridge, whose links can be cut, one way or both, made lossy, or made
//! to stall while every connection stays open. Needs root, as the servers do.
//!
//! Nothing leaves the namespaces, so that each net has the same addresses: 10.77.0.1 is the first host's, and so on.

use std::{
    fs::File,
    io::Write,
    net::{IpAddr, Ipv4Addr},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use nix::sched::{CloneFlags, setns};

/// The network of every net, as the backends are told to trust it.
pub const CIDR: &str = "10.77.0.0/24";

/// Dropped: its namespaces go. What still runs in them is not ended by that.
#[derive(Debug)]
pub struct Net {
    /// The names of the namespaces begin with it.
    prefix: String,
    hosts: Vec<&'static str>,
}

/// What is wrong with the way between two hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Trouble {
    /// Nothing arrives, either way. Nobody is told.
    CutBoth,
    /// Nothing of the first host arrives at the second.
    CutForward,
    /// Nothing of the second host arrives at the first.
    CutBack,
    /// A third of what is sent is lost, either way.
    Slow,
    /// Only empty packets arrive: connections stay open, and are even opened, but no byte passes.
    Stall,
}

impl Net {
    /// One namespace for each host, in the order of their addresses, and one for the bridge.
    pub fn new(hosts: &[&'static str]) -> Result<Self> {
        sweep();
        let prefix = format!("ms{}", std::process::id());
        let net = Self {
            prefix,
            hosts: hosts.to_vec(),
        };
        let switch = net.namespace("switch");
        ip(&["netns", "add", &switch])?;
        ip(&["-n", &switch, "link", "add", "bridge", "type", "bridge"])?;
        ip(&["-n", &switch, "link", "set", "bridge", "up"])?;
        for host in hosts {
            let name = net.namespace(host);
            ip(&["netns", "add", &name])?;
            ip(&[
                "link", "add", host, "netns", &switch, "type", "veth", "peer", "name", "eth0", "netns", &name,
            ])?;
            ip(&["-n", &switch, "link", "set", host, "master", "bridge", "up"])?;
            ip(&["-n", &name, "link", "set", "lo", "up"])?;
            let address = format!("{}/24", net.address(host));
            ip(&["-n", &name, "address", "add", &address, "dev", "eth0"])?;
            ip(&["-n", &name, "link", "set", "eth0", "up"])?;
        }
        Ok(net)
    }

    fn namespace(&self, host: &str) -> String {
        format!("{}-{host}", self.prefix)
    }

    /// The address of a host of this net.
    #[must_use]
    pub fn address(&self, host: &str) -> IpAddr {
        let number = self.hosts.iter().position(|known| *known == host);
        let number = number.expect("a host of this net");
        IpAddr::V4(Ipv4Addr::new(
            10,
            77,
            0,
            u8::try_from(number + 1).expect("few hosts"),
        ))
    }

    /// Calls `work` on a host: its sockets, and what it starts, are there.
    pub fn on<T: Send>(&self, host: &str, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let path = format!("/run/netns/{}", self.namespace(host));
        let namespace = File::open(&path).context(path)?;
        std::thread::scope(|scope| {
            let there = scope.spawn(move || {
                // Of this thread alone, and it ends here.
                setns(namespace, CloneFlags::CLONE_NEWNET)?;
                work()
            });
            there
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Puts a trouble between two hosts, beside those that are there.
    pub fn trouble(&self, a: &str, b: &str, trouble: Trouble) -> Result<()> {
        let what = match trouble {
            Trouble::CutBoth | Trouble::CutForward | Trouble::CutBack => "drop",
            Trouble::Slow => "numgen random mod 100 < 33 drop",
            // The largest empty TCP segment has 80 bytes; the smallest TLS record makes it 74 and is never alone.
            Trouble::Stall => "ip length > 80 drop",
        };
        if trouble != Trouble::CutBack {
            self.filter(a, b, what)?;
        }
        if trouble != Trouble::CutForward {
            self.filter(b, a, what)?;
        }
        Ok(())
    }

    fn filter(&self, from: &str, at: &str, what: &str) -> Result<()> {
        let source = self.address(from);
        self.nft(
            at,
            &format!(
                "add table inet trouble\n\
                 add chain inet trouble arriving {{ type filter hook input priority 0; }}\n\
                 add rule inet trouble arriving ip saddr {source} {what}\n"
            ),
        )
    }

    /// All links are whole again.
    pub fn heal(&self) -> Result<()> {
        self.hosts
            .iter()
            .try_for_each(|host| self.nft(host, "add table inet trouble\ndelete table inet trouble\n"))
    }

    fn nft(&self, host: &str, rules: &str) -> Result<()> {
        self.on(host, || {
            let mut child = Command::new("nft")
                .args(["-f", "-"])
                .stdin(Stdio::piped())
                .spawn()
                .context("nft")?;
            child
                .stdin
                .take()
                .context("its input")?
                .write_all(rules.as_bytes())?;
            ensure!(child.wait()?.success(), "nft refused: {rules}");
            Ok(())
        })
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for host in self.hosts.iter().chain(&["switch"]) {
            let _ = ip(&["netns", "delete", &self.namespace(host)]);
        }
    }
}

/// Takes away what a run that was killed has left behind.
fn sweep() {
    for entry in std::fs::read_dir("/run/netns").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let maker = name.strip_prefix("ms").and_then(|rest| rest.split_once('-'));
        if let Some((pid, _)) = maker
            && !std::path::Path::new(&format!("/proc/{pid}")).exists()
        {
            let _ = ip(&["netns", "delete", &name]);
        }
    }
}

fn ip(arguments: &[&str]) -> Result<()> {
    let output = Command::new("ip")
        .args(arguments)
        .output()
        .context("ip (Debian's iproute2)")?;
    ensure!(
        output.status.success(),
        "ip {}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
