//! The rig of the end-to-end tests: real servers, real clients, faults.
//!
//! Everything a test starts lives under one [`place::Place`]: a directory and a loopback network of its own,
//! so tests run beside each other. What was started is ended by pid when its value is dropped. The truth about
//! which backend was reached, by whom and when, is read in the backends' logs ([`dovecot`], [`postfix`], [`cyrus`]).

pub mod ca;
pub mod client;
pub mod collector;
pub mod cyrus;
pub mod dovecot;
pub mod duplex;
pub mod fleet;
pub mod http;
pub mod load;
pub mod lone;
pub mod mariadb;
pub mod net;
pub mod place;
pub mod postfix;
pub mod postgres;
pub mod process;
pub mod programs;
pub mod raw;
pub mod redis;
pub mod relay;
pub mod scripted;
pub mod sockets;
pub mod template;
pub mod tools;
pub mod when;
