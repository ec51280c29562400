//! A database that may have gone back in time, in words (promise D3): which processes know more than it, which have not
//! said where they stand, and what an operator can do. Decision 0019 says what rests meanwhile.

use crate::store::doubt::Doubt;

/// What an operator does about nodes that know more.
pub const REMEDY: &str = "bring the database back to where it was (`mailswitchctl restore --replace` with a later backup); or, \
                          to give up what these nodes know, stop them, remove their state directories, forget them with \
                          `mailswitchctl node forget NODE --i-stopped-it`, and start them";

/// What an operator does about nodes that have not said where they stand.
pub const AWAIT_REMEDY: &str = "they say so as soon as they connect; a node that is gone for good is taken out with \
                                `mailswitchctl node forget NODE --i-stopped-it`";

/// What an operator does when this replica itself remembers more than the database has.
pub const MEMORY_REMEDY: &str = "nodes keep what they have. Bring the database back to where it was; or, to go on with it as it \
                                 is, stop this control plane, remove `seen-revision` from its state directory, and start \
                                 it: nothing moves then before every registered node has said where it stands";

/// Whether a change may be made while the database may have gone back in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InDoubt {
    /// It may not take a revision: it would be one on a branch that may have to be given up.
    Refused,
    /// It is the operator's decision.
    Allowed,
}

/// Why the database cannot be believed now, in a sentence; none: it can.
#[must_use]
pub fn sentence(doubts: &[Doubt]) -> Option<String> {
    let ahead: Vec<String> = doubts
        .iter()
        .filter_map(|doubt| Some(format!("{} (revision {})", doubt.node, doubt.at?.revision)))
        .collect();
    let silent: Vec<&str> = doubts
        .iter()
        .filter(|doubt| doubt.at.is_none())
        .map(|doubt| doubt.node.as_str())
        .collect();
    let ahead =
        (!ahead.is_empty()).then(|| format!("it does not have what is known to {}", ahead.join(", ")));
    let silent = (!silent.is_empty())
        .then(|| format!("{} did not say yet where they stand", distinct(silent).join(", ")));
    let why: Vec<String> = ahead.into_iter().chain(silent).collect();
    (!why.is_empty()).then(|| {
        format!(
            "the database may have gone back in time: {}; no routing write is made",
            why.join(", and ")
        )
    })
}

/// What is to be done about all of them.
#[must_use]
pub fn remedy(doubts: &[Doubt]) -> String {
    let ahead = doubts.iter().any(|doubt| doubt.at.is_some());
    let silent = doubts.iter().any(|doubt| doubt.at.is_none());
    match (ahead, silent) {
        (true, true) => format!("{REMEDY}. Of those that did not say: {AWAIT_REMEDY}"),
        (false, true) => AWAIT_REMEDY.to_owned(),
        _ => REMEDY.to_owned(),
    }
}

/// One of them, for `status`.
#[must_use]
pub fn of_one(doubt: &Doubt) -> String {
    let node = &doubt.node;
    match doubt.at {
        Some(at) => format!(
            "node {node} is at revision {} ({}), which is not in this database: it keeps what it has, and is sent nothing. \
             No routing write is made until it is decided: {REMEDY}",
            at.revision, at.digest
        ),
        None => format!(
            "node {node} (process {}) has not said where it stands since the database may have gone back in time. No \
             routing write is made until all have: {AWAIT_REMEDY}",
            doubt.instance
        ),
    }
}

/// Their nodes' names, each once.
#[must_use]
pub fn nodes_of(doubts: &[Doubt]) -> Vec<String> {
    let names = doubts.iter().map(|doubt| doubt.node.as_str()).collect();
    distinct(names).into_iter().map(ToOwned::to_owned).collect()
}

/// They come in order.
fn distinct(mut names: Vec<&str>) -> Vec<&str> {
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use mailswitch_proto::id::InstanceId;
    use mailswitch_proto::revision::Position;

    use super::*;

    #[test]
    fn who_is_ahead_and_who_is_silent_is_said_with_what_to_do() {
        let silent = Doubt {
            instance: InstanceId::random(),
            node: "fra-1".to_owned(),
            at: None,
        };
        let ahead = Doubt {
            node: "nyc-1".to_owned(),
            at: Some(Position::NONE.after(b"x")),
            ..silent.clone()
        };
        assert_eq!(sentence(&[]), None);
        let both = [silent.clone(), silent, ahead];
        assert_eq!(
            sentence(&both).unwrap(),
            "the database may have gone back in time: it does not have what is known to nyc-1 (revision 1), and fra-1 did \
             not say yet where they stand; no routing write is made"
        );
        assert_eq!(nodes_of(&both), ["fra-1", "nyc-1"]);
        assert!(remedy(&both).contains("restore --replace"));
        assert_eq!(remedy(&both[..1]), AWAIT_REMEDY);
    }
}
