//! `--node-api URL`: the verbs that a node which runs alone can answer over its own management API (management-api 5),
//! with the guarantees that one node can give.
//!
//! - `settings`: where it is, its token (never on the command line), how its certificate is checked.
//! - `client`: one HTTPS request a connection, and what its answers mean as exit codes.
//! - `cutover`: hold, kick, copy, verify, flip, release, of all logins of an account in one go.
//! - `verbs`: the others.

pub mod client;
mod cutover;
pub mod settings;
mod tls;
mod verbs;

use crate::arguments::Verb;
use crate::exit::{Exit, Failure};
use crate::output::Output;
pub use client::Client;
pub use cutover::Plan;
pub use settings::NodeApiArguments;

/// Runs a verb against a node.
///
/// # Errors
/// It is none of those, or did not do what it was asked to.
pub async fn run(
    arguments: &NodeApiArguments,
    url: &str,
    verb: Verb,
    output: Output,
) -> Result<Exit, Failure> {
    let client = || Client::new(url, arguments);
    match verb {
        Verb::Status(_) => verbs::status(&client()?, output).await,
        Verb::Check(_) => verbs::check(&client()?, output).await,
        Verb::Resolve(resolve) => verbs::resolve(&client()?, output, resolve.login()).await,
        Verb::Mapping(mapping) => verbs::mapping(&client()?, output, mapping).await,
        Verb::Session(session) => verbs::session(&client()?, output, session).await,
        Verb::Destination(destination) => verbs::destination(&client()?, output, destination).await,
        Verb::Cutover(cutover) => cutover::run(client()?, output, cutover.for_one_node()?).await,
        other => Err(Failure::usage(format!("{} needs a control plane", other.name())).remedy(OFFERED)),
    }
}

const OFFERED: &str = "over --node-api there are status, check, resolve, mapping get, set and unset, session kick and delay, destination reset, cutover";
