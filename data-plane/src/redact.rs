//! How people's logins appear in logs and spans (behaviour §12): enough to find one's own lines, not to read whose
//! they are.

use std::fmt;

use mailswitch_config::table::telemetry::Identifiers;
use mailswitch_proto::identifier::Identifier;
use sha2::{Digest as _, Sha256};

/// An identifier as a log line shows it: `al***#1a2b`, or as it is when `telemetry.identifiers = "plain"`.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a> {
    identifier: Option<&'a Identifier>,
    how: Identifiers,
}

impl<'a> Shown<'a> {
    /// None: a login without an identifier.
    #[must_use]
    pub fn new(identifier: Option<&'a Identifier>, how: Identifiers) -> Self {
        Self { identifier, how }
    }
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.identifier.map_or("", Identifier::as_str);
        match (self.how, text) {
            (_, "") => f.write_str("<empty>"),
            (Identifiers::Plain, text) => f.write_str(text),
            (Identifiers::Redacted, text) => {
                let prefix: String = text.chars().take(2).collect();
                // Stable across restarts and versions, so that yesterday's lines are found today.
                let hash = Sha256::digest(text);
                write!(f, "{prefix}***#{:02x}{:02x}", hash[0], hash[1])
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use mailswitch_proto::identifier::Normalization;

    use super::*;

    fn shown(text: &str, how: Identifiers) -> String {
        let identifier = Identifier::normalized(text, &Normalization::AsPresented).expect("an identifier");
        Shown::new(Some(&identifier), how).to_string()
    }

    #[test]
    fn a_redacted_login_shows_two_characters_and_a_stable_tag() {
        // The first bytes of `printf alice@example.org | sha256sum`.
        assert_eq!(shown("alice@example.org", Identifiers::Redacted), "al***#7a64");
        assert_eq!(
            shown("alice@example.org", Identifiers::Plain),
            "alice@example.org"
        );
        assert_eq!(Shown::new(None, Identifiers::Redacted).to_string(), "<empty>");
    }
}
