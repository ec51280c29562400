//! `[oauth]`: which claim of a token names the account (configuration 3.8).

use crate::read::TableReader;

/// `[oauth]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Oauth {
    /// The first claim that is tried in a JWT.
    pub jwt_username_claim: String,
}

impl Default for Oauth {
    fn default() -> Self {
        Self {
            jwt_username_claim: "email".to_owned(),
        }
    }
}

impl Oauth {
    pub(crate) fn read(mut table: TableReader<'_, '_>) -> Self {
        let oauth = Self {
            jwt_username_claim: table
                .text("jwt_username_claim")
                .unwrap_or(Self::default().jwt_username_claim),
        };
        table.finish();
        oauth
    }
}
