//! What is happening, line by line, on stderr: each line once.

use std::time::Instant;

use mailswitch_proto::control::v1::{Operation, Step};

use crate::operation::step_words;
use crate::output::{identity, printable};

/// Says what changed since it last said something.
pub(super) struct Progress {
    began: Instant,
    quiet: bool,
    last: Option<String>,
}

impl Progress {
    pub(super) fn new(quiet: bool) -> Self {
        Self {
            began: Instant::now(),
            quiet,
            last: None,
        }
    }

    /// The step, and which nodes it waits for.
    pub(super) fn show(&mut self, operation: &Operation) {
        if self.last.is_none() {
            let id = identity(&operation.id).unwrap_or_default();
            let (from, to) = (operation.from.join(" or "), &operation.to);
            self.say(&format!("{}: {from} -> {to}, operation {id}", operation.account));
        }
        let line = line(operation);
        if self.last.as_ref() != Some(&line) {
            self.say(&line);
            self.last = Some(line);
        }
    }

    pub(super) fn say(&self, line: &str) {
        if !self.quiet {
            eprintln!(
                "{:>8.3}s  {}",
                self.began.elapsed().as_secs_f64(),
                printable(line)
            );
        }
    }
}

fn line(operation: &Operation) -> String {
    let step = step_words(operation.step());
    if !matches!(operation.step(), Step::Holding | Step::Draining) || operation.proofs.is_empty() {
        return step.to_owned();
    }
    let quiet = operation.proofs.iter().filter(|proof| proof.quiesced).count();
    let waits: Vec<_> = operation
        .proofs
        .iter()
        .filter(|proof| !proof.quiesced)
        .map(|proof| match (proof.connected, proof.armed) {
            (true, _) => proof.node.clone(),
            (false, true) => format!("{} (not connected, until its lease is over)", proof.node),
            (false, false) => format!("{} (not connected)", proof.node),
        })
        .collect();
    let count = format!("{step:<10} {quiet} of {} nodes quiet", operation.proofs.len());
    if waits.is_empty() {
        count
    } else {
        format!("{count}, waiting for {}", waits.join(", "))
    }
}
