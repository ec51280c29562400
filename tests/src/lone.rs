//! A node alone, from one file, with the listeners that a test asks for, and real servers behind it.

use std::{net::SocketAddr, path::PathBuf, process::Command, time::Duration};

use anyhow::{Context, Result};

use crate::{ca::Ca, dovecot::Dovecot, fleet::program, place::Place, postfix::Postfix, process::Process};

/// A protocol and "implicit", "starttls" or "plain".
pub type Listener = (&'static str, &'static str);

/// What differs from test to test.
#[derive(Debug, Clone, Copy, Default)]
pub struct Setup<'a> {
    pub listeners: &'a [Listener],
    /// Lines of `[server]`.
    pub server: &'a str,
    /// Lines of `[routing]`; the default destination is `legacy`.
    pub routing: &'a str,
    /// Whole tables: destinations, capabilities.
    pub tables: &'a str,
    /// Identifier and destination, line by line.
    pub moved: &'a str,
}

/// One that runs, and where its listeners are.
#[derive(Debug)]
pub struct Lone {
    pub process: Process,
    pub config: PathBuf,
    listeners: Vec<(Listener, SocketAddr)>,
}

impl Lone {
    /// Starts it on the address x.y.z.2, with a certificate that also mbsync and fetchmail take.
    pub fn start(place: &Place, ca: &Ca, setup: Setup<'_>) -> Result<Self> {
        let name = (1..)
            .map(|number| format!("node-{number}"))
            .find(|name| !place.path().join(name).exists())
            .context("a name")?;
        let directory = place.folder(&name)?;
        let address = place.address(2);
        let certificate = ca.issue_for_mbsync(&directory, "node.test", address)?;
        let mut listeners = Vec::new();
        let mut tables = String::new();
        for listener in setup.listeners {
            let (protocol, tls) = listener;
            let port = place.port(address)?;
            tables += &format!(
                "{protocol}-{tls} = {{ protocol = \"{protocol}\", bind = [\"{port}\"], tls = \"{tls}\" }}\n"
            );
            listeners.push((*listener, port));
        }
        std::fs::write(directory.join("moved.tsv"), setup.moved)?;
        let text = format!(
            "[server]\nhostname = \"proxy.example.org\"\nlog_level = \"debug\"\nshutdown_grace = \"2s\"\n{}\
             [tls.certificate.public]\ncert = \"{}\"\nkey = \"{}\"\ndefault = true\n\
             [routing]\ndefault_destination = \"legacy\"\n{}[mapping]\nsource = \"file\"\nnormalize = \"lowercase\"\n\
             [mapping.file]\npath = \"{}\"\n[listener]\n{tables}{}",
            setup.server,
            certificate.cert.display(),
            certificate.key.display(),
            setup.routing,
            directory.join("moved.tsv").display(),
            setup.tables,
        );
        let config = directory.join("node.toml");
        std::fs::write(&config, text)?;
        let mut command = Command::new(program("mailswitch-data-plane")?);
        command
            .arg(&config)
            .env_remove("RUST_LOG")
            .env("SSL_CERT_FILE", ca.pem());
        let mut process = Process::start(&name, command, &directory.join("node.log"))?;
        process.wait_ready(Duration::from_secs(20), || {
            listeners.iter().all(|(_, port)| crate::dovecot::listens(*port))
        })?;
        Ok(Self {
            process,
            config,
            listeners,
        })
    }

    /// Where a protocol is served over this kind of leg.
    pub fn at(&self, protocol: &str, tls: &str) -> Result<SocketAddr> {
        self.listeners
            .iter()
            .find(|(listener, _)| *listener == (protocol, tls))
            .map(|(_, port)| *port)
            .with_context(|| format!("no listener for {protocol} over {tls}"))
    }

    #[must_use]
    pub fn log(&self) -> String {
        self.process.output()
    }
}

/// The table of a destination with a Dovecot and perhaps a Postfix behind it, every leg over `tls`; pass-through legs
/// are plain. `extra`: more lines of the destination's own.
#[must_use]
pub fn destination(dovecot: &Dovecot, postfix: Option<&Postfix>, tls: &str, extra: &str) -> String {
    let name = &dovecot.name;
    let port = |plain: SocketAddr, implicit: SocketAddr| {
        if tls == "implicit" {
            implicit.port()
        } else {
            plain.port()
        }
    };
    let mut text = format!(
        "[destination.{name}]\nhost = \"{host}\"\ntls_server_name = \"{name}.test\"\nallow_plaintext_auth = true\n\
         {extra}[destination.{name}.protocol]\n\
         imap = {{ port = {imap}, tls = \"{tls}\" }}\n\
         pop3 = {{ port = {pop3}, tls = \"{tls}\" }}\n\
         managesieve = {{ port = {sieve}, tls = \"{tls}\" }}\n\
         lmtp = {{ port = {lmtp}, tls = \"plain\" }}\n",
        host = dovecot.imap.ip(),
        imap = port(dovecot.imap, dovecot.imaps),
        pop3 = port(dovecot.pop3, dovecot.pop3s),
        sieve = port(dovecot.sieve, dovecot.sieves),
        lmtp = dovecot.lmtp.port(),
    );
    if let Some(postfix) = postfix {
        text += &format!(
            "submission = {{ port = {}, tls = \"{tls}\" }}\nsmtp = {{ port = {}, tls = \"plain\" }}\n",
            port(postfix.submission, postfix.submissions),
            postfix.smtp.port(),
        );
    }
    text
}
