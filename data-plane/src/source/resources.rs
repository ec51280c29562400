//! The fleet's configuration, made of the resources that the table holds. A resource that cannot be used is reported
//! and its last good version stays; the others go on (design section 4).

use std::collections::BTreeMap;

use mailswitch_config::fleet::Files;
use mailswitch_config::{FleetConfig, Resource, ResourceKey, SiteName};

use crate::table::Rejection;

/// Assembles configurations, and remembers what was good.
#[derive(Debug)]
pub(crate) struct Resources {
    site: SiteName,
    good: BTreeMap<ResourceKey, Resource>,
}

impl Resources {
    pub(crate) fn of_site(site: SiteName) -> Self {
        Self {
            site,
            good: BTreeMap::new(),
        }
    }

    /// The configuration of these resources as this site sees it, and what of them could not be used.
    pub(crate) fn assemble(
        &mut self,
        resources: &BTreeMap<ResourceKey, Resource>,
    ) -> (FleetConfig, Vec<Rejection>) {
        let first = FleetConfig::from_resources(resources.values(), &self.site, Files::Here);
        let mut chosen = resources.clone();
        let mut rejections = Vec::new();
        for rejected in &first.rejected {
            let kept = match self.good.get(&rejected.key) {
                Some(good) => {
                    chosen.insert(rejected.key.clone(), good.clone());
                    "; its last good version stays"
                }
                None => {
                    chosen.remove(&rejected.key);
                    "; it is left out"
                }
            };
            rejections.push(Rejection {
                resource: rejected.key.to_string(),
                reason: format!("{}{kept}", rejected.findings),
            });
        }
        let config = if first.rejected.is_empty() {
            first.config
        } else {
            FleetConfig::from_resources(chosen.values(), &self.site, Files::Here).config
        };
        self.good = chosen;
        (config, rejections)
    }
}
