//! Wires the stages: the tailing thread, the session and the endpoints, and how they stop.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use prometheus_client::registry::Registry;
use rustix::fs::FlockOperation;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::channel::{self, Wake};
use crate::checkpoint::{Binding, Checkpoint, Loaded};
use crate::config::Config;
use crate::connect::Connector;
use crate::credentials::CredentialError;
use crate::files;
use crate::health::{self, FilesRequest, Health};
use crate::metrics::Metrics;
use crate::session::{Introduction, Session};
use crate::tail::{Parts, Tailer};

/// Less than the 30 s that Kubernetes gives a pod to end.
pub const DRAIN_GRACE: Duration = Duration::from_secs(25);
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
        address: std::net::SocketAddr,
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

/// A running forwarder.
pub struct Forwarder {
    /// For `/readyz`.
    pub health: Health,
    /// Takes questions of `files`.
    pub files: mpsc::Sender<FilesRequest>,
    /// Makes the tailing thread look at them.
    pub wake: Wake,
    stop: Arc<AtomicBool>,
    tail: oneshot::Receiver<()>,
    session: JoinHandle<()>,
    /// Held for as long as the data directory is used.
    _lock: Option<File>,
}

impl Forwarder {
    /// Starts the stages on the current runtime and a thread.
    ///
    /// # Errors
    /// See [`StartError`]. A data directory that cannot be written is not one: container logs ship on without it.
    pub fn start(config: Config, registry: &mut Registry) -> Result<Self, StartError> {
        raise_descriptor_limit();
        let metrics = Metrics::default();
        metrics.register(registry);
        let health = Health::default();
        let lock = lock(&config.data_dir)?;
        let (checkpoint, loaded) = open_checkpoint(&config, &health)?;
        let (end, session_end) = channel::pair()?;
        let wake = end.wake.clone();
        let (files, requests) = mpsc::channel(REQUESTS);
        let stop = Arc::new(AtomicBool::new(false));
        let introduction =
            Introduction { node: config.node.clone(), cluster: config.cluster.clone() };
        let connector = Connector::new(config.aggregator.clone())?;
        let session =
            Session::new(introduction, connector, session_end, metrics.clone(), health.clone());
        let parts =
            Parts { config, checkpoint, loaded, end, requests, metrics, health: health.clone() };
        let tail = spawn_tail(parts, Arc::clone(&stop))?;
        let session = tokio::spawn(session.run());
        Ok(Self { health, files, wake, stop, tail, session, _lock: lock })
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
/// # Errors
/// See [`StartError`] and [`RunError`].
pub async fn run(
    config: Config,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Box<dyn std::error::Error>> {
    let mut registry = Registry::default();
    let listener = match config.http {
        Some(address) => Some(
            TcpListener::bind(address)
                .await
                .map_err(|source| StartError::Listen { address, source })?,
        ),
        None => None,
    };
    let socket = files::socket_path(&config.data_dir);
    tracing::info!(
        node = config.node,
        cluster = config.cluster,
        aggregator = config.aggregator.addresses.join(", "),
        pods_dir = ?config.containers.as_ref().map(|containers| &containers.path),
        "starting"
    );
    let forwarder = Forwarder::start(config, &mut registry)?;
    let server = health::Server::new(
        forwarder.health.clone(),
        Arc::new(registry),
        forwarder.files.clone(),
        forwarder.wake.clone(),
    );
    if let Some(listener) = listener {
        tokio::spawn(server.clone().serve_tcp(listener));
    }
    match health::bind_unix(&socket) {
        Ok(listener) => drop(tokio::spawn(server.serve_unix(listener))),
        Err(error) => {
            tracing::warn!(%error, path = %socket.display(), "no socket for `files`");
        }
    }
    forwarder.run(shutdown).await?;
    Ok(())
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

/// Takes the data directory for this process; None where there can be no lock file.
fn lock(data_dir: &Path) -> Result<Option<File>, StartError> {
    let opened = std::fs::create_dir_all(data_dir)
        .and_then(|()| File::create(data_dir.join("forwarder.lock")));
    let Ok(file) = opened else { return Ok(None) };
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(StartError::Locked(data_dir.to_path_buf())),
        Err(_) => Ok(None),
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
