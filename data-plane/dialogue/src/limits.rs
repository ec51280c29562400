//! The bounds of a dialogue: what a peer may make us hold, and for how long it may keep us answering.

/// A line, literal or SASL response, and all arguments of one command together (behaviour §1). Stops a peer
/// that never ends its line; large enough for any OAuth token in use.
pub const LINE_LIMIT: usize = 64 * 1024;

/// What one read may add to a full line: the buffer never holds more than `LINE_LIMIT` and this.
pub(crate) const READ_SIZE: usize = 4 * 1024;

/// A step stops answering pipelined commands at this much unwritten output: a client that does not read its
/// replies must not grow them (64 KiB of `NOOP` would draw many times that in replies).
pub(crate) const OUTPUT_ENOUGH: usize = 8 * 1024;

/// Lines of one reply of a backend (behaviour §4).
pub(crate) const REPLY_LINES: usize = 256;

/// Bytes of one reply of a backend, all lines together: it is held until its end is known.
pub(crate) const REPLY_BYTES: usize = 64 * 1024;

/// Challenges that a backend may send during one authentication (behaviour §6.6).
pub(crate) const CONTINUATIONS: usize = 64;

/// Longest IMAP tag: it is replayed to the backend (behaviour §6.1).
pub(crate) const TAG: usize = 128;

/// Longest `EHLO` argument that is passed on (RFC 5321 §4.5.3.1.2).
pub(crate) const HELO: usize = 255;
