//! `completion SHELL`.

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::arguments::Arguments;
use crate::exit::{Exit, Failure};
use crate::output::data;

/// `completion SHELL`
#[derive(Debug, clap::Args)]
pub struct CompletionArguments {
    /// For which shell.
    #[arg(value_enum)]
    shell: Shell,
}

impl CompletionArguments {
    /// Prints the script.
    ///
    /// # Errors
    /// Stdout cannot be written to.
    pub fn run(self) -> Result<Exit, Failure> {
        let mut script = Vec::new();
        clap_complete::generate(
            self.shell,
            &mut Arguments::command(),
            "mailswitchctl",
            &mut script,
        );
        data(&script)?;
        Ok(Exit::Done)
    }
}
