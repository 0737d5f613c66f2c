//! What delivery counts.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::parked::ChainStats;
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
    requests: Family<Code, Counter>,
    pub(super) bulk_bytes: Counter,
    pub(super) retried: Counter,
    pub(super) overflow: Counter,
    pub(super) held: Gauge,
    pub(super) parked: Counter,
    pub(super) unparked: Counter,
    parked_bytes: Family<Index, Gauge>,
    parked_age: Family<Index, Gauge<f64, AtomicU64>>,
    pub(super) in_flight: Gauge,
    pub(super) concurrency: Gauge,
    pub(super) up: Gauge,
    pub(super) seconds: Seconds,
}

/// At most as many values as chains.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Index {
    index: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Code {
    code: String,
}

/// How long a bulk takes to be answered.
#[derive(Debug, Clone)]
pub(super) struct Seconds(Histogram);

impl Default for Seconds {
    fn default() -> Self {
        Self(Histogram::new([0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 60.0]))
    }
}

impl Seconds {
    pub(super) fn observe(&self, seconds: f64) {
        self.0.observe(seconds);
    }
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
        self.register_bulks(registry);
        for outcome in ["indexed", "duplicate", "dead_letter"] {
            self.documents.get_or_create(&Outcome { outcome }).inc_by(0);
        }
        for mark in ["malformed", "encoding", "json", "json_refused"] {
            self.marked.get_or_create(&Mark { mark }).inc_by(0);
        }
        for code in ["200", "none"] {
            self.requests.get_or_create(&Code { code: code.to_owned() }).inc_by(0);
        }
    }

    fn register_bulks(&self, registry: &mut Registry) {
        registry.register(
            "bulk_requests",
            "Bulks sent to Elasticsearch by the status of the answer; none, when there was no answer",
            self.requests.clone(),
        );
        registry.register(
            "bulk_bytes",
            "Bytes of the bulks sent, before compression, also of those sent again",
            self.bulk_bytes.clone(),
        );
        registry.register(
            "retried_documents",
            "Documents sent again because they had no outcome; more than once counts more than once",
            self.retried.clone(),
        );
        registry.register(
            "overflow_documents",
            "Documents made for the index of the namespaces that have none of their own, also those sent twice",
            self.overflow.clone(),
        );
        registry.register(
            "held_documents",
            "Documents in memory whose index takes nothing now: blocked, closed or not there",
            self.held.clone(),
        );
        self.register_parked(registry);
        registry.register("bulks_in_flight", "Bulks being sent or pausing", self.in_flight.clone());
        registry.register(
            "bulks_in_flight_limit",
            "Bulks that may be in flight: fewer after too much was asked, one after an outage",
            self.concurrency.clone(),
        );
        registry.register(
            "elasticsearch_up",
            "1 when Elasticsearch took documents when it was last asked",
            self.up.clone(),
        );
        registry.register(
            "bulk_seconds",
            "From sending a bulk to its answer",
            self.seconds.0.clone(),
        );
    }

    fn register_parked(&self, registry: &mut Registry) {
        registry.register(
            "parked_documents",
            "Documents written to a side chain because their index takes nothing; a restart may write some again",
            self.parked.clone(),
        );
        registry.register(
            "unparked_documents",
            "Documents of side chains that have their outcome; those sent twice count twice",
            self.unparked.clone(),
        );
        registry.register_with_unit(
            "parked",
            "What the side chain of an index takes of the disk; one that is not there has none",
            Unit::Bytes,
            self.parked_bytes.clone(),
        );
        registry.register_with_unit(
            "parked_oldest_age",
            "Age of the oldest segment of an index's side chain",
            Unit::Seconds,
            self.parked_age.clone(),
        );
        self.chains(&[]);
    }

    /// Takes over what the side chains are now.
    pub(super) fn chains(&self, chains: &[ChainStats]) {
        self.parked_bytes.clear();
        self.parked_age.clear();
        if chains.is_empty() {
            // So that there is one to look at.
            let none = Index { index: String::new() };
            self.parked_bytes.get_or_create(&none).set(0);
            self.parked_age.get_or_create(&none).set(0.0);
        }
        let now_ms = crate::clock::now_ms();
        for chain in chains {
            let label = Index { index: chain.index.clone() };
            let age = chain.oldest_ms.map_or(0, |oldest| now_ms.saturating_sub(oldest).max(0));
            let bytes = i64::try_from(chain.disk_bytes).unwrap_or(i64::MAX);
            self.parked_bytes.get_or_create(&label).set(bytes);
            self.parked_age.get_or_create(&label).set(age as f64 / 1000.0);
        }
    }

    /// Counts a bulk by the status of its answer.
    pub(super) fn request(&self, code: &str) {
        self.requests.get_or_create(&Code { code: code.to_owned() }).inc();
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

    /// Documents so far that were indexed, were there already, became dead letters.
    pub(crate) fn outcomes(&self) -> (u64, u64, u64) {
        let count = |outcome| self.documents.get_or_create(&Outcome { outcome }).get();
        (count("indexed"), count("duplicate"), count("dead_letter"))
    }

    pub(super) fn count(&self, indexed: u64, duplicates: u64, dead: u64) {
        for (outcome, count) in
            [("indexed", indexed), ("duplicate", duplicates), ("dead_letter", dead)]
        {
            self.documents.get_or_create(&Outcome { outcome }).inc_by(count);
        }
    }
}
