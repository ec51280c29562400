//! What the requests of one client's connection share.

use std::sync::Arc;

use http::Version;
use hyper::body::Incoming;
use hyper::service::Service;
use hyper::{Request, Response};
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore, oneshot};

use super::answer::{Last, ToClient};
use super::busy::Activity;
use super::download::Download;
use super::limits::MOST_UNFINISHED;
use super::pool::Pool;
use super::upgrade::ClientHalf;
use crate::backend::announce::ClientEnds;
use crate::listen::Permit;
use crate::session::Front;
use crate::sessions::SessionId;

/// A client's connection that speaks HTTP.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) front: Arc<Front>,
    pub(super) ends: ClientEnds,
    pub(super) pool: Pool,
    /// Counted among those who have not signed in until a request is admitted.
    pub(super) permit: Mutex<Option<Permit>>,
    /// HTTP/1.1: who gets the connection itself, behind a 101.
    pub(super) switching: Mutex<Option<oneshot::Sender<ClientHalf>>>,
    /// HTTP/2: no further request is to begin.
    pub(super) enough: Notify,
    /// One for each request that is not over at its backend.
    unfinished: Arc<Semaphore>,
    id: SessionId,
    pub(super) activity: Arc<Activity>,
}

impl Connection {
    pub(super) fn new(
        front: &Arc<Front>,
        ends: ClientEnds,
        id: SessionId,
        permit: Permit,
        activity: &Arc<Activity>,
    ) -> Arc<Self> {
        Arc::new(Self {
            front: Arc::clone(front),
            ends,
            pool: Pool::default(),
            permit: Mutex::new(Some(permit)),
            switching: Mutex::default(),
            enough: Notify::new(),
            unfinished: Arc::new(Semaphore::new(MOST_UNFINISHED)),
            id,
            activity: Arc::clone(activity),
        })
    }

    /// A request is on its way to a backend.
    pub(super) fn signed_in(&self) {
        if let Some(permit) = self.permit.lock().as_mut() {
            permit.signed_in();
        }
    }

    /// Of one request: both sides' logs of a connection can be joined, and each request be told apart.
    pub(super) fn session_id(&self, number: u64) -> SessionId {
        SessionId::new(&format!("{}-{number:x}", self.id))
    }
}

/// Makes a task of each request: it outlives a client that goes away, until its backend's leg is over.
#[derive(Debug, Clone)]
pub(super) struct Requests(pub(super) Arc<Connection>);

impl Service<Request<Incoming>> for Requests {
    type Response = Response<Download>;
    type Error = Abandoned;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Response<Download>, Abandoned>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let connection = &self.0;
        let (number, busy) = connection.activity.begin();
        let policy = connection.front.node.policy();
        let most = policy.fleet.http.max_keepalive_requests;
        let retiring = connection.front.node.knowledge.sessions().is_retiring();
        let last = if retiring || (most > 0 && number >= most) {
            connection.enough.notify_one();
            Last::Yes
        } else {
            Last::No
        };
        let version = match request.version() {
            Version::HTTP_2 => Version::HTTP_2,
            _ => Version::HTTP_11,
        };
        let (to_client, answer) = ToClient::new(connection, busy, version, last);
        match Arc::clone(&connection.unfinished).try_acquire_owned() {
            Ok(place) => {
                let served = super::request::serve(request, number, to_client, Arc::clone(connection));
                tokio::spawn(async move {
                    served.await;
                    drop(place);
                });
            }
            Err(_full) => to_client.too_many(),
        }
        Box::pin(async move { answer.await.map_err(|_| Abandoned) })
    }
}

/// A request's task went away without an answer: the connection is closed.
#[derive(Debug, thiserror::Error)]
#[error("the request was given up")]
pub(super) struct Abandoned;
