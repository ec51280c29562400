//! Building a node: bind every socket, load what it knows, then serve.
//!
//! Longer than most files here: one order of steps, from sockets to serving, is read in one piece.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use mailswitch_config::protocol::Keyword as _;
use mailswitch_config::table::admin::Admin;
use mailswitch_config::table::listener::{Listener, ipv6_socket};
use mailswitch_config::table::metrics::Metrics;
use mailswitch_config::table::server::Server;
use mailswitch_config::{NodeConfig, Protocol, Source, TlsMode};
use mailswitch_dialogue::{Farewell, Protocol as Dialogue, farewell};
use mailswitch_http_rules::Pseudonym;
use mailswitch_proto::fleet::v1 as wire;
use mailswitch_telemetry::{Health, Page, Pages, Redactor};
use parking_lot::Mutex;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::reload::{Door, Reloader};
use super::{Machine, Node, Redaction};
use crate::admin::{AdminSocket, Api};
use crate::backend::loops::OwnListeners;
use crate::backend::{self, Backends};
use crate::feed::{Feed, Host};
use crate::hand_over::{self, Inherited, Offer, TakeError, Taking};
use crate::listen::{self, BindError, Bound, Entry, Limits, Room, bind_all};
use crate::policy::Policy;
use crate::report::Report;
use crate::session::{self, Front, Speaks};
use crate::sessions::WaitPolicy;
use crate::source::{self, Knowledge, Readiness};
use crate::state_file::Estate;
use crate::tls::{InvalidServerTls, ServerTls};

/// Between two looks at who is idle: an idle session may live this much longer than `bridge_idle`.
const SWEEP: Duration = Duration::from_secs(15);
/// Between two lines of figures (behaviour §12).
const FIGURES: Duration = Duration::from_secs(60);

/// Why a node does not start. Nothing is served then.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A socket cannot be had.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The socket of `[metrics]`.
    #[error("metrics.bind: cannot listen on {bind}")]
    Pages {
        /// Where.
        bind: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The socket of `[admin]`.
    #[error("admin.bind: cannot listen on {bind}")]
    Admin {
        /// Where.
        bind: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Certificates or TLS settings cannot be used.
    #[error(transparent)]
    Tls(#[from] InvalidServerTls),
    /// The mappings of a node that runs alone cannot be had.
    #[error(transparent)]
    Mappings(#[from] mailswitch_sources::OpenError),
    /// What a node of a fleet needs cannot be used.
    #[error(transparent)]
    Fleet(#[from] source::fleet::OpenError),
    /// The node that is taken over from does not answer any more.
    #[error(transparent)]
    TakeOver(#[from] TakeError),
}

/// What a node does not make by itself.
#[derive(Debug, Default)]
pub struct Before {
    /// Sockets that exist already.
    pub sockets: Inherited,
    /// The node that is taken over from: nobody is served before [`Running::take_over`].
    pub taking: Option<Taking>,
}

/// A node that serves.
#[derive(Debug)]
pub struct Running {
    pub(super) node: Arc<Node>,
    pub(super) accepting: CancellationToken,
    pub(super) tasks: JoinSet<()>,
    pub(super) feed: Option<JoinHandle<()>>,
    pub(super) feed_stop: CancellationToken,
    /// Connections are accepted from then on.
    open: CancellationToken,
    /// The sockets are another node's from then on.
    pub(super) handed_over: CancellationToken,
    /// The longest `preauth_timeout` of a listener.
    pub(super) longest_dialogue: Duration,
    offer: Offer,
    taking: Option<Taking>,
    addresses: Vec<SocketAddr>,
    admin_address: Option<SocketAddr>,
    reloader: Arc<Reloader>,
}

impl Running {
    /// The node.
    #[must_use]
    pub fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// Its sockets, for a node that takes over.
    pub fn offer(&mut self) -> Offer {
        std::mem::take(&mut self.offer)
    }

    /// Takes over, as soon as it can serve; the other node is followed to its end. Nothing where there is none.
    ///
    /// # Errors
    /// It cannot serve in time: the other node goes on.
    pub async fn take_over(&mut self) -> Result<(), TakeError> {
        let Some(taking) = self.taking.take() else {
            return Ok(());
        };
        let ready = async {
            while self.node.knowledge.readiness() != Readiness::Serving {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        if tokio::time::timeout(READY_WITHIN, ready).await.is_err() {
            return Err(TakeError::NotReady(READY_WITHIN));
        }
        let other = taking.other();
        let predecessor = taking.go();
        self.open.cancel();
        tracing::info!("the sockets are taken over");
        if other == hand_over::Before::Retires {
            // It answers for itself, and the state directory says when it is gone.
            return Ok(());
        }
        let node = Arc::clone(&self.node);
        tokio::spawn(async move {
            if let Ok(predecessor) = predecessor
                && let Err(error) = predecessor.gone().await
            {
                tracing::error!(%error, "the end of the node before this one cannot be seen: nothing is acknowledged");
                return;
            }
            tracing::info!("the node before this one is gone");
            node.knowledge.sessions().predecessor_is_gone();
        });
        Ok(())
    }

    /// What it listens on, with the ports that the system chose.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// What takes new configurations.
    #[must_use]
    pub fn reloader(&self) -> &Arc<Reloader> {
        &self.reloader
    }

    /// Where the management API listens.
    #[must_use]
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin_address
    }
}

/// Between two looks at whether it can serve.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// A node that takes over syncs in a second or two; one that does not in this time has no control plane.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// Starts a node. `descriptors`: how many this process may open; `page`: what `/metrics` shows; none: telemetry was
/// not started, and nothing is counted.
///
/// # Errors
/// What is wrong; nothing is served then.
pub async fn start(config: NodeConfig, descriptors: u64, page: Option<Page>) -> Result<Running, StartError> {
    start_behind(config, descriptors, page, Before::default()).await
}

/// As `start`, with what was there before.
///
/// # Errors
/// As `start`.
pub async fn start_behind(
    config: NodeConfig,
    descriptors: u64,
    page: Option<Page>,
    before: Before,
) -> Result<Running, StartError> {
    let Before {
        sockets: inherited,
        mut taking,
    } = before;
    let mut offer = Offer::default();
    let started = config.clone();
    let tls = ServerTls::new(&config.tls)?;
    if tls.may_show_self_signed() && config.listeners.iter().any(|one| one.tls != TlsMode::Plain) {
        tracing::warn!(
            "clients that ask for a name no certificate has are shown a self-signed one for localhost; \
             give one certificate `default = true`"
        );
    }
    let (report, breaker_changes) = Report::new();
    let report = Arc::new(report);
    let room = Room::for_descriptors(descriptors);
    say_limits(descriptors, room);
    let others = config.admin.iter().map(|admin| admin.bind);
    let others: Vec<SocketAddr> = others
        .chain(config.metrics.iter().map(|metrics| metrics.bind))
        .collect();
    let bound = bind_all(&config.listeners, &others, &inherited)?;
    for bound in &bound {
        offer.add(bound.address, &bound.socket);
    }
    let listeners = config.listeners.iter();
    let longest_dialogue = listeners.map(|listener| listener.preauth_timeout).max();
    let addresses: Vec<SocketAddr> = bound.iter().map(|bound| bound.address).collect();
    let admin_socket = config
        .admin
        .as_ref()
        .map(|admin| bind_admin(admin, &config.listeners, &others, &inherited))
        .transpose()?;
    if let (Some(admin), Some(socket)) = (&config.admin, &admin_socket) {
        offer.add(admin.bind, socket.socket());
    }
    let pages = match (config.metrics, page) {
        (Some(Metrics { bind }), Some(page)) => {
            let pages = match inherited.take(bind) {
                Some(socket) => Pages::on(socket),
                None => Pages::bind(bind).await,
            };
            let pages = pages.map_err(|source| StartError::Pages { bind, source })?;
            offer.add(bind, pages.socket());
            Some((pages, page))
        }
        _ => None,
    };
    // Last: what can fail before it has nothing to undo.
    if let (Some(taking), Source::ControlPlane(link)) = (&mut taking, &config.source) {
        taking.directory(&link.state_dir)?;
    }
    let (knowledge, feed) = knowledge(&config, room, &report, breaker_changes).await?;
    let feed = feed.map(|(feed, estate)| {
        offer.leave(estate);
        feed
    });
    let admin = config.admin;
    let backends = Arc::new(Backends::new(
        OwnListeners::new(addresses.clone()),
        backend::Limits::from(&config.server),
        report,
    ));
    let policy = Policy::new(knowledge.config());
    backends.update(&policy.fleet);
    let node = Arc::new(Node {
        machine: ArcSwap::from_pointee(Machine::from(config.server.clone())),
        knowledge,
        tls,
        connections: Arc::default(),
        policy: ArcSwap::from_pointee(policy),
        backends,
        redaction: Redaction {
            redactor: Redactor::new(config.telemetry.identifiers),
            fleet_key: feed.as_ref().map(|_| Mutex::default()),
        },
        pseudonym: Pseudonym::of(rand::random()),
        renewing: Mutex::new(()),
    });
    let fronts = fronts(bound, &node);
    let mut running = serve(node, fronts, addresses, room, started);
    running.offer = offer;
    running.longest_dialogue = longest_dialogue.unwrap_or_default();
    match taking.as_ref().map(Taking::other) {
        Some(hand_over::Before::Ends) => running.node.knowledge.sessions().follow_a_predecessor(),
        // It answers for its own sessions.
        Some(hand_over::Before::Retires) => {}
        None => running.open.cancel(),
    }
    running.taking = taking;
    if let Some(feed) = feed {
        let stop = running.feed_stop.clone();
        let host: Arc<dyn Host> = Arc::clone(&running.node) as Arc<dyn Host>;
        running.feed = Some(tokio::spawn(
            feed.run(host, async move { stop.cancelled().await }),
        ));
    }
    if let (Some(admin), Some(socket)) = (&admin, admin_socket) {
        running.admin_address = socket.address().ok();
        let (node, reloader) = (Arc::clone(&running.node), Arc::clone(&running.reloader));
        let api = Api::new(node, admin, running.accepting.clone(), reloader);
        let (open, handed_over) = (running.open.clone(), running.handed_over.clone());
        running.tasks.spawn(async move {
            open.cancelled().await;
            tokio::select! {
                () = socket.serve(api) => {}
                () = handed_over.cancelled() => {}
            }
        });
    }
    if let Some((pages, page)) = pages {
        let open = running.open.clone();
        let serving = serve_pages(
            pages,
            page,
            Arc::clone(&running.node),
            running.accepting.clone(),
            running.handed_over.clone(),
        );
        running.tasks.spawn(async move {
            open.cancelled().await;
            serving.await;
        });
    }
    Ok(running)
}

fn bind_admin(
    admin: &Admin,
    listeners: &[Listener],
    others: &[SocketAddr],
    inherited: &Inherited,
) -> Result<AdminSocket, StartError> {
    let bind = admin.bind;
    let all = listeners.iter().flat_map(|listener| &listener.bind).chain(others);
    let socket = match inherited.take(bind) {
        Some(socket) => AdminSocket::on(socket),
        None => AdminSocket::bind(bind, ipv6_socket(bind.port(), all.copied())),
    };
    socket.map_err(|source| StartError::Admin { bind, source })
}

/// Until the process ends: a supervisor is to read "stopping" while sessions have their grace.
async fn serve_pages(
    pages: Pages,
    page: Page,
    node: Arc<Node>,
    accepting: CancellationToken,
    handed_over: CancellationToken,
) {
    let health = move || match node.knowledge.readiness() {
        _ if accepting.is_cancelled() => Health::Stopping,
        Readiness::Serving => Health::Ready,
        Readiness::Draining => Health::NotReady("it is drained".to_owned()),
        Readiness::Left => Health::NotReady("it has left the fleet".to_owned()),
        Readiness::NotSynced => Health::NotReady("it has not synced with the control plane".to_owned()),
    };
    if let Err(error) = pages.serve(page, health, handed_over.cancelled_owned()).await {
        tracing::error!(%error, "the pages of metrics and readiness are no longer served");
    }
}

/// What a node knows, and the feed that keeps it up to date where it belongs to a fleet.
async fn knowledge(
    config: &NodeConfig,
    room: Room,
    report: &Arc<Report>,
    news: UnboundedReceiver<wire::Breaker>,
) -> Result<(Arc<Knowledge>, Option<(Feed, Arc<Estate>)>), StartError> {
    let waits = waits(room);
    match &config.source {
        Source::Alone(alone) => {
            let knowledge = source::alone::open(alone, &config.listeners, waits, Arc::clone(report)).await?;
            Ok((knowledge, None))
        }
        Source::ControlPlane(link) => {
            let (knowledge, feed, estate) =
                source::fleet::open(link, &config.listeners, waits, Arc::clone(report), news)?;
            Ok((knowledge, Some((feed, estate))))
        }
    }
}

fn waits(room: Room) -> WaitPolicy {
    WaitPolicy {
        per_node: room.held,
        ..WaitPolicy::default()
    }
}

fn say_limits(descriptors: u64, room: Room) {
    let waits = waits(room);
    tracing::info!(
        descriptors,
        per_client = room.per_client,
        before_login = room.before_login,
        held = waits.per_node,
        held_per_account = waits.per_identifier,
        "limits"
    );
}

fn fronts(bound: Vec<Bound>, node: &Arc<Node>) -> Vec<(Bound, Arc<Front>)> {
    bound
        .into_iter()
        .map(|bound| {
            let listener = Arc::clone(&bound.listener);
            let speaks = match listener.protocol {
                Protocol::Imap => Speaks::Mail(Dialogue::Imap),
                Protocol::Pop3 => Speaks::Mail(Dialogue::Pop3),
                Protocol::ManageSieve => Speaks::Mail(Dialogue::ManageSieve),
                Protocol::Submission => Speaks::Mail(Dialogue::Submission),
                Protocol::Smtp | Protocol::Lmtp => Speaks::Nothing,
                Protocol::Http => Speaks::Http,
            };
            let front = Front {
                name: Arc::new(listener.name.clone()),
                listener,
                speaks,
                node: Arc::clone(node),
            };
            (bound, Arc::new(front))
        })
        .collect()
}

fn serve(
    node: Arc<Node>,
    fronts: Vec<(Bound, Arc<Front>)>,
    addresses: Vec<SocketAddr>,
    room: Room,
    started: NodeConfig,
) -> Running {
    let limits = Limits::new(room);
    let accepting = CancellationToken::new();
    let open = CancellationToken::new();
    let mut tasks = JoinSet::new();
    let mut doors: Vec<Arc<Door>> = Vec::new();
    for (bound, front) in fronts {
        // One count for all sockets of a listener.
        let door = match doors.iter().find(|door| door.front.load().name == front.name) {
            Some(door) => Arc::clone(door),
            None => Arc::new(Door {
                entry: Arc::new(Entry {
                    connections: Arc::default(),
                    turned_away: std::sync::atomic::AtomicUsize::new(0),
                    max_connections: front.listener.max_connections.into(),
                    limits: Arc::clone(&limits),
                    busy: match (front.listener.tls, front.speaks) {
                        (TlsMode::Implicit, _) => b"",
                        (_, Speaks::Mail(protocol)) => farewell(protocol, Farewell::Busy),
                        (_, Speaks::Nothing) => session::pass_through::BUSY,
                        (_, Speaks::Http) => crate::http::BUSY,
                    },
                    report: Arc::clone(node.knowledge.sessions().report()),
                    name: front.name.to_string(),
                    protocol: front.listener.protocol.as_str(),
                }),
                front: ArcSwap::from(Arc::clone(&front)),
            }),
        };
        if !doors.iter().any(|known| Arc::ptr_eq(known, &door)) {
            doors.push(Arc::clone(&door));
        }
        tracing::info!(listener = %front.name, address = %bound.address, "listening");
        let (stop, open) = (accepting.clone(), open.clone());
        tasks.spawn(async move {
            open.cancelled().await;
            let entry = Arc::clone(&door.entry);
            let serve = move |accepted| {
                tokio::spawn(session::run(accepted, door.front.load_full()));
            };
            listen::accept(bound.socket, entry, stop, serve).await;
        });
    }
    tasks.spawn(sweep(Arc::clone(&node)));
    tasks.spawn(figures(Arc::clone(&node)));
    tasks.spawn(super::renew::look_again(Arc::clone(&node)));
    let reloader = Reloader::new(Arc::clone(&node), started, doors);
    Running {
        reloader,
        node,
        accepting,
        tasks,
        feed: None,
        feed_stop: CancellationToken::new(),
        open,
        handed_over: CancellationToken::new(),
        longest_dialogue: Duration::ZERO,
        offer: Offer::default(),
        taking: None,
        addresses,
        admin_address: None,
    }
}

async fn sweep(node: Arc<Node>) {
    loop {
        // A reload may have changed it.
        let Server { bridge_idle, .. } = node.machine().server;
        node.connections.end_idle(bridge_idle);
        tokio::time::sleep(SWEEP.min(bridge_idle.max(Duration::from_millis(100)))).await;
    }
}

async fn figures(node: Arc<Node>) {
    let mut ticks = tokio::time::interval(FIGURES);
    loop {
        ticks.tick().await;
        node.say_figures();
    }
}
