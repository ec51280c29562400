//! A leg for a login: greeting, STARTTLS, who the client is, up to the point where a credential could be sent. Nothing
//! here has seen one.

use std::sync::Arc;
use std::time::Duration;

use mailswitch_dialogue::{
    Announce, ClientAttributes, ClientCommand, HandshakeConfig, Helo, PlaintextAuth, Ready, handshake,
};

use super::error::failed;
use super::{Connection, EstablishError, Purpose, Stage, hint};
use crate::backend::announce::ClientEnds;
use crate::drive::{Leg, Upgrade};

/// On whose behalf a leg is made.
#[derive(Debug)]
pub struct Caller<'a> {
    /// The client's connection.
    pub ends: ClientEnds,
    /// The login that waits.
    pub command: &'a ClientCommand,
    /// The client's EHLO argument.
    pub helo: Option<&'a Helo>,
    /// `server.hostname`.
    pub hostname: Option<Arc<str>>,
    /// `allow_plaintext_auth` of the destination.
    pub plaintext: PlaintextAuth,
    /// What XCLIENT and ID say. None: the leg has neither.
    pub attributes: Option<ClientAttributes>,
}

/// A leg that waits for the credential.
#[derive(Debug)]
pub struct Established {
    /// The connection, and what the backend sent ahead.
    pub leg: Leg,
    /// The backend's side of the login.
    pub ready: Ready,
    /// Measured at the connect.
    pub round_trip: Duration,
}

impl Purpose for Caller<'_> {
    type Made = Established;

    fn ends(&self) -> &ClientEnds {
        &self.ends
    }

    async fn begin(&self, connection: Connection<'_>) -> Result<Established, EstablishError> {
        let Connection {
            mut leg,
            secured,
            round_trip,
            endpoint,
            tls,
        } = connection;
        let hint = hint(endpoint.forwarding);
        let mut dialogue = handshake(
            self.command,
            HandshakeConfig {
                leg: secured,
                plaintext: self.plaintext,
                announce: match &self.attributes {
                    Some(attributes) => Announce::Attributes(attributes.clone()),
                    None => Announce::Nothing,
                },
                helo: self.helo.cloned(),
                hostname: self.hostname.clone(),
            },
        );
        let upgrade = tls.map_or(Upgrade::Never, Upgrade::Client);
        let ready = leg
            .drive(&mut *dialogue, upgrade)
            .await
            .map_err(|error| failed(error, Stage::Handshake, hint))?
            .map_err(|source| EstablishError::Handshake { hint: "", source })?;
        tracing::debug!(announced = ?ready.announced(), utf8 = ?ready.utf8(), "the backend waits for the credential");
        Ok(Established {
            leg,
            ready,
            round_trip,
        })
    }
}
