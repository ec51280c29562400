//! Real servers and real clients with a node between them: what gets in, what gets through, and as whom the servers
//! saw the client. Each file is one topic.

mod bulk;
mod cyrus;
mod idle;
mod pipelined;
mod servers;

use std::time::Duration;

pub(crate) const ALICE: &str = "alice@example.org";
pub(crate) const SOON: Duration = Duration::from_secs(20);
