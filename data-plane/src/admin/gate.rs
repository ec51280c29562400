//! What is checked of every request before its endpoint sees it, in this order: `/healthz` (a probe's address that is
//! locked out still sees health), lockout, token, path and method. Syntax was checked by the HTTP library; what it could
//! not read is answered here too, behind the lockout.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::Request;
use axum::http::uri::{PathAndQuery, Uri};
use axum::http::{Method, header};
use axum::response::{IntoResponse as _, Response};
use mailswitch_config::table::admin::Admin;
use parking_lot::Mutex;
use tower::ServiceExt as _;

use super::answer::{CLOSE, Refusal, line};
use super::lockout::{Lockout, Policy};
use super::token::Token;
use super::{Api, routes};

/// Token and lockout.
#[derive(Debug)]
pub(super) struct Gate {
    token: Token,
    policy: Mutex<Policy>,
    lockout: Mutex<Lockout>,
}

impl Gate {
    pub(super) fn new(admin: &Admin) -> Self {
        Self {
            token: Token::new(&admin.token),
            policy: Mutex::new(of(admin)),
            lockout: Mutex::default(),
        }
    }

    /// Another configuration: the lockout follows it, the token waits for a restart.
    pub(super) fn follow(&self, admin: &Admin) {
        *self.policy.lock() = of(admin);
    }

    fn check_lockout(&self, client: SocketAddr) -> Result<(), Refusal> {
        let policy = *self.policy.lock();
        match self.lockout.lock().remaining(client.ip(), Instant::now(), policy) {
            Some(remaining) => Err(Refusal::LockedOut(remaining)),
            None => Ok(()),
        }
    }

    fn check_token(&self, client: SocketAddr, request: &Request) -> Result<(), Refusal> {
        if self.token.is_shown_by(request.headers()) {
            self.lockout.lock().succeeded(client.ip());
            return Ok(());
        }
        let policy = *self.policy.lock();
        self.lockout.lock().failed(client.ip(), Instant::now(), policy);
        tracing::warn!("a request to the management API without the right token");
        Err(Refusal::Unauthorized)
    }
}

fn of(admin: &Admin) -> Policy {
    Policy {
        threshold: admin.lockout_threshold,
        duration: admin.lockout_duration,
    }
}

impl Api {
    /// The answer to a request. Its body is not read.
    pub(super) async fn answer(self: Arc<Self>, client: SocketAddr, request: Request) -> Response {
        let mut response = match self.admit(client, &request) {
            Ok(Admitted::Healthz) => self.healthz(request.method()),
            Ok(Admitted::Endpoint) => match routes(self).oneshot(plainly(request)).await {
                Ok(response) => response,
                Err(never) => match never {},
            },
            Err(refusal) => refusal.into_response(),
        };
        response.headers_mut().insert(header::CONNECTION, CLOSE);
        response
    }

    /// What is answered to what could not be read.
    pub(super) fn unreadable(&self, client: SocketAddr, refusal: Refusal) -> Refusal {
        self.gate.check_lockout(client).err().unwrap_or(refusal)
    }

    fn admit(&self, client: SocketAddr, request: &Request) -> Result<Admitted, Refusal> {
        if path(request.uri()) == "/healthz" {
            return Ok(Admitted::Healthz);
        }
        self.gate.check_lockout(client)?;
        self.gate.check_token(client, request)?;
        Ok(Admitted::Endpoint)
    }

    fn healthz(&self, method: &Method) -> Response {
        if method != Method::GET {
            return Refusal::Method("GET").into_response();
        }
        if self.accepting.is_cancelled() {
            return Refusal::Stopping.into_response();
        }
        if self.node.knowledge.sessions().is_draining() {
            return Refusal::Draining.into_response();
        }
        line("ok")
    }
}

enum Admitted {
    Healthz,
    Endpoint,
}

/// Slashes at the end are nothing.
fn path(uri: &Uri) -> &str {
    uri.path().trim_end_matches('/')
}

/// The request with the path that the routes know.
fn plainly(mut request: Request) -> Request {
    let uri = request.uri();
    let path = match path(uri) {
        "" => "/",
        path => path,
    };
    let plain = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    // Parts of one that was read can be read again; if not, nothing has that path.
    *request.uri_mut() = PathAndQuery::try_from(plain).map_or_else(|_| Uri::default(), Uri::from);
    request
}
