//! Which certificate a client is shown, by the name that it asks for (RFC 6066 §3, configuration 3.2): the exact name,
//! then the name's parent domain, then the default, then the only certificate there is, then a self-signed one for
//! `localhost`, which is better than a handshake that fails without a word.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::sign::CertifiedKey;

use super::certificates::Loaded;

/// Certificates by what they are for.
#[derive(Debug)]
pub(super) struct Choice {
    exact: HashMap<String, Arc<CertifiedKey>>,
    /// `*.example.org` under `example.org`.
    wildcards: HashMap<String, Arc<CertifiedKey>>,
    fallback: Fallback,
}

/// What is shown to a client that asks for no name that we have.
#[derive(Debug)]
enum Fallback {
    Configured(Arc<CertifiedKey>),
    SelfSigned(Arc<CertifiedKey>),
}

impl Choice {
    /// Of two certificates for one name the first is shown.
    pub(super) fn of(loaded: &[&Loaded], self_signed: Arc<CertifiedKey>) -> Self {
        let (mut exact, mut wildcards) = (HashMap::new(), HashMap::new());
        for one in loaded {
            for name in &one.names {
                let name = name.to_ascii_lowercase();
                let (map, name) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut wildcards, parent.to_owned()),
                    None => (&mut exact, name),
                };
                map.entry(name).or_insert_with(|| Arc::clone(&one.certified));
            }
        }
        let default = loaded.iter().find(|one| one.is_default());
        let only = match loaded {
            [only] => Some(only),
            _ => None,
        };
        let fallback = match default.or(only) {
            Some(one) => Fallback::Configured(Arc::clone(&one.certified)),
            None => Fallback::SelfSigned(self_signed),
        };
        Self {
            exact,
            wildcards,
            fallback,
        }
    }

    /// The certificate for a name; none: the client asked for no name.
    pub(super) fn choose(&self, name: Option<&str>) -> Arc<CertifiedKey> {
        let known = name.and_then(|name| self.known(&name.to_ascii_lowercase()));
        match (known, &self.fallback) {
            (Some(certified), _) | (None, Fallback::Configured(certified)) => Arc::clone(certified),
            (None, Fallback::SelfSigned(certified)) => {
                tracing::debug!(
                    "no certificate has the name that is asked for: presenting the self-signed one for localhost"
                );
                Arc::clone(certified)
            }
        }
    }

    fn known(&self, name: &str) -> Option<&Arc<CertifiedKey>> {
        let exact = self.exact.get(name);
        // One label only.
        let parent = || name.split_once('.').map(|(_, parent)| parent);
        exact
            .or_else(|| self.wildcards.get(parent()?))
            .or_else(|| self.exact.get(parent()?))
    }

    /// True when a client that asks for no known name meets a certificate that nobody trusts.
    pub(super) fn may_show_self_signed(&self) -> bool {
        matches!(self.fallback, Fallback::SelfSigned(_))
    }
}
