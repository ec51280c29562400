//! One replica: the parts that the feed and the API share, and the tasks that keep them going.

use std::sync::Arc;
use std::time::Duration;

use mailswitch_config::table::telemetry::Identifiers;
use mailswitch_proto::id::InstanceId;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::change::Writer;
use crate::change::log::{Window, follow, trim};
use crate::change::memory::{Memory, MemoryError, Recall};
use crate::cutover::Cutovers;
use crate::database::{Again, Database, OpenError, Place, Tries, Waiting};
use crate::feed::lease::{Leases, grant_forever};
use crate::meters;
use crate::nodes::{Nodes, registry};
use crate::routing::Routing;
use crate::routing::follow::{Follower, Trouble};
use crate::routing::load::{LoadError, load};
use crate::routing::log::Bounds;
use crate::store;

/// How often a replica says that it is alive, and looks who is registered.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// Another replica that was heard of within this time is alive, and remembers what it has seen of the database.
const ALIVE_SECONDS: u32 = 15;

/// Reading back what was committed takes a millisecond or two; on a machine that is busy with something else, longer.
const READ_WRITES_WITHIN: Duration = Duration::from_secs(2);

/// How often the log is trimmed.
const TRIM: Duration = Duration::from_secs(600);

/// What a replica is made of.
pub struct ControlPlane {
    /// This process.
    pub instance: InstanceId,
    /// Its name, from its certificate.
    pub replica: String,
    /// The database, in words.
    pub kind: DatabaseKind,
    /// The one way to change anything.
    pub writer: Writer,
    /// What nodes are sent.
    pub routing: Arc<Routing>,
    /// What is known of them.
    pub nodes: Arc<Nodes>,
    /// What moves accounts.
    pub cutovers: Cutovers,
    /// Where nodes ask for leases.
    pub leases: Leases,
    /// Why the log is not followed now.
    pub trouble: Arc<Trouble>,
    /// Of the log in memory.
    pub bounds: Bounds,
    /// The stop signal came.
    pub stopping: CancellationToken,
    /// Nodes have been told to move: their streams end.
    pub leaving: CancellationToken,
}

/// What `status` says of the database.
#[derive(Debug, Clone)]
pub struct DatabaseKind {
    /// `private` or `external`.
    pub place: &'static str,
    /// Its server's version.
    pub version: String,
}

/// A replica that runs.
pub struct Replica {
    /// What it is made of.
    pub plane: Arc<ControlPlane>,
    /// What ends with `stopping`.
    pub tasks: TaskTracker,
    /// To be closed last.
    pub database: Database,
}

/// Where a replica finds what it needs.
#[derive(Debug)]
pub struct Settings<'a> {
    /// The database.
    pub place: Place<'a>,
    /// What this replica has seen of it is kept there (promise D2).
    pub state_dir: &'a std::path::Path,
    /// Its name.
    pub replica: String,
    /// How others reach it.
    pub advertise: String,
    /// Of the log in memory.
    pub bounds: Bounds,
    /// Whether its own log may say who somebody is.
    pub identifiers: Identifiers,
    /// For a given database that is not there yet.
    pub waiting: Waiting,
}

/// Why a replica cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The database.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// What it remembers.
    #[error("what this replica remembers of the database cannot be read: {0}")]
    Memory(#[from] MemoryError),
    /// The state in it.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The registry of nodes in it.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// It was told to stop while it waited for the database.
    #[error("stopped while it waited for the database")]
    Stopped,
}

impl StartError {
    fn is_unavailable(&self) -> bool {
        match self {
            Self::Open(error) => error.is_unavailable(),
            Self::Load(LoadError::Store(error)) | Self::Store(error) => error.is_unavailable(),
            Self::Load(_) | Self::Memory(_) | Self::Stopped => false,
        }
    }
}

/// What is read of the database at the start.
struct Opened {
    database: Database,
    routing: Arc<Routing>,
    nodes: Arc<Nodes>,
}

impl Opened {
    /// A given database is waited for. A private one is started here: if that does not work, waiting does not help.
    async fn patiently(settings: &Settings<'_>, memory: &Memory) -> Result<Self, StartError> {
        let mut tries = Tries::new(&settings.waiting);
        loop {
            let error = match settings.place {
                Place::Private(_) => return Self::now(settings, memory).await,
                Place::Url(_) => tokio::select! {
                    opened = Self::now(settings, memory) => match opened {
                        Err(error) if error.is_unavailable() => error,
                        opened => {
                            settings.waiting.over();
                            return opened;
                        }
                    },
                    () = settings.waiting.stop.cancelled() => return Err(StartError::Stopped),
                },
            };
            if tries.failed(&error.to_string()).await == Again::Stop {
                return Err(StartError::Stopped);
            }
        }
    }

    async fn now(settings: &Settings<'_>, memory: &Memory) -> Result<Self, StartError> {
        let database = Database::open(settings.place).await?;
        let pool = database.pool();
        if memory.recall() == Recall::Missing {
            nodes_have_to_say(pool, &settings.replica).await?;
        }
        let routing = Arc::new(Routing::new(load(pool, settings.bounds).await?));
        let nodes = Arc::new(Nodes::default());
        registry::refresh(pool, &nodes).await?;
        Ok(Self {
            database,
            routing,
            nodes,
        })
    }
}

/// This replica does not remember how far the database was: registered nodes do (promise D3). Nothing is asked of a new
/// fleet, which has none, nor where another replica is alive, which remembers.
async fn nodes_have_to_say(pool: &sqlx::PgPool, replica: &str) -> Result<(), store::Error> {
    let mut conn = pool.acquire().await?;
    if store::replica::replica_other_exists(&mut conn, replica, ALIVE_SECONDS).await? {
        return Ok(());
    }
    let asked = store::doubt::doubt_registered(&mut conn).await?;
    if asked > 0 {
        tracing::warn!(
            processes = asked,
            "there is no `seen-revision` in the state directory: no routing write is made before every registered node has \
             said where it stands"
        );
    }
    Ok(())
}

impl ControlPlane {
    /// Opens the database, loads the state, and starts the tasks. They end with `stopping`.
    ///
    /// # Errors
    /// See `StartError`.
    pub async fn start(settings: Settings<'_>) -> Result<Replica, StartError> {
        let memory = Arc::new(Memory::open(settings.state_dir)?);
        let Opened {
            database,
            routing,
            nodes,
        } = Opened::patiently(&settings, &memory).await?;
        let pool = database.pool().clone();
        let writer = Writer::new(pool.clone(), Arc::clone(&memory));
        let stopping = CancellationToken::new();
        let tasks = TaskTracker::new();
        let instance = InstanceId::random();
        let trouble = Arc::<Trouble>::default();

        let follower = Follower {
            pool: pool.clone(),
            memory,
            routing: Arc::clone(&routing),
            trouble: Arc::clone(&trouble),
            bounds: settings.bounds,
        };
        let woken = follow(pool.clone(), writer.committed(), stopping.clone());
        tasks.spawn(follower.run(woken, stopping.clone()));
        let cutovers = Cutovers::start(writer.clone(), nodes.clone(), instance, stopping.clone(), &tasks);
        let (leases, lease_requests) = Leases::new();
        let plane = Arc::new(Self {
            instance,
            replica: settings.replica,
            kind: DatabaseKind {
                place: database.kind(),
                version: database.version().to_owned(),
            },
            writer,
            routing,
            nodes,
            cutovers,
            leases,
            trouble,
            bounds: settings.bounds,
            stopping: stopping.clone(),
            leaving: CancellationToken::new(),
        });
        tasks.spawn(grant_forever(Arc::clone(&plane), lease_requests));
        tasks.spawn(heartbeat(Arc::clone(&plane), settings.advertise));
        tasks.spawn(keep_log_short(Arc::clone(&plane)));
        tasks.spawn(measure(Arc::clone(&plane)));
        tasks.close();
        Ok(Replica {
            plane,
            tasks,
            database,
        })
    }
}

impl ControlPlane {
    /// What was committed here is in memory a moment later: an operator's next command sees what the one before did.
    pub async fn has_read_its_writes(&self) {
        let committed = self.writer.memory().seen().position.revision;
        // A database that went away in between makes an answer older, not wrong: it names its revision.
        let _ = tokio::time::timeout(READ_WRITES_WITHIN, self.routing.reached(committed)).await;
    }
}

/// Says that this replica is alive, and learns of nodes that were registered or forgotten through another one.
async fn heartbeat(plane: Arc<ControlPlane>, advertise: String) {
    let mut beat = tokio::time::interval(HEARTBEAT);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = plane.stopping.cancelled() => return,
            _ = beat.tick() => {}
        }
        if let Err(error) = say_alive(&plane, &advertise).await {
            tracing::debug!(%error, "the heartbeat could not be written");
        }
    }
}

async fn say_alive(plane: &ControlPlane, advertise: &str) -> Result<(), store::Error> {
    let pool = plane.writer.pool();
    // One that does not believe the database can write nothing: others are not to count on it.
    if plane.trouble.suspect.lock().is_none() {
        let mut conn = pool.acquire().await?;
        let version = env!("CARGO_PKG_VERSION");
        store::replica::replica_beat(&mut conn, plane.instance, &plane.replica, advertise, version).await?;
    }
    registry::refresh(pool, &plane.nodes).await
}

async fn keep_log_short(plane: Arc<ControlPlane>) {
    let mut due = tokio::time::interval(TRIM);
    loop {
        tokio::select! {
            () = plane.stopping.cancelled() => return,
            _ = due.tick() => {}
        }
        match trim(plane.writer.pool(), Window::default()).await {
            Ok(0) => {}
            Ok(changes) => tracing::info!(changes, "the change log was trimmed"),
            Err(error) => tracing::warn!(%error, "the change log could not be trimmed"),
        }
    }
}

/// The gauges of this replica.
async fn measure(plane: Arc<ControlPlane>) {
    let instruments = meters::instruments();
    let mut news = plane.routing.subscribe();
    loop {
        let (_, position) = *news.borrow_and_update();
        instruments.revision.record(position.revision.0, &[]);
        let connected = plane
            .nodes
            .all()
            .iter()
            .filter(|node| node.is_connected())
            .count();
        instruments.nodes.record(connected as u64, &[]);
        tokio::select! {
            () = plane.stopping.cancelled() => return,
            // A connection that comes or goes without a revision is seen within this time.
            () = tokio::time::sleep(HEARTBEAT) => {}
            changed = news.changed() => if changed.is_err() {
                return;
            },
        }
    }
}
