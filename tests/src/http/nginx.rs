//! A real nginx: files over DAV, HTTP/1.1 and HTTP/2, told who the client is by a PROXY header if it is told so.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    process::Command,
    time::Duration,
};

use anyhow::Result;
use serde::Deserialize;

use crate::{
    ca::Ca,
    dovecot::{chown_nobody, listens},
    place::Place,
    process::Process,
    template::{self, fill},
};

#[derive(Debug)]
pub struct Nginx {
    /// Ended when the value is dropped.
    pub process: Process,
    pub name: String,
    pub directory: PathBuf,
    pub http: SocketAddr,
    /// Also HTTP/2.
    pub https: SocketAddr,
}

/// How it learns who the client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// By `X-Forwarded-For`.
    Field,
    /// By a PROXY header, which it demands.
    ProxyHeader,
}

/// A line of its log.
#[derive(Debug, Clone, Deserialize)]
pub struct Served {
    /// The client, as it was told.
    pub peer: IpAddr,
    pub user: String,
    pub method: String,
    pub target: String,
    pub protocol: String,
    pub status: u16,
    pub host: String,
    pub forwarded: String,
    pub x_forwarded_for: String,
    pub via: String,
    /// Its number of the connection.
    pub connection: u64,
    /// Which request of that connection it was, from 1.
    pub requests: u64,
    pub length: String,
}

impl Nginx {
    /// Starts one on the servers' address.
    pub fn start(place: &Place, ca: &Ca, name: &str, told: Told) -> Result<Self> {
        Self::start_as(place, ca, name, &format!("{name}.test"), told)
    }

    /// The same, with a certificate for this host.
    pub fn start_as(place: &Place, ca: &Ca, name: &str, host: &str, told: Told) -> Result<Self> {
        let directory = place.folder(name)?;
        let address = place.server();
        ca.issue(&directory, host, address)?;
        for folder in ["files", "files/dav"] {
            chown_nobody(&place.folder(&format!("{name}/{folder}"))?)?;
        }
        let (http, https) = (place.port(address)?, place.port(address)?);
        let (proxy, real_ip) = match told {
            Told::Field => ("", "X-Forwarded-For"),
            Told::ProxyHeader => ("proxy_protocol", "proxy_protocol"),
        };
        let words = [
            ("DIR", directory.display().to_string()),
            ("NAME", name.to_owned()),
            ("PLAIN", http.to_string()),
            ("TLS", https.to_string()),
            ("PROXY", proxy.to_owned()),
            ("REALIP", real_ip.to_owned()),
        ];
        let words: Vec<(&str, &str)> = words
            .iter()
            .map(|(word, value)| (*word, value.as_str()))
            .collect();
        let config = directory.join("nginx.conf");
        std::fs::write(&config, fill(template::NGINX, &words)?)?;
        let mut command = Command::new("/usr/sbin/nginx");
        command.arg("-p").arg(&directory).arg("-c").arg(&config);
        command.arg("-e").arg(directory.join("error.log"));
        let mut process = Process::start(name, command, &directory.join("stderr.log"))?;
        process.wait_ready(Duration::from_secs(20), || listens(http) && listens(https))?;
        Ok(Self {
            process,
            name: name.to_owned(),
            directory,
            http,
            https,
        })
    }

    /// What it has served, in the order of the answers' ends.
    #[must_use]
    pub fn served(&self) -> Vec<Served> {
        std::fs::read_to_string(self.directory.join("journal.log"))
            .unwrap_or_default()
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }
}
