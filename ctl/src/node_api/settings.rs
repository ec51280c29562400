//! Where a node's management API is, and how we know it and it knows us.

use std::path::PathBuf;

use crate::exit::Failure;

/// The flags of `--node-api`.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "A node that runs alone")]
pub struct NodeApiArguments {
    /// Ask this node's management API, not a control plane: `https://HOST:PORT`.
    #[arg(long, global = true, env = "MAILSWITCH_NODE_API", value_name = "URL")]
    pub node_api: Option<String>,
    /// Holds the node's token; without it, MAILSWITCH_TOKEN in the environment.
    #[arg(long, global = true, env = "MAILSWITCH_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Who vouches for the node's certificate (PEM); without it the system's authorities.
    #[arg(long, global = true, env = "MAILSWITCH_NODE_CA", value_name = "FILE")]
    pub node_ca: Option<PathBuf>,
    /// The node's certificate by its SHA-256 (64 hex digits), instead of an authority and a name.
    #[arg(long, global = true, env = "MAILSWITCH_NODE_PIN", value_name = "SHA256")]
    #[arg(conflicts_with = "node_ca")]
    pub node_pin: Option<String>,
    /// Do not check who answers: whoever it is gets the token.
    #[arg(long, global = true, conflicts_with_all = ["node_ca", "node_pin"])]
    pub accept_any_certificate: bool,
}

impl NodeApiArguments {
    /// The token, without what surrounds it.
    pub(super) fn token(&self) -> Result<String, Failure> {
        let token = match &self.token_file {
            Some(path) => std::fs::read_to_string(path)
                .map_err(|error| Failure::usage(format!("{} cannot be read: {error}", path.display())))?,
            None => std::env::var("MAILSWITCH_TOKEN").unwrap_or_default(),
        };
        match token.trim() {
            "" => Err(Failure::usage("nothing gives the node's token").remedy(
                "give --token-file, or set MAILSWITCH_TOKEN; it is what [admin] of the node's file names",
            )),
            token => Ok(token.to_owned()),
        }
    }
}
