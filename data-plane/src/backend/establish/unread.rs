//! A leg on which this node says and reads nothing of its own: what is passed through, and what another module speaks.

use std::time::Duration;

use super::{Connection, EstablishError, Purpose, hint};
use crate::backend::announce::ClientEnds;
use crate::drive::Leg;

/// For this client.
#[derive(Debug)]
pub struct Unread {
    /// Its connection.
    pub ends: ClientEnds,
}

/// A leg whose first byte is to come.
#[derive(Debug)]
pub struct Opened {
    /// The connection.
    pub leg: Leg,
    /// Measured at the connect.
    pub round_trip: Duration,
    /// What an end of it before its first byte often means, for a log line (behaviour §12).
    pub hint: &'static str,
}

impl Purpose for Unread {
    type Made = Opened;

    fn ends(&self) -> &ClientEnds {
        &self.ends
    }

    async fn begin(&self, connection: Connection<'_>) -> Result<Opened, EstablishError> {
        Ok(Opened {
            leg: connection.leg,
            round_trip: connection.round_trip,
            hint: hint(connection.endpoint.forwarding),
        })
    }
}
