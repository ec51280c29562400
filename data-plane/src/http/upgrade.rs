//! A request that becomes a WebSocket (behaviour 8.3; RFC 6455, over HTTP/2 RFC 8441): the backend's 101 is relayed, then
//! bytes are bridged both ways, those first that were read behind either head. It is a session until it ends, like any
//! bridged one.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use mailswitch_http_rules::Answer;
use tokio::sync::oneshot;

use super::busy::Busy;
use super::connection::Connection;
use super::exchange::Going;
use super::leg::Leg;
use super::pressed::broken_off;
use crate::listen::Permit;
use crate::route::Route;
use crate::session::admit::Guard;
use crate::session::bridge::{self, Legs};
use crate::session::close::Bridged;
use crate::session::control;
use crate::tls::Stream;

/// A client's connection of HTTP/1.1, behind a 101.
#[derive(Debug)]
pub(super) struct ClientHalf {
    pub(super) stream: Stream,
    /// What the client sent behind its request.
    pub(super) rest: Bytes,
    pub(super) connection: control::Connection,
    pub(super) permit: Option<Permit>,
}

/// Both legs of a WebSocket, ready to be bridged.
#[derive(Debug)]
pub(super) struct Switched {
    legs: Client,
    guard: Guard,
    route: Route,
    connection: control::Connection,
    permit: Option<Permit>,
}

#[derive(Debug)]
enum Client {
    Http1(Legs<Stream>),
    /// One stream of a connection, which is not idle meanwhile.
    Http2(Legs<TokioIo<Upgraded>>, Busy),
}

impl Switched {
    /// Tells the client, and takes both connections back from the HTTP library. None: one side has gone.
    pub(super) async fn begin(
        answer: Answer,
        leg: Leg,
        guard: Guard,
        route: Route,
        going: Going,
        connection: &Arc<Connection>,
    ) -> Option<Self> {
        let round_trip = leg.round_trip;
        let version = answer.head.version;
        let half = oneshot::channel();
        if version != http::Version::HTTP_2 {
            *connection.switching.lock() = Some(half.0);
        }
        let told = going.to_client.switch(answer);
        let Some((backend, first_to_client)) = leg.into_switched().await else {
            // The backend's connection failed as it switched.
            guard.end_leg(std::future::ready(())).await;
            return None;
        };
        let Ok(busy) = told else {
            guard.end_leg(bridge::ending::end_backend(backend)).await;
            return None;
        };
        let first_to_client = first_to_client.to_vec();
        let client = async {
            if version == http::Version::HTTP_2 {
                let upgraded = going.upgraded.await.ok()?;
                Some(ClientSide::Http2(upgraded, busy))
            } else {
                // Its connection is handed over: a client that does not take the 101 is late.
                drop(busy);
                half.1.await.ok().map(ClientSide::Http1)
            }
        };
        let client = tokio::select! {
            biased;
            client = client => client,
            _ = broken_off(guard.registered()) => None,
        };
        let Some(client) = client else {
            guard.end_leg(bridge::ending::end_backend(backend)).await;
            return None;
        };
        let (legs, control, permit) = match client {
            ClientSide::Http1(half) => (
                Client::Http1(Legs {
                    client: half.stream,
                    backend,
                    first_to_backend: half.rest.to_vec(),
                    first_to_client,
                    round_trip,
                }),
                half.connection,
                half.permit,
            ),
            ClientSide::Http2(upgraded, busy) => {
                let legs = Legs {
                    client: TokioIo::new(upgraded),
                    backend,
                    first_to_backend: Vec::new(),
                    first_to_client,
                    round_trip,
                };
                (
                    Client::Http2(legs, busy),
                    connection.front.node.connections.open(),
                    None,
                )
            }
        };
        Some(Self {
            legs,
            guard,
            route,
            connection: control,
            permit,
        })
    }

    /// Moves bytes until one side ends, or the session is told to.
    pub(super) async fn run(self: Box<Self>) {
        let Self {
            legs,
            guard,
            route,
            connection,
            permit,
        } = *self;
        let since = Instant::now();
        connection.control().bridged(since);
        let bridged = Bridged::new(guard, connection, permit, route.destination, since);
        match legs {
            Client::Http1(legs) => bridge::Task::new(legs, bridged).await,
            Client::Http2(legs, busy) => {
                bridge::Task::new(legs, bridged).await;
                drop(busy);
            }
        }
    }
}

enum ClientSide {
    Http1(ClientHalf),
    Http2(Upgraded, Busy),
}
