//! What delivery counts.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// Counted in documents, never in requests.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    documents: Family<Outcome, Counter>,
    /// Attempts that failed as a whole and are repeated.
    pub failures: Counter,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

impl Metrics {
    /// Registers them under the aggregator's prefix.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "documents",
            "Documents that have their outcome: indexed; duplicate, there already because they were sent twice; \
             dead_letter, kept with the reason why they can never be indexed",
            self.documents.clone(),
        );
        registry.register(
            "delivery_failures",
            "Attempts to deliver that failed as a whole and are repeated",
            self.failures.clone(),
        );
        for outcome in ["indexed", "duplicate", "dead_letter"] {
            self.documents.get_or_create(&Outcome { outcome }).inc_by(0);
        }
    }

    pub(super) fn count(&self, indexed: u64, duplicates: u64, dead: u64) {
        for (outcome, count) in
            [("indexed", indexed), ("duplicate", duplicates), ("dead_letter", dead)]
        {
            self.documents.get_or_create(&Outcome { outcome }).inc_by(count);
        }
    }
}
