//! Real servers and real clients with a node between them: what gets in, what gets through, and as whom the servers
//! saw the client. Each file is one topic.

mod addresses;
mod bulk;
mod cyrus;
mod every_kind;
mod idle;
mod moved;
mod passed_through;
mod pipelined;
mod programs;
mod servers;

use std::time::Duration;

use mailswitch_tests::lone::Listener;

pub(crate) const ALICE: &str = "alice@example.org";
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// A listener of every protocol with logins.
pub(crate) const EVERY_LISTENER: &[Listener] = &[
    ("imap", "implicit"),
    ("imap", "starttls"),
    ("pop3", "implicit"),
    ("pop3", "starttls"),
    ("managesieve", "implicit"),
    ("managesieve", "starttls"),
    ("submission", "implicit"),
    ("submission", "starttls"),
];
