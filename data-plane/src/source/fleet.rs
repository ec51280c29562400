//! A node of a fleet: what it remembers at start (promise N5), and the feed that keeps it in step.

use std::sync::Arc;

use mailswitch_config::fleet::ReportedListener;
use mailswitch_config::table::link::ControlPlaneLink;
use mailswitch_config::table::listener::Listener;
use mailswitch_proto::channel::{Credentials, CredentialsError, Files};
use mailswitch_proto::fleet::v1 as wire;
use mailswitch_proto::identifier::HashKey;
use mailswitch_telemetry::LeaseNow;
use tokio::sync::mpsc;

use super::Knowledge;
use super::alone::wait_policy;
use super::resources::Resources;
use crate::feed::{self, Feed, Identity, Membership};
use crate::lease::{self, asking::Asking};
use crate::report::Report;
use crate::sessions::{Sessions, WaitPolicy};
use crate::state_file::{Directory, DirectoryError, Estate, Mark, Recovered, Snapshot, Torn, Writer};
use crate::table::{Policy, Table};

/// A node of a fleet that cannot start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Its state directory.
    #[error("control_plane.state_dir: {0}")]
    Directory(#[from] DirectoryError),
    /// Its certificate, key or authority.
    #[error("control_plane: {0}")]
    Credentials(#[from] CredentialsError),
    /// The system gives no thread, or no timer.
    #[error("no thread for the state file or the lease: {0}")]
    Thread(#[from] std::io::Error),
}

/// Opens the knowledge of a node of a fleet, from its state file. It serves at once what the file says; the feed, run
/// beside it, brings it up to date.
///
/// # Errors
/// When the state directory or the certificates cannot be used. A state file that cannot be trusted is no error: the
/// node serves nobody until it has synced.
pub fn open(
    link: &ControlPlaneLink,
    listeners: &[Listener],
    waits: WaitPolicy,
    report: Arc<Report>,
    breaker_changes: mpsc::UnboundedReceiver<wire::Breaker>,
) -> Result<(Arc<Knowledge>, Feed, Arc<Estate>), OpenError> {
    let credentials = Credentials::load(Files {
        ca: link.ca.clone(),
        cert: link.cert.clone(),
        key: link.key.clone(),
    })?;
    let (knowledge, node) = prepare(link, listeners, waits, report, breaker_changes)?;
    let estate = node.estate();
    let feed = Feed::new(node, link.endpoints.clone(), credentials);
    Ok((knowledge, feed, estate))
}

/// All of it but the way to the control plane.
pub(crate) fn prepare(
    link: &ControlPlaneLink,
    listeners: &[Listener],
    waits: WaitPolicy,
    report: Arc<Report>,
    breaker_changes: mpsc::UnboundedReceiver<wire::Breaker>,
) -> Result<(Arc<Knowledge>, feed::Node), OpenError> {
    let directory = Arc::new(Directory::open(&link.state_dir)?);
    let (recovered, prepared) = Writer::recover(&directory)?;
    let mut table = remembered(recovered);
    let ours = listeners.iter().map(|listener| ReportedListener {
        node: link.node.to_string(),
        name: listener.name.clone(),
        protocol: listener.protocol,
        tls: listener.tls,
    });
    let mut resources = Resources::of_node(link.site.clone(), ours.collect());
    let (config, rejections) = resources.assemble(table.resources());
    table.set_policy(Policy::from(&config.routing));
    let waits = wait_policy(waits, &config.cutover);
    let (sessions, stuck) = Sessions::new(table, waits, report);
    if prepared.mark() == Mark::Left {
        tracing::warn!(
            "this node has left the fleet, or was handed over: nobody is served until it has been registered anew and has \
             synced"
        );
        sessions.leave();
    }
    lease::watch(&sessions)?;
    show_lease(&sessions);
    let source = sessions.clone();
    let writer = prepared.start(move || source.with_table(Snapshot::of))?;
    let knowledge = Knowledge::new(sessions, config);
    let identity = Identity {
        node: link.node.clone(),
        site: link.site.clone(),
        listeners: listeners.iter().map(reported).collect(),
    };
    let node = feed::Node {
        identity,
        knowledge: knowledge.clone(),
        directory,
        writer,
        resources,
        rejections,
        stuck,
        breaker_changes,
        // Who starts comes back, whatever the mark says.
        membership: Membership::Member,
        asking: Asking::default(),
    };
    Ok((knowledge, node))
}

/// On `/metrics`.
fn show_lease(sessions: &Arc<Sessions>) {
    let sessions = Arc::downgrade(sessions);
    mailswitch_telemetry::observe_lease(&mailswitch_telemetry::meter(), move || {
        let sight = sessions.upgrade()?.lease_sight();
        Some(LeaseNow {
            armings: sight.armings as u64,
            live: sight.live,
            age: sight.age,
        })
    });
}

fn remembered(recovered: Recovered) -> Table {
    match recovered {
        Recovered::Table(table, torn) => {
            if let Torn::Dropped(bytes) = torn {
                tracing::warn!(
                    bytes,
                    "the end of the state file was torn and is dropped: it was acknowledged to nobody"
                );
            }
            tracing::info!(revision = %table.position().revision, keys = table.len(), "serving from the state file");
            *table
        }
        Recovered::Nothing => {
            tracing::info!("no state file: nobody is served until the control plane has sent the table");
            nothing()
        }
        Recovered::Corrupt(corruption) => {
            tracing::error!(%corruption, "the state file cannot be trusted and was set aside: nobody is served until the control plane has sent the table");
            nothing()
        }
    }
}

/// The key is that of the fleet once a snapshot has come; until then nobody looks anything up.
fn nothing() -> Table {
    Table::empty(HashKey(rand::random()))
}

fn reported(listener: &Listener) -> wire::Listener {
    wire::Listener {
        name: listener.name.as_str().to_owned(),
        protocol: listener.protocol.to_string(),
        binds: listener.bind.iter().map(ToString::to_string).collect(),
        tls: listener.tls.to_string(),
    }
}
