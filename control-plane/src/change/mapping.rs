//! Mappings: set, unset, import, for identifiers and whole domains alike. One transaction, one revision.
//!
//! Whatever changes where an admissible account resolves is a cutover, or is refused while an account record or sessions
//! exist, unless it says that it is unproven (promise F4). Sessions are asked for before the transaction; should it
//! then move someone who was not asked about, it is refused rather than made.
//!
//! A login that is admitted between a node's answer and the moment when that node applies the change stays where it was
//! until it ends. Asking once more inside the transaction would not close that gap (the node applies the change later
//! still), and would keep a transaction, and this replica's turn, waiting for the slowest node (promise D6); only a hold
//! closes it, and that is a cutover. It is bearable for these reasons: it can only be somebody without an account
//! record (those are refused inside the transaction); nobody is admitted to the old side once a node has applied the
//! change (A1's check before the client is told); the session stays registered under its identifier whatever it is on
//! (A2), so the next cutover's hold finds and drains it; and this command reports a mapping that was changed, never
//! that nobody is left on the source, which a cutover alone may say (F3).

use std::collections::{BTreeMap, HashMap, HashSet};

use mailswitch_proto::fleet::v1::{self, change::Kind};
use mailswitch_proto::identifier::Key;
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use super::patience::patiently;
use super::rules::{Rules, Whereabouts};
use super::sessions::{Nodes, Observed, Whose};
use super::writer::Size;
use super::{Change, Committed, Context, Draft, Error, Refusal, Writer};
use crate::store;
use crate::store::audit::Proof;
use crate::store::change::Breadth;
use crate::store::mapping::{Mapping, mapping_put_many, mapping_remove_many};

/// Nodes are asked by key up to here; above it, for all sessions on the destinations that people would leave.
const ASK_BY_KEY: usize = 10_000;
/// A refusal names so many of what is wrong.
const NAMED: usize = 100;

/// What is asked for one identifier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// As the operator wrote it: an identifier, or `@domain`.
    pub identifier: String,
    /// Where it is to go; none: no mapping of its own.
    pub destination: Option<String>,
}

/// How many it changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// That had no mapping.
    pub added: u64,
    /// That had another, or lost theirs.
    pub changed: u64,
    /// That were so already.
    pub unchanged: u64,
}

/// Makes mappings as wished, all or none.
///
/// # Errors
/// Refused as `promise F4` says, with numbers; nothing changed.
pub async fn mapping_write(
    writer: &Writer,
    nodes: &dyn Nodes,
    context: &Context,
    verb: &'static str,
    wishes: &[Wish],
    proof: Proof,
) -> Result<Committed<Counts>, Error> {
    let asked = match proof {
        Proof::Waived => Asked::default(),
        Proof::Standing => patiently(|| ask(writer, nodes, wishes)).await?,
    };
    let change = Write {
        verb,
        wishes,
        proof,
        asked,
    };
    writer.commit(context, &change).await
}

/// Whose sessions were asked for, and the answer.
#[derive(Default)]
struct Asked {
    moved: HashSet<Key>,
}

async fn ask(writer: &Writer, nodes: &dyn Nodes, wishes: &[Wish]) -> Result<Asked, Error> {
    let mut conn = writer.pool().acquire().await?;
    let rules = Rules::read(&mut conn).await?;
    let plan = Plan::read(&mut conn, &rules, wishes).await?;
    drop(conn);
    let mut destinations: HashSet<&str> = HashSet::new();
    let mut keys = Vec::new();
    for moved in plan.moves() {
        if moved.is_domain() {
            destinations.insert(moved.left());
        } else {
            keys.push(moved.key);
        }
    }
    if keys.len() > ASK_BY_KEY {
        destinations.extend(plan.moves().map(Entry::left));
        keys.clear();
    }
    if !keys.is_empty() {
        none_of(
            &nodes.sessions(Whose::Keys(keys)).await,
            "of the logins that would move",
        )?;
    }
    for destination in destinations {
        let whose = Whose::Destination(destination.to_owned());
        none_of(
            &nodes.sessions(whose).await,
            &format!("on {destination}, which people would leave"),
        )?;
    }
    Ok(Asked {
        moved: plan.moves().map(|moved| moved.key).collect(),
    })
}

/// Refuses when there are sessions, or when a node did not say.
pub(super) fn none_of(observed: &Observed, which: &str) -> Result<(), Refusal> {
    if observed.sessions > 0 {
        return Err(Refusal::precondition(
            format!("{} sessions {which} are open", observed.sessions),
            "move accounts with `mailswitchctl cutover`, or give --unproven: sessions then stay where they are",
        ));
    }
    if !observed.unanswered.is_empty() {
        return Err(Refusal::unproven(
            format!("not every node said whether sessions {which} are open"),
            "bring the nodes back, or give --unproven",
            observed.unanswered.clone(),
        ));
    }
    Ok(())
}

struct Write<'a> {
    verb: &'static str,
    wishes: &'a [Wish],
    proof: Proof,
    asked: Asked,
}

impl Change for Write<'_> {
    type Output = Counts;

    fn verb(&self) -> &'static str {
        self.verb
    }

    fn request(&self) -> String {
        format!("{:?} {:?}", self.wishes, self.proof)
    }

    fn size(&self) -> Size {
        if self.wishes.len() > 1000 {
            Size::Bulk
        } else {
            Size::Short
        }
    }

    async fn make(&self, draft: &mut Draft<'_>) -> Result<Counts, Error> {
        let rules = Rules::read(draft.conn).await?;
        let plan = Plan::read(draft.conn, &rules, self.wishes).await?;
        plan.destinations_exist(&rules)?;
        plan.nobody_is_on_the_way(draft.conn).await?;
        if self.proof == Proof::Standing {
            plan.no_account_moves(draft.conn).await?;
            if plan.moves().any(|moved| !self.asked.moved.contains(&moved.key)) {
                return Err(Refusal::precondition(
                    "the mappings were changed meanwhile",
                    "nothing was changed; try again",
                )
                .into());
            }
        }
        plan.write(draft, self.verb, self.proof).await?;
        Ok(plan.counts())
    }
}

/// One identifier: what is wished, and how it is.
struct Entry {
    identifier: String,
    key: Key,
    wished: Option<String>,
    mapped: Option<String>,
    resolved: Option<String>,
    would_resolve: Option<String>,
}

impl Entry {
    fn is_domain(&self) -> bool {
        self.identifier.starts_with('@')
    }

    fn changes(&self) -> bool {
        self.wished != self.mapped
    }

    /// Whether somebody admissible would be sent elsewhere.
    fn moves(&self) -> bool {
        self.resolved.is_some() && self.resolved != self.would_resolve
    }

    fn left(&self) -> &str {
        self.resolved.as_deref().unwrap_or_default()
    }
}

struct Plan {
    entries: Vec<Entry>,
}

impl Plan {
    async fn read(conn: &mut PgConnection, rules: &Rules, wishes: &[Wish]) -> Result<Self, Error> {
        let normal = normal(rules, wishes)?;
        let identifiers: Vec<String> = normal.keys().cloned().collect();
        let now = Whereabouts::read(conn, rules, &identifiers).await?;
        let entries = normal
            .iter()
            .map(|(identifier, (key, wished))| {
                let domain = identifier
                    .rfind('@')
                    .filter(|at| *at > 0)
                    .map(|at| &identifier[at..]);
                // A domain that the same import maps counts as it will be.
                let without_own = match domain.and_then(|domain| normal.get(domain)) {
                    Some((_, Some(wished))) => Some(wished.as_str()),
                    Some((_, None)) => rules.fallback(),
                    None => now.without_own(identifier),
                };
                Entry {
                    key: *key,
                    mapped: now.mapped(identifier).map(ToOwned::to_owned),
                    resolved: now.resolved(identifier).map(ToOwned::to_owned),
                    would_resolve: wished.as_deref().or(without_own).map(ToOwned::to_owned),
                    wished: wished.clone(),
                    identifier: identifier.clone(),
                }
            })
            .collect();
        Ok(Self { entries })
    }

    fn changing(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| entry.changes())
    }

    fn moves(&self) -> impl Iterator<Item = &Entry> {
        self.entries
            .iter()
            .filter(|entry| entry.changes() && entry.moves())
    }

    fn destinations_exist(&self, rules: &Rules) -> Result<(), Refusal> {
        let wished: HashSet<&str> = self
            .entries
            .iter()
            .filter_map(|entry| entry.wished.as_deref())
            .collect();
        wished.into_iter().try_for_each(|name| rules.destination(name))
    }

    /// Not even unproven: an operation that is on its way has decided where its account goes. And a domain and an
    /// identifier under it are not moved at once.
    async fn nobody_is_on_the_way(&self, conn: &mut PgConnection) -> Result<(), Error> {
        let open = store::operation::operation_open_identifiers(conn).await?;
        if open.is_empty() {
            return Ok(());
        }
        for entry in self.changing() {
            let in_the_way = open.iter().find(|(identifier, _)| {
                **identifier == entry.identifier
                    || (entry.is_domain() && identifier.ends_with(&entry.identifier))
            });
            if let Some((identifier, operation)) = in_the_way {
                return Err(Refusal::precondition(
                    format!("operation {operation} is moving {identifier}"),
                    "wait for it, or abort it",
                )
                .into());
            }
        }
        Ok(())
    }

    async fn no_account_moves(&self, conn: &mut PgConnection) -> Result<(), Error> {
        let moved: Vec<String> = self.moves().map(|entry| entry.identifier.clone()).collect();
        let accounts = store::account::account_ids_of_identifiers(conn, &moved).await?;
        let mut number = accounts.len() as u64;
        let mut example = accounts.into_keys().next();
        for domain in self.moves().filter(|entry| entry.is_domain()) {
            let following = store::account::account_following_domain_count(conn, &domain.identifier).await?;
            if following > 0 {
                number += following;
                example = Some(format!("those of {}", domain.identifier));
            }
        }
        match example {
            None => Ok(()),
            Some(example) => Err(Refusal::precondition(
                format!("{number} identifiers of accounts would move, {example} among them"),
                "move accounts with `mailswitchctl cutover`, or give --unproven",
            )
            .into()),
        }
    }

    async fn write(&self, draft: &mut Draft<'_>, verb: &str, proof: Proof) -> Result<(), Error> {
        let mut puts: Vec<Mapping> = Vec::new();
        let mut by_destination: BTreeMap<&str, Vec<Key>> = BTreeMap::new();
        let mut removed: Vec<String> = Vec::new();
        let mut unmapped: Vec<Key> = Vec::new();
        for entry in self.changing() {
            match &entry.wished {
                Some(destination) => {
                    by_destination.entry(destination).or_default().push(entry.key);
                    puts.push(Mapping {
                        identifier: entry.identifier.clone(),
                        key: entry.key,
                        destination: destination.clone(),
                    });
                }
                None => {
                    removed.push(entry.identifier.clone());
                    unmapped.push(entry.key);
                }
            }
            let waived = if entry.moves() { proof } else { Proof::Standing };
            let before = entry.mapped.as_deref().unwrap_or_default();
            let after = entry.wished.as_deref().unwrap_or_default();
            draft.audit(verb, &entry.identifier, before, after, waived);
            if entry.is_domain() {
                draft.touch(Breadth::Everything);
            }
        }
        mapping_put_many(draft.conn, &puts).await?;
        mapping_remove_many(draft.conn, &removed).await?;
        for (destination, keys) in by_destination {
            let destination = destination.to_owned();
            draft.push(&keys, Kind::Mapped(v1::Mapped { destination }));
        }
        if !unmapped.is_empty() {
            draft.push(&unmapped, Kind::Unmapped(v1::Unmapped {}));
        }
        Ok(())
    }

    fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for entry in &self.entries {
            match (entry.changes(), &entry.mapped) {
                (false, _) => counts.unchanged += 1,
                (true, None) => counts.added += 1,
                (true, Some(_)) => counts.changed += 1,
            }
        }
        counts
    }
}

type Normal = HashMap<String, (Key, Option<String>)>;

/// In normal form. Two spellings of one identifier have to say the same.
fn normal(rules: &Rules, wishes: &[Wish]) -> Result<Normal, Refusal> {
    let mut normal = Normal::with_capacity(wishes.len());
    let mut wrong = Vec::new();
    for wish in wishes {
        match rules.identifier(&wish.identifier) {
            Err(why) => wrong.push(why),
            Ok((identifier, key)) => {
                let other = normal.insert(identifier.to_string(), (key, wish.destination.clone()));
                if other.is_some_and(|(_, other)| other != wish.destination) {
                    wrong.push(format!(
                        "{:?}: it is there twice, with two destinations",
                        wish.identifier
                    ));
                }
            }
        }
    }
    if wrong.is_empty() {
        return Ok(normal);
    }
    let what = format!("{} identifiers cannot be used", wrong.len());
    wrong.truncate(NAMED);
    Err(Refusal::invalid(what, "nothing was changed; correct them and try again").with_details(wrong))
}
