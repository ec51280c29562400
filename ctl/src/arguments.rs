//! The command line.

use clap::{Parser, Subcommand};

use crate::exit::EXIT_CODES;
use crate::output::Output;
use crate::settings::ConnectionArguments;
use crate::verb;

/// Moves mail accounts from one mail system to another while people keep reading and sending mail.
#[derive(Debug, Parser)]
#[command(name = "mailswitchctl", version, propagate_version = false, after_help = EXIT_CODES)]
#[command(max_term_width = 110, arg_required_else_help = true)]
pub struct Arguments {
    /// Where the control plane is, and who we are.
    #[command(flatten)]
    pub connection: ConnectionArguments,
    /// Which node, instead of a control plane.
    #[command(flatten)]
    pub node_api: crate::node_api::NodeApiArguments,
    /// The form of stdout. There is no YAML output: a YAML reader reads the JSON.
    #[arg(long, short, global = true, value_enum, default_value_t = Output::Table)]
    #[arg(env = "MAILSWITCH_OUTPUT", hide_env_values = true, help_heading = "Output")]
    pub output: Output,
    /// Send a trace of the command to this collector (OTLP over gRPC); it goes on in control plane and nodes.
    #[arg(
        long,
        global = true,
        env = "MAILSWITCH_OTLP_ENDPOINT",
        value_name = "URL",
        help_heading = "Output"
    )]
    pub otlp_endpoint: Option<String>,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// What the fleet is and does: revisions, nodes, sessions, logins, breakers, operations that run.
    Status(verb::status::StatusArguments),
    /// Check configuration files and what they name, without a control plane.
    Check(verb::check::CheckArguments),
    /// Make the fleet's configuration what a file says.
    Apply(verb::apply::ApplyArguments),
    /// What `apply` would change. Exit 2 when it would change something.
    Diff(verb::diff::DiffArguments),
    /// The fleet's configuration, as a file for `apply`.
    Export(verb::export::ExportArguments),
    /// Make a node and a fleet of a proxy that runs alone: its file in two halves, and its mappings.
    Import(verb::import::ImportArguments),
    /// Which identifier or domain goes where.
    #[command(subcommand)]
    Mapping(verb::mapping::MappingVerb),
    /// The accounts, each with the identifiers that move together.
    #[command(subcommand)]
    Account(verb::account::AccountVerb),
    /// What would be done with a login now, by which rule, at which revision.
    Resolve(verb::resolve::ResolveArguments),
    /// Move an account. Success means: no session of it is on the source any more, on any node, nor will be.
    Cutover(verb::cutover::CutoverArguments),
    /// Move an account back to where its last cutover took it from.
    Rollback(verb::rollback::RollbackArguments),
    /// Cutovers and rollbacks: those that run, and those that ended.
    #[command(subcommand)]
    Operation(verb::operation::OperationVerb),
    /// The nodes of the fleet.
    #[command(subcommand)]
    Node(verb::node::NodeVerb),
    /// The open sessions.
    #[command(subcommand)]
    Session(verb::session::SessionVerb),
    /// The destinations.
    #[command(subcommand)]
    Destination(verb::destination::DestinationVerb),
    /// Who changed what, when and why. Newest first.
    Audit(verb::audit::AuditArguments),
    /// Write everything that the control plane keeps into a file.
    Backup(verb::backup::BackupArguments),
    /// Replace everything that the control plane keeps by a backup.
    Restore(verb::restore::RestoreArguments),
    /// The fleet's authority, and the certificates that it issues.
    #[command(subcommand)]
    Pki(verb::pki::PkiVerb),
    /// A completion script for a shell, on stdout.
    Completion(verb::completion::CompletionArguments),
}
