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
    pub(super) destination: String,
    pub(super) routed_to_default: bool,
    pub(super) cached: bool,
    /// `mapping`, `default` or `error`; a node of an older version does not say it.
    #[serde(default)]
    pub(super) source: Option<String>,
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
        } = &self.stats;
        let mut text = format!(
            "node         {}\nhealth       {}\nconnections  {active_connections}\ncache        {cache_entries} entries, \
             {cache_hits} hits, {cache_misses} misses ({hit_rate_pct:.1} %)\n\n",
            self.node,
            printable(&self.health)
        );
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
            self.destination.clone(),
            self.rule().to_owned(),
            if self.cached { "yes" } else { "no" }.to_owned(),
        ]);
        grid.text()
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
