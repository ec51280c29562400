//! The verbs, and the way from a parsed command line to an exit code.

pub mod account;
pub mod apply;
pub mod arm;
pub mod audit;
pub mod backup;
pub mod check;
pub mod completion;
pub mod cutover;
pub mod destination;
pub mod diff;
pub mod export;
pub mod fence;
pub mod import;
pub mod mapping;
pub mod node;
pub mod operation;
pub mod pki;
pub mod resolve;
pub mod restore;
pub mod rollback;
pub mod session;
pub mod status;

use crate::arguments::{Arguments, Verb};
use crate::connection::Connection;
use crate::exit::{Exit, Failure};
use crate::output::Output;
use crate::settings::{ConnectionArguments, Settings};

/// What every verb is given beside its own arguments.
#[derive(Debug, Clone)]
pub struct Context {
    /// Where the control plane is, as far as the command line says.
    pub connection: ConnectionArguments,
    /// The form of stdout.
    pub output: Output,
}

impl Context {
    /// Connects.
    ///
    /// # Errors
    /// Settings are missing, or no endpoint takes us.
    pub async fn connect(&self) -> Result<Connection, Failure> {
        Connection::open(&Settings::of(&self.connection)?).await
    }
}

/// Runs a command.
///
/// # Errors
/// It did not do what it was asked to.
pub async fn run(arguments: Arguments) -> Result<Exit, Failure> {
    let context = Context {
        connection: arguments.connection,
        output: arguments.output,
    };
    if let Some(url) = &arguments.node_api.node_api
        && arguments.verb.asks_somebody()
    {
        return crate::node_api::run(&arguments.node_api, url, arguments.verb, context.output).await;
    }
    match arguments.verb {
        Verb::Status(verb) => verb.run(&context).await,
        Verb::Check(verb) => verb.run(&context).await,
        Verb::Apply(verb) => verb.run(&context).await,
        Verb::Diff(verb) => verb.run(&context).await,
        Verb::Export(verb) => verb.run(&context).await,
        Verb::Import(verb) => verb.run(&context).await,
        Verb::Mapping(verb) => verb.run(&context).await,
        Verb::Account(verb) => verb.run(&context).await,
        Verb::Resolve(verb) => verb.run(&context).await,
        Verb::Cutover(verb) => verb.run(&context).await,
        Verb::Rollback(verb) => verb.run(&context).await,
        Verb::Operation(verb) => verb.run(&context).await,
        Verb::Node(verb) => verb.run(&context).await,
        Verb::Session(verb) => verb.run(&context).await,
        Verb::Destination(verb) => verb.run(&context).await,
        Verb::Audit(verb) => verb.run(&context).await,
        Verb::Backup(verb) => verb.run(&context).await,
        Verb::Restore(verb) => verb.run(&context).await,
        Verb::Pki(verb) => verb.run(&context),
        Verb::Completion(verb) => verb.run(),
    }
}

impl Verb {
    /// False: it works on files alone, whoever is named.
    fn asks_somebody(&self) -> bool {
        match self {
            Self::Pki(_) | Self::Completion(_) => false,
            Self::Check(check) => check.names_no_file(),
            _ => true,
        }
    }

    /// For spans: never anything that the caller typed freely.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Status(_) => "status",
            Self::Check(_) => "check",
            Self::Apply(_) => "apply",
            Self::Diff(_) => "diff",
            Self::Export(_) => "export",
            Self::Import(_) => "import",
            Self::Mapping(_) => "mapping",
            Self::Account(_) => "account",
            Self::Resolve(_) => "resolve",
            Self::Cutover(_) => "cutover",
            Self::Rollback(_) => "rollback",
            Self::Operation(_) => "operation",
            Self::Node(_) => "node",
            Self::Session(_) => "session",
            Self::Destination(_) => "destination",
            Self::Audit(_) => "audit",
            Self::Backup(_) => "backup",
            Self::Restore(_) => "restore",
            Self::Pki(_) => "pki",
            Self::Completion(_) => "completion",
        }
    }
}
