//! The aggregator's real ingest, in this process, where a story is about the wire: what it takes is kept in memory and
//! acknowledged at once.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use naru_aggregator::ingest::{self, IngestConfig, Intake, IntakeResult, Security};
use naru_proto::ids::ClusterKey;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::runtime::{self, Runtime};
use tokio::sync::mpsc;

use crate::ledger::Indexed;
use crate::metrics::Metrics;
use crate::rig::CLUSTER;
use crate::sink::{Keep, State};

/// Batches on their way into memory.
const INTAKE: usize = 16;

/// A running ingest; dropping it closes every connection as a killed process does.
pub struct Receiver {
    address: SocketAddr,
    state: Arc<State>,
    registry: Registry,
    service: ingest::Service,
    _runtime: Runtime,
}

impl Receiver {
    /// Listens on a free port of the loopback.
    #[must_use]
    pub fn start(security: Security) -> Self {
        Self::keeping(Arc::new(State::new(Keep::Documents)), IngestConfig { security, ..config() })
    }

    /// The same, which only counts what it takes.
    #[must_use]
    pub fn counting(security: Security) -> Self {
        Self::keeping(Arc::new(State::new(Keep::Nothing)), IngestConfig { security, ..config() })
    }

    /// The same with streams that end after so short a time.
    #[must_use]
    pub fn restless(security: Security, age: Duration) -> Self {
        let config =
            IngestConfig { security, stream_age_min: age, stream_age_max: age, ..config() };
        Self::keeping(Arc::new(State::new(Keep::Documents)), config)
    }

    /// Another one, that keeps what it takes in the same place.
    #[must_use]
    pub fn another(&self, security: Security) -> Self {
        Self::keeping(Arc::clone(&self.state), IngestConfig { security, ..config() })
    }

    fn keeping(state: Arc<State>, config: IngestConfig) -> Self {
        let runtime =
            runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let mut registry = Registry::default();
        let (sink, intakes) = mpsc::channel(INTAKE);
        let service = ingest::Service::new(config, sink, ingest::Metrics::register(&mut registry));
        drop(runtime.spawn(keep_all(intakes, Arc::clone(&state))));
        drop(runtime.spawn(service.clone().serve(listener, std::future::pending())));
        Self { address, state, registry, service, _runtime: runtime }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many records it has taken.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.state.records()
    }

    /// How many different documents there are.
    #[must_use]
    pub fn document_count(&self) -> usize {
        self.state.document_count()
    }

    /// The documents.
    #[must_use]
    pub fn documents(&self) -> Vec<Indexed> {
        self.state.documents()
    }

    /// Why the files in use are not those on the disk.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.service.security_trouble()
    }

    /// Its metrics.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        Metrics::of(text)
    }
}

fn config() -> IngestConfig {
    IngestConfig::new(CLUSTER)
}

async fn keep_all(mut intakes: mpsc::Receiver<Intake>, state: Arc<State>) {
    while let Some(intake) = intakes.recv().await {
        state.take(&intake.batch, &intake.node, ClusterKey::of(CLUSTER)).unwrap();
        // A stream that has ended does not listen any more.
        intake.done.send(IntakeResult::Durable).ok();
    }
}
