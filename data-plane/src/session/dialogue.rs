//! The dialogue with the client, up to its login. The words are in the dialogue crate; here is what they are to know,
//! and what ends them: the client, the time, a stop of the process.

use mailswitch_dialogue::{
    ClientLeg, ClientOutcome, ClientSideConfig, Farewell, Login, PeerTrust, Protocol, client_side, farewell,
};
use mailswitch_telemetry::name;
use tokio::time::timeout;
use tracing::Instrument as _;

use super::bridge::ending::end_client;
use super::{Client, Front};
use crate::drive::{DriveError, Leg, Upgrade};
use crate::error_chain;

/// Reads the login. None: the connection is closed, and the client was told what there was to tell.
pub(super) async fn read_login(
    mut leg: Leg,
    encryption: ClientLeg,
    client: &Client,
    protocol: Protocol,
    front: &Front,
) -> Option<(Leg, Box<Login>)> {
    let policy = front.node.policy();
    let mut dialogue = client_side(ClientSideConfig {
        presentation: policy.presentation(
            protocol,
            front.node.machine().hostname.as_ref(),
            client.ends.local.ip(),
        ),
        access: policy.access(protocol, front.listener.max_auth_attempts),
        leg: encryption,
        peer: if front.listener.trusts(client.ends.client.ip()) {
            PeerTrust::Proxy
        } else {
            PeerTrust::Client
        },
    });
    drop(policy);
    let words = leg
        .drive(&mut *dialogue, Upgrade::Server(&front.node.tls))
        .instrument(tracing::info_span!(name::span::DIALOGUE));
    let ended = tokio::select! {
        biased;
        ended = timeout(front.listener.preauth_timeout, words) => ended.map_err(|_| Farewell::Timeout),
        () = client.connection.control().told_to_end() => Err(Farewell::Shutdown),
    };
    match ended {
        Ok(Ok(ClientOutcome::Login(login))) => return Some((leg, login)),
        Ok(Ok(ClientOutcome::Closed(why))) => tracing::debug!(?why, "closed before a login"),
        // Nobody is there to be told anything.
        Ok(Err(DriveError::Closed | DriveError::Io(_))) => return None,
        Ok(Err(error)) => tracing::debug!(error = error_chain(&error), "the dialogue failed"),
        Err(why) => {
            tracing::debug!(?why, "closed before a login");
            // The client may not read: what could not be said within a moment is not said.
            let said = leg.say(farewell(protocol, why));
            let _ = timeout(super::answer::MAY_TAKE, said).await;
        }
    }
    if let (Some(stream), _) = leg.into_parts() {
        end_client(stream).await;
    }
    None
}

/// Ends when the client hangs up; keeps what it sends meanwhile, as much as there is room for.
pub(super) async fn client_gone(leg: &mut Leg) {
    loop {
        match leg.read_ahead().await {
            Ok(true) => {}
            // No room: it waits in the socket, and a hang-up behind it is noticed later.
            Ok(false) => return std::future::pending().await,
            Err(_) => return,
        }
    }
}
