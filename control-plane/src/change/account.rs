//! Accounts: import with identifiers, addresses and group. All identifiers of an account are on one destination, or the
//! import says which are not. An account's record moves nobody; it takes a revision, so that whatever looked for
//! records in the way cannot be committed past it.

use std::collections::{BTreeMap, HashMap, HashSet};

use mailswitch_proto::id::AccountId;
use mailswitch_proto::identifier::Key;
use serde::{Deserialize, Serialize};

use super::rules::{Rules, Whereabouts};
use super::writer::Size;
use super::wrong::{self, Wrong};
use super::{Change, Committed, Context, Draft, Error, Refusal, Writer};
use crate::store;
use crate::store::account::{Account, account_get_many, account_ids_of_identifiers, account_put_many};
use crate::store::audit::Proof;
use crate::store::change::Breadth;

/// An account as the operator wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// The first is its name.
    pub identifiers: Vec<String>,
    /// At which it gets mail.
    pub addresses: Vec<String>,
    /// Empty: none.
    pub group: String,
}

/// How many it changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// That were not there.
    pub added: u64,
    /// That were there, otherwise.
    pub changed: u64,
    /// That were there just so.
    pub unchanged: u64,
}

/// Imports accounts, all or none. One that shares an identifier with a recorded account replaces it, under its id.
///
/// # Errors
/// Refused with what is wrong with each; identifiers on several destinations are let through, and noted, when `proof` is
/// waived.
pub async fn account_import(
    writer: &Writer,
    context: &Context,
    wishes: &[Wish],
    proof: Proof,
) -> Result<Committed<Counts>, Error> {
    writer.commit(context, &Import { wishes, proof }).await
}

struct Import<'a> {
    wishes: &'a [Wish],
    proof: Proof,
}

impl Change for Import<'_> {
    type Output = Counts;

    fn verb(&self) -> &'static str {
        "account import"
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
        let mut wrong = Wrong::default();
        let wished = normal(&rules, self.wishes, &mut wrong);
        let all: Vec<String> = wished
            .iter()
            .flat_map(|wished| identifiers_of(&wished.account))
            .cloned()
            .collect();
        let recorded = account_ids_of_identifiers(draft.conn, &all).await?;
        let wished = with_ids(wished, &recorded, &mut wrong);
        let apart = on_several_destinations(draft, &rules, &wished, &all).await?;
        if self.proof == Proof::Standing {
            for wished in &wished {
                if let Some(what) = apart.get(&wished.account.id) {
                    let remedy = "bring them together with `mailswitchctl mapping set`, or give --unproven";
                    wrong.add(wished.row, Refusal::precondition(what, remedy));
                }
            }
        }
        let ids: Vec<uuid::Uuid> = wished.iter().map(|wished| wished.account.id.uuid()).collect();
        let before: HashMap<AccountId, Account> = account_get_many(draft.conn, &ids)
            .await?
            .into_iter()
            .map(|account| (account.id, account))
            .collect();
        nobody_is_on_the_way(draft, &wished, &before, &mut wrong).await?;
        nobody_is_armed_as_another(draft, &wished, &before, &mut wrong).await?;
        let asked = wrong::Asked {
            rows: self.wishes.len(),
            what: "accounts",
        };
        wrong.refuse(asked, None)?;
        for what in apart.values() {
            draft.note(what);
        }
        write(draft, self.verb(), wished, &before, &apart).await
    }
}

/// An account of the list.
struct Wished {
    row: usize,
    account: Account,
}

/// The accounts whose identifiers disagree, and how.
async fn on_several_destinations(
    draft: &mut Draft<'_>,
    rules: &Rules,
    wished: &[Wished],
    all: &[String],
) -> Result<BTreeMap<AccountId, String>, Error> {
    let whereabouts = Whereabouts::read(draft.conn, rules, all).await?;
    let mut apart = BTreeMap::new();
    for Wished { account, .. } in wished {
        let found: HashSet<Option<&str>> = identifiers_of(account)
            .map(|identifier| whereabouts.resolved(identifier))
            .collect();
        if found.len() <= 1 {
            continue;
        }
        let each: Vec<String> = identifiers_of(account)
            .map(|identifier| {
                format!(
                    "{identifier} -> {}",
                    whereabouts.resolved(identifier).unwrap_or("nowhere")
                )
            })
            .collect();
        let what = format!("{}: its identifiers disagree: {}", account.name, each.join(", "));
        apart.insert(account.id, what);
    }
    Ok(apart)
}

/// An operation that is on its way has decided whom it moves.
async fn nobody_is_on_the_way(
    draft: &mut Draft<'_>,
    wished: &[Wished],
    before: &HashMap<AccountId, Account>,
    wrong: &mut Wrong,
) -> Result<(), Error> {
    let open = store::operation::operation_open_identifiers(draft.conn).await?;
    if open.is_empty() {
        return Ok(());
    }
    for Wished { row, account } in wished {
        let known = before.get(&account.id);
        let on_the_way = identifiers_of(account)
            .chain(known.into_iter().flat_map(identifiers_of))
            .find_map(|identifier| open.get_key_value(identifier));
        if let (true, Some((identifier, operation))) = (known != Some(account), on_the_way) {
            let what = format!("operation {operation} is moving {identifier}");
            wrong.add(*row, Refusal::precondition(what, "wait for it, or abort it"));
        }
    }
    Ok(())
}

/// An arming names identifiers: one that came or went would not be what a lapse is counted for (promise L4).
async fn nobody_is_armed_as_another(
    draft: &mut Draft<'_>,
    wished: &[Wished],
    before: &HashMap<AccountId, Account>,
    wrong: &mut Wrong,
) -> Result<(), Error> {
    let all: Vec<String> = wished
        .iter()
        .map(|wished| &wished.account)
        .chain(before.values())
        .flat_map(identifiers_of)
        .cloned()
        .collect();
    let armings = store::arming::arming_on_list(draft.conn, &all).await?;
    let armed: HashSet<&String> = armings.iter().flat_map(|(_, named)| named).collect();
    if armed.is_empty() {
        return Ok(());
    }
    for Wished { row, account } in wished {
        let known = before.get(&account.id);
        let set = |account: &Account| -> HashSet<String> { identifiers_of(account).cloned().collect() };
        let same = known.is_some_and(|known| set(known) == set(account));
        let one = identifiers_of(account)
            .chain(known.into_iter().flat_map(identifiers_of))
            .find(|identifier| armed.contains(identifier));
        if let (false, Some(identifier)) = (same, one) {
            let what = format!("{identifier} is armed, and its account would have other identifiers");
            let remedy = format!("take that back first: mailswitchctl account disarm {identifier}");
            wrong.add(*row, Refusal::precondition(what, remedy));
        }
    }
    Ok(())
}

/// Those of `apart` rest on `--unproven`, and the audit log says so (promise F4).
async fn write(
    draft: &mut Draft<'_>,
    verb: &str,
    wished: Vec<Wished>,
    before: &HashMap<AccountId, Account>,
    apart: &BTreeMap<AccountId, String>,
) -> Result<Counts, Error> {
    let mut counts = Counts::default();
    let mut changed = Vec::new();
    for Wished { account, .. } in wished {
        match before.get(&account.id) {
            Some(known) if *known == account => counts.unchanged += 1,
            known => {
                match known {
                    Some(_) => counts.changed += 1,
                    None => counts.added += 1,
                }
                let was = known.map_or_else(String::new, in_words);
                let proof = match apart.contains_key(&account.id) {
                    true => Proof::Waived,
                    false => Proof::Standing,
                };
                draft.audit(verb, &account.name, &was, &in_words(&account), proof);
                changed.push(account);
            }
        }
    }
    if !changed.is_empty() {
        account_put_many(draft.conn, &changed).await?;
        draft.touch(Breadth::Everything);
    }
    Ok(counts)
}

/// In normal form, without ids.
fn normal(rules: &Rules, wishes: &[Wish], wrong: &mut Wrong) -> Vec<Wished> {
    let mut owner: HashMap<String, usize> = HashMap::new();
    let mut accounts = Vec::with_capacity(wishes.len());
    for (at, wish) in wishes.iter().enumerate() {
        let mut identifiers: Vec<(String, Key)> = Vec::with_capacity(wish.identifiers.len());
        let mut usable = true;
        let mut amiss = |what: String, remedy: &str| {
            usable = false;
            wrong.add(at, Refusal::precondition(what, remedy));
        };
        for text in &wish.identifiers {
            match rules.identifier(text) {
                Err(why) => amiss(
                    why,
                    "write the login as a client presents it, such as alice@example.org",
                ),
                Ok((identifier, _)) if identifier.is_domain_entry() => {
                    let what = format!("{text:?}: a domain is no identifier of an account");
                    amiss(what, "write each login of the account");
                }
                Ok((identifier, key)) => match owner.insert(identifier.to_string(), at) {
                    None => identifiers.push((identifier.to_string(), key)),
                    // Two spellings of one identifier.
                    Some(same) if same == at => {}
                    Some(other) => amiss(
                        format!("{text:?}: it is in two accounts, also in row {}", other + 1),
                        "leave it in one",
                    ),
                },
            }
        }
        match identifiers.first() {
            None if !usable => {}
            None => wrong.add(
                at,
                Refusal::precondition("an account without an identifier", "give it one, or leave it out"),
            ),
            Some((name, _)) => {
                let mut addresses = wish.addresses.clone();
                addresses.sort();
                addresses.dedup();
                let account = Account {
                    id: AccountId::random(),
                    name: name.clone(),
                    identifiers,
                    addresses,
                    group: wish.group.clone(),
                };
                accounts.push(Wished { row: at, account });
            }
        }
    }
    accounts
}

/// Each keeps the id of the recorded account that it shares an identifier with.
fn with_ids(wished: Vec<Wished>, recorded: &HashMap<String, AccountId>, wrong: &mut Wrong) -> Vec<Wished> {
    let mut taken: HashSet<AccountId> = HashSet::new();
    wished
        .into_iter()
        .map(|Wished { row, account }| {
            let known: HashSet<AccountId> = identifiers_of(&account)
                .filter_map(|identifier| recorded.get(identifier).copied())
                .collect();
            if known.len() > 1 {
                let what = format!(
                    "{}: its identifiers belong to {} recorded accounts",
                    account.name,
                    known.len()
                );
                let remedy = "see `mailswitchctl account list`, and import those as they are";
                wrong.add(row, Refusal::precondition(what, remedy));
            }
            let account = match known.into_iter().next() {
                Some(id) if taken.insert(id) => Account { id, ..account },
                Some(_) => {
                    let what = format!("{}: two accounts of the list share a recorded one", account.name);
                    let remedy = "see `mailswitchctl account list`, and import it as one";
                    wrong.add(row, Refusal::precondition(what, remedy));
                    account
                }
                None => account,
            };
            Wished { row, account }
        })
        .collect()
}

fn identifiers_of(account: &Account) -> impl Iterator<Item = &String> {
    account.identifiers.iter().map(|(identifier, _)| identifier)
}

fn in_words(account: &Account) -> String {
    let identifiers: Vec<&str> = identifiers_of(account).map(String::as_str).collect();
    format!(
        "{} addresses={} group={}",
        identifiers.join(","),
        account.addresses.join(","),
        account.group
    )
}
