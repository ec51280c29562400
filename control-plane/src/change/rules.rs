//! What the fleet's configuration says about routing, as it is inside a transaction.

use std::collections::{BTreeSet, HashMap, HashSet};

use mailswitch_config::SiteName;
use mailswitch_config::fleet::{Files, FleetConfig};
use mailswitch_config::resource::Resource;
use mailswitch_config::table::routing::OnUnknown;
use mailswitch_proto::identifier::{HashKey, Identifier, Key, Normalization};
use sqlx::PgConnection;

use super::{Error, Refusal};
use crate::store;

/// The rules by which identifiers are read and resolved.
pub struct Rules {
    /// All that was applied.
    pub resources: Vec<Resource>,
    /// As a site that nothing special was written for sees it.
    pub config: FleetConfig,
    normalization: Normalization,
    hash_key: HashKey,
}

impl Rules {
    /// As they are now.
    ///
    /// # Errors
    /// The database's.
    pub async fn read(conn: &mut PgConnection) -> Result<Self, Error> {
        let (fleet, _) = store::fleet::fleet_get(conn).await?;
        let resources = store::resource::resource_list(conn).await?;
        Ok(Self::of(resources, fleet.hash_key))
    }

    /// Of these resources.
    #[must_use]
    pub fn of(resources: Vec<Resource>, hash_key: HashKey) -> Self {
        let config = FleetConfig::from_resources(&resources, &SiteName::from(""), Files::Elsewhere).config;
        Self {
            // Once, and not for each row of an import.
            normalization: config.identifier_rules().normalization,
            config,
            resources,
            hash_key,
        }
    }

    /// The same fleet with other resources.
    #[must_use]
    pub fn with(&self, resources: Vec<Resource>) -> Self {
        Self::of(resources, self.hash_key)
    }

    /// As a site sees them.
    #[must_use]
    pub fn config_at(&self, site: &str) -> FleetConfig {
        FleetConfig::from_resources(&self.resources, &SiteName::from(site), Files::Elsewhere).config
    }

    /// The normal form of what an operator wrote, and its key.
    ///
    /// # Errors
    /// In words, when it is none.
    pub fn identifier(&self, text: &str) -> Result<(Identifier, Key), String> {
        match Identifier::written(text, &self.normalization) {
            Ok(identifier) => {
                let key = self.key(identifier.as_str());
                Ok((identifier, key))
            }
            Err(error) => Err(format!("{text:?}: {error}")),
        }
    }

    /// The key of a normal form.
    #[must_use]
    pub fn key(&self, normal_form: &str) -> Key {
        self.hash_key.key_of(normal_form)
    }

    /// The names of all destinations.
    #[must_use]
    pub fn destinations(&self) -> BTreeSet<&str> {
        self.resources
            .iter()
            .filter(|resource| resource.key.kind == "destination" && resource.key.site.is_empty())
            .map(|resource| resource.key.name.as_str())
            .collect()
    }

    /// Refuses a destination that is not there.
    ///
    /// # Errors
    /// The refusal.
    pub fn destination(&self, name: &str) -> Result<(), Refusal> {
        let declared = self.destinations();
        if declared.contains(name) {
            return Ok(());
        }
        Err(Refusal::precondition(
            format!("{name:?} is no destination of the fleet"),
            match declared.is_empty() {
                true => "apply a file with [destination.*] first".to_owned(),
                false => format!(
                    "take one of: {}",
                    declared.into_iter().collect::<Vec<_>>().join(", ")
                ),
            },
        ))
    }

    /// Where identifiers without any mapping go.
    #[must_use]
    pub fn fallback(&self) -> Option<&str> {
        match self.config.routing.unknown {
            OnUnknown::Refuse => None,
            OnUnknown::Default => self
                .config
                .routing
                .default_destination
                .as_ref()
                .map(|name| name.as_str()),
        }
    }
}

/// Where identifiers go now, by the same rules and in the same order as on a node.
pub struct Whereabouts {
    own: HashMap<String, String>,
    fallback: Option<String>,
}

impl Whereabouts {
    /// Of these identifiers, in normal form.
    ///
    /// # Errors
    /// The database's.
    pub async fn read(conn: &mut PgConnection, rules: &Rules, identifiers: &[String]) -> Result<Self, Error> {
        let mut own = store::mapping::mapping_get_many(conn, identifiers).await?;
        let domains: HashSet<&str> = identifiers
            .iter()
            .filter_map(|identifier| domain_of(identifier))
            .collect();
        let domains: Vec<String> = domains.into_iter().map(ToOwned::to_owned).collect();
        own.extend(store::mapping::mapping_get_many(conn, &domains).await?);
        Ok(Self {
            own,
            fallback: rules.fallback().map(ToOwned::to_owned),
        })
    }

    /// By a mapping of its own.
    #[must_use]
    pub fn mapped(&self, identifier: &str) -> Option<&str> {
        self.own.get(identifier).map(String::as_str)
    }

    /// By a mapping of its own, its domain's, or the default.
    #[must_use]
    pub fn resolved(&self, identifier: &str) -> Option<&str> {
        self.mapped(identifier).or_else(|| self.without_own(identifier))
    }

    /// Where it would go without a mapping of its own.
    #[must_use]
    pub fn without_own(&self, identifier: &str) -> Option<&str> {
        domain_of(identifier)
            .and_then(|domain| self.mapped(domain))
            .or(self.fallback.as_deref())
    }
}

/// `@example.org` of `alice@example.org`; none of a domain entry itself.
fn domain_of(identifier: &str) -> Option<&str> {
    match identifier.rfind('@') {
        None | Some(0) => None,
        Some(at) => Some(&identifier[at..]),
    }
}
