//! `[oauth]`: which claim of a token names the account (configuration 3.8).

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
