//! The wire, held to its contract over raw sockets: what a client of a node alone reads, byte for byte, and what a
//! backend behind it was sent. Each file is one topic.

mod arriving;
mod backends;
mod before_login;
mod chained;
mod credentials;
mod failing;
mod greetings;
mod limits;
mod logs;
mod lone;
mod managesieve;
mod pop3;
mod scripts;
mod stopping;
