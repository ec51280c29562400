//! From the login to whom the session acts for (behaviour §3): cut, check, normalise, by the function that all programs
//! share. A login that is no identifier gets the temporary failure: it may be a password in the wrong field, and
//! must not look like a wrong one.

use std::sync::Arc;

use mailswitch_dialogue::{ClientCommand, Credential, Helo, Hops, Login, Method, Routing};
use mailswitch_proto::identifier::{Identifier, Rules};
use mailswitch_telemetry::name;

use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::{Front, answer};
use crate::drive::Leg;
use crate::sessions::ActingFor;

/// A login whose account is known, as far as it says.
#[derive(Debug)]
pub(super) struct Identified {
    pub(super) acting_for: ActingFor,
    pub(super) credential: Credential,
    pub(super) command: ClientCommand,
    pub(super) helo: Option<Helo>,
    pub(super) hops: Option<Hops>,
    rules: Arc<Rules>,
}

impl Identified {
    /// What was identified is still what it would be now. To be asked once it is registered: whoever changes the rules
    /// follows the registered ones.
    pub(super) fn is_current(&self, front: &Front) -> bool {
        *self.rules == *front.node.knowledge.identifier_rules()
    }
}

/// None: it was answered, and is closed.
pub(super) async fn identify(leg: Leg, login: Box<Login>, front: &Front) -> Option<(Leg, Identified)> {
    let Login {
        credential,
        routing,
        method,
        command,
        helo,
        hops,
    } = *login;
    let rules = front.node.knowledge.identifier_rules();
    let acting_for = match routing {
        Routing::Login(login) => {
            match Identifier::from_login(&login, &rules) {
                Ok(identifier) => ActingFor::one(identifier, also_acts_for(&credential, &rules)),
                Err(error) => {
                    // The value itself is not for any log.
                    tracing::warn!(%error, "login refused: it is no identifier");
                    answer::say_and_close(leg, &command.temporary_failure()).await;
                    return None;
                }
            }
        }
        Routing::Absent(why) => {
            tracing::debug!(%why, "the login carries no identifier");
            ActingFor::nobody()
        }
    };
    let identifier = acting_for.routed_by().map_or("", Identifier::as_str);
    let redactor = front.node.redactor();
    let span = tracing::Span::current();
    span.record("user", redactor.identifier(identifier));
    span.set_attribute(name::USER_HASH, redactor.user_hash(identifier));
    tracing::debug!(mechanism = mechanism(method), "login read");
    let identified = Identified {
        acting_for,
        credential,
        command,
        helo,
        hops,
        rules,
    };
    Some((leg, identified))
}

/// The other identity that the login names, if there is one: it never routes (behaviour §2, §3), but the backend may open
/// its mailbox, so a hold of that account has to find this session (promise A2).
fn also_acts_for(credential: &Credential, rules: &Rules) -> Option<Identifier> {
    // One that is no identifier names no account that could be held.
    Identifier::from_login(credential.also_acts_for()?, rules).ok()
}

fn mechanism(method: Method) -> &'static str {
    match method {
        Method::Sasl(mechanism) => mechanism.as_str(),
        Method::Command => "command",
    }
}

#[cfg(test)]
mod tests {
    use mailswitch_dialogue::sasl::Frame;
    use mailswitch_proto::identifier::Normalization;

    use super::*;

    fn acts_as(frame: Frame, bytes: &[u8]) -> Option<String> {
        let rules = Rules {
            master_user_separators: vec!["%".to_owned()],
            normalization: Normalization::Fleet {
                bare_domain: Some("example.org".to_owned()),
            },
        };
        let (credential, _) = Credential::parse(frame, bytes.to_vec().into(), "email").expect("a credential");
        also_acts_for(&credential, &rules).map(|identifier| identifier.as_str().to_owned())
    }

    #[test]
    fn a_session_is_registered_under_the_identity_that_it_acts_for_too() {
        assert_eq!(
            acts_as(Frame::Plain, b"Alice\0admin\0secret").as_deref(),
            Some("alice@example.org")
        );
        assert_eq!(acts_as(Frame::Plain, b"\0alice\0secret"), None);
        assert_eq!(acts_as(Frame::Plain, b"no name\0admin\0secret"), None);
        // {"email":"bob@example.org"}
        let token = "h.eyJlbWFpbCI6ImJvYkBleGFtcGxlLm9yZyJ9.s";
        let frame = format!("n,a=alice@example.org,\x01auth=Bearer {token}\x01\x01");
        assert_eq!(
            acts_as(Frame::OauthBearer, frame.as_bytes()).as_deref(),
            Some("bob@example.org")
        );
        let frame = format!("user=alice\x01auth=Bearer {token}\x01\x01");
        assert_eq!(
            acts_as(Frame::Xoauth2, frame.as_bytes()).as_deref(),
            Some("alice@example.org")
        );
        let opaque = b"n,a=alice@example.org,\x01auth=Bearer t\x01\x01";
        assert_eq!(acts_as(Frame::OauthBearer, opaque), None);
    }
}
