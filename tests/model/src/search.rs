//! One search: breadth first, so that a counterexample is a shortest one.

use std::time::{Duration, Instant};

use stateright::{Checker, Expectation, HasDiscoveries, Model};

use crate::fault::Fault;
use crate::fleet::Fleet;
use crate::scope::Scope;
use crate::story;

/// What came of it.
#[derive(Debug)]
pub struct Found {
    /// Different states.
    pub states: usize,
    /// Steps of the longest way.
    pub depth: usize,
    /// For how long.
    pub took: Duration,
    /// What must never be and is, with the way to it.
    pub broken: Vec<(&'static str, String)>,
    /// What should be possible and is not.
    pub impossible: Vec<&'static str>,
    /// Whether every state within the bounds was looked at.
    pub whole: Whole,
}

/// Whether every state was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whole {
    /// All of them.
    Yes,
    /// It stopped at a limit, or at the first counterexample.
    No,
}

/// Searches a scope; no more states than this.
#[must_use]
pub fn search(scope: Scope, fault: Option<Fault>, threads: usize, most: Option<usize>) -> Found {
    let began = Instant::now();
    let mut checker = Fleet { scope, fault }.checker().threads(threads);
    checker = checker.finish_when(HasDiscoveries::AnyFailures);
    if let Some(most) = most {
        checker = checker.target_state_count(most);
    }
    let checker = checker.spawn_bfs().join();
    let discoveries = checker.discoveries();
    let properties = checker.model().properties();
    let mut broken = Vec::new();
    let mut impossible = Vec::new();
    for property in properties {
        let found = discoveries.get(property.name);
        match (property.expectation, found) {
            (Expectation::Sometimes, None) => impossible.push(property.name),
            (Expectation::Sometimes, Some(_)) | (_, None) => {}
            (_, Some(path)) => broken.push((property.name, story::tell(&path.clone().into_vec()))),
        }
    }
    let limit = most.is_some_and(|most| checker.state_count() >= most);
    Found {
        states: checker.unique_state_count(),
        depth: checker.max_depth(),
        took: began.elapsed(),
        whole: if broken.is_empty() && !limit {
            Whole::Yes
        } else {
            Whole::No
        },
        broken,
        impossible,
    }
}
