//! The stages of an aggregator, in the order in which a line passes them: receiving, queue, delivery. `run` and `standalone`
//! both start and stop them here; what they deliver to, and what else they serve, is theirs.
//!
//! A stage that ends or panics is noticed by [`Stages::ended`], and the process ends with it: what is queued is safe.

mod aging;
mod intake;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use naru_proto::ids::ClusterKey;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::deliver::{self, Delivery, Destination, Parked, ParkedConfig, Trouble};
use crate::ingest::{self, Excluded, IngestConfig, Security, SecurityError};
use crate::metrics::{self, Gauges, PREFIX};
use crate::queue::{Letters, LettersConfig, Queue, QueueConfig, Retain};
use crate::replay::{Replayer, Target};
use crate::search::backend::Backend;
use crate::web::{self, WebState};
use crate::{admin, cluster, readiness};

/// Batches between the streams and the queue's committer.
const INTAKE: usize = 64;
/// How long the streams may take to end: their batches are answered by then, unless the disk hangs.
const DRAIN_GRACE: Duration = Duration::from_secs(5);
/// A request to a destination that does not answer outlives its grace by no more than this.
const DELIVERY_LINGER: Duration = Duration::from_secs(2);

/// What the stages are told.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) cluster: String,
    pub(crate) data_dir: PathBuf,
    pub(crate) queue_max_bytes: u64,
    pub(crate) retain: Retain,
    /// None where no index can be blocked alone.
    pub(crate) parked: Option<ParkedConfig>,
    pub(crate) letters_max_bytes: u64,
    pub(crate) letters_max_age: Option<Duration>,
    pub(crate) security: Security,
    /// What forwarders are told not to read.
    pub(crate) excluded: Vec<Excluded>,
    /// How long a stop may take to deliver what is queued; the rest is delivered at the next start.
    pub(crate) delivery_grace: Duration,
}

/// Why a stage did not start, or ended although nobody asked it to.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// A port that is used, or an address that is not this host's.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// The kernel's answer.
        source: io::Error,
    },
    /// An address that may not be listened on so, or a file that is not what it should be.
    #[error(transparent)]
    Security(#[from] SecurityError),
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
    /// A stage ended or panicked; a restart is safe.
    #[error("the {0} ended unexpectedly; what is queued is safe, start again")]
    Ended(&'static str),
    /// Out of threads.
    #[error("cannot start a thread: {0}")]
    Thread(#[source] io::Error),
}

/// Takes a port, before anything is opened: a process that cannot serve touches no data.
pub(crate) async fn listen(address: SocketAddr) -> Result<TcpListener, StageError> {
    TcpListener::bind(address).await.map_err(|source| StageError::Listen { address, source })
}

/// Starts a thread.
pub(crate) fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<(), StageError> {
    let thread = std::thread::Builder::new().name(name.to_owned());
    thread.spawn(body).map(drop).map_err(StageError::Thread)
}

/// A data directory that was taken: its queue and its dead letters.
pub(crate) struct Storage {
    queue: Queue,
    letters: Letters,
    parked: Parked,
}

impl Storage {
    /// Binds the directory to the cluster and opens what is in it. Blocking.
    pub(crate) fn open(plan: &Plan) -> Result<Self, StageError> {
        cluster::bind(&plan.data_dir, &plan.cluster)?;
        let mut config = QueueConfig::new(plan.data_dir.join("queue"));
        config.max_bytes = plan.queue_max_bytes;
        config.retain = plan.retain;
        let (queue, opened) = Queue::open(config)?;
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
        let letters =
            LettersConfig::new(plan.data_dir.join("dead-letters"), plan.letters_max_bytes);
        let parked = plan.parked.clone().map_or_else(|| Ok(Parked::never()), Parked::open)?;
        Ok(Self { queue, letters: Letters::open(letters)?, parked })
    }
}

/// A server that was started.
struct Serving {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// What is served over HTTP beside the stages' own readiness and metrics.
pub(crate) struct Extra {
    /// Answers searches.
    pub(crate) search: Option<Backend>,
    /// What else is wrong.
    pub(crate) not_ready: Box<dyn Fn() -> Option<String> + Send + Sync>,
    /// Sets gauges just before they are read.
    pub(crate) refresh: Box<dyn Fn() + Send + Sync>,
}

/// The stages, running.
pub(crate) struct Stages {
    queue: Arc<Queue>,
    letters: Letters,
    parked: Parked,
    delivered: deliver::Metrics,
    trouble: Trouble,
    is_draining: Arc<AtomicBool>,
    service: ingest::Service,
    receiving: Serving,
    intake: JoinHandle<()>,
    stop_delivery: Arc<AtomicBool>,
    delivery: oneshot::Receiver<()>,
    delivery_grace: Duration,
    serving: Option<Serving>,
    admin: Option<admin::Socket>,
    expiry: Option<JoinHandle<()>>,
}

impl Stages {
    /// Starts delivery to a destination, then receiving.
    pub(crate) fn start(
        plan: &Plan,
        storage: Storage,
        destination: Destination,
        listener: TcpListener,
        registry: &mut Registry,
    ) -> Result<Self, StageError> {
        let Storage { queue, letters, parked } = storage;
        let trouble = Trouble::default();
        let key = ClusterKey::of(&plan.cluster);
        let target = match &destination {
            Destination::Elasticsearch(settings, client, indices) => Some(Target {
                settings: *settings.clone(),
                client: client.clone(),
                indices: indices.clone(),
                key,
            }),
            Destination::Store(_) | Destination::Discard => None,
        };
        let stop_delivery = Arc::new(AtomicBool::new(false));
        let delivered = deliver::Metrics::default();
        delivered.register(registry.sub_registry_with_prefix(PREFIX));
        let delivery = {
            let metrics = delivered.clone();
            let reader = queue.reader().ok_or(StageError::Ended("queue"))?;
            let (letters, trouble) = (letters.clone(), trouble.clone());
            let delivery = Delivery::new(reader, key, destination, letters, metrics, trouble);
            deliver(
                delivery.parking(parked.clone()),
                Arc::clone(&stop_delivery),
                plan.delivery_grace,
            )?
        };
        let queue = Arc::new(queue);
        let (sink, waiting) = mpsc::channel(INTAKE);
        let intake = tokio::spawn(intake::append_all(waiting, Arc::clone(&queue)));
        let metrics = ingest::Metrics::register(registry);
        let mut config = IngestConfig::new(&plan.cluster);
        config.security = plan.security.clone();
        config.policy = ingest::policy(&plan.excluded);
        let service = ingest::Service::new(config, sink, metrics);
        let admin = admin::Socket::open(
            &plan.data_dir,
            admin::State::new(
                &plan.data_dir,
                Arc::clone(&queue),
                letters.clone(),
                parked.clone(),
                trouble.clone(),
                Replayer::new(Arc::clone(&queue), letters.clone(), target),
            ),
        );
        let expiry =
            plan.letters_max_age.map(|age| tokio::spawn(aging::expire(letters.clone(), age)));
        Ok(Self {
            receiving: receive(service.clone(), listener, &plan.security)?,
            service,
            queue,
            letters,
            parked,
            delivered,
            trouble,
            is_draining: Arc::default(),
            intake,
            stop_delivery,
            delivery,
            delivery_grace: plan.delivery_grace,
            serving: None,
            admin,
            expiry,
        })
    }

    /// Where forwarders connect.
    pub(crate) fn receiving_on(&self) -> SocketAddr {
        self.receiving.address
    }

    /// Serves probes, metrics and what else there is; says where.
    pub(crate) fn serve(
        &mut self,
        listener: TcpListener,
        mut registry: Registry,
        extra: Extra,
    ) -> Result<SocketAddr, StageError> {
        let Extra { search, not_ready, refresh } = extra;
        let gauges = Gauges::register(&mut registry);
        let (queue, letters) = (Arc::clone(&self.queue), self.letters.clone());
        let (parked, delivered) = (self.parked.clone(), self.delivered.clone());
        let metrics = move || {
            gauges.refresh(&queue, &letters);
            parked.refresh(&delivered);
            refresh();
            metrics::text(&registry)
        };
        let (queue, trouble) = (Arc::clone(&self.queue), self.trouble.clone());
        let (is_draining, service) = (Arc::clone(&self.is_draining), self.service.clone());
        let not_ready = move || {
            let is_draining = is_draining.load(Ordering::Acquire);
            let mut reasons = readiness::not_ready(&queue.stats(), trouble.reason(), is_draining);
            reasons.extend(service.security_trouble());
            reasons.extend(not_ready());
            reasons
        };
        let state = WebState { search, not_ready: Arc::new(not_ready), metrics: Arc::new(metrics) };
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
        self.serving = Some(Serving { address, stop, task });
        Ok(address)
    }

    /// Which stage ended by itself.
    pub(crate) async fn ended(&mut self) -> StageError {
        let Self { delivery, intake, receiving, serving, .. } = self;
        let serving = async {
            match serving {
                Some(serving) => drop((&mut serving.task).await),
                None => std::future::pending().await,
            }
        };
        StageError::Ended(tokio::select! {
            _ = delivery => "delivery",
            _ = intake => "queue's intake",
            _ = &mut receiving.task => "receiving of streams",
            () = serving => "serving of HTTP",
        })
    }

    /// Stops in the order of the flow: streams, queue, delivery. Probes are answered to the end.
    pub(crate) async fn stop(self) {
        self.is_draining.store(true, Ordering::Release);
        self.receiving.stop.send(()).ok();
        if !wait(self.receiving.task, DRAIN_GRACE).await {
            tracing::warn!("streams did not end in time; what was not acknowledged is sent again");
        }
        self.stop_delivery.store(true, Ordering::Release);
        let delivered = self.delivery_grace + DELIVERY_LINGER;
        if !self.delivery.is_terminated()
            && tokio::time::timeout(delivered, self.delivery).await.is_err()
        {
            tracing::warn!(
                "delivery did not end in time; the queue holds what it had not finished"
            );
        }
        drop(self.admin);
        if let Some(expiry) = self.expiry {
            expiry.abort();
        }
        let queue = self.queue;
        // Its threads are joined, which blocks.
        tokio::task::spawn_blocking(move || queue.close()).await.ok();
    }
}

/// Whether a task ends in time.
async fn wait(task: JoinHandle<()>, limit: Duration) -> bool {
    // One that was waited for already must not be polled again.
    task.is_finished() || tokio::time::timeout(limit, task).await.is_ok()
}

/// Runs delivery on a thread; the receiver is told when it ends.
fn deliver(
    delivery: Delivery,
    stop: Arc<AtomicBool>,
    grace: Duration,
) -> Result<oneshot::Receiver<()>, StageError> {
    let (done, ended) = oneshot::channel();
    spawn("delivery", move || {
        // Dropped when the thread ends, also by a panic.
        let _done: oneshot::Sender<()> = done;
        delivery.run(&stop, grace);
    })?;
    Ok(ended)
}

fn receive(
    service: ingest::Service,
    listener: TcpListener,
    security: &Security,
) -> Result<Serving, StageError> {
    // A file that is not what it should be is said before anything else starts.
    security.allows(local_address(&listener)?)?;
    security.check()?;
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

fn local_address(listener: &TcpListener) -> Result<SocketAddr, StageError> {
    let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
    listener.local_addr().map_err(|source| StageError::Listen { address: unknown, source })
}
