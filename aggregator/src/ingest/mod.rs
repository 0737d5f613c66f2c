//! Ingest: the server's side of `naru.v1.Ingest/Ship`.
//!
//! A stream is one [`stream`] loop over a pure [`session`]; [`admission`] says who may send; [`check`] looks at every
//! batch before it is handed on; and a batch is acknowledged only when whoever took the [`Intake`] says that it is
//! durable. Nothing is stored here.
//!
//! Not here yet: TLS and the authentication of nodes. A client is the node that its Hello names, so listen on loopback
//! or behind something that authenticates.

mod admission;
mod authenticate;
mod check;
mod gaps;
pub mod metrics;
pub mod security;
mod session;
mod stream;

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use naru_proto::limits::{BATCH_COMPRESSED_MAX_BYTES, MESSAGE_MAX_BYTES};
use naru_proto::wire::{self, ingest_server};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Error, Server};
use tonic::{Request, Response, Status, Streaming};

pub use gaps::Gap;
pub use metrics::Metrics;
pub use security::{Authentication, Security, SecurityError, TlsFiles};

use admission::Admission;
use check::Checker;
use gaps::Gaps;

/// Compressed batches in memory, all streams together.
const POOL_BYTES: usize = 64 << 20;
/// An aggregator for more nodes than that should be two.
const STREAMS_MAX: usize = 4096;
/// Of one connection: a forwarder has one, or two while it moves.
const STREAMS_PER_CONNECTION_MAX: u32 = 16;
/// A client that has not said Hello by then is not a forwarder.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
/// A drained client leaves by itself; one that does not costs a shutdown no more than this.
const DRAIN_LINGER: Duration = Duration::from_secs(1);
/// A dead peer is noticed after the sum: in time for its credit to be of use to others.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// What the kernel and hyper hold of a message before it is read: four round trips for a full batch.
const STREAM_WINDOW_BYTES: u32 = 256 << 10;
/// Answers that wait for a slow client: more than it can have batches in flight.
const ANSWERS_MAX: usize = 32;
/// How often idle credit is looked for.
const LEND_INTERVAL: Duration = Duration::from_millis(500);

/// How to serve.
#[derive(Debug, Clone)]
pub struct IngestConfig {
    /// Ours: a forwarder of another cluster is sent away.
    pub cluster: String,
    /// What this aggregator understands beyond the base protocol.
    pub capabilities: Vec<String>,
    /// A stream is drained at an age between this and the next, 20 % more or less.
    pub stream_age_min: Duration,
    /// See [`Self::stream_age_min`].
    pub stream_age_max: Duration,
    /// Batches that may be granted or unanswered at a time, all streams together; more than 0.
    pub credit_batches: u32,
    /// Streams at a time.
    pub streams_max: usize,
    /// How long to wait for Hello.
    pub hello_timeout: Duration,
    /// How long a drained stream whose batches are answered waits for its client to leave; batches that the client sent
    /// before it heard of the drain are refused until then.
    pub drain_linger: Duration,
    /// What clients have to prove, and how the connection is protected.
    pub security: Security,
}

impl IngestConfig {
    /// The defaults, for a cluster, on loopback.
    #[must_use]
    pub fn new(cluster: impl Into<String>) -> Self {
        Self {
            cluster: cluster.into(),
            capabilities: Vec::new(),
            stream_age_min: Duration::from_secs(5 * 60),
            stream_age_max: Duration::from_secs(10 * 60),
            credit_batches: (POOL_BYTES / BATCH_COMPRESSED_MAX_BYTES) as u32,
            streams_max: STREAMS_MAX,
            hello_timeout: HELLO_TIMEOUT,
            drain_linger: DRAIN_LINGER,
            security: Security::loopback(),
        }
    }
}

/// A checked batch on its way to whatever makes it durable.
#[derive(Debug)]
#[must_use]
pub struct Intake {
    /// The node that sent it; every frame in it names the same one.
    pub node: String,
    /// When it arrived, milliseconds since 1970.
    pub received_ms: i64,
    /// As it came, compressed.
    pub batch: wire::Batch,
    /// To be told what became of it; dropping it refuses the batch.
    pub done: oneshot::Sender<IntakeResult>,
}

/// What became of an [`Intake`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IntakeResult {
    /// It is acknowledged.
    Durable,
    /// It is refused: for a wait of up to a second here, beyond that the client is sent elsewhere.
    Busy {
        /// When to try again.
        retry_ms: u32,
    },
}

/// The service; cloning shares it.
#[derive(Clone)]
pub struct Service {
    shared: Arc<Shared>,
}

/// What all streams share.
struct Shared {
    config: IngestConfig,
    sink: mpsc::Sender<Intake>,
    admission: Arc<Admission>,
    checker: Checker,
    gaps: Gaps,
    metrics: Metrics,
    stop: watch::Sender<bool>,
}

impl Service {
    /// Serves into `sink`; when its receiver is gone, every batch is refused and nothing is lost.
    #[must_use]
    pub fn new(config: IngestConfig, sink: mpsc::Sender<Intake>, metrics: Metrics) -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let admission = Admission::new(config.credit_batches, config.streams_max, metrics.clone());
        let shared = Shared {
            admission: Arc::new(admission),
            checker: Checker::new(threads),
            gaps: Gaps::default(),
            stop: watch::Sender::new(false),
            config,
            sink,
            metrics,
        };
        Self { shared: Arc::new(shared) }
    }

    /// Drains every stream, now and from now on.
    pub fn drain(&self) {
        self.shared.stop.send_replace(true);
    }

    /// The last losses that forwarders declared, oldest first.
    #[must_use]
    pub fn recent_gaps(&self) -> Vec<Gap> {
        self.shared.gaps.recent()
    }

    /// Serves until `shutdown`, then drains; returns when every stream has ended.
    ///
    /// A stream ends when its batches are answered, so answer them before a deadline of your own.
    pub async fn serve(
        self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), Error> {
        let (lender, stopper) = (self.clone(), self.clone());
        let server = Server::builder()
            .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
            .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(STREAM_WINDOW_BYTES * 2)
            .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
            .add_service(
                ingest_server::IngestServer::new(self).max_decoding_message_size(MESSAGE_MAX_BYTES),
            )
            .serve_with_incoming_shutdown(
                TcpIncoming::from(listener).with_nodelay(Some(true)),
                async move {
                    shutdown.await;
                    stopper.drain();
                },
            );
        tokio::select! {
            served = server => served,
            never = lender.lend_credit() => match never {},
        }
    }

    async fn lend_credit(self) -> Infallible {
        let mut ticks = tokio::time::interval(LEND_INTERVAL);
        loop {
            ticks.tick().await;
            self.shared.admission.lend(now());
        }
    }
}

#[tonic::async_trait]
impl ingest_server::Ingest for Service {
    type ShipStream = ReceiverStream<Result<wire::ServerMessage, Status>>;

    async fn ship(
        &self,
        request: Request<Streaming<wire::ClientMessage>>,
    ) -> Result<Response<Self::ShipStream>, Status> {
        let (answers, outbound) = mpsc::channel(ANSWERS_MAX);
        tokio::spawn(stream::run(Arc::clone(&self.shared), request.into_inner(), answers));
        Ok(Response::new(ReceiverStream::new(outbound)))
    }
}

/// The runtime's clock, which tests can stop.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[cfg(test)]
mod tests;
