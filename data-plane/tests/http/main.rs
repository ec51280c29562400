//! The path of a request through a node in this process, in front of backends that a test plays byte by byte. Real servers
//! and clients are in the end-to-end tests.

mod back_and_forth;
mod before_login;
mod bodies;
mod cutover;
mod http2;
mod http2_backend;
mod http2_websocket;
mod lapse;
mod legs;
mod parsing;
mod rig;
mod routing;
mod secrets;
mod told;
mod websocket;
