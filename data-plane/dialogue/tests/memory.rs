//! Memory before login is bounded, whatever a client or a backend sends (behaviour §7.3). Alone in its program: it
//! measures the whole of it.
//!
//! Two bounds: what stays held while a connection waits, which counts as often as there are connections; and what a step
//! needs while it runs, which counts once a worker thread, since a step never waits.

#![allow(clippy::unwrap_used)]

mod support;

use mailswitch_dialogue::{Announce, BackendLeg, Dialogue, Protocol};
use peak_alloc::PeakAlloc;
use support::*;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// A line of 64 KiB, room for reads, and the state of the dialogue.
const HELD: usize = 64 * 1024 + 14 * 1024;
/// The same, the copy that it is decoded into, and one portion of output.
const STEP: usize = 2 * 64 * 1024 + 16 * 1024;

/// Memory, in bytes.
#[derive(Debug)]
struct Taken {
    held: usize,
    step: usize,
}

impl Taken {
    fn is_bounded(&self) -> bool {
        self.held <= HELD && self.step <= STEP
    }
}

/// The most memory that a dialogue and its buffers take for `total` bytes of `pattern`, over and over.
fn taken<D: Dialogue + ?Sized>(
    start: impl FnOnce() -> Box<D>,
    head: &[u8],
    pattern: &[u8],
    total: usize,
) -> Taken {
    let chunk = pattern.repeat(4096usize.div_ceil(pattern.len()));
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let mut wire = Wire::new(start());
    wire.deaf = true;
    wire.receive(head);
    let mut sent = 0;
    let mut held = 0;
    while sent < total && wire.done.is_none() {
        wire.receive(&chunk);
        sent += chunk.len();
        held = held.max(MEMORY.current_usage() - before);
    }
    Taken {
        held,
        step: MEMORY.peak_usage() - before,
    }
}

#[test]
fn memory_before_login_is_bounded() {
    const LONG: usize = 300_000;
    let many_strings = [
        b"\"a\" ".repeat(100),
        b"x".repeat(60_000),
        b")\r\na ID (".to_vec(),
    ]
    .concat();
    for (protocol, head, pattern) in [
        (Protocol::Imap, &b""[..], &b"x"[..]),
        (Protocol::Imap, b"", b"a NOOP\r\n"),
        (Protocol::Imap, b"", b"a CAPABILITY\r\n"),
        (Protocol::Imap, b"a ID (", b"("),
        (Protocol::Imap, b"a ID (", b"\"a\" "),
        (Protocol::Imap, b"a ID (", &many_strings),
        (Protocol::Imap, b"a LOGIN ", b"\\"),
        (Protocol::Imap, b"a LOGIN \"", b"\\\\"),
        (Protocol::Imap, b"a LOGIN {65000+}\r\n", b"x"),
        (Protocol::Imap, b"a LOGIN ", b"{900+}\r\n"),
        (Protocol::Imap, b"a AUTHENTICATE PLAIN\r\n", b"A"),
        (Protocol::Imap, b"a AUTHENTICATE PLAIN ", b"A "),
        (Protocol::Pop3, b"", b"x"),
        (Protocol::Pop3, b"", b"CAPA\r\n"),
        (Protocol::Pop3, b"USER ", b"x"),
        (Protocol::Pop3, b"USER ann\r\nPASS ", b"x"),
        (Protocol::Pop3, b"AUTH PLAIN\r\n", b"A"),
        (Protocol::ManageSieve, b"", b"x"),
        (Protocol::ManageSieve, b"", b"NOOP\r\n"),
        (Protocol::ManageSieve, b"", b"CAPABILITY\r\n"),
        (Protocol::ManageSieve, b"PUTSCRIPT \"a\" {65000+}\r\n", b"x"),
        (Protocol::ManageSieve, b"NOOP ", b"{900+}\r\n"),
        (Protocol::ManageSieve, b"NOOP \"", b"\\\\"),
        (Protocol::ManageSieve, b"AUTHENTICATE \"PLAIN\"\r\n", b"A"),
        (
            Protocol::ManageSieve,
            b"AUTHENTICATE \"PLAIN\"\r\n{65000+}\r\n",
            b"A",
        ),
        (Protocol::Submission, b"", b"x"),
        (Protocol::Submission, b"", b"EHLO x\r\n"),
        (Protocol::Submission, b"EHLO ", b"x"),
        (Protocol::Submission, b"AUTH PLAIN\r\n", b"A"),
        (Protocol::Submission, b"BDAT 99999999999\r\n", b"x"),
    ] {
        let taken = taken(|| client(protocol), head, pattern, LONG);
        assert!(
            taken.is_bounded(),
            "{taken:?} for {} {}",
            head.escape_ascii(),
            pattern.escape_ascii()
        );
    }
    for (protocol, head, pattern) in [
        (Protocol::Imap, &b""[..], &b"x"[..]),
        (Protocol::Imap, b"* OK hi\r\n", b"* 1 EXISTS\r\n"),
        (Protocol::Imap, b"* OK hi\r\n* X {60000}\r\n", b"x"),
        (Protocol::Imap, b"* OK hi\r\n* CAPABILITY ", b"A "),
        (Protocol::Pop3, b"", b"+"),
        (Protocol::Pop3, b"+OK hi\r\n+OK\r\n", b"x"),
        (Protocol::Pop3, b"+OK hi\r\n+OK\r\n", b"UIDL\r\n"),
        (Protocol::ManageSieve, b"", b"x"),
        (Protocol::ManageSieve, b"", b"\"X\" \"y\"\r\n"),
        (Protocol::ManageSieve, b"{60000}\r\n", b"x"),
        (Protocol::Submission, b"", b"2"),
        (Protocol::Submission, b"", b"220-x\r\n"),
        (Protocol::Submission, b"220 hi\r\n250-", b"x"),
    ] {
        let taken = taken(
            || backend(protocol, leg(BackendLeg::StartTls, Announce::Nothing)),
            head,
            pattern,
            LONG,
        );
        assert!(
            taken.is_bounded(),
            "{taken:?} for {} {}",
            head.escape_ascii(),
            pattern.escape_ascii()
        );
    }
    for (protocol, greeting, pattern) in [
        (
            Protocol::Imap,
            &b"* OK [CAPABILITY SASL-IR] hi\r\n"[..],
            &b"* 1 EXISTS\r\n"[..],
        ),
        (
            Protocol::Imap,
            b"* OK [CAPABILITY SASL-IR] hi\r\n",
            b"* X {3000}\r\n",
        ),
        (Protocol::Imap, b"* OK [CAPABILITY SASL-IR] hi\r\n", b"+ \r\n"),
        (Protocol::Pop3, b"+OK hi\r\n", b"+ \r\n"),
        (Protocol::Pop3, b"+OK hi\r\n", b"x"),
        (Protocol::ManageSieve, b"OK\r\n", b"\"\"\r\n"),
        (Protocol::ManageSieve, b"OK\r\n", b"NO {3000}\r\n"),
        (
            Protocol::Submission,
            b"220 hi\r\n250 hi\r\n",
            b"235-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n",
        ),
        (Protocol::Submission, b"220 hi\r\n250 hi\r\n", b"334 x\r\n"),
    ] {
        let replay = || {
            let handshake = backend(protocol, leg(BackendLeg::Plain, Announce::Nothing));
            let ready = run(handshake, &[greeting]).done.unwrap().unwrap();
            ready.replay(&login(protocol).credential)
        };
        let taken = taken(replay, b"", pattern, LONG);
        assert!(taken.is_bounded(), "{taken:?} for {}", pattern.escape_ascii());
    }
}

#[test]
fn a_connection_that_is_silent_holds_next_to_nothing() {
    for protocol in PROTOCOLS {
        let wire = Wire::new(client(protocol));
        assert_eq!(wire.input.capacity(), 4096, "one read");
        assert!(wire.output.capacity() < 1024);
    }
}

#[test]
fn a_credential_as_long_as_may_be_is_read_within_the_bound() {
    for protocol in PROTOCOLS {
        let frame = "A".repeat(63_000);
        let at_once = authenticate(protocol, "a", "PLAIN", Some(&frame));
        let prompted =
            authenticate(protocol, "a", "PLAIN", None) + &response(protocol, &frame) + &"x".repeat(1000);
        for script in [at_once, prompted] {
            let before = MEMORY.current_usage();
            MEMORY.reset_peak_usage();
            let mut wire = Wire::new(client(protocol));
            wire.deaf = true;
            wire.receive(script.as_bytes());
            let taken = Taken {
                held: MEMORY.current_usage() - before,
                step: MEMORY.peak_usage() - before,
            };
            assert!(taken.is_bounded(), "{protocol:?}: {taken:?}");
        }
    }
}
