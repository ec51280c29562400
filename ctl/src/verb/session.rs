//! `session list`, `session kick`: the open sessions of the whole fleet, asked of every node now.

use mailswitch_proto::control::v1::{NodeKicked, NodeSessions, SessionKickRequest, SessionListRequest};
use mailswitch_proto::fleet::v1::Session;
use serde::Serialize;

use super::Context;
use crate::change::ChangeArguments;
use crate::exit::{Exit, Failure};
use crate::output::{Grid, Render, filled, or_dash, printable, span};

/// `session …`
#[derive(Debug, clap::Subcommand)]
pub enum SessionVerb {
    /// The open sessions. Exit 7 when a node did not answer.
    List(ListArguments),
    /// End sessions: all of an account, or one. Exit 7 when a node did not hear it. SMTP and LMTP that is passed
    /// through is not routed by account, and goes on.
    Kick(KickArguments),
    /// Hold the logins of an identifier for a while, or let them go on: `session delay ID 30`. Only with --node-api: a fleet
    /// holds accounts by `cutover`.
    Delay(DelayArguments),
}

/// `session delay`
#[derive(Debug, clap::Args)]
pub struct DelayArguments {
    /// The identifier, in the form in which it signs in.
    identifier: String,
    /// Logins that begin within this time wait until it is over, each at most 120 s; 0 lets them go on.
    #[arg(value_parser = clap::value_parser!(u64).range(0..=86_400))]
    seconds: u64,
    #[command(flatten)]
    change: ChangeArguments,
}

impl DelayArguments {
    pub(crate) fn identifier(&self) -> &str {
        &self.identifier
    }

    pub(crate) const fn seconds(&self) -> u64 {
        self.seconds
    }

    pub(crate) const fn is_dry_run(&self) -> bool {
        self.change.dry_run
    }
}

/// `session list`
#[derive(Debug, clap::Args)]
pub struct ListArguments {
    /// Only those of this identifier's account.
    #[arg(long, value_name = "IDENTIFIER")]
    identifier: Option<String>,
    /// Only those that are there.
    #[arg(long, value_name = "NAME")]
    destination: Option<String>,
    /// Only those of this node.
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// At most so many of each node.
    #[arg(long, default_value_t = 1000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
}

/// `session kick`
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("who").required(true).args(["identifier", "session"])))]
pub struct KickArguments {
    /// All sessions of this identifier's account.
    identifier: Option<String>,
    /// This one session, by the id that `session list` shows.
    #[arg(long, value_name = "ID")]
    session: Option<String>,
    #[command(flatten)]
    change: ChangeArguments,
}

impl SessionVerb {
    /// Does it.
    ///
    /// # Errors
    /// It is refused, or the control plane does not answer.
    pub async fn run(self, context: &Context) -> Result<Exit, Failure> {
        match self {
            Self::List(arguments) => arguments.run(context).await,
            Self::Kick(arguments) => arguments.run(context).await,
            Self::Delay(_) => Err(
                Failure::usage("logins are delayed on one node, and none is named")
                    .remedy("give --node-api URL; a fleet holds an account while it moves: `cutover`"),
            ),
        }
    }
}

impl ListArguments {
    async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let request = SessionListRequest {
            identifier: self.identifier.unwrap_or_default(),
            destination: self.destination.unwrap_or_default(),
            node: self.node.unwrap_or_default(),
            limit: self.limit,
        };
        let connection = context.connect().await?;
        let answer = connection
            .ask(async |mut control| control.session_list(request).await)
            .await?;
        let sessions = Sessions::from(answer.nodes);
        context.output.print(&sessions)?;
        Ok(if sessions.errors.is_empty() {
            Exit::Done
        } else {
            Exit::Unproven
        })
    }
}

impl KickArguments {
    /// None: one session is meant.
    pub(crate) fn identifier(&self) -> Option<&str> {
        self.identifier.as_deref()
    }

    pub(crate) const fn is_dry_run(&self) -> bool {
        self.change.dry_run
    }

    async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let change = self.change.context();
        let one = self.session.is_some();
        let request = SessionKickRequest {
            change: Some(change.clone()),
            identifier: self.identifier.unwrap_or_default(),
            session: self.session.unwrap_or_default(),
        };
        let mut connection = context.connect().await?;
        let answer = connection
            .change(&change, async |mut control| {
                control.session_kick(request.clone()).await
            })
            .await?;
        let kicked = Kicked {
            dry_run: change.dry_run,
            nodes: answer.nodes.into_iter().map(KickedNode::from).collect(),
        };
        context.output.print(&kicked)?;
        // An id is on one node: when that one ended it, the others have nothing to say.
        let found = one && kicked.nodes.iter().any(|node| node.sessions > 0);
        let all = kicked.nodes.iter().all(|node| node.error.is_none());
        Ok(if found || all { Exit::Done } else { Exit::Unproven })
    }
}

/// One session.
#[derive(Debug, Serialize)]
pub struct SessionView {
    node: String,
    site: String,
    id: String,
    identifier: Option<String>,
    protocol: String,
    destination: Option<String>,
    state: String,
    /// Of an armed account.
    #[serde(skip_serializing_if = "Option::is_none")]
    lease: Option<String>,
    client: String,
    listener: String,
    age_millis: u64,
}

/// A node that could not be asked.
#[derive(Debug, Serialize)]
pub struct Silent {
    node: String,
    error: String,
}

/// The sessions of the fleet.
#[derive(Debug, Serialize)]
pub struct Sessions {
    sessions: Vec<SessionView>,
    /// How many there are, listed or not.
    total: u64,
    /// A node has more than were asked for.
    truncated: bool,
    errors: Vec<Silent>,
}

impl From<Vec<NodeSessions>> for Sessions {
    fn from(nodes: Vec<NodeSessions>) -> Self {
        let mut all = Self {
            sessions: Vec::new(),
            total: 0,
            truncated: false,
            errors: Vec::new(),
        };
        for node in nodes {
            if !node.error.is_empty() {
                all.errors.push(Silent {
                    node: node.node.clone(),
                    error: node.error,
                });
            }
            let Some(page) = node.page else { continue };
            all.total += page.total;
            all.truncated |= page.truncated;
            let view = |session| SessionView::of(session, &node.node, &node.site);
            all.sessions.extend(page.sessions.into_iter().map(view));
        }
        all
    }
}

impl SessionView {
    fn of(session: Session, node: &str, site: &str) -> Self {
        Self {
            node: node.to_owned(),
            site: site.to_owned(),
            id: session.id,
            identifier: filled(&session.identifier),
            protocol: session.protocol,
            destination: filled(&session.destination),
            state: session.state,
            lease: filled(&session.lease),
            client: session.client,
            listener: session.listener,
            age_millis: session.age_millis,
        }
    }
}

impl SessionView {
    /// An armed account needs the node's lease: that is part of where its sessions stand.
    fn state_words(&self) -> String {
        match &self.lease {
            Some(lease) => format!("{}, lease {lease}", self.state),
            None => self.state.clone(),
        }
    }
}

impl Render for Sessions {
    fn table(&self) -> String {
        let headings = [
            "NODE",
            "SESSION",
            "IDENTIFIER",
            "PROTOCOL",
            "DESTINATION",
            "STATE",
            "CLIENT",
            "AGE",
        ];
        let mut grid = Grid::new(headings).numbers(&[7]);
        for session in &self.sessions {
            grid.row([
                session.node.clone(),
                session.id.clone(),
                or_dash(&session.identifier),
                session.protocol.clone(),
                or_dash(&session.destination),
                session.state_words(),
                session.client.clone(),
                span(session.age_millis),
            ]);
        }
        let mut text = grid.text_or("there are no such sessions");
        if self.truncated {
            text.push_str(&format!(
                "listed {} of {}; --limit lists more\n",
                self.sessions.len(),
                self.total
            ));
        }
        for silent in &self.errors {
            text.push_str(&format!(
                "{} did not answer: {}\n",
                printable(&silent.node),
                printable(&silent.error)
            ));
        }
        text
    }
}

#[derive(Debug, Serialize)]
struct KickedNode {
    node: String,
    sessions: u64,
    error: Option<String>,
}

#[derive(Debug, Serialize)]
struct Kicked {
    /// Nothing was ended: `sessions` says how many would be.
    dry_run: bool,
    nodes: Vec<KickedNode>,
}

impl From<NodeKicked> for KickedNode {
    fn from(node: NodeKicked) -> Self {
        Self {
            node: node.node,
            sessions: node.sessions,
            error: filled(&node.error),
        }
    }
}

impl Render for Kicked {
    fn table(&self) -> String {
        let ended = if self.dry_run { "WOULD END" } else { "ENDED" };
        let mut grid = Grid::new(["NODE", ended, "REMARK"]).numbers(&[1]);
        for node in &self.nodes {
            let remark = node
                .error
                .as_ref()
                .map(|error| format!("did not hear it: {error}"));
            grid.row([
                node.node.clone(),
                node.sessions.to_string(),
                remark.unwrap_or_default(),
            ]);
        }
        let mut text = grid.text_or("there are no nodes");
        let none = self
            .nodes
            .iter()
            .all(|node| node.sessions == 0 && node.error.is_none());
        if none && !self.nodes.is_empty() {
            text.push_str("no session was open\n");
        }
        text
    }
}
