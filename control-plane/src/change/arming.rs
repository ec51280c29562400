//! `account arm` and `account disarm`: accounts are armed ahead, and stay so through cutovers until that is taken back
//! (promise L1, L5). An operation's own arming is `cutover::arm`.

use std::collections::{BTreeMap, HashMap};

use chrono::Utc;
use mailswitch_proto::fleet::v1::{self, change::Kind};
use mailswitch_proto::id::{AccountId, ArmingId};
use serde::{Deserialize, Serialize};

use super::rules::Rules;
use super::writer::Size;
use super::wrong::{self, Wrong};
use super::{Change, Committed, Context, Draft, Error, Refusal, Writer};
use crate::store;
use crate::store::account::{Account, account_get_many, account_ids_of_identifiers};
use crate::store::arming::{Arming, arming_on_list, arming_put_many, arming_remove_many};
use crate::store::audit::Proof;

/// How many accounts it changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// That were not so.
    pub changed: u64,
    /// That were so already.
    pub unchanged: u64,
}

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From now on only under a lease.
    Arm,
    /// As any other account.
    Disarm,
}

/// Arms or disarms the accounts of these identifiers, all or none, in one revision.
///
/// # Errors
/// Refused with what is wrong with each; nothing changed.
pub async fn account_arm(
    writer: &Writer,
    context: &Context,
    identifiers: &[String],
    way: Way,
) -> Result<Committed<Counts>, Error> {
    let change = ArmAhead {
        identifiers,
        way,
        who: &context.actor.who,
    };
    writer.commit(context, &change).await
}

struct ArmAhead<'a> {
    identifiers: &'a [String],
    way: Way,
    who: &'a str,
}

impl Change for ArmAhead<'_> {
    type Output = Counts;

    fn verb(&self) -> &'static str {
        match self.way {
            Way::Arm => "account arm",
            Way::Disarm => "account disarm",
        }
    }

    fn request(&self) -> String {
        format!("{:?} {:?}", self.identifiers, self.way)
    }

    fn size(&self) -> Size {
        if self.identifiers.len() > 1000 {
            Size::Bulk
        } else {
            Size::Short
        }
    }

    async fn make(&self, draft: &mut Draft<'_>) -> Result<Counts, Error> {
        let mut wrong = Wrong::default();
        let accounts = self.accounts(draft, &mut wrong).await?;
        let all: Vec<String> = accounts
            .values()
            .flat_map(|(_, account)| identifiers_of(account))
            .collect();
        let armings = arming_on_list(draft.conn, &all).await?;
        let open = store::operation::operation_open_identifiers(draft.conn).await?;
        let mut armed: HashMap<&str, &Arming> = HashMap::new();
        for (arming, named) in &armings {
            armed.extend(named.iter().map(|identifier| (identifier.as_str(), arming)));
        }
        let mut counts = Counts::default();
        let mut concerned: Vec<(&Account, Option<&Arming>)> = Vec::new();
        for (row, account) in accounts.values() {
            let found = armed_as_a_whole(account, &armed);
            match (self.way, &found) {
                (Way::Arm, Ok(Some(_))) | (Way::Disarm, Ok(None)) => {
                    counts.unchanged += 1;
                    continue;
                }
                (Way::Arm, Err(why)) => wrong.add(*row, why.clone()),
                _ => {}
            }
            if let Some(operation) = identifiers_of(account).iter().find_map(|id| open.get(id)) {
                let what = format!("operation {operation} is moving {}", account.name);
                wrong.add(*row, Refusal::precondition(what, "wait for it, or abort it"));
            }
            concerned.push((
                account,
                identifiers_of(account)
                    .iter()
                    .find_map(|id| armed.get(id.as_str()).copied()),
            ));
            counts.changed += 1;
        }
        let asked = wrong::Asked {
            rows: self.identifiers.len(),
            what: "accounts",
        };
        wrong.refuse(asked, None)?;
        match self.way {
            Way::Arm => self.arm(draft, &concerned).await?,
            Way::Disarm => self.disarm(draft, &concerned).await?,
        }
        Ok(counts)
    }
}

impl ArmAhead<'_> {
    /// Each once, with the first row that names it.
    async fn accounts(
        &self,
        draft: &mut Draft<'_>,
        wrong: &mut Wrong,
    ) -> Result<BTreeMap<AccountId, (usize, Account)>, Error> {
        let rules = Rules::read(draft.conn).await?;
        let mut rows: Vec<(usize, String)> = Vec::with_capacity(self.identifiers.len());
        for (row, text) in self.identifiers.iter().enumerate() {
            match rules.identifier(text) {
                Err(why) => wrong.add(row, Refusal::invalid(why, "give a login of the account")),
                Ok((identifier, _)) if identifier.is_domain_entry() => {
                    let what = format!("{identifier} is a whole domain");
                    wrong.add(row, Refusal::precondition(what, "name its accounts one by one"));
                }
                Ok((identifier, _)) => rows.push((row, identifier.to_string())),
            }
        }
        let all: Vec<String> = rows.iter().map(|(_, identifier)| identifier.clone()).collect();
        let known = account_ids_of_identifiers(draft.conn, &all).await?;
        let mut first: BTreeMap<AccountId, usize> = BTreeMap::new();
        for (row, identifier) in rows {
            match known.get(&identifier) {
                Some(id) => {
                    first.entry(*id).or_insert(row);
                }
                None => {
                    let what = format!("{identifier} belongs to no account");
                    let remedy = "import the account with all its identifiers: mailswitchctl account import";
                    wrong.add(row, Refusal::precondition(what, remedy));
                }
            }
        }
        let ids: Vec<uuid::Uuid> = first.keys().map(|id| id.uuid()).collect();
        let accounts = account_get_many(draft.conn, &ids).await?;
        Ok(accounts
            .into_iter()
            .filter_map(|account| Some((account.id, (*first.get(&account.id)?, account))))
            .collect())
    }

    async fn arm(
        &self,
        draft: &mut Draft<'_>,
        concerned: &[(&Account, Option<&Arming>)],
    ) -> Result<(), Error> {
        let now = Utc::now();
        let mut made = Vec::with_capacity(concerned.len());
        for (account, _) in concerned {
            let arming = Arming {
                id: ArmingId::random(),
                operation: None,
                account: Some(account.id),
                name: account.name.clone(),
                revision: draft.revision(),
                keys: account.identifiers.iter().map(|(_, key)| *key).collect(),
                armed_at: now,
                armed_by: self.who.to_owned(),
            };
            let armed = v1::Armed {
                arming: arming.id.to_vec(),
                operation: Vec::new(),
            };
            draft.push(&arming.keys, Kind::Armed(armed));
            draft.audit(self.verb(), &account.name, "", "armed", Proof::Standing);
            made.push((arming, identifiers_of(account)));
        }
        Ok(arming_put_many(draft.conn, &made).await?)
    }

    async fn disarm(
        &self,
        draft: &mut Draft<'_>,
        concerned: &[(&Account, Option<&Arming>)],
    ) -> Result<(), Error> {
        let armings: Vec<&Arming> = concerned.iter().filter_map(|(_, arming)| *arming).collect();
        for arming in &armings {
            let disarmed = v1::Disarmed {
                arming: arming.id.to_vec(),
            };
            draft.push(&arming.keys, Kind::Disarmed(disarmed));
            draft.audit(self.verb(), &arming.name, "armed", "", Proof::Standing);
        }
        let ids: Vec<ArmingId> = armings.iter().map(|arming| arming.id).collect();
        Ok(arming_remove_many(draft.conn, &ids).await?)
    }
}

/// The arming of all of an account's identifiers, and of nothing else.
fn armed_as_a_whole<'a>(
    account: &Account,
    armed: &HashMap<&str, &'a Arming>,
) -> Result<Option<&'a Arming>, Refusal> {
    let each = account
        .identifiers
        .iter()
        .map(|(identifier, _)| armed.get(identifier.as_str()));
    let mut found: Vec<Option<ArmingId>> = each.map(|arming| arming.map(|arming| arming.id)).collect();
    found.sort();
    found.dedup();
    let whole = account
        .identifiers
        .first()
        .and_then(|(identifier, _)| armed.get(identifier.as_str()).copied());
    match (found.as_slice(), whole) {
        ([None], _) => Ok(None),
        ([Some(_)], Some(whole)) if whole.keys.len() == account.identifiers.len() => Ok(Some(whole)),
        _ => Err(Refusal::precondition(
            format!("{} is armed as another account than it is now", account.name),
            format!(
                "take that back first: mailswitchctl account disarm {}",
                account.name
            ),
        )),
    }
}

fn identifiers_of(account: &Account) -> Vec<String> {
    let identifiers = account.identifiers.iter();
    identifiers.map(|(identifier, _)| identifier.clone()).collect()
}
