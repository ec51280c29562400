//! A connection to its end: what a session would do before the credential, in the same dialogues.

use std::sync::Arc;
use std::time::Duration;

use mailswitch_config::{Forwarding, Protocol, TlsMode};
use mailswitch_dialogue::{
    Announce, Announced, BackendLeg, ClientCommand, HandshakeConfig, HandshakeError, PlaintextAuth, handshake,
};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Ends;
use super::web::{self, Web};
use crate::announce;
use crate::dial;
use crate::offer::Offer;
use crate::subject::{LegOf, Subject};
use crate::talk::{Talk, TalkError};
use crate::tls::{Shown, Tls, TlsError};

/// Whether a PROXY header goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Header {
    Sent,
    None,
}

impl Header {
    pub(super) const fn other(self) -> Self {
        match self {
            Self::Sent => Self::None,
            Self::None => Self::Sent,
        }
    }
}

/// What is attempted.
pub(super) struct Attempt<'a> {
    pub(super) subject: &'a Subject,
    pub(super) leg: LegOf<'a>,
    pub(super) ends: Ends,
}

/// How far it came.
pub(super) struct Came {
    /// The TLS handshake, when there was one.
    pub(super) shown: Option<Shown>,
    pub(super) result: Result<Done, Error>,
}

/// The leg would take a login now.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) announced: Announced,
    /// None: this protocol's dialogue is not spoken here.
    pub(super) offer: Option<Offer>,
    /// Before TLS.
    pub(super) offer_in_clear: Option<Offer>,
    /// Of a pass-through leg: its greeting.
    pub(super) greeting: Option<String>,
    /// Of an HTTP leg: what it said to somebody who did not sign in.
    pub(super) web: Option<Web>,
}

/// Why it would not.
#[derive(Debug)]
pub(super) enum Error {
    /// Silence.
    Silent(Duration),
    /// TLS cannot be set up from these settings.
    Settings(String),
    /// The handshake failed.
    Tls(String),
    /// The connection ended.
    Connection(String),
    /// The dialogue failed.
    Handshake(HandshakeError),
    /// A pass-through server said no, and to what.
    Refused { command: String, said: String },
}

impl Attempt<'_> {
    /// All of it, within the leg's budget.
    pub(super) async fn run(&self, tcp: TcpStream, header: Header) -> Came {
        let mut talk = Talk::new(tcp);
        let budget = self.subject.budget;
        let result = match timeout(budget, self.converse(&mut talk, header)).await {
            Ok(result) => result,
            Err(_) => Err(Error::Silent(budget)),
        };
        Came {
            shown: talk.shown.take(),
            result,
        }
    }

    /// Whether it answers when it is spoken to in the other way.
    pub(super) async fn answers(&self, header: Header) -> bool {
        match dial::connect(self.ends.target, self.ends.source).await {
            Ok(connected) => self.run(connected.tcp, header).await.result.is_ok(),
            Err(_) => false,
        }
    }

    /// Whether the port speaks TLS from the first byte; asked of one that says nothing in clear.
    pub(super) async fn speaks_tls(&self) -> bool {
        let Ok(connected) = dial::connect(self.ends.target, self.ends.source).await else {
            return false;
        };
        let mut talk = Talk::new(connected.tcp);
        let tls = Tls::of(self.leg.destination, &self.subject.trust);
        matches!(timeout(dial::CONNECT, talk.start_tls(&tls)).await, Ok(Ok(_)))
    }

    async fn converse(&self, talk: &mut Talk, header: Header) -> Result<Done, Error> {
        let LegOf {
            destination,
            endpoint,
            protocol,
            ..
        } = self.leg;
        if header == Header::Sent {
            talk.send(&announce::proxy_header(self.ends.local, self.ends.target))
                .await?;
        }
        let tls = Tls::of(destination, &self.subject.trust);
        let leg = match endpoint.tls {
            TlsMode::Implicit => BackendLeg::Encrypted(talk.start_tls(&tls).await?),
            TlsMode::StartTls => BackendLeg::StartTls,
            TlsMode::Plain => BackendLeg::Plain,
        };
        let Some(spoken) = spoken(protocol) else {
            return match protocol {
                Protocol::Smtp | Protocol::Lmtp => self.pass_through(talk).await,
                _ => self.web(talk).await,
            };
        };
        let mut dialogue = handshake(
            &ClientCommand::probe(spoken),
            HandshakeConfig {
                leg,
                plaintext: match destination.allow_plaintext_auth {
                    true => PlaintextAuth::Allowed,
                    false => PlaintextAuth::Refused,
                },
                announce: self.announce(),
                helo: None,
                hostname: self.subject.hostname.as_deref().map(Arc::from),
            },
        );
        let ready = talk
            .drive(&mut *dialogue, &tls)
            .await?
            .map_err(Error::Handshake)?;
        Ok(Done {
            announced: ready.announced(),
            offer: Some(Offer::of(protocol, &talk.heard)),
            offer_in_clear: match endpoint.tls {
                TlsMode::Implicit => None,
                TlsMode::StartTls => Some(Offer::of(protocol, &talk.heard_in_clear)),
                TlsMode::Plain => Some(Offer::of(protocol, &talk.heard)),
            },
            greeting: None,
            web: None,
        })
    }

    /// Asked for its JMAP session, as a client that has not signed in.
    async fn web(&self, talk: &mut Talk) -> Result<Done, Error> {
        let host = match &self.subject.hostname {
            Some(hostname) => hostname.clone(),
            None => self.leg.destination.host.to_string(),
        };
        talk.send(web::question(&host).as_bytes()).await?;
        let refused = |said: &str| Error::Refused {
            command: "the question for its JMAP session".to_owned(),
            said: said.to_owned(),
        };
        match talk.answer(web::read).await? {
            // What it says to a PROXY header that it does not expect.
            Ok(web) if web.status == 400 => Err(refused("400")),
            Ok(web) => Ok(Done {
                web: Some(web),
                ..Done::unspoken()
            }),
            Err(web::NotHttp) => Err(refused("something that is no HTTP")),
        }
    }

    fn announce(&self) -> Announce {
        let Ends { local, target, .. } = self.ends;
        let attributes = || announce::attributes(local, target, self.subject.proxy_ttl);
        match self.leg.endpoint.forwarding {
            Forwarding::Xclient => attributes().map_or(Announce::Nothing, Announce::Attributes),
            Forwarding::Proxy | Forwarding::None => Announce::Nothing,
        }
    }

    /// Greeting, and EHLO (LHLO, RFC 2033 §4.1) with our name. What clients say is passed through later, unread.
    async fn pass_through(&self, talk: &mut Talk) -> Result<Done, Error> {
        let greeting = talk.reply().await?;
        let first = greeting.first().cloned().unwrap_or_default();
        if !first.starts_with("220") {
            return Err(Error::Refused {
                command: "the connection".to_owned(),
                said: first,
            });
        }
        let verb = match self.leg.protocol {
            Protocol::Lmtp => "LHLO",
            _ => "EHLO",
        };
        let name = self.subject.hostname.as_deref().unwrap_or("proxy");
        let command = format!("{verb} {name}");
        talk.send(format!("{command}\r\n").as_bytes()).await?;
        let reply = talk.reply().await?;
        let last = reply.last().cloned().unwrap_or_default();
        if !last.starts_with("250") {
            return Err(Error::Refused { command, said: last });
        }
        talk.send(b"QUIT\r\n").await?;
        Ok(Done {
            announced: Announced::Nothing,
            offer: None,
            offer_in_clear: None,
            greeting: Some(first),
            web: None,
        })
    }
}

/// The dialogue of a protocol.
const fn spoken(protocol: Protocol) -> Option<mailswitch_dialogue::Protocol> {
    match protocol {
        Protocol::Imap => Some(mailswitch_dialogue::Protocol::Imap),
        Protocol::Submission => Some(mailswitch_dialogue::Protocol::Submission),
        Protocol::Pop3 => Some(mailswitch_dialogue::Protocol::Pop3),
        Protocol::ManageSieve => Some(mailswitch_dialogue::Protocol::ManageSieve),
        Protocol::Smtp | Protocol::Lmtp | Protocol::Http => None,
    }
}

impl Done {
    const fn unspoken() -> Self {
        Self {
            announced: Announced::Nothing,
            offer: None,
            offer_in_clear: None,
            greeting: None,
            web: None,
        }
    }
}

impl From<TalkError> for Error {
    fn from(error: TalkError) -> Self {
        match error {
            TalkError::Closed => Self::Handshake(HandshakeError::Closed),
            TalkError::Io(error) => Self::Connection(super::said(&error)),
            TalkError::Tls(TlsError::Settings(why)) => Self::Settings(why),
            TalkError::Tls(TlsError::Handshake(error)) => Self::Tls(super::said(&error)),
        }
    }
}
