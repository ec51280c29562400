//! How a person's login appears in logs, traces and session lists (behaviour section 12, design section 6): a short
//! prefix and a tag, `al***#1a2b`, or plain when the operator wants it so. The tag and `user.hash` are SHA-256 under the
//! fleet's key, so that two fleets' logs cannot be joined, and nobody without the key can try addresses.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use mailswitch_config::table::telemetry::Identifiers;
use sha2::{Digest as _, Sha256};

/// Turns identifiers into what may be written down. Cheap to clone; all clones learn the key together.
#[derive(Clone)]
pub struct Redactor {
    identifiers: Identifiers,
    key: Arc<ArcSwapOption<[u8; 16]>>,
}

impl Redactor {
    /// Without a key, as on a node that runs alone: tags are stable across restarts and the same everywhere.
    #[must_use]
    pub fn new(identifiers: Identifiers) -> Self {
        Self {
            identifiers,
            key: Arc::default(),
        }
    }

    /// The fleet's key, which comes over the feed.
    pub fn set_key(&self, key: [u8; 16]) {
        self.key.store(Some(Arc::new(key)));
    }

    /// For a log line or a list. The identifier is in its normal form.
    #[must_use]
    pub fn identifier(&self, identifier: &str) -> String {
        if identifier.is_empty() {
            return "<empty>".to_owned();
        }
        match self.identifiers {
            Identifiers::Plain => identifier.to_owned(),
            Identifiers::Redacted => {
                let prefix: String = identifier.chars().take(2).collect();
                format!("{prefix}***#{}", &self.user_hash(identifier)[..4])
            }
        }
    }

    /// `user.hash` of a span: 16 hexadecimal digits, of which `identifier` shows the first four.
    #[must_use]
    pub fn user_hash(&self, identifier: &str) -> String {
        let key = self.key.load();
        let mut hash = Sha256::new();
        if let Some(key) = key.as_deref() {
            // A whole block of its own before the text, as HMAC pads its key.
            let mut block = [0_u8; 64];
            block[..key.len()].copy_from_slice(key);
            hash.update(block);
        }
        hash.update(identifier.as_bytes());
        let digest: [u8; 32] = hash.finalize().into();
        digest[..8].iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Redactor({})", self.identifiers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_two_characters_and_a_tag() {
        let redactor = Redactor::new(Identifiers::Redacted);
        // printf alice@example.org | sha256sum
        assert_eq!(redactor.user_hash("alice@example.org"), SHA256_OF_ALICE);
        assert_eq!(
            redactor.identifier("alice@example.org"),
            format!("al***#{}", &SHA256_OF_ALICE[..4])
        );
        assert_eq!(redactor.identifier(""), "<empty>");
        assert!(redactor.identifier("éa").starts_with("éa***#"));
        assert!(redactor.identifier("x").starts_with("x***#"));
    }

    #[test]
    fn the_key_of_a_fleet_changes_every_tag_in_all_clones() {
        let redactor = Redactor::new(Identifiers::Redacted);
        let clone = redactor.clone();
        let before = clone.user_hash("alice@example.org");
        redactor.set_key([7; 16]);
        assert_ne!(clone.user_hash("alice@example.org"), before);
        assert_eq!(
            clone.user_hash("alice@example.org"),
            redactor.user_hash("alice@example.org")
        );
    }

    #[test]
    fn plain_is_plain() {
        assert_eq!(Redactor::new(Identifiers::Plain).identifier("alice"), "alice");
    }

    const SHA256_OF_ALICE: &str = "7a64adf28737ea90";
}
