//! `naru-aggregator standalone`: forwarder, aggregator and store in one process, nothing else to run.
//!
//! The same stages as in a cluster, over loopback: what works here works there. This module wires them, in the order in
//! which a line passes them, and stops them in the same order. It is the only one that knows the forwarder.

mod cluster;
mod demo;
mod metrics;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use naru_forwarder::app::Forwarder;
use naru_forwarder::config::{Config as ForwarderConfig, default_node};
use naru_forwarder::connect::Target;
use naru_forwarder::discover::host::HostPattern;
use naru_proto::ids::ClusterKey;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

use crate::deliver::{self, Delivery, Destination, Trouble};
use crate::ingest::{self, IngestConfig, Intake, IntakeResult};
use crate::queue::{AppendError, Letters, LettersConfig, Queue, QueueConfig, StoredBatch};
use crate::search::backend::Backend;
use crate::store::{Store, StoreConfig};
use crate::web::{self, WebState};

/// Part of every document's id; a data directory belongs to one.
const CLUSTER: &str = "default";
/// Batches between the streams and the queue's committer.
const INTAKE: usize = 64;
/// What the store may take of the disk.
const STORE_MAX_BYTES: u64 = 10 << 30;
const LETTERS_MAX_BYTES: u64 = 1 << 30;
/// How long a stop may take to deliver what is queued; the rest is delivered at the next start.
const DELIVERY_GRACE: Duration = Duration::from_secs(10);
const PODS_DIR: &str = "/var/log/pods";
const HOST_FILES: [&str; 3] = ["/var/log/*.log", "/var/log/syslog", "/var/log/messages"];

/// The command's arguments.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Where everything is kept: positions, queue, index.
    #[arg(long, value_name = "DIR", default_value = "./naru-data")]
    data_dir: PathBuf,
    /// The kubelet's log directory [default: /var/log/pods where it exists].
    #[arg(long, value_name = "DIR")]
    pods_dir: Option<PathBuf>,
    /// Log files of the host, a path or a pattern; may be repeated
    /// [default: /var/log/*.log, syslog and messages, unless --pods-dir or --demo is given].
    #[arg(long = "files", value_name = "GLOB")]
    files: Vec<String>,
    /// Where search, probes and metrics are served.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7480")]
    http: SocketAddr,
    /// Write a few pods' logs below the data directory and tail those.
    #[arg(long)]
    demo: bool,
    /// Build documents and forget them, to measure what the rest costs.
    #[arg(long, hide = true)]
    discard: bool,
}

/// What is tailed.
struct Inputs {
    pods_dir: Option<PathBuf>,
    files: Vec<HostPattern>,
}

/// Why it did not start, or ended although nobody asked it to.
#[derive(Debug, thiserror::Error)]
pub enum StandaloneError {
    /// An argument that makes no sense.
    #[error("{0}")]
    Argument(String),
    /// A port that is used, or an address that is not this host's.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The data directory cannot be used.
    #[error("cannot use {}: {source}", .path.display())]
    DataDir {
        /// Which.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The data directory is another cluster's.
    #[error("{} belongs to cluster {found:?}: its document ids would not be the same", .path.display())]
    OtherCluster {
        /// Which.
        path: PathBuf,
        /// Whose it is.
        found: String,
    },
    /// See [`crate::queue::OpenError`].
    #[error(transparent)]
    Queue(#[from] crate::queue::OpenError),
    /// See [`crate::store::StoreError`].
    #[error("cannot open the store: {0}")]
    Store(#[from] crate::store::StoreError),
    /// See [`naru_forwarder::app::StartError`].
    #[error("cannot start the forwarder: {0}")]
    Forwarder(#[from] naru_forwarder::app::StartError),
    /// See [`naru_forwarder::app::RunError`].
    #[error("{0}; what is queued is safe, start again")]
    Ended(#[from] naru_forwarder::app::RunError),
    /// A stage ended or panicked; a restart is safe.
    #[error("the {0} ended unexpectedly; what is queued is safe, start again")]
    StageEnded(&'static str),
    /// Out of threads.
    #[error("cannot start a thread: {0}")]
    Thread(#[source] io::Error),
}

/// Runs until `shutdown`, then drains.
///
/// # Errors
/// See [`StandaloneError`].
pub async fn run(
    arguments: Arguments,
    shutdown: impl Future<Output = ()>,
) -> Result<(), StandaloneError> {
    let data_dir = std::path::absolute(&arguments.data_dir)
        .map_err(|source| StandaloneError::DataDir { path: arguments.data_dir.clone(), source })?;
    let inputs = inputs(&arguments, &data_dir)?;
    // Ports first: nothing is opened by a process that cannot serve.
    let http = listen(arguments.http).await?;
    let grpc = listen(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    cluster::bind(&data_dir, CLUSTER)?;

    let mut registry = Registry::default();
    let mut stages = Stages::open(&arguments, &data_dir, &mut registry)?;
    let receiving = stages.receive(grpc, &mut registry)?;
    let forwarder = Forwarder::start(
        ForwarderConfig {
            cluster: CLUSTER.to_owned(),
            node: default_node(&|name| std::env::var(name).ok()),
            data_dir: data_dir.join("forwarder"),
            aggregator: Target::plain(receiving.address.to_string()),
            pods_dir: inputs.pods_dir.clone(),
            files: inputs.files.clone(),
            http: None,
        },
        &mut registry,
    )?;
    let web = stages.serve(http, registry, &forwarder)?;
    introduce(&inputs, web.address, receiving.address, &data_dir);
    if arguments.demo {
        stages.demonstrate(inputs.pods_dir.clone().unwrap_or_default())?;
    }
    let ended = tokio::select! {
        ended = forwarder.run(shutdown) => ended.map_err(StandaloneError::from),
        stage = stages.ended() => Err(StandaloneError::StageEnded(stage)),
    };
    stages.stop(receiving).await;
    ended
}

/// A server that was started.
struct Serving {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<()>,
}

/// The stages behind the streams.
struct Stages {
    queue: Arc<Queue>,
    store: Arc<Store>,
    trouble: Trouble,
    stop_delivery: Arc<AtomicBool>,
    delivery: oneshot::Receiver<()>,
    stop_demo: Arc<AtomicBool>,
}

impl Stages {
    /// Opens queue and store and starts delivery.
    fn open(
        arguments: &Arguments,
        data_dir: &Path,
        registry: &mut Registry,
    ) -> Result<Self, StandaloneError> {
        let (queue, opened) = Queue::open(QueueConfig::new(data_dir.join("queue")))?;
        for segment in &opened.quarantined {
            tracing::error!(?segment, "a damaged queue segment was set aside; the rest goes on");
        }
        for tail in &opened.torn {
            // A cut commit and a damaged one look the same from here.
            tracing::warn!(
                ?tail,
                "the end of a queue segment cannot be read: what a crash cut off was never acknowledged and is \
                 sent again; what the disk damaged is lost, unless it was delivered"
            );
        }
        if opened.entries > 0 {
            tracing::info!(entries = opened.entries, "the queue holds entries of an earlier run");
        }
        let store = Arc::new(Store::open(StoreConfig {
            dir: data_dir.join("store"),
            retention_max_bytes: STORE_MAX_BYTES,
            retention_max_age: None,
        })?);
        let letters =
            Letters::open(LettersConfig::new(data_dir.join("dead-letters"), LETTERS_MAX_BYTES))?;
        let metrics = deliver::Metrics::default();
        metrics.register(registry.sub_registry_with_prefix("naru_aggregator"));
        let trouble = Trouble::default();
        let destination = match arguments.discard {
            true => Destination::Discard,
            false => Destination::Store(Arc::clone(&store)),
        };
        let reader = queue.reader().ok_or(StandaloneError::StageEnded("queue"))?;
        let key = ClusterKey::of(CLUSTER);
        let delivery = Delivery::new(reader, key, destination, letters, metrics, trouble.clone());
        let stop_delivery = Arc::new(AtomicBool::new(false));
        let (done, ended) = oneshot::channel();
        let stop = Arc::clone(&stop_delivery);
        spawn("delivery", move || {
            // Dropped when the thread ends, also by a panic.
            let _done: oneshot::Sender<()> = done;
            delivery.run(&stop, DELIVERY_GRACE);
        })?;
        Ok(Self {
            queue: Arc::new(queue),
            store,
            trouble,
            stop_delivery,
            delivery: ended,
            stop_demo: Arc::default(),
        })
    }

    /// Receives streams and appends their batches to the queue.
    fn receive(
        &self,
        listener: TcpListener,
        registry: &mut Registry,
    ) -> Result<Serving, StandaloneError> {
        let (intake, waiting) = mpsc::channel(INTAKE);
        tokio::spawn(append_all(waiting, Arc::clone(&self.queue)));
        let metrics = ingest::Metrics::register(registry);
        let service = ingest::Service::new(IngestConfig::new(CLUSTER), intake, metrics);
        let address = local_address(&listener)?;
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            let stopped = async {
                stopped.await.ok();
            };
            if let Err(error) = service.serve(listener, stopped).await {
                tracing::error!(%error, "receiving ended");
            }
        });
        Ok(Serving { address, stop, task })
    }

    /// Serves search, probes and metrics.
    fn serve(
        &self,
        listener: TcpListener,
        mut registry: Registry,
        forwarder: &Forwarder,
    ) -> Result<Serving, StandaloneError> {
        let gauges = metrics::Gauges::register(&mut registry, &self.queue, &self.store);
        let (trouble, health, queue) =
            (self.trouble.clone(), forwarder.health.clone(), Arc::clone(&self.queue));
        let state = WebState {
            search: Some(Backend::new(Arc::clone(&self.store))),
            not_ready: Arc::new(move || {
                let full = queue.stats().full.map(|full| format!("the queue is full: {full:?}"));
                let reasons = [health.not_ready(), trouble.reason(), full];
                reasons.into_iter().flatten().collect()
            }),
            metrics: Arc::new(move || gauges.text(&registry)),
        };
        let address = local_address(&listener)?;
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            let served = axum::serve(listener, web::router(state)).with_graceful_shutdown(async {
                stopped.await.ok();
            });
            if let Err(error) = served.await {
                tracing::error!(%error, "serving HTTP ended");
            }
        });
        Ok(Serving { address, stop, task })
    }

    fn demonstrate(&self, root: PathBuf) -> Result<(), StandaloneError> {
        let stop = Arc::clone(&self.stop_demo);
        spawn("demo", move || {
            if let Err(error) = demo::write(&root, &stop) {
                tracing::warn!(%error, path = %root.display(), "the demonstration cannot write");
            }
        })
    }

    /// Which stage ended by itself.
    async fn ended(&mut self) -> &'static str {
        (&mut self.delivery).await.ok();
        "delivery"
    }

    /// Stops in the order of the flow: streams, queue, delivery.
    async fn stop(self, receiving: Serving) {
        self.stop_demo.store(true, Ordering::Release);
        receiving.stop.send(()).ok();
        receiving.task.await.ok();
        self.stop_delivery.store(true, Ordering::Release);
        self.delivery.await.ok();
        let queue = self.queue;
        // Its threads are joined, which blocks.
        tokio::task::spawn_blocking(move || queue.close()).await.ok();
    }
}

/// Hands the batches of all streams to the queue; each answer waits for its own commit.
async fn append_all(mut waiting: mpsc::Receiver<Intake>, queue: Arc<Queue>) {
    while let Some(intake) = waiting.recv().await {
        let Intake { node, received_ms, batch, done } = intake;
        let append = queue.append(StoredBatch {
            node,
            received_ms,
            records: batch.records,
            raw_bytes: batch.raw_bytes,
            crc32c: batch.crc32c,
            body: batch.body,
        });
        tokio::spawn(async move {
            let result = match append.await {
                Ok(_) => IntakeResult::Durable,
                Err(AppendError::Full { retry_after, .. }) => {
                    let retry_ms = u32::try_from(retry_after.as_millis()).unwrap_or(u32::MAX);
                    IntakeResult::Busy { retry_ms }
                }
                Err(
                    error @ (AppendError::TooLarge | AppendError::Commit(_) | AppendError::Closed),
                ) => {
                    tracing::error!(%error, "a batch could not be queued; it is not acknowledged");
                    IntakeResult::Busy { retry_ms: 1000 }
                }
            };
            // The stream may be gone; the batch is safe either way.
            done.send(result).ok();
        });
    }
}

fn inputs(arguments: &Arguments, data_dir: &Path) -> Result<Inputs, StandaloneError> {
    let absolute = |path: &Path| {
        std::path::absolute(path)
            .map_err(|source| StandaloneError::DataDir { path: path.to_path_buf(), source })
    };
    let pods_dir = match (&arguments.pods_dir, arguments.demo) {
        (Some(_), true) => {
            return Err(StandaloneError::Argument(
                "--demo tails its own logs; leave out --pods-dir".to_owned(),
            ));
        }
        (None, true) => Some(data_dir.join("demo")),
        (Some(path), false) => Some(absolute(path)?),
        (None, false) => Some(PathBuf::from(PODS_DIR)).filter(|path| path.is_dir()),
    };
    let chosen = arguments.pods_dir.is_some() || arguments.demo || !arguments.files.is_empty();
    let defaults = HOST_FILES.map(str::to_owned);
    let texts = if chosen { &arguments.files[..] } else { &defaults[..] };
    let files = texts.iter().map(|text| {
        let path = absolute(Path::new(text))?;
        HostPattern::new(&path.to_string_lossy())
            .map_err(|error| StandaloneError::Argument(format!("--files {text:?}: {}", error.msg)))
    });
    Ok(Inputs { pods_dir, files: files.collect::<Result<_, _>>()? })
}

/// Says what is tailed, where it listens, and what to try.
fn introduce(inputs: &Inputs, http: SocketAddr, grpc: SocketAddr, data_dir: &Path) {
    if let Some(pods_dir) = &inputs.pods_dir {
        println!("tailing   {}", pods_dir.display());
    }
    for pattern in &inputs.files {
        println!("tailing   {}", pattern.as_str());
    }
    println!("keeping   {}", data_dir.display());
    println!("receiving on {grpc}");
    println!("listening on http://{http}");
    println!("try       naru-aggregator search --url http://{http} 'error OR warn'");
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<(), StandaloneError> {
    let thread = std::thread::Builder::new().name(name.to_owned());
    thread.spawn(body).map(drop).map_err(StandaloneError::Thread)
}

async fn listen(address: SocketAddr) -> Result<TcpListener, StandaloneError> {
    TcpListener::bind(address).await.map_err(|source| StandaloneError::Listen { address, source })
}

fn local_address(listener: &TcpListener) -> Result<SocketAddr, StandaloneError> {
    let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
    listener.local_addr().map_err(|source| StandaloneError::Listen { address: unknown, source })
}
