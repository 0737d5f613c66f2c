//! What delivery counts.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use crate::document::Tally;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Mark {
    mark: &'static str,
}

/// Counted in documents, never in requests.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    documents: Family<Outcome, Counter>,
    marked: Family<Mark, Counter>,
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
            "marked_documents",
            "Documents built with a mark, also those sent twice: malformed, without a readable envelope; encoding, with \
             bytes that are not UTF-8; json, with a parsed body; json_refused, with a body that stayed text",
            self.marked.clone(),
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

    /// Takes over what was built since the start.
    pub(super) fn marked(&self, tally: Tally) {
        for (mark, total) in [
            ("malformed", tally.malformed),
            ("encoding", tally.encoding_errors),
            ("json", tally.json),
            ("json_refused", tally.json_refused),
        ] {
            let counter = self.marked.get_or_create(&Mark { mark });
            counter.inc_by(total.saturating_sub(counter.get()));
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
