//! A connection spoken by hand, byte for byte, from either end.
//!
//! A dialogue is written as it would be printed: `C: …` is a line of the client, `S: …` one of the server, `TLS` a
//! handshake, `END` the end of the connection by the other side. Whoever plays sends its own lines (those that
//! follow each other in one write) and compares the others; `…` stands for anything.

use std::{
    io::{ErrorKind, Read, Write},
    net::{IpAddr, Shutdown, SocketAddr, TcpStream},
    path::Path,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use socket2::{Domain, Socket, Type};

use crate::{ca::Issued, duplex::Duplex};

/// Longer than anything that is waited for on purpose.
const PATIENCE: Duration = Duration::from_secs(20);

/// Whose lines are ours.
#[derive(Debug, Clone, Copy)]
pub enum Role<'a> {
    /// With the authority that is trusted.
    Client(&'a Path),
    /// With the certificate that is shown.
    Server(&'a Issued),
}

#[derive(Debug)]
pub struct Raw {
    stream: Stream,
    pending: Vec<u8>,
    /// The lines that the other side said.
    pub heard: Vec<String>,
}

#[derive(Debug)]
enum Stream {
    Plain(TcpStream),
    Client(Box<StreamOwned<ClientConnection, TcpStream>>),
    Server(Box<StreamOwned<ServerConnection, TcpStream>>),
}

impl Raw {
    pub fn connect(server: SocketAddr) -> Result<Self> {
        Self::new(TcpStream::connect(server).with_context(|| server.to_string())?)
    }

    /// From an address of the client's own.
    pub fn connect_from(source: IpAddr, server: SocketAddr) -> Result<Self> {
        let socket = Socket::new(Domain::for_address(server), Type::STREAM, None)?;
        socket.bind(&SocketAddr::new(source, 0).into())?;
        socket
            .connect(&server.into())
            .with_context(|| server.to_string())?;
        Self::new(socket.into())
    }

    pub fn new(tcp: TcpStream) -> Result<Self> {
        tcp.set_nodelay(true)?;
        tcp.set_read_timeout(Some(PATIENCE))?;
        Ok(Self {
            stream: Stream::Plain(tcp),
            pending: Vec::new(),
            heard: Vec::new(),
        })
    }

    pub fn local(&self) -> Result<SocketAddr> {
        Ok(self.tcp().local_addr()?)
    }

    fn tcp(&self) -> &TcpStream {
        match &self.stream {
            Stream::Plain(tcp) => tcp,
            Stream::Client(tls) => &tls.sock,
            Stream::Server(tls) => &tls.sock,
        }
    }

    /// How long one read may take.
    pub fn patience(&self, patience: Duration) -> Result<()> {
        Ok(self.tcp().set_read_timeout(Some(patience))?)
    }

    /// The TLS handshake, in its role. What was received before it is an error.
    pub fn tls(&mut self, role: Role<'_>) -> Result<()> {
        ensure!(
            self.pending.is_empty(),
            "in clear before TLS: {:?}",
            self.pending.escape_ascii().to_string()
        );
        let mut tcp = self.tcp().try_clone()?;
        self.stream = match role {
            Role::Client(ca) => {
                let name = ServerName::from(self.tcp().peer_addr()?.ip());
                let mut connection = ClientConnection::new(client_config(ca)?, name)?;
                connection.complete_io(&mut tcp)?;
                Stream::Client(Box::new(StreamOwned::new(connection, tcp)))
            }
            Role::Server(issued) => {
                let mut connection = ServerConnection::new(server_config(issued)?)?;
                connection.complete_io(&mut tcp)?;
                Stream::Server(Box::new(StreamOwned::new(connection, tcp)))
            }
        };
        Ok(())
    }

    /// From now on both directions at once.
    pub fn into_duplex(self) -> Result<Duplex> {
        let (tcp, tls) = match self.stream {
            Stream::Plain(tcp) => (tcp, None),
            Stream::Client(tls) => {
                let (connection, tcp) = tls.into_parts();
                (tcp, Some(connection.into()))
            }
            Stream::Server(tls) => {
                let (connection, tcp) = tls.into_parts();
                (tcp, Some(connection.into()))
            }
        };
        Duplex::new(tcp, tls, self.pending)
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> Result<()> {
        let stream: &mut dyn Write = match &mut self.stream {
            Stream::Plain(tcp) => tcp,
            Stream::Client(tls) => tls,
            Stream::Server(tls) => tls,
        };
        stream.write_all(bytes.as_ref())?;
        Ok(stream.flush()?)
    }

    /// Says nothing more, and still reads.
    pub fn finish(&mut self) -> Result<()> {
        match &mut self.stream {
            Stream::Plain(_) => {}
            Stream::Client(tls) => tls.conn.send_close_notify(),
            Stream::Server(tls) => tls.conn.send_close_notify(),
        }
        self.send("")?;
        Ok(self.tcp().shutdown(Shutdown::Write)?)
    }

    /// False: the other side has ended the connection.
    fn read(&mut self) -> Result<bool> {
        let mut buffer = [0; 16 * 1024];
        let read = match &mut self.stream {
            Stream::Plain(tcp) => tcp.read(&mut buffer),
            Stream::Client(tls) => tls.read(&mut buffer),
            Stream::Server(tls) => tls.read(&mut buffer),
        };
        match read {
            Ok(0) => Ok(false),
            Ok(read) => {
                self.pending.extend_from_slice(&buffer[..read]);
                Ok(true)
            }
            // A reset is an end too; so is TLS without its close_notify.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe
                ) =>
            {
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The next line, without its CRLF.
    pub fn line(&mut self) -> Result<String> {
        loop {
            if let Some(end) = self.pending.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.pending.drain(..=end).collect();
                let text = line.strip_suffix(b"\r\n");
                let text =
                    text.with_context(|| format!("a bare LF ends {:?}", line.escape_ascii().to_string()))?;
                let text = String::from_utf8_lossy(text).into_owned();
                self.heard.push(text.clone());
                return Ok(text);
            }
            ensure!(
                self.read()?,
                "the connection ended behind {:?}",
                self.pending.escape_ascii().to_string()
            );
        }
    }

    /// So many bytes, as they are.
    pub fn bytes(&mut self, count: usize) -> Result<Vec<u8>> {
        while self.pending.len() < count {
            ensure!(self.read()?, "the connection ended within {count} bytes");
        }
        Ok(self.pending.drain(..count).collect())
    }

    /// Everything up to the end.
    pub fn rest(&mut self) -> Result<String> {
        while self.read()? {}
        Ok(String::from_utf8_lossy(&std::mem::take(&mut self.pending)).into_owned())
    }

    /// Plays its part of a dialogue.
    pub fn play(&mut self, role: Role<'_>, dialogue: &str) -> Result<()> {
        let (ours, theirs) = match role {
            Role::Client(_) => ("C: ", "S: "),
            Role::Server(_) => ("S: ", "C: "),
        };
        let mut unsent = Vec::new();
        for (number, step) in dialogue.split('\n').enumerate() {
            let step = step.trim_start();
            if let Some(line) = step.strip_prefix(ours) {
                unsent.extend_from_slice(line.as_bytes());
                unsent.extend_from_slice(b"\r\n");
                continue;
            }
            // It may have closed already: then what it said says why.
            let _ = self.send(std::mem::take(&mut unsent));
            let at = || format!("line {} of the dialogue: {}", number + 1, shortened(step));
            if let Some(pattern) = step.strip_prefix(theirs) {
                let line = self.line().with_context(at)?;
                ensure!(matches(&line, pattern), "{}\ncame: {}", at(), shortened(&line));
            } else if step == "TLS" {
                self.tls(role).with_context(at)?;
            } else if step == "END" {
                let rest = self.rest().with_context(at)?;
                ensure!(rest.is_empty(), "{}\ncame: {}", at(), shortened(&rest));
            } else if !step.is_empty() {
                bail!("no step of a dialogue: {step}");
            }
        }
        self.send(unsent)
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(300).collect()
}

/// `…` in the pattern stands for anything.
fn matches(line: &str, pattern: &str) -> bool {
    let mut parts = pattern.split('…');
    let Some(mut rest) = parts.next().and_then(|first| line.strip_prefix(first)) else {
        return false;
    };
    let mut open = false;
    for part in parts {
        let Some(found) = rest.find(part) else {
            return false;
        };
        // The last part has to end the line.
        let found = if part.is_empty() { rest.len() } else { found };
        rest = &rest[found + part.len()..];
        open = part.is_empty();
    }
    open || rest.is_empty()
}

fn client_config(ca: &Path) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca)?)?;
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

fn server_config(issued: &Issued) -> Result<Arc<ServerConfig>> {
    let chain = CertificateDer::pem_file_iter(&issued.cert)?.collect::<Result<Vec<_>, _>>()?;
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from_pem_file(&issued.key)?)?;
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn an_ellipsis_stands_for_anything_and_the_rest_for_itself() {
        for (line, pattern, expected) in [
            ("a OK done", "a OK…", true),
            ("a OK done", "a OK", false),
            ("a OK done", "a …one", true),
            ("a OK done", "…don", false),
            ("* OK [X] y", "* OK [X] …", true),
            ("", "", true),
        ] {
            assert_eq!(matches(line, pattern), expected, "{line} {pattern}");
        }
    }
}
