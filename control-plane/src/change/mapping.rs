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

use std::collections::hash_map::Entry as Slot;
use std::collections::{BTreeMap, HashMap, HashSet};

use mailswitch_proto::fleet::v1::{self, change::Kind};
use mailswitch_proto::identifier::Key;
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use super::earlier::is_known;
use super::patience::patiently;
use super::rules::{Rules, Whereabouts};
use super::sessions::{Nodes, Observed, Whose};
use super::writer::Size;
use super::wrong::{self, Wrong};
use super::{Change, Committed, Context, Draft, Error, Refusal, Writer};
use crate::store;
use crate::store::audit::Proof;
use crate::store::change::Breadth;
use crate::store::mapping::{Mapping, mapping_put_many, mapping_remove_many};

/// Nodes are asked by key up to here; above it, for all sessions on the destinations that people would leave.
const ASK_BY_KEY: usize = 10_000;

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
        Proof::Standing if patiently(|| is_known(writer.pool(), context)).await? => Asked::default(),
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
    // All that is wrong is said before nodes are asked, so that one run tells everything.
    let plan = Plan::read(&mut conn, &rules, wishes)
        .await?
        .checked(&mut conn, Proof::Standing)
        .await?;
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
        let plan = Plan::read(draft.conn, &rules, self.wishes)
            .await?
            .checked(draft.conn, self.proof)
            .await?;
        if self.proof == Proof::Standing && plan.moves().any(|moved| !self.asked.moved.contains(&moved.key)) {
            return Err(Refusal::precondition(
                "the mappings were changed meanwhile",
                "nothing was changed; try again",
            )
            .into());
        }
        plan.write(draft, self.verb, self.proof).await?;
        Ok(plan.counts())
    }
}

/// One identifier: what is wished, and how it is.
struct Entry {
    row: usize,
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
    /// In the order in which they were asked for.
    entries: Vec<Entry>,
    wrong: Wrong,
    rows: usize,
}

impl Plan {
    async fn read(conn: &mut PgConnection, rules: &Rules, wishes: &[Wish]) -> Result<Self, Error> {
        let mut wrong = Wrong::default();
        let normal = normal(rules, wishes, &mut wrong);
        let identifiers: Vec<String> = normal.keys().cloned().collect();
        let now = Whereabouts::read(conn, rules, &identifiers).await?;
        let mut entries: Vec<Entry> = normal
            .iter()
            .map(|(identifier, Wanted { row, key, wished })| {
                let domain = identifier
                    .rfind('@')
                    .filter(|at| *at > 0)
                    .map(|at| &identifier[at..]);
                // A domain that the same import maps counts as it will be.
                let without_own = match domain.and_then(|domain| normal.get(domain)) {
                    Some(Wanted {
                        wished: Some(wished), ..
                    }) => Some(wished.as_str()),
                    Some(Wanted { wished: None, .. }) => rules.fallback(),
                    None => now.without_own(identifier),
                };
                Entry {
                    row: *row,
                    key: *key,
                    mapped: now.mapped(identifier).map(ToOwned::to_owned),
                    resolved: now.resolved(identifier).map(ToOwned::to_owned),
                    would_resolve: wished.as_deref().or(without_own).map(ToOwned::to_owned),
                    wished: wished.clone(),
                    identifier: identifier.clone(),
                }
            })
            .collect();
        entries.sort_unstable_by_key(|entry| entry.row);
        Ok(Self {
            entries,
            wrong,
            rows: wishes.len(),
        })
    }

    /// Refuses with everything that is wrong with it, if anything is.
    async fn checked(mut self, conn: &mut PgConnection, proof: Proof) -> Result<Self, Error> {
        self.nobody_is_on_the_way(conn).await?;
        let moved = match proof {
            Proof::Waived => 0,
            Proof::Standing => self.no_account_moves(conn).await?,
        };
        let besides = (moved > 0).then(|| format!("{moved} identifiers of accounts would move"));
        let asked = wrong::Asked {
            rows: self.rows,
            what: "mappings",
        };
        std::mem::take(&mut self.wrong).refuse(asked, besides)?;
        Ok(self)
    }

    fn changing(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| entry.changes())
    }

    fn moves(&self) -> impl Iterator<Item = &Entry> {
        self.entries
            .iter()
            .filter(|entry| entry.changes() && entry.moves())
    }

    /// Not even unproven: an operation that is on its way has decided where its account goes. And a domain and an
    /// identifier under it are not moved at once.
    async fn nobody_is_on_the_way(&mut self, conn: &mut PgConnection) -> Result<(), Error> {
        let open = store::operation::operation_open_identifiers(conn).await?;
        if open.is_empty() {
            return Ok(());
        }
        for entry in self.entries.iter().filter(|entry| entry.changes()) {
            let in_the_way = open.iter().find(|(identifier, _)| {
                **identifier == entry.identifier
                    || (entry.is_domain() && identifier.ends_with(&entry.identifier))
            });
            if let Some((identifier, operation)) = in_the_way {
                let why = Refusal::precondition(
                    format!("operation {operation} is moving {identifier}"),
                    "wait for it, or abort it",
                );
                self.wrong.add(entry.row, why);
            }
        }
        Ok(())
    }

    /// How many identifiers of accounts would move.
    async fn no_account_moves(&mut self, conn: &mut PgConnection) -> Result<u64, Error> {
        let moved: Vec<String> = self.moves().map(|entry| entry.identifier.clone()).collect();
        let accounts = store::account::account_ids_of_identifiers(conn, &moved).await?;
        let mut number = 0;
        for entry in self
            .entries
            .iter()
            .filter(|entry| entry.changes() && entry.moves())
        {
            let of_accounts = match entry.is_domain() {
                true => store::account::account_following_domain_count(conn, &entry.identifier).await?,
                false => u64::from(accounts.contains_key(&entry.identifier)),
            };
            if of_accounts == 0 {
                continue;
            }
            number += of_accounts;
            let to = entry.would_resolve.as_deref().unwrap_or("nowhere");
            let why = Refusal::precondition(
                format!(
                    "{}: {of_accounts} identifiers of accounts would move from {} to {to}",
                    entry.identifier,
                    entry.left()
                ),
                "move accounts with `mailswitchctl cutover`, or give --unproven",
            );
            self.wrong.add(entry.row, why);
        }
        Ok(number)
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

/// What is asked of one identifier.
struct Wanted {
    row: usize,
    key: Key,
    wished: Option<String>,
}

/// By normal form. Two spellings of one identifier have to say the same.
fn normal(rules: &Rules, wishes: &[Wish], wrong: &mut Wrong) -> HashMap<String, Wanted> {
    let declared = rules.destinations();
    let mut normal: HashMap<String, Wanted> = HashMap::with_capacity(wishes.len());
    for (row, wish) in wishes.iter().enumerate() {
        let unknown = wish
            .destination
            .as_deref()
            .filter(|name| !declared.contains(name));
        if let Some(Err(why)) = unknown.map(|name| rules.destination(name)) {
            wrong.add(row, why);
        }
        match rules.identifier(&wish.identifier) {
            Err(why) => {
                let remedy =
                    "write the login as a client presents it, such as alice@example.org, or @example.org";
                wrong.add(row, Refusal::invalid(why, remedy));
            }
            Ok((identifier, key)) => match normal.entry(identifier.to_string()) {
                Slot::Vacant(slot) => {
                    slot.insert(Wanted {
                        row,
                        key,
                        wished: wish.destination.clone(),
                    });
                }
                Slot::Occupied(first) if first.get().wished == wish.destination => {}
                Slot::Occupied(first) => {
                    let in_words = |destination: &Option<String>| {
                        destination.clone().unwrap_or_else(|| "none".to_owned())
                    };
                    let what = format!(
                        "{:?}: it is there twice, with two destinations: {} before, and {} here",
                        wish.identifier,
                        in_words(&first.get().wished),
                        in_words(&wish.destination)
                    );
                    wrong.add(row, Refusal::invalid(what, "leave one of them"));
                }
            },
        }
    }
    normal
}
