//! Between the registry in the database and what is known here: who is registered, and what a change has to ask of
//! them (promise F4).

use futures::FutureExt as _;
use futures::future::BoxFuture;
use mailswitch_proto::fleet::v1::{self as wire, answer::Answer, request::Request};
use mailswitch_proto::id::InstanceId;
use mailswitch_proto::identifier::pack;
use sqlx::PgPool;

use super::ask::ask_all;
use super::{Node, Nodes};
use crate::change::doubt;
use crate::change::sessions::{self, Observed, Whose};
use crate::store;
use crate::store::doubt::doubt_list;
use crate::store::node::node_list;

/// Reads who is registered, and who makes the database doubtful.
///
/// # Errors
/// The database's.
pub async fn refresh(pool: &PgPool, nodes: &Nodes) -> Result<(), store::Error> {
    let mut conn = pool.acquire().await?;
    // In this order: who is registered meanwhile may be in the list, and is not missed in it.
    let at = store::fleet::position_get(&mut conn).await?.revision;
    let registered = node_list(&mut conn).await?;
    nodes.doubted(doubt_list(&mut conn).await?);
    nodes.registered(registered.into_iter().map(node).collect(), at);
    Ok(())
}

fn node(row: store::node::Node) -> Node {
    let mut node = Node::new(row.name, row.instance);
    node.site = row.site;
    node.version = row.version;
    node.listeners = listeners_of(&row.listeners);
    node.registered_revision = row.registered;
    node
}

/// Listeners as the registry keeps them.
#[must_use]
pub fn listeners_json(listeners: &[wire::Listener]) -> serde_json::Value {
    let all = listeners.iter().map(|listener| {
        serde_json::json!({
            "name": listener.name, "protocol": listener.protocol, "binds": listener.binds, "tls": listener.tls,
        })
    });
    serde_json::Value::Array(all.collect())
}

fn listeners_of(json: &serde_json::Value) -> Vec<wire::Listener> {
    let text = |value: &serde_json::Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let strings = |value: &serde_json::Value| value.as_str().map(str::to_owned);
    let all = json.as_array().into_iter().flatten();
    all.map(|listener| wire::Listener {
        name: text(listener, "name"),
        protocol: text(listener, "protocol"),
        binds: listener["binds"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(strings)
            .collect(),
        tls: text(listener, "tls"),
    })
    .collect()
}

impl sessions::Nodes for Nodes {
    fn sessions(&self, whose: Whose) -> BoxFuture<'_, Observed> {
        let (keys, destination) = match whose {
            Whose::Keys(keys) => (pack(&keys), String::new()),
            Whose::Destination(destination) => (Vec::new(), destination),
        };
        let request = Request::ListSessions(wire::ListSessions {
            keys,
            destination,
            limit: 1,
        });
        async move {
            let mut observed = Observed {
                sessions: 0,
                unanswered: Vec::new(),
            };
            for (node, answer) in ask_all(self.all(), &request, "").await {
                match answer {
                    Ok(Answer::Sessions(page)) => {
                        observed.sessions += page.total.saturating_sub(page.pass_through)
                    }
                    _ => observed.unanswered.push(node.name),
                }
            }
            observed
        }
        .boxed()
    }

    fn doubt(&self) -> Option<String> {
        doubt::sentence(&self.doubts())
    }

    fn serving(&self) -> std::collections::HashSet<InstanceId> {
        let all = self.all().into_iter();
        all.filter(|node| node.is_connected() && !node.is_guest() && !node.left)
            .map(|node| node.instance)
            .collect()
    }

    fn repeat_acknowledgements(&self) {
        for link in self.all().iter().filter_map(Node::link) {
            link.repeat_acknowledgements();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_survive_the_registry() {
        let listeners = vec![wire::Listener {
            name: "imaps".to_owned(),
            protocol: "imap".to_owned(),
            binds: vec!["0.0.0.0:993".to_owned(), "[::]:993".to_owned()],
            tls: "implicit".to_owned(),
        }];
        assert_eq!(listeners_of(&listeners_json(&listeners)), listeners);
    }
}
