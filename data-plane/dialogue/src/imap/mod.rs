//! IMAP before login (RFC 9051, 3501; 4959, 7888, 2971, 5530): its words, toward both sides.
//!
//! - `client_side`: the dialogue toward the client, over `syntax`.
//! - `handshake`, `replay`: the dialogues toward the backend, over `response`.

mod client_side;
mod handshake;
mod replay;
mod response;
mod syntax;

use std::sync::Arc;

pub(crate) use client_side::ClientSide;
pub(crate) use handshake::{Handshake, ReadyLeg};
pub(crate) use replay::replay;

use crate::command::{Farewell, HeldReply};
use crate::limits;

/// What we say of ourselves.
pub(crate) struct Words {
    pub(crate) banner: Arc<str>,
    pub(crate) advertise: Arc<[String]>,
}

/// A command's tag: 1*ASTRING-CHAR without `+`, at most 128 bytes. It is replayed to the backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tag(Box<[u8]>);

impl Tag {
    pub(crate) fn new(bytes: &[u8]) -> Option<Self> {
        let fits = (1..=limits::TAG).contains(&bytes.len()) && bytes.iter().copied().all(is_tag_byte);
        fits.then(|| Self(bytes.into()))
    }

    pub(crate) fn probe() -> Self {
        Self((*b"A1").into())
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// ASTRING-CHAR is any ATOM-CHAR or `]`.
fn is_tag_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'(' | b')' | b'{' | b'%' | b'*' | b'"' | b'\\' | b'+')
}

pub(crate) const BYE_AFTER_REFUSAL: &[u8] = b"* BYE Not logged in, closing the connection.\r\n";

pub(crate) const fn farewell(why: Farewell) -> &'static [u8] {
    match why {
        Farewell::Timeout => b"* BYE Autologout; nobody logged in for too long.\r\n",
        Farewell::Shutdown => b"* BYE The server is going away, connect again.\r\n",
        Farewell::Busy => b"* BYE Too many connections, connect again later.\r\n",
    }
}

pub(crate) fn temporary_failure(tag: &Tag) -> Vec<u8> {
    tagged(
        tag,
        b"NO [UNAVAILABLE] backend unavailable\r\n* BYE backend unavailable\r\n",
    )
}

pub(crate) fn authentication_failed(tag: &Tag) -> Vec<u8> {
    tagged(tag, b"NO [AUTHENTICATIONFAILED] Authentication failed.\r\n")
}

pub(crate) fn held(tag: &Tag, reply: HeldReply) -> Vec<u8> {
    match reply {
        HeldReply::Bye => b"* BYE This mailbox is being moved, connect again.\r\n".to_vec(),
        HeldReply::No => tagged(
            tag,
            b"NO [UNAVAILABLE] This mailbox is being moved, try again.\r\n* BYE This mailbox is being moved.\r\n",
        ),
    }
}

fn tagged(tag: &Tag, rest: &[u8]) -> Vec<u8> {
    [tag.as_bytes(), b" ", rest].concat()
}
