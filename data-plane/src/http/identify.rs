//! From a request's head, and where its route says so the start of its body, to everybody that it acts for (behaviour
//! 8.2, promise A2). Nobody is looked up here: registration comes first.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use mailswitch_config::table::http::RouteFallback;
use mailswitch_http_rules::{
    Expect, Expectation, Extracted, Extractor, Identity, Needs, Received, Refusal, Target,
};
use mailswitch_proto::identifier::{Identifier, Rules};
use mailswitch_telemetry::name;
use tokio::time::timeout;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::connection::Connection;
use super::upload::{BodyFailed, Rest};
use crate::policy::Policy;
use crate::session::Front;
use crate::sessions::ActingFor;

/// A request whose account is known, as far as it says.
#[derive(Debug)]
pub(super) struct Identified {
    pub(super) acting_for: ActingFor,
    /// What becomes of `Expect`: whoever looked into the body has answered it.
    pub(super) expect: Expect,
    policy: Arc<Policy>,
    rules: Arc<Rules>,
}

/// Why a request is not passed on.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotIdentified {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("no [[http.route]] matches its path")]
    NoRoute,
    #[error("the start of its body did not come within preauth_timeout")]
    Late,
    #[error(transparent)]
    Body(#[from] BodyFailed),
}

impl NotIdentified {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Refused(refusal) => refusal.status(),
            Self::NoRoute => StatusCode::NOT_FOUND,
            Self::Late => StatusCode::REQUEST_TIMEOUT,
            Self::Body(_) => StatusCode::BAD_REQUEST,
        }
    }
}

impl Identified {
    /// What was identified is still what it would be now, and goes where it would go now. To be asked once it is
    /// registered: whoever changes the rules follows the registered ones (A2).
    pub(super) fn is_current(&self, front: &Front) -> bool {
        let knowledge = &front.node.knowledge;
        Arc::ptr_eq(&self.policy.fleet, &knowledge.config()) && *self.rules == *knowledge.identifier_rules()
    }
}

/// Finds the route, and whom the request names. Asked again, it says what is so then: what was read of the body is still
/// there.
pub(super) async fn identify(
    request: &Received,
    rest: &mut Rest,
    connection: &Connection,
) -> Result<Identified, NotIdentified> {
    let front = &connection.front;
    let policy = front.node.policy();
    let rules = front.node.knowledge.identifier_rules();
    let route = policy
        .routes()
        .find(request.path())
        .ok_or(NotIdentified::NoRoute)?;
    let span = tracing::Span::current();
    span.set_attribute(name::HTTP_ROUTE, i64::try_from(route.index).unwrap_or(i64::MAX));
    let claim = &policy.fleet.oauth.jwt_username_claim;
    if let Target::ByAccount(Extractor::Header(field), _) = &route.target {
        rest.was_routed_by(field);
    }
    let mut expect = Expect::Forward;
    let (extracted, besides) = match &route.target {
        Target::Pinned(_) | Target::Fallback(_) => (Extracted::Absent, Vec::new()),
        Target::ByAccount(extractor, _) => match extractor.needs() {
            Needs::Head => (
                extractor.from_head(request, claim)?,
                extractor.besides(request, &[])?,
            ),
            Needs::Body => {
                if request.expectation() == Expectation::Continue {
                    // Reading answers 100.
                    expect = Expect::Answered;
                }
                let start = start_of_body(rest, &policy, front).await?;
                (extractor.from_body(&start), extractor.besides(request, &start)?)
            }
        },
    };
    let identity = Identity::of(&extracted, request, claim, &rules)?.and(&besides, &rules);
    let shown = identity.routed_by.as_ref().or(identity.also.first());
    let shown = shown.map_or("", Identifier::as_str);
    let redactor = front.node.redactor();
    span.record("user", redactor.identifier(shown));
    span.set_attribute(name::USER_HASH, redactor.user_hash(shown));
    Ok(Identified {
        acting_for: acting_for(identity, &route.target, &policy),
        expect,
        policy,
        rules,
    })
}

async fn start_of_body(rest: &mut Rest, policy: &Policy, front: &Front) -> Result<Bytes, NotIdentified> {
    let ahead = rest.read_ahead(policy.fleet.http.body_extract_cap);
    // A body that never comes must not keep its connection for ever.
    let ahead = timeout(front.listener.preauth_timeout, ahead).await;
    Ok(ahead.map_err(|_| NotIdentified::Late)??)
}

/// Under whom it is registered, and where it goes when its identifiers do not decide that.
fn acting_for(identity: Identity, target: &Target, policy: &Policy) -> ActingFor {
    let Identity { routed_by, also } = identity;
    let is_routed = routed_by.is_some();
    let mut all = routed_by.into_iter().chain(also);
    let everybody = all
        .next()
        .map_or_else(ActingFor::nobody, |first| ActingFor::one(first, all));
    let fallback = match target {
        Target::Pinned(destination) => return everybody.sent_to(destination.clone()),
        Target::ByAccount(..) if is_routed => return everybody,
        Target::ByAccount(_, fallback) | Target::Fallback(fallback) => fallback,
    };
    match (fallback, &policy.fleet.routing.default_destination) {
        (RouteFallback::Destination(destination), _) => everybody.sent_to(destination.clone()),
        // Whom it names besides does not route it.
        (RouteFallback::Default, Some(default)) if !everybody.identifiers().is_empty() => {
            everybody.sent_to(default.clone())
        }
        // `[routing] unidentified` decides, at the look.
        (RouteFallback::Default, _) => everybody,
    }
}
