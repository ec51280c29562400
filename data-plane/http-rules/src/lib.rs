//! What becomes of an HTTP request and of its answer (behaviour section 8): pure functions over parsed heads.
//!
//! No socket, no clock, no runtime, no HTTP library beyond its types. The way of a request:
//!
//! 1. [`Received::read`]: refused, or a head that has one meaning (8.1).
//! 2. [`Routes::find`]: the route of its path, none is 404 (8.2).
//! 3. [`Extractor::from_head`] or [`Extractor::from_body`]: the login that it names.
//! 4. [`Identity::of`]: cut, checked, normalised; everybody that the request acts for (promise A2).
//! 5. [`Received::outgoing`]: the head for the backend, made afresh for each attempt (8.3).
//! 6. [`Answer::read`]: the backend's answer for the client, or why it is none.
//!
//! [`Query`] is the one thing here that is of our own management API. [`Refusal`] is what we answer ourselves. Nothing here shows a credential, also not in `Debug`.

mod answer;
mod extract;
mod field;
mod forwarded;
mod identity;
mod query;
mod refusal;
mod replay;
mod request;
mod routes;
mod via;
mod websocket;

pub use answer::{Afterwards, Answer, AnswerBody, AnswerKind, BadAnswer};
pub use extract::{Extracted, Extractor, InvalidExtractor, Needs};
pub use field::relayed_trailers;
pub use forwarded::TellClient;
pub use identity::Identity;
pub use query::{NotUtf8, Query};
pub use refusal::{Refusal, own_answer};
pub use replay::Replay;
pub use request::{BodyLength, Exchange, Expect, Expectation, LegVersion, Opening, Received, Rest};
pub use routes::{InvalidRoute, Route, Routes, Target};
pub use via::Pseudonym;
pub use websocket::{Upgrade, WebSocketKey};
