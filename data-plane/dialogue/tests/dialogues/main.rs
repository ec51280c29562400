//! What the dialogues promise, one file for each promise; see style.md points 18 and 19 for the habit.

// A panic is how a test fails, also in its helpers.
#![allow(clippy::unwrap_used)]

#[path = "../support/mod.rs"]
mod support;

mod any_chunking;
mod backend_answers;
mod backend_handshakes;
mod backend_managesieve;
mod backend_pop3;
mod behind_the_login;
mod both_roles;
mod client_imap;
mod client_managesieve;
mod client_pop3;
mod client_submission;
mod every_call_progresses;
mod must_do_better;
mod no_secret_is_shown;
mod nothing_secret_in_clear;
mod starttls;
mod tried_with_programs;
