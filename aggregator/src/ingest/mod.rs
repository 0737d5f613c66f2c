//! Ingest: the server's side of `naru.v1.Ingest/Ship`.
//!
//! A stream is one [`stream`] loop over a pure [`session`]; [`admission`] says who may send; [`check`] looks at every
//! batch before it is handed on; and a batch is acknowledged only when whoever took the [`Intake`] says that it is
//! durable. Nothing is stored here.
//!
//! Who may open one: [`accept`] takes connections through TLS, [`authenticate`] decides, by what [`security`] reads from
//! files and [`keyring`] keeps fresh; [`refusals`] counts who was sent away.

mod accept;
mod admission;
mod authenticate;
mod check;
mod gaps;
mod keyring;
pub mod metrics;
mod policy;
mod refusals;
pub mod security;
mod session;
mod stream;

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use naru_proto::capabilities;
use naru_proto::limits::{BATCH_COMPRESSED_MAX_BYTES, MESSAGE_MAX_BYTES};
use naru_proto::wire::{self, ingest_server};
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{self, Server};
use tonic::{Request, Response, Status, Streaming};

pub use gaps::Gap;
pub use metrics::Metrics;
pub use policy::{Excluded, policy};
pub use security::{Authentication, Security, SecurityError, TlsFiles};

use accept::{Acceptor, Peer};
use admission::Admission;
use authenticate::{Denied, Nodes};
use check::Checker;
use gaps::Gaps;
use keyring::Keyring;
use refusals::Refusals;

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
/// Connections that are through their handshake and not yet served.
const CONNECTIONS_WAITING: usize = 16;
/// How often idle credit is looked for.
const LEND_INTERVAL: Duration = Duration::from_millis(500);

/// How to serve.
#[derive(Debug, Clone)]
pub struct IngestConfig {
    /// Ours: a forwarder of another cluster is sent away.
    pub cluster: String,
    /// What this aggregator understands beyond the base protocol.
    pub capabilities: Vec<String>,
    /// What forwarders are told not to read; those that can be told.
    pub policy: wire::Policy,
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
            capabilities: vec![capabilities::POLICY.to_owned()],
            policy: wire::Policy::default(),
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

/// Why nothing is served any more.
#[derive(Debug, Error)]
pub enum ServeError {
    /// A file is not what it should be, or the address needs more than is demanded of clients.
    #[error(transparent)]
    Security(#[from] SecurityError),
    /// The listener is none.
    #[error("the listener's address: {0}")]
    Listener(#[from] io::Error),
    /// Serving failed.
    #[error("serve: {0}")]
    Transport(#[from] transport::Error),
}

/// What all streams share.
struct Shared {
    config: IngestConfig,
    sink: mpsc::Sender<Intake>,
    admission: Arc<Admission>,
    checker: Checker,
    gaps: Gaps,
    keyring: Arc<Keyring>,
    refusals: Arc<Refusals>,
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
            keyring: Arc::new(Keyring::new(config.security.clone(), metrics.clone())),
            refusals: Arc::default(),
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

    /// Why the certificates and tokens in use are not those in the files, in a sentence; None when they are.
    #[must_use]
    pub fn security_trouble(&self) -> Option<String> {
        self.shared.keyring.trouble()
    }

    /// Serves until `shutdown`, then drains; returns when every stream has ended.
    ///
    /// A stream ends when its batches are answered, so answer them before a deadline of your own.
    ///
    /// # Errors
    /// See [`ServeError`]; nothing was served but for the last one.
    pub async fn serve(
        self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), ServeError> {
        let keyring = Arc::clone(&self.shared.keyring);
        keyring.security().allows(listener.local_addr()?)?;
        keyring.open()?;
        let acceptor = Arc::new(Acceptor {
            keyring: Arc::clone(&keyring),
            refusals: Arc::clone(&self.shared.refusals),
            metrics: self.shared.metrics.clone(),
        });
        let (connections, incoming) = mpsc::channel(CONNECTIONS_WAITING);
        let (lender, stopper) = (self.clone(), self.clone());
        let server = Server::builder()
            .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
            .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(STREAM_WINDOW_BYTES * 2)
            .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
            // No stream needs it for longer, and a certificate that is withdrawn opens none for longer.
            .max_connection_age(self.shared.config.stream_age_max * 2)
            .add_service(
                ingest_server::IngestServer::new(self).max_decoding_message_size(MESSAGE_MAX_BYTES),
            )
            .serve_with_incoming_shutdown(ReceiverStream::new(incoming), async move {
                shutdown.await;
                stopper.drain();
            });
        let accepting = async {
            acceptor.run(listener, connections).await;
            // The streams that are open are served to their end.
            std::future::pending::<Infallible>().await
        };
        tokio::select! {
            served = server => Ok(served?),
            never = accepting => match never {},
            never = lender.lend_credit() => match never {},
            never = keyring.keep() => match never {},
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

/// A client that was let in, until its Hello says which node it is.
struct Client {
    peer: IpAddr,
    nodes: Nodes,
}

impl Shared {
    /// Decides by what came with the request and its connection.
    fn let_in<T>(&self, request: &Request<T>) -> Result<Client, Status> {
        let peer = request.extensions().get::<Peer>();
        let (Some(demands), Some(peer)) = (self.keyring.demands(), peer) else {
            return Err(Status::unavailable("not serving yet"));
        };
        let authorization = request.metadata().get("authorization");
        let authorization = authorization.and_then(|value| value.to_str().ok());
        let address = peer.address.ip();
        match authenticate::decide(&demands.rule, authorization, peer.certified.as_deref()) {
            Ok(nodes) => Ok(Client { peer: address, nodes }),
            Err(denied) => Err(self.deny(address, &denied)),
        }
    }

    /// Counts it; what the client is told.
    fn deny(&self, peer: IpAddr, denied: &Denied) -> Status {
        self.refusals.refused(peer, denied.label(), denied, &self.metrics);
        denied.status()
    }
}

#[tonic::async_trait]
impl ingest_server::Ingest for Service {
    type ShipStream = ReceiverStream<Result<wire::ServerMessage, Status>>;

    async fn ship(
        &self,
        request: Request<Streaming<wire::ClientMessage>>,
    ) -> Result<Response<Self::ShipStream>, Status> {
        let client = self.shared.let_in(&request)?;
        let (answers, outbound) = mpsc::channel(ANSWERS_MAX);
        let shared = Arc::clone(&self.shared);
        tokio::spawn(stream::run(shared, client, request.into_inner(), answers));
        Ok(Response::new(ReceiverStream::new(outbound)))
    }
}

/// The runtime's clock, which tests can stop.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[cfg(test)]
mod tests;
