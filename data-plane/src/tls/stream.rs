//! `Stream`: a TCP connection, plain or encrypted, in either role.
//!
//! An end without close_notify is an end: mail protocols frame their own messages, and half of all mail clients
//! leave without one.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::ahead::Ahead;

/// Whether bytes on it can be read on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encryption {
    /// In clear.
    None,
    /// TLS.
    Tls,
}

/// What was agreed in the handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// "1.2" or "1.3".
    pub version: &'static str,
    /// IANA's name of the suite, as in "TLS_AES_128_GCM_SHA256".
    pub cipher: String,
    /// Whether an earlier session was taken up again.
    pub handshake: Handshake,
}

/// What a handshake cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handshake {
    /// Certificates and signatures.
    Full,
    /// A ticket.
    Resumed,
}

/// What both sides agreed to speak, on a connection for HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpVersion {
    /// HTTP/1.1; also where nothing was negotiated.
    Http1,
    /// HTTP/2.
    Http2,
}

/// One connection. The TLS states live behind a pointer: they are a thousand times larger than a socket, and a
/// task that owns a `Stream` is to stay small.
#[derive(Debug)]
pub struct Stream(Transport);

#[derive(Debug)]
enum Transport {
    Plain(TcpStream),
    Server(Box<tokio_rustls::server::TlsStream<Ahead>>),
    Client(Box<tokio_rustls::client::TlsStream<Ahead>>),
}

impl Stream {
    /// A connection on which nothing is encrypted yet.
    #[must_use]
    pub fn plain(tcp: TcpStream) -> Self {
        Self(Transport::Plain(tcp))
    }

    pub(super) fn server(tls: tokio_rustls::server::TlsStream<Ahead>) -> Self {
        Self(Transport::Server(Box::new(tls)))
    }

    pub(super) fn client(tls: tokio_rustls::client::TlsStream<Ahead>) -> Self {
        Self(Transport::Client(Box::new(tls)))
    }

    pub(super) fn into_plain(self) -> Option<TcpStream> {
        match self.0 {
            Transport::Plain(tcp) => Some(tcp),
            Transport::Server(_) | Transport::Client(_) => None,
        }
    }

    /// Whether it is encrypted.
    #[must_use]
    pub fn encryption(&self) -> Encryption {
        match self.0 {
            Transport::Plain(_) => Encryption::None,
            Transport::Server(_) | Transport::Client(_) => Encryption::Tls,
        }
    }

    /// What was agreed, for logs and spans. None in clear.
    #[must_use]
    pub fn session(&self) -> Option<Session> {
        let connection: &rustls::CommonState = match &self.0 {
            Transport::Plain(_) => return None,
            Transport::Server(tls) => tls.get_ref().1,
            Transport::Client(tls) => tls.get_ref().1,
        };
        let suite = connection.negotiated_cipher_suite()?;
        Some(Session {
            version: match connection.protocol_version() {
                Some(rustls::ProtocolVersion::TLSv1_3) => "1.3",
                _ => "1.2",
            },
            cipher: format!("{:?}", suite.suite()).replacen("TLS13_", "TLS_", 1),
            handshake: match connection.handshake_kind() {
                Some(rustls::HandshakeKind::Resumed) => Handshake::Resumed,
                _ => Handshake::Full,
            },
        })
    }

    /// What ALPN chose.
    #[must_use]
    pub fn http_version(&self) -> HttpVersion {
        let chosen = match &self.0 {
            Transport::Plain(_) => None,
            Transport::Server(tls) => tls.get_ref().1.alpn_protocol(),
            Transport::Client(tls) => tls.get_ref().1.alpn_protocol(),
        };
        match chosen {
            Some(protocol) if protocol == super::ALPN_HTTP2 => HttpVersion::Http2,
            _ => HttpVersion::Http1,
        }
    }

    /// The socket, for its options and addresses; reading or writing it would break the encryption.
    #[must_use]
    pub fn tcp(&self) -> &TcpStream {
        match &self.0 {
            Transport::Plain(tcp) => tcp,
            Transport::Server(tls) => tls.get_ref().0.tcp(),
            Transport::Client(tls) => tls.get_ref().0.tcp(),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let result = ready!(match &mut self.0 {
            Transport::Plain(tcp) => return Pin::new(tcp).poll_read(cx, buf),
            Transport::Server(tls) => Pin::new(tls).poll_read(cx, buf),
            Transport::Client(tls) => Pin::new(tls).poll_read(cx, buf),
        });
        Poll::Ready(match result {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
            other => other,
        })
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            Transport::Plain(tcp) => Pin::new(tcp).poll_write(cx, buf),
            Transport::Server(tls) => Pin::new(tls).poll_write(cx, buf),
            Transport::Client(tls) => Pin::new(tls).poll_write(cx, buf),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Transport::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Transport::Server(tls) => Pin::new(tls).poll_flush(cx),
            Transport::Client(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    /// Half-close: close_notify where encrypted, then FIN. Reading goes on.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Transport::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Transport::Server(tls) => Pin::new(tls).poll_shutdown(cx),
            Transport::Client(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}
