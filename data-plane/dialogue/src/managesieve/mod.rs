//! ManageSieve before login (RFC 5804): its words, toward both sides.
//!
//! - `client_side`: what the client is told, over `syntax`.
//! - `handshake`, `replay`: the part toward the backend, over `reply`.
//! - `token`: the pieces that a line with its literals is made of, for both.

mod client_side;
mod handshake;
mod replay;
mod reply;
mod syntax;
mod token;

use std::sync::Arc;

pub(crate) use client_side::ClientSide;
pub(crate) use handshake::Handshake;
pub(crate) use replay::replay;

use crate::command::{Farewell, HeldReply};

/// A quoted string holds no more octets than that (RFC 5804 §4); what is longer is a literal.
const QUOTED: usize = 1024;

/// What we say of ourselves.
pub(crate) struct Words {
    pub(crate) implementation: Arc<str>,
    pub(crate) sieve: Arc<[String]>,
}

pub(crate) const TEMPORARY_FAILURE: &[u8] =
    b"NO (TRYLATER) \"backend unavailable\"\r\nBYE (TRYLATER) \"backend unavailable\"\r\n";

pub(crate) const AUTHENTICATION_FAILED: &[u8] = b"NO \"Authentication failed.\"\r\n";

pub(crate) const BYE_AFTER_REFUSAL: &[u8] = b"BYE \"Not logged in, closing the connection.\"\r\n";

pub(crate) const fn farewell(why: Farewell) -> &'static [u8] {
    match why {
        Farewell::Timeout => b"BYE \"Nobody logged in for too long.\"\r\n",
        Farewell::Shutdown => b"BYE (TRYLATER) \"The server is going away, connect again.\"\r\n",
        Farewell::Busy => b"BYE (TRYLATER) \"Too many connections, connect again later.\"\r\n",
    }
}

pub(crate) const fn held(reply: HeldReply) -> &'static [u8] {
    match reply {
        HeldReply::Bye => b"BYE (TRYLATER) \"This mailbox is being moved, connect again.\"\r\n",
        HeldReply::No => {
            b"NO (TRYLATER) \"This mailbox is being moved, try again.\"\r\nBYE (TRYLATER) \"This mailbox is being moved.\"\r\n"
        }
    }
}
