//! The verbs that are one or two questions.

use serde::{Deserialize, Serialize};

use super::client::{Ask, Client};
use crate::exit::{Exit, Failure};
use crate::output::{Grid, Output, Render, printable};
use crate::verb::destination::DestinationVerb;
use crate::verb::mapping::MappingVerb;
use crate::verb::session::SessionVerb;
use http::{Method, StatusCode};

/// `/stats`.
#[derive(Debug, Deserialize, Serialize)]
struct Stats {
    cache_hits: u64,
    cache_misses: u64,
    hit_rate_pct: f64,
    cache_entries: u64,
    active_connections: i64,
    #[serde(flatten)]
    standing: Standing,
}

/// Of a node of a fleet: what its answer rests on. Absent: it runs alone.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
pub(super) struct Standing {
    /// The last change that it has applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    revision: Option<u64>,
    /// 0 while it is connected to its control plane; null, or absent: it has not been since it was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sync_age_secs: Option<u64>,
}

impl Standing {
    /// Nothing is changed over the API of a node that belongs to a fleet.
    pub(super) fn refuses_changes(&self, client: &Client) -> Result<(), Failure> {
        match self.revision {
            None => Ok(()),
            Some(_) => Err(Failure::new(
                Exit::Precondition,
                format!("{} belongs to a fleet; nothing was changed", client.address()),
            )
            .remedy("leave --node-api out: a fleet moves accounts on every node at once")),
        }
    }

    /// One line; empty: it runs alone.
    fn words(&self) -> String {
        let Some(revision) = self.revision else {
            return String::new();
        };
        let sync = match self.sync_age_secs {
            Some(0) => "in sync with its control plane".to_owned(),
            Some(seconds) => format!("cut off from its control plane for {seconds} s"),
            None => "cut off from its control plane since it was started".to_owned(),
        };
        format!("revision {revision}, {sync}")
    }
}

/// One of `/destinations`.
#[derive(Debug, Clone, Deserialize, Serialize)]
struct Destination {
    destination: String,
    consecutive_failures: u32,
    failure_sources: u32,
    host_level_failure: bool,
    down: bool,
}

#[derive(Debug, Deserialize)]
struct Destinations {
    destinations: Vec<Destination>,
}

/// `GET /mappings`.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub(super) struct Resolved {
    pub(super) identifier: String,
    pub(super) normalized: String,
    /// None: nowhere. Only a node of a fleet says so.
    pub(super) destination: Option<String>,
    pub(super) routed_to_default: bool,
    pub(super) cached: bool,
    /// `mapping`, `default` or `error`; a node of an older version does not say it.
    #[serde(default)]
    pub(super) source: Option<String>,
    /// Why a login would be refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(flatten)]
    pub(super) standing: Standing,
}

#[derive(Debug, Serialize)]
struct Status {
    node: String,
    health: String,
    #[serde(flatten)]
    stats: Stats,
    destinations: Vec<Destination>,
}

impl Status {
    async fn of(client: &Client) -> Result<Self, Failure> {
        let answered = client.send(&Ask::get("/healthz")).await?;
        let (code, health) = (answered.status, answered.line());
        let all: Destinations = client.json(Ask::get("/destinations")).await?;
        Ok(Self {
            node: client.address(),
            health: match code {
                StatusCode::OK => "ok".to_owned(),
                _ if health.is_empty() => code.to_string(),
                _ => health,
            },
            stats: client.json(Ask::get("/stats")).await?,
            destinations: all.destinations,
        })
    }
}

impl Destination {
    /// What the figures mean (management-api 3.2).
    fn reading(&self) -> &'static str {
        match (
            self.down,
            self.consecutive_failures,
            self.failure_sources,
            self.host_level_failure,
        ) {
            (true, ..) => "down: nobody is sent there until the cooldown is over",
            (_, 0, ..) => "as it should be",
            (_, _, 0 | 1, false) => "fails for one client: banned there, or broken; see peer in the log",
            (_, _, _, true) => "connections fail",
            _ => "fails",
        }
    }
}

impl Render for Status {
    fn table(&self) -> String {
        let Stats {
            cache_hits,
            cache_misses,
            hit_rate_pct,
            cache_entries,
            active_connections,
            standing,
        } = &self.stats;
        let mut text = format!(
            "node         {}\nhealth       {}\nconnections  {active_connections}\ncache        {cache_entries} entries, \
             {cache_hits} hits, {cache_misses} misses ({hit_rate_pct:.1} %)\n\n",
            self.node,
            printable(&self.health)
        );
        if standing.revision.is_some() {
            text.insert_str(text.len() - 1, &format!("fleet        {}\n", standing.words()));
        }
        let mut grid = Grid::new(["DESTINATION", "FAILURES", "CLIENTS", "STATE"]).numbers(&[1, 2]);
        for destination in &self.destinations {
            grid.row([
                destination.destination.clone(),
                destination.consecutive_failures.to_string(),
                destination.failure_sources.to_string(),
                destination.reading().to_owned(),
            ]);
        }
        text += &grid.text_or("there are no destinations");
        text
    }
}

pub(super) async fn status(client: &Client, output: Output) -> Result<Exit, Failure> {
    output.print(&Status::of(client).await?)?;
    Ok(Exit::Done)
}

/// As `status`; something that is down or unwell is exit 1, as of a file.
pub(super) async fn check(client: &Client, output: Output) -> Result<Exit, Failure> {
    let status = Status::of(client).await?;
    output.print(&status)?;
    let well = status.health == "ok"
        && status
            .destinations
            .iter()
            .all(|destination| destination.consecutive_failures == 0);
    Ok(if well { Exit::Done } else { Exit::Usage })
}

pub(super) async fn look_up(client: &Client, login: &str) -> Result<Resolved, Failure> {
    client.json(Ask::get("/mappings").with("identifier", login)).await
}

impl Resolved {
    pub(super) fn is_at(&self, destination: &str) -> bool {
        self.destination.as_deref() == Some(destination)
    }

    fn rule(&self) -> &str {
        match (self.source.as_deref(), self.routed_to_default) {
            (Some("error"), _) => "default, because the store failed",
            (Some(source), _) => source,
            (None, true) => "default, or a mapping to it",
            (None, false) => "mapping",
        }
    }
}

impl Render for Resolved {
    fn table(&self) -> String {
        let mut grid = Grid::new(["LOGIN", "IDENTIFIER", "DESTINATION", "RULE", "CACHED"]);
        grid.row([
            self.identifier.clone(),
            self.normalized.clone(),
            self.destination.clone().unwrap_or_else(|| "-".to_owned()),
            self.rule().to_owned(),
            if self.cached { "yes" } else { "no" }.to_owned(),
        ]);
        let mut text = grid.text();
        if let Some(reason) = &self.reason {
            text += &format!("{}\n", printable(reason));
        }
        if self.standing.revision.is_some() {
            text += &format!("{}\n", self.standing.words());
        }
        text
    }
}

pub(super) async fn resolve(client: &Client, output: Output, login: &str) -> Result<Exit, Failure> {
    output.print(&look_up(client, login).await?)?;
    Ok(Exit::Done)
}

/// What was done, in the node's own word.
#[derive(Debug, Serialize)]
struct Answer {
    /// It was only looked at.
    dry_run: bool,
    answer: String,
}

impl Render for Answer {
    fn table(&self) -> String {
        format!("{}\n", printable(&self.answer))
    }
}

async fn change(client: &Client, output: Output, ask: Ask, dry_run: bool) -> Result<Exit, Failure> {
    let answer = match dry_run {
        true => "nothing was done".to_owned(),
        false => client.line(ask).await?,
    };
    output.print(&Answer { dry_run, answer })?;
    Ok(Exit::Done)
}

/// Refuses a destination that the node does not have, before anything is done and anybody is held: exit 3, as in a fleet.
pub(super) async fn known(client: &Client, name: &str) -> Result<(), Failure> {
    let Destinations { destinations } = client.json(Ask::get("/destinations")).await?;
    if destinations.iter().any(|known| known.destination == name) {
        return Ok(());
    }
    let all: Vec<&str> = destinations
        .iter()
        .map(|known| known.destination.as_str())
        .collect();
    Err(Failure::new(
        Exit::Precondition,
        format!("{name:?} is no destination of {}", client.address()),
    )
    .remedy(format!("take one of: {}", all.join(", "))))
}

pub(super) fn put(identifier: &str, destination: &str) -> Ask {
    Ask::new(Method::PUT, "/mappings")
        .with("identifier", identifier)
        .with("destination", destination)
}

pub(super) fn delete(identifier: &str) -> Ask {
    Ask::new(Method::DELETE, "/mappings").with("identifier", identifier)
}

pub(super) fn kick(identifier: &str) -> Ask {
    Ask::post("/connections/kick").with("identifier", identifier)
}

pub(super) fn delay(identifier: &str, seconds: u64) -> Ask {
    Ask::post("/connections/delay")
        .with("identifier", identifier)
        .with("seconds", &seconds.to_string())
}

pub(super) async fn mapping(client: &Client, output: Output, verb: MappingVerb) -> Result<Exit, Failure> {
    match verb {
        MappingVerb::Get { identifier } => resolve(client, output, &identifier).await,
        MappingVerb::Set(set) => {
            let (identifier, destination, change_arguments) = set.parts();
            known(client, destination).await?;
            change(
                client,
                output,
                put(identifier, destination),
                change_arguments.dry_run,
            )
            .await
        }
        MappingVerb::Unset(unset) => {
            let (identifier, change_arguments) = unset.parts();
            change(client, output, delete(identifier), change_arguments.dry_run).await
        }
        MappingVerb::List(_) | MappingVerb::Import(_) | MappingVerb::Export(_) => {
            Err(Failure::usage("a node's API cannot list or import mappings")
                .remedy("they are where mapping.source of its file says; `mapping get ID` shows one"))
        }
    }
}

pub(super) async fn session(client: &Client, output: Output, verb: SessionVerb) -> Result<Exit, Failure> {
    match verb {
        SessionVerb::Kick(arguments) => match arguments.identifier() {
            Some(identifier) => change(client, output, kick(identifier), arguments.is_dry_run()).await,
            None => Err(Failure::usage(
                "a node's API ends the sessions of an identifier, not a single one",
            )),
        },
        SessionVerb::Delay(arguments) => {
            let ask = delay(arguments.identifier(), arguments.seconds());
            change(client, output, ask, arguments.is_dry_run()).await
        }
        SessionVerb::List(_) => Err(Failure::usage("a node's API does not list sessions")
            .remedy("`status` counts connections; the log has each")),
    }
}

pub(super) async fn destination(
    client: &Client,
    output: Output,
    verb: DestinationVerb,
) -> Result<Exit, Failure> {
    let DestinationVerb::Reset(arguments) = verb;
    let ask = Ask::post("/destinations/reset").with("destination", arguments.destination());
    change(client, output, ask, arguments.is_dry_run()).await
}
