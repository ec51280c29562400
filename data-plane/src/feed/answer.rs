//! Requests of the control plane, one answer each.

use std::time::Instant;

use mailswitch_admission::Lease;
use mailswitch_config::DestinationName;
use mailswitch_proto::fleet::v1 as wire;
use mailswitch_proto::fleet::v1::answer::Answer;
use mailswitch_proto::fleet::v1::node_message::Message;
use mailswitch_proto::fleet::v1::request::Request;
use mailswitch_proto::identifier::{Identifier, Key, unpack};
use mailswitch_proto::trace_context;
use tracing::Instrument as _;

use super::stream::Stream;
use crate::route::{Look, Rule};
use crate::sessions::{ActingFor, Listed, SessionId, Which};

/// No list is longer, whatever was asked for: it has to fit into one message.
const LONGEST_LIST: usize = 10_000;

/// Why a login waits that no hold bars.
const LAPSED: &str = "its account is armed, and this node has no live lease from the control plane";

impl Stream<'_> {
    pub(super) async fn answer(&mut self, request: wire::Request) {
        let span = tracing::info_span!("request", id = request.id, kind = kind(request.request.as_ref()));
        trace_context::adopt(&span, trace_context::of_traceparent(&request.traceparent));
        let answered = self.serve(request.request).instrument(span).await;
        let (error, answer) = match answered {
            Ok(answer) => (String::new(), Some(answer)),
            Err(error) => (error, None),
        };
        self.say(Message::Answer(wire::Answer {
            request: request.id,
            error,
            answer,
        }))
        .await;
        self.hang_up_if_it_returns();
    }

    async fn serve(&mut self, request: Option<Request>) -> Result<Answer, String> {
        match request {
            Some(Request::ListSessions(list)) => self.list(&list),
            Some(Request::Kick(kick)) => self.kick(&kick),
            Some(Request::Resolve(resolve)) => self.resolve(&resolve.login),
            Some(Request::ResetBreaker(reset)) => {
                self.host
                    .reset_breaker(&DestinationName::from(reset.destination))?;
                Ok(Answer::Done(wire::Done {}))
            }
            Some(Request::RepeatAcknowledgements(_)) => {
                self.repeat_all().await;
                Ok(Answer::Done(wire::Done {}))
            }
            Some(Request::Drain(drain)) => {
                self.drain(&drain)?;
                // Whoever asked sees it in the node's own words.
                self.say_report().await;
                Ok(Answer::Done(wire::Done {}))
            }
            None => Err("this version of the node does not know the request".to_owned()),
        }
    }

    fn list(&self, list: &wire::ListSessions) -> Result<Answer, String> {
        let which = Which {
            keys: keys(&list.keys)?,
            destination: (!list.destination.is_empty())
                .then(|| DestinationName::from(list.destination.as_str())),
            session: None,
        };
        let limit = usize::try_from(list.limit)
            .unwrap_or(LONGEST_LIST)
            .min(LONGEST_LIST);
        let listing = self.node.knowledge.sessions().list(&which, limit);
        Ok(Answer::Sessions(wire::SessionPage {
            truncated: listing.sessions.len() < listing.total,
            total: listing.total as u64,
            pass_through: listing.passed_through as u64,
            sessions: listing
                .sessions
                .iter()
                .map(|session| self.listed(session))
                .collect(),
        }))
    }

    fn listed(&self, session: &Listed) -> wire::Session {
        wire::Session {
            id: session.about.id.to_string(),
            protocol: session.about.protocol.to_string(),
            destination: session
                .destination
                .as_ref()
                .map_or_else(String::new, |name| name.as_str().to_owned()),
            state: session.phase.as_str().to_owned(),
            client: session.about.client.to_string(),
            identifier: session
                .acting_for
                .routed_by()
                .map_or_else(String::new, |who| self.host.show(who)),
            key: session.key.map_or_else(Vec::new, |key| key.to_bytes().to_vec()),
            age_millis: u64::try_from(session.age.as_millis()).unwrap_or(u64::MAX),
            listener: session.about.listener.as_str().to_owned(),
            pass_through: session.about.protocol.is_pass_through(),
            lease: session
                .lease
                .map_or_else(String::new, |lease| lease.as_str().to_owned()),
        }
    }

    fn kick(&self, kick: &wire::Kick) -> Result<Answer, String> {
        let which = Which {
            keys: keys(&kick.keys)?,
            destination: None,
            session: (!kick.session.is_empty()).then(|| SessionId::new(&kick.session)),
        };
        if which.keys.is_empty() && which.session.is_none() {
            return Err("the kick names neither keys nor a session".to_owned());
        }
        let known = self.node.knowledge.sessions();
        let kicked = wire::Kicked {
            sessions: known.kick(&which) as u64,
            pass_through: known.passed_through(&which).len() as u64,
        };
        tracing::info!(
            sessions = kicked.sessions,
            "sessions are kicked by the control plane"
        );
        Ok(Answer::Kicked(kicked))
    }

    /// What a login would meet now, by the very look that a login makes.
    fn resolve(&self, login: &str) -> Result<Answer, String> {
        let rules = self.node.knowledge.identifier_rules();
        let sessions = self.node.knowledge.sessions();
        let identifier = match Identifier::from_login(login, &rules) {
            Ok(identifier) => identifier,
            Err(invalid) => {
                let mut refused = wire::Resolution {
                    revision: sessions.with_table(|table| table.position().revision.0),
                    reason: format!("no identifier can be made of it: {invalid}"),
                    ..wire::Resolution::default()
                };
                refused.set_rule(wire::Rule::Refused);
                return Ok(Answer::Resolution(refused));
            }
        };
        let acting_for = ActingFor::one(identifier.clone(), []);
        let look = sessions.look(&acting_for);
        let mut resolution = sessions.with_table(|table| wire::Resolution {
            identifier: identifier.as_str().to_owned(),
            key: table.key_of(&identifier).to_bytes().to_vec(),
            revision: table.position().revision.0,
            hold: table
                .hold_on(&identifier)
                .map_or_else(Vec::new, |hold| hold.to_vec()),
            ..wire::Resolution::default()
        });
        let rule = match look {
            Look::Armed(_, Lease::Lapsed) => {
                resolution.reason = LAPSED.to_owned();
                wire::Rule::Held
            }
            Look::Route(route) | Look::Armed(route, Lease::Live) => {
                resolution.destination = route.destination.as_str().to_owned();
                match route.rule {
                    Rule::Mapping => wire::Rule::Mapping,
                    Rule::Domain => wire::Rule::Domain,
                    Rule::Default => wire::Rule::Default,
                    // Of requests, which nobody can ask about, and of nodes that run alone.
                    Rule::Route | Rule::Remembered | Rule::StoreFailed => wire::Rule::Unspecified,
                }
            }
            Look::Held => wire::Rule::Held,
            // Of nodes that run alone.
            Look::AskSource => wire::Rule::Unspecified,
            Look::Refused(refusal) => {
                resolution.reason = refusal.to_string();
                wire::Rule::Refused
            }
        };
        resolution.set_rule(rule);
        Ok(Answer::Resolution(resolution))
    }

    fn drain(&mut self, drain: &wire::Drain) -> Result<(), String> {
        let sessions = self.node.knowledge.sessions().clone();
        if drain.resume {
            tracing::info!("the node is no longer drained");
            sessions.resume();
            self.stay()?;
        } else if drain.fence {
            self.fence();
        } else {
            tracing::info!("the node is drained: nobody is admitted, and sessions end at quiet moments");
            sessions.drain(Instant::now() + self.node.knowledge.config().cutover.drain_timeout);
            if drain.leave {
                self.leave();
            }
        }
        Ok(())
    }
}

fn keys(column: &[u8]) -> Result<Vec<Key>, String> {
    Ok(unpack(column).map_err(|invalid| invalid.to_string())?.collect())
}

fn kind(request: Option<&Request>) -> &'static str {
    match request {
        Some(Request::ListSessions(_)) => "list_sessions",
        Some(Request::Kick(_)) => "kick",
        Some(Request::Resolve(_)) => "resolve",
        Some(Request::ResetBreaker(_)) => "reset_breaker",
        Some(Request::RepeatAcknowledgements(_)) => "repeat_acknowledgements",
        Some(Request::Drain(_)) => "drain",
        None => "unknown",
    }
}
