//! The fleet's configuration, made of the resources that the table holds. A resource that cannot be used is reported
//! and its last good version stays; the others go on (design section 4). When files were what it lacked, it is looked at
//! again when they change: an operator who brings a certificate to a node need not apply anything anew.

use std::collections::BTreeMap;

use mailswitch_config::fleet::{Files, ReportedListener};
use mailswitch_config::{Findings, FleetConfig, Resource, ResourceKey, SiteName};

use crate::table::Rejection;
use crate::tls::Watched;

/// Assembles configurations, and remembers what was good.
#[derive(Debug)]
pub(crate) struct Resources {
    site: SiteName,
    listeners: Vec<ReportedListener>,
    /// What was said last about the listeners.
    misfits: Findings,
    good: BTreeMap<ResourceKey, Resource>,
    /// The files of client certificates, while a resource is rejected.
    lacking: Option<Watched>,
}

impl Resources {
    /// Of a node with these listeners.
    pub(crate) fn of_node(site: SiteName, listeners: Vec<ReportedListener>) -> Self {
        Self {
            site,
            listeners,
            misfits: Findings::default(),
            good: BTreeMap::new(),
            lacking: None,
        }
    }

    /// True when a resource that is rejected may be usable now, because files have changed and stopped changing.
    pub(crate) fn may_have_become_usable(&mut self) -> bool {
        self.lacking.as_mut().is_some_and(|files| files.look().is_some())
    }

    /// The configuration of these resources as this site sees it, and what of them could not be used.
    pub(crate) fn assemble(
        &mut self,
        resources: &BTreeMap<ResourceKey, Resource>,
    ) -> (FleetConfig, Vec<Rejection>) {
        let files = Watched::new(resources.values().flat_map(Resource::client_certificate_files));
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
        self.say_misfits(&chosen);
        self.good = chosen;
        self.lacking = (!rejections.is_empty()).then_some(files);
        (config, rejections)
    }

    /// Once, until something else is wrong.
    fn say_misfits(&mut self, resources: &BTreeMap<ResourceKey, Resource>) {
        // Before the first synchronisation, and in a fleet that has no configuration yet, nothing fits.
        let misfits = match resources.is_empty() {
            true => Findings::default(),
            false => FleetConfig::misfits(resources.values(), &self.site, &self.listeners),
        };
        for misfit in misfits.iter() {
            if !self.misfits.iter().any(|said| said == misfit) {
                tracing::warn!(
                    key = misfit.key,
                    remedy = misfit.remedy,
                    "this node's listeners and the fleet's configuration do not fit: {}",
                    misfit.message
                );
            }
        }
        self.misfits = misfits;
    }
}
