//! What a replica listens on, and how it ends: the feed and the API behind one mTLS listener, roles from certificates.
//!
//! The end, in order: nodes are told to move, their streams end, open calls are answered, the tasks stop, and the
//! private database is stopped last.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use mailswitch_config::ControlPlaneConfig;
use mailswitch_config::control_plane::Database;
use mailswitch_config::table::telemetry::Identifiers;
use mailswitch_proto::channel::{Credentials, Files, Reload, Role, listen, server_builder};
use mailswitch_proto::control::v1::control_server::ControlServer;
use mailswitch_proto::fleet::v1::fleet_server::FleetServer;
use mailswitch_telemetry::{Health, Logs, Pages, Service, Telemetry};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::SetOnce;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::api::Api;
use crate::change::doubt;
use crate::database::{Place, Waiting};
use crate::feed::Feed;
use crate::process::{ControlPlane, Replica, Settings, StartError};
use crate::routing::log::Bounds;

/// Nodes that have another replica to go to leave within this time. One that has none stays, and serves without.
const MOVE: Duration = Duration::from_secs(2);

/// Open calls and streams have this long once nodes have left.
const LAST_CALLS: Duration = Duration::from_secs(2);

/// Certificates are renewed by replacing files: new connections use them within this time, or at once on SIGHUP.
const LOOK_AT_CERTIFICATES: Duration = Duration::from_secs(60);

/// A replica that answers.
pub struct Running {
    /// Its parts.
    pub plane: Arc<ControlPlane>,
    /// Where it listens.
    pub address: SocketAddr,
    /// Its certificate, and the authority.
    pub credentials: Credentials,
    server: JoinHandle<Result<(), tonic::transport::Error>>,
    closing: CancellationToken,
    tasks: TaskTracker,
    database: crate::database::Database,
}

/// Installs the one provider of cryptography.
pub fn install_crypto() {
    // An error means that it is installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

/// Reads the replica's certificate.
///
/// # Errors
/// When it cannot be used, or is not a control plane's.
pub fn credentials(config: &ControlPlaneConfig) -> anyhow::Result<Credentials> {
    let own = &config.control_plane;
    let credentials = Credentials::load(Files {
        ca: own.ca.clone(),
        cert: own.cert.clone(),
        key: own.key.clone(),
    })?;
    let identity = credentials.identity();
    anyhow::ensure!(
        identity.role == Role::ControlPlane,
        "{}: it is the certificate of {identity}, and nodes speak to a control plane only; make one with \
         `mailswitchctl pki issue`",
        own.cert.display()
    );
    Ok(credentials)
}

/// Starts everything that the file asks for. None: it was told to stop while it waited for its database.
///
/// # Errors
/// When something cannot be had; the message says what, and what to do.
pub async fn start(
    config: &ControlPlaneConfig,
    credentials: Credentials,
    waiting: Waiting,
) -> anyhow::Result<Option<Running>> {
    let own = &config.control_plane;
    let bind = async || {
        TcpListener::bind(own.bind)
            .await
            .with_context(|| format!("control_plane.bind = \"{}\" cannot be listened on", own.bind))
    };
    let listener = bind().await?;
    std::fs::create_dir_all(&own.state_dir)
        .with_context(|| format!("control_plane.state_dir = {:?} cannot be made", own.state_dir))?;
    let settings = Settings {
        place: match &config.database {
            Database::Private => Place::Private(&own.state_dir),
            Database::External(url) => Place::Url(url.expose()),
        },
        state_dir: &own.state_dir,
        replica: credentials.identity().name.to_string(),
        advertise: own.advertise.clone(),
        bounds: Bounds::default(),
        identifiers: config.telemetry.identifiers,
        waiting,
    };
    let listener = match &config.database {
        Database::Private => Some(listener),
        // It may have to be waited for. Until then whoever comes is turned away at once, and goes to another replica.
        Database::External(_) => {
            drop(listener);
            None
        }
    };
    let identifiers = settings.identifiers;
    let replica = match ControlPlane::start(settings).await {
        Err(StartError::Stopped) => return Ok(None),
        started => started?,
    };
    let listener = match listener {
        Some(listener) => listener,
        None => bind().await?,
    };
    Ok(Some(Running::over(replica, identifiers, listener, credentials)?))
}

/// Serves on a listener that is bound already.
///
/// # Errors
/// As `start`.
pub async fn serve(
    settings: Settings<'_>,
    listener: TcpListener,
    credentials: Credentials,
) -> anyhow::Result<Running> {
    let identifiers = settings.identifiers;
    Running::over(
        ControlPlane::start(settings).await?,
        identifiers,
        listener,
        credentials,
    )
}

impl Running {
    fn over(
        replica: Replica,
        identifiers: Identifiers,
        listener: TcpListener,
        credentials: Credentials,
    ) -> anyhow::Result<Self> {
        let address = listener.local_addr()?;
        let Replica {
            plane,
            tasks,
            database,
        } = replica;
        let closing = CancellationToken::new();
        let api = Api::new(Arc::clone(&plane)).with_identifiers(identifiers);
        let server = server_builder()
            .add_service(FleetServer::new(Feed::new(Arc::clone(&plane))))
            .add_service(ControlServer::new(api))
            .serve_with_incoming_shutdown(
                listen(listener, credentials.clone()),
                closing.clone().cancelled_owned(),
            );
        Ok(Running {
            plane,
            address,
            credentials,
            server: tokio::spawn(server),
            closing,
            tasks,
            database,
        })
    }

    /// Ends in order.
    pub async fn stop(self, grace: Duration) {
        let Self {
            plane,
            server,
            closing,
            tasks,
            database,
            ..
        } = self;
        plane.stopping.cancel();
        plane.nodes.all_gone(grace.min(MOVE)).await;
        plane.leaving.cancel();
        closing.cancel();
        let abort = server.abort_handle();
        if tokio::time::timeout(LAST_CALLS, server).await.is_err() {
            abort.abort();
        }
        tasks.wait().await;
        database.close().await;
    }
}

/// Logs, traces and metrics of this process.
///
/// # Errors
/// When they cannot be set up.
pub fn telemetry(config: &ControlPlaneConfig, credentials: &Credentials) -> anyhow::Result<Telemetry> {
    let service = Service {
        name: "mailswitch-control-plane",
        version: env!("CARGO_PKG_VERSION"),
        instance: Some(credentials.identity().name.to_string()),
        attributes: Vec::new(),
    };
    let level = config.server.log_level.clone();
    Ok(mailswitch_telemetry::start(
        &service,
        &config.telemetry,
        &Logs::Server { level },
    )?)
}

/// How far a replica is, for `/readyz`.
#[derive(Clone, Default)]
pub struct Progress {
    waiting: Waiting,
    plane: Arc<SetOnce<Arc<ControlPlane>>>,
}

impl Progress {
    /// Before anything is there; `waiting` says what is waited for.
    #[must_use]
    pub fn new(waiting: Waiting) -> Self {
        Self {
            waiting,
            plane: Arc::default(),
        }
    }

    /// It runs.
    pub fn runs(&self, plane: &Arc<ControlPlane>) {
        // It is said once.
        let _ = self.plane.set(Arc::clone(plane));
    }

    fn health(&self) -> Health {
        let starting = || {
            let awaited = self.waiting.awaited();
            awaited.unwrap_or_else(|| "it is starting".to_owned())
        };
        match self.plane.get() {
            Some(plane) => health(plane),
            None if self.waiting.stop.is_cancelled() => Health::Stopping,
            None => Health::NotReady(starting()),
        }
    }

    async fn leaves(self) {
        self.plane.wait().await.leaving.cancelled().await;
    }
}

/// `/metrics`, `/readyz` and `/healthz`, when the file asks for them: from the first moment on, so that a replica that
/// waits for its database can say so.
///
/// # Errors
/// When the socket cannot be had.
pub async fn pages(
    config: &ControlPlaneConfig,
    telemetry: &Telemetry,
    progress: &Progress,
) -> anyhow::Result<()> {
    let Some(metrics) = &config.metrics else {
        return Ok(());
    };
    let pages = Pages::bind(metrics.bind)
        .await
        .with_context(|| format!("metrics.bind = \"{}\" cannot be listened on", metrics.bind))?;
    let (page, progress) = (telemetry.page(), progress.clone());
    let stop = progress.clone().leaves();
    tokio::spawn(async move {
        if let Err(error) = pages.serve(page, move || progress.health(), stop).await {
            tracing::error!(%error, "the page of metrics is not served any more");
        }
    });
    Ok(())
}

/// A replica that cannot read the database keeps its nodes, and should not be sent new ones. One whose nodes know more than
/// the database is ready: what has to be heard and decided comes in through it (promise D3, decision 0019).
#[must_use]
pub fn health(plane: &ControlPlane) -> Health {
    if plane.stopping.is_cancelled() {
        return Health::Stopping;
    }
    let suspect = plane.trouble.suspect.lock().clone();
    let away = || plane.trouble.away.lock().clone();
    if let Some(why) = suspect.or_else(away) {
        return Health::NotReady(why);
    }
    doubt::sentence(&plane.nodes.doubts()).map_or(Health::Ready, Health::ReadyBut)
}

/// The signals that end the process, or make it look at its certificates.
pub struct Stop {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Stop {
    /// From now on signals are caught.
    ///
    /// # Errors
    /// The operating system's.
    pub fn on_signals() -> anyhow::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Cancels `stop` when the process is to stop. Until then certificates are looked at.
    pub fn cancels(self, stop: CancellationToken, credentials: Credentials) -> JoinHandle<()> {
        tokio::spawn(async move {
            self.wait(&credentials).await;
            stop.cancel();
        })
    }

    async fn wait(mut self, credentials: &Credentials) {
        loop {
            tokio::select! {
                _ = self.interrupt.recv() => return,
                _ = self.terminate.recv() => return,
                _ = self.hang_up.recv() => {}
                () = tokio::time::sleep(LOOK_AT_CERTIFICATES) => {}
            }
            match credentials.reload() {
                Ok(Reload::Changed) => {
                    tracing::info!("the certificates were replaced; new connections use them")
                }
                Ok(Reload::Unchanged) => {}
                Err(error) => {
                    tracing::error!(%error, "the certificates cannot be used; the ones before stay in use")
                }
            }
        }
    }
}
