//! Numbers that queue and store keep themselves, read when somebody asks.

use std::sync::Arc;

use prometheus_client::encoding::text;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use crate::queue::Queue;
use crate::store::Store;

/// Gauges that are set just before they are read.
pub(super) struct Gauges {
    queue: Arc<Queue>,
    store: Arc<Store>,
    queue_entries: Gauge,
    queue_bytes: Gauge,
    queue_full: Gauge,
    queue_quarantined: Gauge,
    store_documents: Gauge,
    store_bytes: Gauge,
}

impl Gauges {
    pub(super) fn register(
        registry: &mut Registry,
        queue: &Arc<Queue>,
        store: &Arc<Store>,
    ) -> Self {
        let registry = registry.sub_registry_with_prefix("naru_aggregator");
        let mut plain = |name: &str, help: &str| {
            let gauge = Gauge::default();
            registry.register(name, help, gauge.clone());
            gauge
        };
        let queue_entries = plain("queue_entries", "Entries that are not delivered");
        let queue_full = plain("queue_full", "1 while the queue takes nothing");
        let queue_quarantined =
            plain("queue_quarantined_segments", "Damaged segments found since the start");
        let store_documents = plain("store_documents", "Documents in the embedded store");
        let mut sized = |name: &str, help: &str| {
            let gauge = Gauge::default();
            registry.register_with_unit(name, help, Unit::Bytes, gauge.clone());
            gauge
        };
        Self {
            queue_bytes: sized("queue_disk", "What the queue takes of the disk"),
            store_bytes: sized("store_disk", "What the embedded store takes of the disk"),
            queue: Arc::clone(queue),
            store: Arc::clone(store),
            queue_entries,
            queue_full,
            queue_quarantined,
            store_documents,
        }
    }

    /// Every metric in Prometheus' text format.
    pub(super) fn text(&self, registry: &Registry) -> String {
        let gauge = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        let queue = self.queue.stats();
        self.queue_entries.set(gauge(queue.entries));
        self.queue_bytes.set(gauge(queue.disk_bytes));
        self.queue_full.set(i64::from(queue.full.is_some()));
        self.queue_quarantined.set(gauge(queue.quarantined as u64));
        let store = self.store.stats();
        self.store_documents.set(gauge(store.documents));
        self.store_bytes.set(gauge(store.bytes));
        let mut text = String::new();
        match text::encode(&mut text, registry) {
            Ok(()) => text,
            Err(error) => format!("# cannot encode: {error}\n"),
        }
    }
}
