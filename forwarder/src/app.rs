//! Wires the stages: the tailing thread, the session and the endpoints, and how they stop.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use prometheus_client::registry::Registry;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::channel::{self, SessionEnd, TailEnd, Wake};
use crate::checkpoint::{Binding, Checkpoint, Loaded};
use crate::config::Config;
use crate::connect::Connector;
use crate::credentials::CredentialError;
use crate::files;
use crate::health::{self, FilesRequest, Health};
use crate::metrics::Metrics;
use crate::session::{Introduction, Session};
use crate::standby::{self, Holder, Lock};
use crate::tail::{Parts, Tailer};

/// Less than the 30 s that Kubernetes gives a pod to end.
pub const DRAIN_GRACE: Duration = Duration::from_secs(25);
/// How long a port may be another's that has just ended, or is ending.
const PORT_PATIENCE: Duration = Duration::from_secs(5);
const PORT_RETRY: Duration = Duration::from_millis(50);
/// Questions of `files` that wait.
const REQUESTS: usize = 4;

/// Why the forwarder did not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// Another process uses the data directory.
    #[error("{} is used by another forwarder", .0.display())]
    Locked(PathBuf),
    /// The checkpoint is another cluster's or node's: its ids would not be the same.
    #[error(
        "the checkpoint in {} belongs to node {node:?} of cluster {cluster:?}; \
         use another data_dir, or the old names",
        .directory.display()
    )]
    OtherBinding {
        /// The data directory.
        directory: PathBuf,
        /// Whose it is.
        cluster: String,
        /// Whose it is.
        node: String,
    },
    /// Certificates or token.
    #[error("aggregator: {0}")]
    Credentials(#[from] CredentialError),
    /// Out of threads or descriptors.
    #[error("start: {0}")]
    Io(#[from] io::Error),
    /// A port that is used.
    #[error("listen on {address}")]
    Listen {
        /// As configured.
        address: SocketAddr,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// Why the forwarder ended although nobody asked it to.
#[derive(Debug, Error)]
pub enum RunError {
    /// A stage ended or panicked; a restart is safe.
    #[error("the {0} ended unexpectedly")]
    StageEnded(&'static str),
}

/// A forwarder that has read its configuration's files and may answer questions, and does nothing yet.
pub struct Prepared {
    config: Config,
    /// For `/readyz`.
    pub health: Health,
    /// Takes questions of `files`.
    pub files: mpsc::Sender<FilesRequest>,
    /// Makes the tailing thread look at them.
    pub wake: Wake,
    requests: mpsc::Receiver<FilesRequest>,
    metrics: Metrics,
    connector: Connector,
    ends: (TailEnd, SessionEnd),
}

/// A running forwarder.
pub struct Forwarder {
    /// For `/readyz`.
    pub health: Health,
    wake: Wake,
    stop: Arc<AtomicBool>,
    tail: oneshot::Receiver<()>,
    session: JoinHandle<()>,
    /// Held for as long as the data directory is used.
    _lock: Lock,
}

impl Prepared {
    /// Registers what it counts.
    ///
    /// # Errors
    /// Credentials that are not what they should be; out of descriptors.
    pub fn new(config: Config, registry: &mut Registry) -> Result<Self, StartError> {
        raise_descriptor_limit();
        let metrics = Metrics::default();
        metrics.register(registry);
        let connector = Connector::new(config.aggregator.clone())?;
        let ends = channel::pair()?;
        let wake = ends.0.wake.clone();
        let (files, requests) = mpsc::channel(REQUESTS);
        let health = Health::default();
        Ok(Self { config, health, files, wake, requests, metrics, connector, ends })
    }

    /// Waits until no other forwarder uses the data directory; None when `shutdown` came first.
    ///
    /// # Errors
    /// Out of threads.
    pub async fn stand_by(
        &self,
        shutdown: impl Future<Output = ()>,
    ) -> Result<Option<(Lock, Option<Holder>)>, StartError> {
        match standby::try_lock(&self.config.data_dir) {
            Lock::Elsewhere => {}
            lock => return Ok(Some((lock, None))),
        }
        let stop = Arc::new(AtomicBool::new(false));
        let Waiting { holding, mut taken } = spawn_wait(&self.config, Arc::clone(&stop))?;
        let taken = async {
            // Not before the files are held: whoever is told that this one stands by may end the other.
            if holding.await.is_ok() {
                tracing::info!(
                    data_dir = %self.config.data_dir.display(),
                    "another forwarder uses the data directory; standing by until it ends"
                );
                self.health.standing_by(true);
                self.metrics.standing_by.set(1);
            }
            (&mut taken).await.ok()
        };
        let taken = tokio::select! {
            () = shutdown => None,
            taken = taken => taken,
        };
        stop.store(true, Ordering::Release);
        self.health.standing_by(false);
        self.metrics.standing_by.set(0);
        Ok(taken.map(|(lock, holder)| {
            tracing::info!(held = holder.count(), "the other forwarder has ended; taking over");
            (lock, Some(holder))
        }))
    }

    /// Starts the stages on the current runtime and a thread. `lock` is held until the forwarder has ended; what
    /// `inherited` holds is read if it has no name any more.
    ///
    /// # Errors
    /// See [`StartError`]. A data directory that cannot be written is not one: container logs ship on without it.
    pub fn start(self, lock: Lock, inherited: Option<Holder>) -> Result<Forwarder, StartError> {
        let Self { config, health, wake, requests, metrics, connector, ends, .. } = self;
        if matches!(lock, Lock::Elsewhere) {
            return Err(StartError::Locked(config.data_dir));
        }
        // Not before there is the lock: until then another process writes it.
        let (checkpoint, loaded) = open_checkpoint(&config, &health)?;
        let (end, session_end) = ends;
        let stop = Arc::new(AtomicBool::new(false));
        let introduction =
            Introduction { node: config.node.clone(), cluster: config.cluster.clone() };
        let session =
            Session::new(introduction, connector, session_end, metrics.clone(), health.clone());
        let parts = Parts {
            config,
            checkpoint,
            loaded,
            inherited,
            end,
            requests,
            metrics,
            health: health.clone(),
        };
        let tail = spawn_tail(parts, Arc::clone(&stop))?;
        let session = tokio::spawn(session.run());
        Ok(Forwarder { health, wake, stop, tail, session, _lock: lock })
    }
}

impl Forwarder {
    /// Starts on a data directory that nobody uses.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn start(config: Config, registry: &mut Registry) -> Result<Self, StartError> {
        let lock = standby::try_lock(&config.data_dir);
        Prepared::new(config, registry)?.start(lock, None)
    }

    /// Runs until `shutdown`, then drains.
    ///
    /// # Errors
    /// A stage ended by itself.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>) -> Result<(), RunError> {
        tokio::select! {
            () = shutdown => {}
            _ = &mut self.tail => return Err(RunError::StageEnded("tailing thread")),
            _ = &mut self.session => return Err(RunError::StageEnded("session")),
        }
        self.stop.store(true, Ordering::Release);
        self.wake.wake();
        // Its grace is its own; the session has nothing to do after it.
        self.tail.await.ok();
        self.session.abort();
        Ok(())
    }
}

/// Runs the forwarder as a process: with its endpoints, until `shutdown`.
///
/// While another forwarder uses the data directory it stands by, and its port may be the other's as well.
///
/// # Errors
/// See [`StartError`] and [`RunError`].
pub async fn run(
    config: Config,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Box<dyn std::error::Error>> {
    tokio::pin!(shutdown);
    let mut registry = Registry::default();
    let socket = files::socket_path(&config.data_dir);
    let address = config.http;
    tracing::info!(
        node = config.node,
        cluster = config.cluster,
        aggregator = config.aggregator.addresses.join(", "),
        pods_dir = ?config.containers.as_ref().map(|containers| &containers.path),
        "starting"
    );
    for doubt in config.doubts() {
        tracing::warn!("{doubt}");
    }
    let prepared = Prepared::new(config, &mut registry)?;
    let server = health::Server::new(
        prepared.health.clone(),
        Arc::new(registry),
        prepared.files.clone(),
        prepared.wake.clone(),
    );
    let early = match address {
        Some(address) => TcpListener::bind(address).await.ok(),
        None => None,
    };
    let must_bind = address.filter(|_| early.is_none());
    if let Some(listener) = early {
        tokio::spawn(server.clone().serve_tcp(listener));
    }
    let Some((lock, inherited)) = prepared.stand_by(&mut shutdown).await? else { return Ok(()) };
    if let Some(address) = must_bind {
        tokio::spawn(server.clone().serve_tcp(bind(address).await?));
    }
    let forwarder = prepared.start(lock, inherited)?;
    match health::bind_unix(&socket) {
        Ok(listener) => drop(tokio::spawn(server.serve_unix(listener))),
        Err(error) => {
            tracing::warn!(%error, path = %socket.display(), "no socket for `files`");
        }
    }
    forwarder.run(shutdown).await?;
    Ok(())
}

/// Listens, once whoever has just ended has let go of the port.
async fn bind(address: SocketAddr) -> Result<TcpListener, StartError> {
    let until = Instant::now() + PORT_PATIENCE;
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => return Ok(listener),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < until => {
                sleep(PORT_RETRY).await;
            }
            Err(source) => return Err(StartError::Listen { address, source }),
        }
    }
}

/// A thread that stands by.
struct Waiting {
    /// Told when it holds the files.
    holding: oneshot::Receiver<()>,
    /// What it took over.
    taken: oneshot::Receiver<(Lock, Holder)>,
}

fn spawn_wait(config: &Config, stop: Arc<AtomicBool>) -> io::Result<Waiting> {
    let (held, holding) = oneshot::channel();
    let (done, taken) = oneshot::channel();
    let (mut holder, data_dir) = (Holder::new(config), config.data_dir.clone());
    std::thread::Builder::new().name("standby".to_owned()).spawn(move || {
        holder.look();
        held.send(()).ok();
        if let Some(lock) = standby::wait(&data_dir, &mut holder, &stop) {
            // Nobody takes it over where the process was told to end meanwhile.
            done.send((lock, holder)).ok();
        }
    })?;
    Ok(Waiting { holding, taken })
}

fn spawn_tail(parts: Parts, stop: Arc<AtomicBool>) -> io::Result<oneshot::Receiver<()>> {
    let (done, ended) = oneshot::channel();
    std::thread::Builder::new().name("tail".to_owned()).spawn(move || {
        // Dropped when the thread ends, also by a panic.
        let _done = done;
        Tailer::new(parts).run(&stop, DRAIN_GRACE);
    })?;
    Ok(ended)
}

fn open_checkpoint(config: &Config, health: &Health) -> Result<(Checkpoint, Loaded), StartError> {
    let binding = Binding { cluster: config.cluster.clone(), node: config.node.clone() };
    let directory = config.data_dir.join("checkpoint");
    let (checkpoint, loaded) = match Checkpoint::open(&directory, binding.clone()) {
        Ok(opened) => opened,
        Err(error) => {
            tracing::error!(
                %error,
                path = %directory.display(),
                "the checkpoint cannot be kept: container logs are sent, host files wait"
            );
            health.checkpoint(Some(error.to_string()));
            return Ok((Checkpoint::unsaved(binding), Loaded::default()));
        }
    };
    for damage in &loaded.damage {
        tracing::warn!(%damage, "the checkpoint is damaged; what it does not say is sent again");
    }
    match loaded.other {
        Some(Binding { cluster, node }) => {
            Err(StartError::OtherBinding { directory: config.data_dir.clone(), cluster, node })
        }
        None => Ok((checkpoint, loaded)),
    }
}

/// One descriptor a file: take as many as the process may have.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::debug!(%error, "raise the descriptor limit");
    }
}
