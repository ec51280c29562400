//! One request, one connection (management-api 1), and what the answer means. A request that was sent and got no answer may
//! have been done: that is said, never guessed.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{NodeApiArguments, tls};
use crate::exit::{Exit, Failure};
use crate::output::printable;

/// A kick is answered when what it ended is over; everything else at once.
const ANSWER: Duration = Duration::from_secs(30);
const CONNECT: Duration = Duration::from_secs(10);
/// More is no answer of this API.
const LARGEST: usize = 16 << 20;

/// A node's management API.
#[derive(Clone)]
pub struct Client {
    host: String,
    port: u16,
    name: ServerName<'static>,
    tls: TlsConnector,
    token: String,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
    /// Of a kick: how many have not ended. None: this program does not say.
    pub(super) still_open: Option<u64>,
}

/// One request.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    method: Method,
    path: &'static str,
    query: String,
}

impl Ask {
    pub(super) fn get(path: &'static str) -> Self {
        Self::new(Method::GET, path)
    }

    pub(super) fn post(path: &'static str) -> Self {
        Self::new(Method::POST, path)
    }

    pub(super) fn new(method: Method, path: &'static str) -> Self {
        Self {
            method,
            path,
            query: String::new(),
        }
    }

    /// A `+` stays one, so a blank is `%20`.
    pub(super) fn with(mut self, name: &str, value: &str) -> Self {
        let separator = if self.query.is_empty() { '?' } else { '&' };
        let value: String = form_urlencoded::byte_serialize(value.as_bytes()).collect();
        self.query += &format!("{separator}{name}={}", value.replace('+', "%20"));
        self
    }
}

impl Answered {
    /// As text.
    pub(super) fn line(&self) -> String {
        String::from_utf8_lossy(&self.body).trim().to_owned()
    }
}

impl Client {
    /// For the API at this URL.
    ///
    /// # Errors
    /// The URL, the token or the certificates cannot be used.
    pub fn new(url: &str, arguments: &NodeApiArguments) -> Result<Self, Failure> {
        let wrong = || {
            Failure::usage(format!("--node-api {url:?} is no address of a management API"))
                .remedy("write https://HOST:PORT, the bind of [admin] in the node's file")
        };
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let (Some("https"), Some(host), "/") = (uri.scheme_str(), uri.host(), uri.path()) else {
            return Err(wrong());
        };
        let host = host.trim_matches(['[', ']']).to_owned();
        let name = ServerName::try_from(host.clone()).map_err(|_| wrong())?;
        Ok(Self {
            port: uri.port_u16().unwrap_or(443),
            name,
            tls: TlsConnector::from(Arc::new(tls::config(arguments)?)),
            token: arguments.token()?,
            host,
        })
    }

    /// As it is shown.
    #[must_use]
    pub fn address(&self) -> String {
        format!("https://{}:{}", self.host, self.port)
    }

    /// A line of text.
    pub(super) async fn line(&self, ask: Ask) -> Result<String, Failure> {
        Ok(self.answer(ask).await?.line())
    }

    /// JSON.
    pub(super) async fn json<T: DeserializeOwned>(&self, ask: Ask) -> Result<T, Failure> {
        let path = ask.path;
        let answered = self.answer(ask).await?;
        serde_json::from_slice(&answered.body).map_err(|error| {
            Failure::new(
                Exit::Unknown,
                format!("{} answered {path} with something else: {error}", self.address()),
            )
        })
    }

    /// A 200.
    pub(super) async fn answer(&self, ask: Ask) -> Result<Answered, Failure> {
        let answered = self.send(&ask).await?;
        if answered.status == StatusCode::OK {
            return Ok(answered);
        }
        Err(self.refused(answered.status, printable(&answered.line()).as_ref()))
    }

    pub(super) async fn send(&self, ask: &Ask) -> Result<Answered, Failure> {
        let connecting = tokio::time::timeout(CONNECT, self.connect());
        let stream = connecting
            .await
            .unwrap_or_else(|_| Err(self.unreachable("no answer in time")))?;
        let request = Request::builder()
            .method(ask.method.clone())
            .uri(format!("{}{}", ask.path, ask.query))
            .header(header::HOST, format!("{}:{}", self.host, self.port))
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token))
            .body(Empty::<Bytes>::new())
            .map_err(|_| Failure::usage("the token holds something that no header can hold"))?;
        let exchange = async {
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            let response = sender.send_request(request).await?;
            let status = response.status();
            let still_open = response.headers().get("mailswitch-still-open");
            let still_open = still_open.and_then(|open| open.to_str().ok()?.parse().ok());
            let body = Limited::new(response.into_body(), LARGEST).collect().await;
            Ok::<_, hyper::Error>(Answered {
                status,
                body: body.map(|body| body.to_bytes()).unwrap_or_default(),
                still_open,
            })
        };
        let lost = |why: String| {
            let exit = if ask.method == Method::GET {
                Exit::Precondition
            } else {
                Exit::Unknown
            };
            Failure::new(
                exit,
                format!(
                    "{} gave no answer to {} {}: {why}",
                    self.address(),
                    ask.method,
                    ask.path
                ),
            )
        };
        match tokio::time::timeout(ANSWER, exchange).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(lost(error.to_string())),
            Err(_) => Err(lost("not in time".to_owned())),
        }
    }

    async fn connect(&self) -> Result<tokio_rustls::client::TlsStream<TcpStream>, Failure> {
        let tcp = TcpStream::connect((self.host.as_str(), self.port))
            .await
            .map_err(|error| self.unreachable(&error.to_string()))?;
        self.tls.connect(self.name.clone(), tcp).await.map_err(|error| {
            self.unreachable(&format!("no TLS: {error}")).remedy(
                "--node-ca names who vouches for its certificate; --node-pin takes the certificate itself",
            )
        })
    }

    fn unreachable(&self, why: &str) -> Failure {
        Failure::new(
            Exit::Precondition,
            format!("no connection to {}: {why}", self.address()),
        )
        .remedy("[admin] of the node's file says where it listens")
    }

    fn refused(&self, status: StatusCode, said: &str) -> Failure {
        let failure = |exit, remedy: &str| {
            Failure::new(exit, format!("{}: {said} ({})", self.address(), status.as_u16())).remedy(remedy)
        };
        match status {
            StatusCode::UNAUTHORIZED => failure(
                Exit::NotAllowed,
                "the token is another one: see [admin] of the node's file",
            ),
            StatusCode::TOO_MANY_REQUESTS => failure(
                Exit::NotAllowed,
                "too many wrong tokens came from this address: wait for lockout_duration",
            ),
            StatusCode::BAD_REQUEST if is_of_the_command(said) => failure(Exit::Usage, ""),
            // What the node does not have, or cannot hold: as in a fleet, a precondition.
            StatusCode::BAD_REQUEST => failure(Exit::Precondition, ""),
            StatusCode::NOT_FOUND => failure(Exit::Precondition, ""),
            // A node of a fleet says itself what to do.
            StatusCode::NOT_IMPLEMENTED if said.contains("fleet") => failure(Exit::Precondition, ""),
            StatusCode::NOT_IMPLEMENTED => failure(
                Exit::Precondition,
                "its SQL source has no upsert_query and delete_query: change the mapping where it is kept",
            ),
            StatusCode::CONFLICT => failure(
                Exit::Precondition,
                "correct the mapping file by hand, and repeat the command",
            ),
            _ => failure(Exit::Precondition, ""),
        }
    }
}

/// A parameter that cannot be what it should be, whatever the node has.
fn is_of_the_command(said: &str) -> bool {
    said == "bad request"
        || ["missing parameter", "identifier: ", "seconds: "]
            .iter()
            .any(|start| said.starts_with(start))
}
