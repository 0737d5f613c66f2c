//! What the embedded store counts itself, read when somebody asks.

use std::sync::Arc;

use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use crate::metrics::{PREFIX, gauge};
use crate::store::Store;

/// Gauges that are set just before they are read.
pub(super) struct StoreGauges {
    store: Arc<Store>,
    documents: Gauge,
    bytes: Gauge,
}

impl StoreGauges {
    pub(super) fn register(registry: &mut Registry, store: &Arc<Store>) -> Self {
        let registry = registry.sub_registry_with_prefix(PREFIX);
        let (documents, bytes) = (Gauge::default(), Gauge::default());
        registry.register("store_documents", "Documents in the embedded store", documents.clone());
        registry.register_with_unit(
            "store_disk",
            "What the embedded store takes of the disk",
            Unit::Bytes,
            bytes.clone(),
        );
        Self { store: Arc::clone(store), documents, bytes }
    }

    pub(super) fn refresh(&self) {
        let stats = self.store.stats();
        self.documents.set(gauge(stats.documents));
        self.bytes.set(gauge(stats.bytes));
    }
}
