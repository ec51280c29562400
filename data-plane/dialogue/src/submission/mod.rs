//! Submission before login (RFC 6409, 5321, 4954, 3207, 2034): its words, toward both sides.
//!
//! - `client_side`: the dialogue toward the client, over `syntax`.
//! - `handshake`, `replay`: the dialogues toward the backend, over `reply`; `xclient` writes the attributes.

mod client_side;
mod handshake;
mod replay;
mod reply;
mod syntax;
mod xclient;

use std::sync::Arc;

pub(crate) use client_side::ClientSide;
pub(crate) use handshake::Handshake;
pub(crate) use replay::replay;

use crate::command::{Farewell, HeldReply};

/// What we say of ourselves.
pub(crate) struct Words {
    pub(crate) hostname: Arc<str>,
    pub(crate) banner: Arc<str>,
    pub(crate) ehlo: Arc<[String]>,
}

pub(crate) const TEMPORARY_FAILURE: &[u8] = b"421 4.3.0 backend unavailable\r\n";

pub(crate) const AUTHENTICATION_FAILED: &[u8] = b"535 5.7.8 Authentication failed.\r\n";

pub(crate) const fn farewell(why: Farewell) -> &'static [u8] {
    match why {
        Farewell::Timeout => b"421 4.4.2 Nobody authenticated for too long, closing connection\r\n",
        Farewell::Shutdown => b"421 4.3.2 The server is going away, connect again\r\n",
        Farewell::Busy => b"421 4.7.0 Too many connections, connect again later\r\n",
    }
}

pub(crate) const fn held(reply: HeldReply) -> &'static [u8] {
    match reply {
        HeldReply::Bye => b"421 4.3.2 This mailbox is being moved, connect again\r\n",
        // RFC 4954 §6: the client may try again on a new connection.
        HeldReply::No => {
            b"454 4.7.0 This mailbox is being moved, try again\r\n421 4.3.2 closing connection\r\n"
        }
    }
}
