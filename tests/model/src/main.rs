//! Searches the model: all scopes, or those that are named; with `--faults` everything that must be found when it is put in.

use std::process::ExitCode;

use clap::Parser;
use mailswitch_model::fault::Fault;
use mailswitch_model::scope::{self, SMALL, Scope, WIDE};
use mailswitch_model::search::{Found, Whole, search};

/// Searches the model of the promise.
#[derive(Debug, Parser)]
#[command(name = "mailswitch-model")]
struct Arguments {
    /// Scopes by name; none: all of them.
    scopes: Vec<String>,
    /// Only what CI searches.
    #[arg(long)]
    small: bool,
    /// Put in each fault in turn, and tell how it was found.
    #[arg(long)]
    faults: bool,
    /// Look at no more states than this in a scope.
    #[arg(long)]
    most: Option<usize>,
    /// In so many threads.
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let good = if arguments.faults {
        faults(&arguments)
    } else {
        controls(&arguments)
    };
    if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn controls(arguments: &Arguments) -> bool {
    let all: Vec<Scope> = if arguments.small {
        SMALL.to_vec()
    } else {
        SMALL.into_iter().chain(WIDE).collect()
    };
    let chosen = all.into_iter().filter(|scope| {
        arguments.scopes.is_empty() || arguments.scopes.iter().any(|name| name == scope.name)
    });
    let mut good = true;
    for scope in chosen {
        let found = search(scope, None, arguments.threads, arguments.most);
        println!("{}: {}", scope.name, scope.about);
        println!("    {}", counts(&found));
        for (property, story) in &found.broken {
            println!("    BROKEN: {property}\n{story}");
        }
        for property in &found.impossible {
            println!("    never seen: {property}");
        }
        good &= found.broken.is_empty() && found.impossible.is_empty();
    }
    good
}

fn faults(arguments: &Arguments) -> bool {
    let mut good = true;
    for fault in Fault::ALL {
        if !arguments.scopes.is_empty() && !arguments.scopes.contains(&format!("{fault:?}")) {
            continue;
        }
        let scope = scope::of(fault);
        let found = search(scope, Some(fault), arguments.threads, arguments.most);
        println!("{}  (scope {}; {})", fault.text(), scope.name, counts(&found));
        match found.broken.first() {
            Some((property, story)) => println!("  breaks: {property}\n{story}"),
            None => println!("  NOT FOUND\n"),
        }
        good &= !found.broken.is_empty();
    }
    good
}

fn counts(found: &Found) -> String {
    let whole = match found.whole {
        Whole::Yes => "all",
        Whole::No => "not all",
    };
    format!(
        "{} states ({whole}), {} steps deep, {:.1} s",
        found.states,
        found.depth,
        found.took.as_secs_f64()
    )
}
