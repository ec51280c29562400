//! The one writer: what routes changes here and nowhere else (style 12).
//!
//! A change is a struct that says how it is made (`Change::make`); `Writer::commit` runs it in one transaction, which is
//! one revision. The path: `context` (who asks, why) -> `mapping`, `account`, `arming`, `resource`, `node`, `fence` (what is asked, and
//! whether it may be) -> `draft` (what it does) -> `writer` (an `attempt` after the other; what became of `earlier` ones;
//! `made`: number, digest, commit) -> `log` (how readers follow). `memory` and `doubt`: may the database be believed?

pub mod account;
pub mod arming;
mod attempt;
pub mod context;
pub mod doubt;
pub mod draft;
mod earlier;
pub mod error;
pub mod fence;
pub mod log;
mod made;
pub mod mapping;
pub mod memory;
pub mod node;
pub(crate) mod patience;
pub mod resource;
pub mod rules;
pub mod sessions;
mod transaction;
pub mod writer;
mod wrong;

pub use context::{Actor, Context, Mode};
pub use draft::Draft;
pub use error::{Detail, Error, Refusal, RefusalKind};
pub use writer::{Change, Committed, Writer};
