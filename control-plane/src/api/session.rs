//! `session list` and `session kick`: asked of the nodes, which alone know their sessions. A node that does not answer
//! is named with the reason: its sessions are unknown, not zero.

use std::sync::Arc;

use mailswitch_proto::control::v1 as wire;
use mailswitch_proto::control::v1::{Problem, problem::Kind};
use mailswitch_proto::fleet::v1::{Kick, ListSessions, answer, request};
use mailswitch_proto::identifier::{Key, pack};
use mailswitch_proto::trace_context;

use super::mapping::normal_form;
use super::{Answer, Caller};
use crate::change::Mode;
use crate::nodes::Node;
use crate::nodes::ask::{AskError, ask_all};
use crate::process::ControlPlane;
use crate::store::account::account_of_identifier_get;

/// Sessions that a node lists unless told otherwise.
const LIMIT: u32 = 1000;

/// And at most: an answer is one message of less than 4 MiB.
const MOST: u32 = 10_000;

pub(super) async fn list(
    plane: Arc<ControlPlane>,
    _: Caller,
    request: wire::SessionListRequest,
) -> Answer<wire::SessionListResponse> {
    let keys = match request.identifier.as_str() {
        "" => Vec::new(),
        identifier => keys_of(&plane, identifier).await?,
    };
    let nodes = match request.node.as_str() {
        "" => plane.nodes.all(),
        name => super::node::named(&plane, name)?,
    };
    let ask = request::Request::ListSessions(ListSessions {
        keys: pack(&keys),
        destination: request.destination.clone(),
        limit: if request.limit == 0 {
            LIMIT
        } else {
            request.limit.min(MOST)
        },
    });
    let answers = ask_all(nodes, &ask, &trace_context::traceparent()).await;
    let nodes: Vec<wire::NodeSessions> = answers.into_iter().map(listed).collect();
    let some = |node: &wire::NodeSessions| node.page.as_ref().is_some_and(|page| page.total > 0);
    if !request.destination.is_empty() && !nodes.iter().any(some) {
        // Sessions of a destination that was removed are listed; none at all may be a slip of the pen.
        super::destination::known(&plane, &request.destination)?;
    }
    Ok(wire::SessionListResponse { nodes })
}

pub(super) async fn kick(
    plane: Arc<ControlPlane>,
    caller: Caller,
    request: wire::SessionKickRequest,
) -> Answer<wire::SessionKickResponse> {
    let context = caller.context(request.change)?;
    let subject = match (request.identifier.as_str(), request.session.as_str()) {
        ("", "") => {
            let remedy = "name an identifier, or a session as `session list` shows it";
            return Err(Problem::new(
                Kind::Invalid,
                "nobody was named to be kicked",
                remedy,
            ));
        }
        ("", session) => session.to_owned(),
        (identifier, _) => normal_form(&plane, identifier)?.to_string(),
    };
    let keys = match request.identifier.as_str() {
        "" => Vec::new(),
        identifier => keys_of(&plane, identifier).await?,
    };
    let session = Some(request.session).filter(|session| !session.is_empty());
    let ask = match context.mode {
        Mode::Commit => request::Request::Kick(Kick {
            keys: pack(&keys),
            session: session.clone().unwrap_or_default(),
        }),
        Mode::DryRun => request::Request::ListSessions(ListSessions {
            keys: pack(&keys),
            destination: String::new(),
            limit: if session.is_some() { MOST } else { 1 },
        }),
    };
    let answers = ask_all(plane.nodes.all(), &ask, &trace_context::traceparent()).await;
    let (nodes, go_on): (Vec<wire::NodeKicked>, Vec<u64>) = answers
        .into_iter()
        .map(|answer| kicked(answer, session.as_deref()))
        .unzip();
    if let Some(session) = session.as_ref().filter(|_| go_on.iter().any(|count| *count > 0)) {
        return Err(passed_through(session));
    }
    let ended: u64 = nodes.iter().map(|node| node.sessions).sum();
    let all_answered = nodes.iter().all(|node| node.error.is_empty());
    if let (Some(session), 0, true) = (session, ended, all_answered) {
        return Err(no_session(&session, &nodes));
    }
    if context.mode == Mode::DryRun {
        return Ok(wire::SessionKickResponse { nodes });
    }
    super::audit::done(
        &plane,
        &context,
        "session kick",
        &subject,
        &format!("{ended} sessions"),
    )
    .await;
    Ok(wire::SessionKickResponse { nodes })
}

/// It belongs to no account, and no kick ends it.
fn passed_through(session: &str) -> Problem {
    let what = format!("session {session} is SMTP or LMTP that is passed through: it goes on");
    let remedy = "pass-through sessions are not routed by account, so no kick, hold or drain ends them; they end with their \
                  message, or when the node is stopped";
    Problem::new(Kind::Precondition, what, remedy)
}

/// Every node has answered that it has no such session.
fn no_session(session: &str, nodes: &[wire::NodeKicked]) -> Problem {
    let asked: Vec<&str> = nodes.iter().map(|node| node.node.as_str()).collect();
    let what = match asked.as_slice() {
        [] => format!("there is no session {session}: no node is registered"),
        [one] => format!("there is no session {session} on node {one}"),
        several => format!("there is no session {session} on nodes {}", several.join(", ")),
    };
    let remedy = "it may have ended; `mailswitchctl session list` shows those that are open";
    Problem::new(Kind::Precondition, what, remedy)
}

/// The keys of all identifiers of its account; its own when it belongs to none.
pub(super) async fn keys_of(plane: &ControlPlane, identifier: &str) -> Answer<Vec<Key>> {
    let identifier = normal_form(plane, identifier)?;
    let mut conn = plane
        .writer
        .pool()
        .acquire()
        .await
        .map_err(crate::store::Error::from)?;
    let account = account_of_identifier_get(&mut conn, identifier.as_str()).await?;
    Ok(match account {
        Some(account) => account.identifiers.into_iter().map(|(_, key)| key).collect(),
        None => vec![plane.routing.state().await.hash_key().key_of(identifier.as_str())],
    })
}

fn listed((node, answer): (Node, Result<answer::Answer, AskError>)) -> wire::NodeSessions {
    let (page, error) = match answer {
        Ok(answer::Answer::Sessions(page)) => (Some(page), String::new()),
        Ok(_) => (None, AskError::Unexpected.to_string()),
        Err(error) => (None, error.to_string()),
    };
    wire::NodeSessions {
        node: node.name,
        site: node.site,
        page,
        error,
    }
}

/// How many were ended, or, by a list, would be; and how many go on.
fn kicked(
    (node, answer): (Node, Result<answer::Answer, AskError>),
    session: Option<&str>,
) -> (wire::NodeKicked, u64) {
    let (sessions, pass_through, error) = match answer {
        Ok(answer::Answer::Kicked(kicked)) => (kicked.sessions, kicked.pass_through, String::new()),
        Ok(answer::Answer::Sessions(page)) => match session {
            None => (page.total.saturating_sub(page.pass_through), 0, String::new()),
            Some(wanted) => match page.sessions.iter().find(|session| session.id == wanted) {
                Some(found) if found.pass_through => (0, 1, String::new()),
                Some(_) => (1, 0, String::new()),
                None if page.truncated => (0, 0, "it has more sessions than it lists".to_owned()),
                None => (0, 0, String::new()),
            },
        },
        Ok(_) => (0, 0, AskError::Unexpected.to_string()),
        Err(error) => (0, 0, error.to_string()),
    };
    let node = wire::NodeKicked {
        node: node.name,
        sessions,
        error,
    };
    (node, pass_through)
}
