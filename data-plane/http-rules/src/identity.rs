//! Whom a request acts for (behaviour §3, promise A2): cut, checked, normalised by the function that all programs share.

use mailswitch_proto::identifier::{Identifier, Rules};

use crate::extract::{self, Extracted};
use crate::refusal::Refusal;
use crate::request::Received;

/// Everybody that a request acts for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// Decides where it goes. None: the fallback of its route does.
    pub routed_by: Option<Identifier>,
    /// Whom its Authorization names besides: it does not route, but the backend opens that account, so a hold of it has to
    /// find this request.
    pub also: Option<Identifier>,
}

impl Identity {
    /// From what the route's extractor found (`Absent` for a route without one).
    ///
    /// # Errors
    /// When what should name the account is no identifier, or the request's credential cannot be read in one way only.
    pub fn of(
        extracted: &Extracted,
        request: &Received,
        jwt_claim: &str,
        rules: &Rules,
    ) -> Result<Self, Refusal> {
        let routed_by = match extracted {
            Extracted::Login(login) => Some(Identifier::from_login(login, rules)?),
            Extracted::Absent => None,
        };
        let also = match extract::carried(request, jwt_claim)? {
            // One that is no identifier names no account that could be held.
            Extracted::Login(login) => Identifier::from_login(&login, rules).ok(),
            Extracted::Absent => None,
        };
        Ok(Self {
            also: also.filter(|also| routed_by.as_ref() != Some(also)),
            routed_by,
        })
    }
}
