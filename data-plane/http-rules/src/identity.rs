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
    /// Whom its Authorization, or the place that routes it, names besides: they do not route, but the backend may open
    /// their accounts, so a hold of them has to find this request.
    pub also: Vec<Identifier>,
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
        let mut identity = Self {
            routed_by,
            also: Vec::new(),
        };
        identity.also_acts_for(also);
        Ok(identity)
    }

    /// With the logins that [`Extractor::besides`](crate::Extractor::besides) found. One that is no identifier names no
    /// account that could be held.
    #[must_use]
    pub fn and(mut self, besides: &[String], rules: &Rules) -> Self {
        for login in besides {
            self.also_acts_for(Identifier::from_login(login, rules).ok());
        }
        self
    }

    fn also_acts_for(&mut self, who: Option<Identifier>) {
        let known = self.routed_by.iter().chain(&self.also);
        if let Some(who) = who.filter(|who| known.clone().all(|known| known != who)) {
            self.also.push(who);
        }
    }
}
