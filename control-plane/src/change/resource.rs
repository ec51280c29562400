//! The fleet's configuration: what is applied replaces all that was. The tables were validated by the configuration crate;
//! here it is checked that applying them strands nobody and moves nobody unseen (promise F4).

use std::collections::{BTreeMap, BTreeSet};

use mailswitch_config::FleetConfig;
use mailswitch_config::protocol::Protocol;
use mailswitch_config::resource::{Resource, ResourceKey};
use mailswitch_config::table::destination::Destination;
use mailswitch_config::table::http::{Extract, Http, RouteTarget};
use mailswitch_proto::fleet::v1::{self, change::Kind};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use super::earlier::is_known;
use super::mapping::none_of;
use super::patience::patiently;
use super::rules::Rules;
use super::sessions::{Nodes, Whose};
use super::{Change, Committed, Context, Draft, Error, Refusal, Writer};
use crate::store;
use crate::store::arming::{InForce, in_force_get};
use crate::store::audit::Proof;
use crate::store::change::Breadth;
use crate::store::resource::{resource_list, resource_put, resource_remove};

/// How many tables it changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Written.
    pub set: u64,
    /// Removed.
    pub removed: u64,
}

/// Makes `wished` the whole configuration of the fleet. Applying what is there already takes no revision.
///
/// # Errors
/// Refused when a destination in use would go, or when somebody would be moved; nothing changed.
pub async fn resources_apply(
    writer: &Writer,
    nodes: &dyn Nodes,
    context: &Context,
    wished: &[Resource],
    proof: Proof,
) -> Result<Committed<Counts>, Error> {
    let asked = match proof {
        Proof::Waived => BTreeSet::new(),
        Proof::Standing if patiently(|| is_known(writer.pool(), context)).await? => BTreeSet::new(),
        Proof::Standing => patiently(|| ask(writer, nodes, wished)).await?,
    };
    writer.commit(context, &Apply { wished, proof, asked }).await
}

/// The destinations whose people would be moved, none of whom has a session.
/// What a login that is admitted after the answer means, `mapping` says.
async fn ask(writer: &Writer, nodes: &dyn Nodes, wished: &[Resource]) -> Result<BTreeSet<String>, Error> {
    let mut asked = BTreeSet::new();
    let mut conn = writer.pool().acquire().await?;
    let now = Rules::read(&mut conn).await?;
    drop(conn);
    let later = now.with(wished.to_vec());
    let difference = Difference {
        now: &now,
        wished: &later,
    };
    for destination in difference.moves().into_keys() {
        let observed = nodes.sessions(Whose::Destination(destination.clone())).await;
        none_of(&observed, &format!("on {destination}, which would be changed"))?;
        asked.insert(destination);
    }
    Ok(asked)
}

struct Apply<'a> {
    wished: &'a [Resource],
    proof: Proof,
    asked: BTreeSet<String>,
}

impl Change for Apply<'_> {
    type Output = Counts;

    fn verb(&self) -> &'static str {
        "apply"
    }

    fn request(&self) -> String {
        format!("{:?} {:?}", self.wished, self.proof)
    }

    async fn make(&self, draft: &mut Draft<'_>) -> Result<Counts, Error> {
        let now = Rules::read(draft.conn).await?;
        let wished = now.with(self.wished.to_vec());
        let difference = Difference {
            now: &now,
            wished: &wished,
        };
        difference.strands_nobody(draft.conn).await?;
        difference.keeps_the_form_of_who_is_on_the_way(draft.conn).await?;
        difference.keeps_the_lease_of_who_is_armed(draft.conn).await?;
        let moves = difference.moves();
        if self.proof == Proof::Standing {
            if let Some((destination, what)) = moves
                .iter()
                .find(|(destination, _)| !self.asked.contains(*destination))
            {
                return Err(Refusal::precondition(
                    format!("the configuration was changed meanwhile ({destination}: {what})"),
                    "nothing was changed; try again",
                )
                .into());
            }
            difference.moves_no_account(draft.conn, &moves).await?;
        }
        let proof = if moves.is_empty() {
            Proof::Standing
        } else {
            self.proof
        };
        write(draft, self.verb(), self.wished, proof).await
    }
}

async fn write(
    draft: &mut Draft<'_>,
    verb: &str,
    wished: &[Resource],
    proof: Proof,
) -> Result<Counts, Error> {
    let before: BTreeMap<ResourceKey, String> = resource_list(draft.conn)
        .await?
        .into_iter()
        .map(|resource| (resource.key, resource.body))
        .collect();
    let after: BTreeMap<&ResourceKey, &Resource> =
        wished.iter().map(|resource| (&resource.key, resource)).collect();
    let mut counts = Counts::default();
    for (key, resource) in &after {
        let was = before.get(key);
        if was == Some(&resource.body) {
            continue;
        }
        resource_put(draft.conn, resource, draft.known.revision.next()).await?;
        draft.push(
            &[],
            Kind::ResourceSet(v1::ResourceSet {
                kind: key.kind.clone(),
                name: key.name.clone(),
                site: key.site.clone(),
                body: resource.body.clone(),
            }),
        );
        draft.audit(
            verb,
            &key.to_string(),
            was.map_or("", String::as_str),
            &resource.body,
            proof,
        );
        counts.set += 1;
    }
    for (key, body) in before.iter().filter(|(key, _)| !after.contains_key(key)) {
        resource_remove(draft.conn, key).await?;
        draft.push(
            &[],
            Kind::ResourceRemoved(v1::ResourceRemoved {
                kind: key.kind.clone(),
                name: key.name.clone(),
                site: key.site.clone(),
            }),
        );
        draft.audit(verb, &key.to_string(), body, "", proof);
        counts.removed += 1;
    }
    if counts != Counts::default() {
        draft.touch(Breadth::Everything);
    }
    Ok(counts)
}

/// The configuration as it is, and as it is wished.
struct Difference<'a> {
    now: &'a Rules,
    wished: &'a Rules,
}

impl Difference<'_> {
    /// Not even unproven: a mapping to a destination that is not there answers the temporary failure for ever.
    async fn strands_nobody(&self, conn: &mut PgConnection) -> Result<(), Error> {
        let kept = self.wished.destinations();
        for gone in self
            .now
            .destinations()
            .into_iter()
            .filter(|name| !kept.contains(name))
        {
            let user = match store::mapping::mapping_to_get(conn, gone).await? {
                Some(identifier) => Some(format!("the mapping of {identifier} goes there")),
                None => store::operation::operation_open_between_get(conn, gone)
                    .await?
                    .map(|operation| format!("operation {operation} moves an account from or to it")),
            };
            if let Some(user) = user {
                return Err(Refusal::precondition(
                    format!("destination {gone} cannot be removed: {user}"),
                    "move what uses it first",
                )
                .into());
            }
        }
        Ok(())
    }

    /// Not even unproven: a hold names keys, and under another form of logins it would hold nobody (promise Q4).
    async fn keeps_the_form_of_who_is_on_the_way(&self, conn: &mut PgConnection) -> Result<(), Error> {
        if !self.changes_the_form() {
            return Ok(());
        }
        let open = store::operation::operation_open_identifiers(conn).await?;
        match open.into_iter().next() {
            None => self.keeps_the_form_of_who_is_armed(conn).await,
            Some((identifier, operation)) => Err(Refusal::precondition(
                format!("operation {operation} is moving {identifier}, and logins would be brought to another form"),
                "wait for it, or abort it",
            )
            .into()),
        }
    }

    /// Nor does an arming: under another form of logins it would bind nobody to a lease (promise L4).
    async fn keeps_the_form_of_who_is_armed(&self, conn: &mut PgConnection) -> Result<(), Error> {
        let armed = in_force_get(conn).await?.armed;
        if armed == 0 {
            return Ok(());
        }
        Err(Refusal::precondition(
            format!("{}, and logins would be brought to another form", armed_words(armed)),
            "take that back first: `mailswitchctl account list --armed` shows them, `account disarm` disarms them",
        )
        .into())
    }

    /// Not even unproven: a driver waits by the length of a lease that nodes were given (promise L3).
    async fn keeps_the_lease_of_who_is_armed(&self, conn: &mut PgConnection) -> Result<(), Error> {
        let (before, after) = (self.now.config.cutover.lease, self.wished.config.cutover.lease);
        if before == after {
            return Ok(());
        }
        let InForce {
            armed,
            held,
            operations,
            ..
        } = in_force_get(conn).await?;
        if armed + held + operations == 0 {
            return Ok(());
        }
        Err(Refusal::precondition(
            format!(
                "cutover.lease cannot change from {before:?} to {after:?} now: {}, {held} held, and {operations} operations go on",
                armed_words(armed)
            ),
            "disarm them (`mailswitchctl account list --armed` shows them) and wait for the operations; apply it then",
        )
        .into())
    }

    /// Whether a login that says the same would be another identifier: its form, or the claim of a token that names it.
    fn changes_the_form(&self) -> bool {
        self.now.config.identifier_rules() != self.wished.config.identifier_rules()
            || self.now.config.oauth.jwt_username_claim != self.wished.config.oauth.jwt_username_claim
    }

    /// The destinations whose people would be sent elsewhere, and by what.
    fn moves(&self) -> BTreeMap<String, Move> {
        let mut moves = BTreeMap::new();
        for site in self.sites() {
            let (before, after) = (self.now.config_at(&site), self.wished.config_at(&site));
            for (name, destination) in &before.destinations {
                let moved = after
                    .destination(name.as_str())
                    .is_some_and(|later| is_elsewhere(destination, later));
                if moved {
                    moves.insert(name.to_string(), Move::Endpoint);
                }
            }
            if routes_otherwise(&before.http, &after.http) {
                // Which of them a path led to cannot be told from patterns.
                for name in serving_http(&before) {
                    moves.entry(name).or_insert(Move::Routes);
                }
            }
        }
        if let (Some(before), after) = (self.now.fallback(), self.wished.fallback())
            && after != Some(before)
        {
            moves.insert(before.to_owned(), Move::Default);
        }
        if self.changes_the_form() {
            // Whatever is mapped or held under the old form is not found under the new one.
            for name in self.now.destinations() {
                moves.insert(name.to_owned(), Move::Form);
            }
        }
        moves
    }

    fn sites(&self) -> BTreeSet<String> {
        let resources = self.now.resources.iter().chain(&self.wished.resources);
        let mut sites: BTreeSet<String> = resources.map(|resource| resource.key.site.clone()).collect();
        sites.insert(String::new());
        sites
    }

    async fn moves_no_account(
        &self,
        conn: &mut PgConnection,
        moves: &BTreeMap<String, Move>,
    ) -> Result<(), Error> {
        for (destination, what) in moves {
            let mut number = 0;
            if *what != Move::Default {
                number += store::account::account_mapped_to_count(conn, destination).await?;
            }
            if self.now.fallback() == Some(destination) {
                number += store::account::account_following_default_count(conn).await?;
            }
            if number > 0 {
                return Err(Refusal::precondition(
                    format!("{number} identifiers of accounts are on {destination}, and {what}"),
                    "move them with cutovers first, or give --unproven",
                )
                .into());
            }
        }
        Ok(())
    }
}

fn armed_words(armed: u64) -> String {
    match armed {
        1 => "1 account is armed".to_owned(),
        many => format!("{many} accounts are armed"),
    }
}

/// By what people would be sent elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Move {
    /// Another host or port of their destination.
    Endpoint,
    /// Another default destination.
    Default,
    /// Other `[[http.route]]`: the account that a request names, or the destination without one.
    Routes,
    /// Another form of logins, or another claim that names who signs in with a token.
    Form,
}

impl std::fmt::Display for Move {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Endpoint => "its host or a port changes",
            Self::Default => "unmapped logins no longer go there",
            Self::Routes => {
                "requests are routed otherwise (only routes behind those that are there move nobody)"
            }
            Self::Form => "logins are brought to another form",
        })
    }
}

/// Whether a protocol that both serve is elsewhere.
fn is_elsewhere(before: &Destination, after: &Destination) -> bool {
    before.host != after.host
        || before.endpoints.iter().any(|(protocol, endpoint)| {
            after
                .endpoint(*protocol)
                .is_some_and(|later| later.port != endpoint.port)
        })
}

/// Whether a request that fits a route now may be sent elsewhere. Behind the last route nothing fitted: what is added there moves nobody.
fn routes_otherwise(before: &Http, after: &Http) -> bool {
    let reads_bodies = before
        .routes
        .iter()
        .any(|route| matches!(route.target, RouteTarget::Extracted(Extract::Body { .. }, _)));
    !after.routes.starts_with(&before.routes)
        || (reads_bodies && before.body_extract_cap != after.body_extract_cap)
}

fn serving_http(config: &FleetConfig) -> impl Iterator<Item = String> {
    let serving = |destination: &Destination| destination.endpoint(Protocol::Http).is_some();
    config
        .destinations
        .iter()
        .filter(move |(_, destination)| serving(destination))
        .map(|(name, _)| name.to_string())
}
