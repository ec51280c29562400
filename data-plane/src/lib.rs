//! The parts of a node. `main.rs` shows the life of the process, `node` what runs in it, `session::run`
//! the life of a session.

mod admin;
pub mod backend;
mod buffers;
pub mod drive;
pub mod feed;
pub mod hand_over;
mod http;
pub(crate) mod lease;
pub mod listen;
pub mod node;
pub mod policy;
pub mod report;
pub mod route;
pub mod session;
pub mod sessions;
pub mod source;
pub mod state_file;
pub mod table;
pub mod tls;

/// An error with all its causes, on one line, each said once.
pub(crate) fn error_chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = words(error);
        if !line.contains(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        cause = error.source();
    }
    line
}

/// A GOAWAY may carry data for debugging, and a backend may have put there what it was sent. It belongs in no log.
fn words(error: &(dyn std::error::Error + 'static)) -> String {
    match error.downcast_ref::<h2::Error>() {
        Some(error) if error.is_go_away() => {
            let reason = error.reason().unwrap_or(h2::Reason::NO_ERROR);
            format!("GOAWAY: {}", reason.description())
        }
        _ => error.to_string(),
    }
}
