//! POP3 before login (RFC 1939, 2449, 2595, 5034, 3206, 6856): its words, toward both sides.
//!
//! - `client_side`: what the client is told, over `syntax`.
//! - `handshake`, `replay`: the part toward the backend, over `reply`; `xclient` writes what it is told of the client.

mod client_side;
mod handshake;
mod replay;
mod reply;
mod syntax;

use std::sync::Arc;

pub(crate) use client_side::ClientSide;
pub(crate) use handshake::Handshake;
pub(crate) use replay::replay;

use crate::command::{Farewell, HeldReply};

/// What we say of ourselves.
pub(crate) struct Words {
    pub(crate) banner: Arc<str>,
    pub(crate) implementation: &'static str,
}

/// Whether the client has asked for UTF-8: only before login, so the backend must hear it from us (RFC 6856 §2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Utf8 {
    Asked,
    NotAsked,
}

// fetchmail reads the text, not the code of RFC 3206: a refusal without "wait" (or "lock") is a wrong password to it.

/// RFC 3206: the client is not to ask for another password.
pub(crate) const TEMPORARY_FAILURE: &[u8] = b"-ERR [SYS/TEMP] backend unavailable, wait and try again\r\n";

pub(crate) const AUTHENTICATION_FAILED: &[u8] = b"-ERR [AUTH] Authentication failed.\r\n";

pub(crate) const fn farewell(why: Farewell) -> &'static [u8] {
    match why {
        // RFC 1939 §3: "the server should … close the TCP connection without … sending any response".
        Farewell::Timeout => b"",
        Farewell::Shutdown => b"-ERR [SYS/TEMP] The server is going away, wait and connect again\r\n",
        Farewell::Busy => b"-ERR [SYS/TEMP] Too many connections, wait and connect again\r\n",
    }
}

pub(crate) const fn held(reply: HeldReply) -> &'static [u8] {
    match reply {
        // POP3 has no goodbye: a client whose connection ends tries again without asking for a password.
        HeldReply::Bye => b"",
        HeldReply::No => b"-ERR [SYS/TEMP] This mailbox is being moved, wait and try again\r\n",
    }
}
