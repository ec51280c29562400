//! SMTP and LMTP, passed through (behaviour §6.5): every connection goes to `[routing] smtp_passthrough_destination`,
//! and this node reads and says nothing on it. Nobody signs in, so no account is routed, held, kicked or drained here.
//!
//! The one thing that is said is `421 4.3.2`, when there is no bridge: a sender that is hung up on does not know whether
//! to come back.

use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::time::Instant;

use mailswitch_config::DestinationName;
use mailswitch_config::protocol::Keyword as _;
use mailswitch_config::table::routing::SmtpRouting;
use tokio::time::timeout;

use super::bridge::{self, EndReason, Legs, Overseer, Owner, Side, Stopped, Wish};
use super::close::Over;
use super::control::{Connection, Told};
use super::{Client, Front, answer, dialogue};
use crate::backend::establish::{EstablishError, Opened, Unread};
use crate::drive::Leg;
use crate::error_chain;
use crate::listen::Permit;
use crate::report::Open;
use crate::route::Refusal;
use crate::sessions::{End, LEG_END_TIMEOUT, PassedThrough, Phase};

/// Said to a client above the limits on clients, where that can be said in clear.
pub(crate) const BUSY: &[u8] = b"421 4.3.2 too many connections, try again later\r\n";

/// Why a connection is not passed on. The client hears the temporary failure.
#[derive(Debug, thiserror::Error)]
enum NoBridge {
    #[error("[routing] smtp_passthrough_destination is not set")]
    NoDestination,
    #[error("[routing] smtp_routing is \"recipient\", which this version does not serve")]
    ByRecipient,
    #[error(transparent)]
    NotServing(#[from] Refusal),
    #[error(transparent)]
    Establish(#[from] EstablishError),
    #[error("the node stops")]
    Stopping,
}

/// From a connection whose client is known to its bridge. Ends when that begins, or when there is none.
pub(super) async fn pass_through(mut leg: Leg, client: Client, front: &Front) {
    let listed = match destination(front) {
        Ok(destination) => {
            let sessions = front.node.knowledge.sessions();
            sessions.pass_through(client.about(front), destination)
        }
        Err(error) => return refuse(leg, &error, None, &client, front).await,
    };
    let made = tokio::select! {
        biased;
        made = establish(&listed, &client, front) => made,
        () = client.connection.control().told_to_end() => Err(NoBridge::Stopping),
        () = dialogue::client_gone(&mut leg) => {
            tracing::debug!("the client left before it was passed through");
            return;
        }
    };
    match made {
        Ok(opened) => begin(leg, opened, client, listed),
        Err(error) => {
            let destination = listed.destination().clone();
            refuse(leg, &error, Some(&destination), &client, front).await;
        }
    }
}

fn destination(front: &Front) -> Result<DestinationName, NoBridge> {
    front.node.knowledge.sessions().serves()?;
    let policy = front.node.policy();
    let routing = &policy.fleet.routing;
    match routing.smtp_routing {
        SmtpRouting::Passthrough => {
            let destination = routing.smtp_passthrough_destination.clone();
            destination.ok_or(NoBridge::NoDestination)
        }
        SmtpRouting::Recipient => Err(NoBridge::ByRecipient),
    }
}

async fn establish(listed: &PassedThrough, client: &Client, front: &Front) -> Result<Opened, NoBridge> {
    let protocol = front.listener.protocol;
    let purpose = Unread { ends: client.ends };
    let backends = front.node.backends();
    let backend = backends.get(listed.destination())?;
    Ok(backends.establish(&backend, protocol, &purpose).await?)
}

/// RFC 5321 §3.8: 421 is what a server says that cannot serve, also as its first words.
async fn refuse(
    leg: Leg,
    error: &NoBridge,
    destination: Option<&DestinationName>,
    client: &Client,
    front: &Front,
) {
    let destination = destination.map(DestinationName::as_str);
    match error {
        NoBridge::Establish(error) => tracing::warn!(
            destination,
            stage = error.stage().as_str(),
            cause = error_chain(error),
            "backend unavailable"
        ),
        NoBridge::Stopping => tracing::debug!("closed before it was passed through: the node stops"),
        other => tracing::warn!(destination, cause = %other, "backend unavailable"),
    }
    let local = client.ends.local.ip();
    let machine = front.node.machine();
    let hostname = machine
        .hostname
        .as_deref()
        .map_or_else(|| local.to_string(), str::to_owned);
    let words = format!("421 4.3.2 {hostname} service not available, try again later\r\n");
    answer::say_and_close(leg, words.as_bytes()).await;
}

/// What a session holds beside its streams while it is passed through.
struct Passing {
    listed: PassedThrough,
    connection: Connection,
    since: Instant,
    /// What an early end of the backend often means.
    hint: &'static str,
    _permit: Permit,
    _open: Open,
}

fn begin(client_leg: Leg, opened: Opened, client: Client, listed: PassedThrough) {
    let (client_stream, from_client) = client_leg.into_parts();
    let (backend_stream, _nothing) = opened.leg.into_parts();
    let (Some(client_stream), Some(backend_stream)) = (client_stream, backend_stream) else {
        return;
    };
    let legs = Legs {
        client: client_stream,
        backend: backend_stream,
        // From a client that did not wait for the greeting. What becomes of it is the backend's to say.
        first_to_backend: from_client.into_rest().to_vec(),
        first_to_client: Vec::new(),
        round_trip: opened.round_trip,
    };
    let Client {
        mut permit,
        connection,
        ..
    } = client;
    permit.signed_in();
    let since = Instant::now();
    connection.control().bridged(since);
    listed.enters(Phase::Bridged);
    tracing::debug!(destination = %listed.destination(), "passed through");
    let report = listed.sessions().report();
    let passing = Passing {
        _open: report.open(listed.destination(), listed.about().protocol),
        listed,
        connection,
        since,
        hint: opened.hint,
        _permit: permit,
    };
    tokio::spawn(bridge::Task::new(legs, passing));
}

impl Overseer for Passing {
    fn wish(&self, cx: &Context<'_>) -> Wish {
        match self.connection.control().told(cx) {
            Told::Nothing => Wish::Move,
            Told::Idle => Wish::Stop(EndReason::Idle),
            Told::Stop => Wish::Stop(EndReason::Shutdown),
        }
    }

    /// It belongs to no account.
    fn may_move(&self) -> bool {
        true
    }

    fn moved(&self, now: Instant) {
        self.connection.control().moved(now);
    }
}

impl Owner for Passing {
    fn end(self, stopped: Stopped) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(end(self, stopped))
    }
}

async fn end(passing: Passing, stopped: Stopped) {
    let listed = &passing.listed;
    listed.enters(Phase::Ending);
    let over = Over::of(&stopped, listed.destination().clone(), passing.since);
    if stopped.to_client == 0 && stopped.first_to_end == Some(Side::Backend) {
        let about = listed.about();
        tracing::warn!(
            session = %about.id,
            listener = %about.listener,
            protocol = about.protocol.as_str(),
            peer = %about.client,
            destination = listed.destination().as_str(),
            stage = "greeting",
            cause = format!("the backend closed before it said anything{}", passing.hint),
            "backend unavailable"
        );
    }
    let (client_end, backend_end) = stopped.into_ends();
    // Nobody waits for a proof of this leg's end: what does not end in time is reset.
    let (ended, ()) = tokio::join!(timeout(LEG_END_TIMEOUT, backend_end), client_end);
    let how = ended.map_or(End::Reset, |()| End::BackendClosed);
    let report = Arc::clone(listed.sessions().report());
    over.tell(listed.about(), how, &None, &report);
}
