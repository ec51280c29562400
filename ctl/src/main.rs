//! The life of a command: arguments, telemetry, the verb, what it has to say, its exit code.

use std::process::ExitCode;

use clap::Parser as _;
use mailswitchctl::arguments::Arguments;
use mailswitchctl::exit::Exit;
use mailswitchctl::verb;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return usage(&error),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: no runtime: {error}");
            return Exit::Precondition.into();
        }
    };
    match runtime.block_on(verb::run(arguments)) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            eprint!("{}", failure.text());
            failure.exit.into()
        }
    }
}

/// `--help` and `--version` are answers; all else that clap has to say is exit 1, not its own 2, which is `diff`'s.
fn usage(error: &clap::Error) -> ExitCode {
    // A reader that has gone away is no error.
    let _ = error.print();
    if error.use_stderr() {
        Exit::Usage.into()
    } else {
        Exit::Done.into()
    }
}
