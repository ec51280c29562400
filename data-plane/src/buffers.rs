//! The buffers of bridges and of TLS: taken from a pool while bytes move, given back when a session goes idle, so that ten
//! thousand idle sessions hold none.
//!
//! Two sizes: one TLS record, and what a bulk transfer deserves. The pool belongs to the thread; a buffer may be given back
//! on another one.

use std::cell::RefCell;

/// One TLS record of plain text (RFC 8446 §5.1).
pub(crate) const SMALL: usize = 16 * 1024;
/// Four records a call make bulk cheaper (measured).
const LARGE: usize = 64 * 1024;
/// Per thread and size: a burst's buffers go back to the allocator beyond this.
const KEPT: usize = 32;

/// A buffer's size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Size {
    Small,
    Large,
}

impl Size {
    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::Small => SMALL,
            Self::Large => LARGE,
        }
    }
}

#[derive(Default)]
struct Pool {
    small: Vec<Box<[u8]>>,
    large: Vec<Box<[u8]>>,
}

thread_local! {
    static POOL: RefCell<Pool> = RefCell::default();
}

/// Takes a buffer. What is in it is left from before: callers only look at what they wrote.
pub(crate) fn take(size: Size) -> Box<[u8]> {
    let kept = POOL.with_borrow_mut(|pool| match size {
        Size::Small => pool.small.pop(),
        Size::Large => pool.large.pop(),
    });
    kept.unwrap_or_else(|| vec![0; size.bytes()].into_boxed_slice())
}

/// Gives a buffer back. One of another size (bytes that were read before the bridge) is freed.
pub(crate) fn give_back(buffer: Box<[u8]>) {
    POOL.with_borrow_mut(|pool| {
        let kept = match buffer.len() {
            SMALL => &mut pool.small,
            LARGE => &mut pool.large,
            _ => return,
        };
        if kept.len() < KEPT {
            kept.push(buffer);
        }
    });
}
