//! What ingest counts.

use naru_proto::reasons;
use naru_proto::wire::{GapReason, RefuseReason};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Why, from a fixed set of words.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Reason {
    reason: &'static str,
}

/// Counters and gauges of ingest; cloning shares them.
#[derive(Debug, Clone)]
pub struct Metrics {
    pub(super) streams: Gauge,
    pub(super) streams_waiting: Gauge,
    pub(super) credit_free: Gauge,
    pub(super) streams_opened: Counter,
    streams_broken: Family<Reason, Counter>,
    clients_refused: Family<Reason, Counter>,
    pub(super) security_files_current: Gauge,
    pub(super) batches_received: Counter,
    pub(super) batches_acknowledged: Counter,
    batches_refused: Family<Reason, Counter>,
    pub(super) records: Counter,
    pub(super) bytes_raw: Counter,
    pub(super) bytes_compressed: Counter,
    gaps: Family<Reason, Counter>,
    pub(super) gap_bytes: Counter,
    pub(super) status_files: Counter,
    pub(super) messages_unknown: Counter,
    pub(super) ack_seconds: Histogram,
}

/// Why a client may not be let in, as `accept` and `authenticate` name it.
const CLIENT_REASONS: [&str; 8] = [
    "no_token",
    "wrong_token",
    "no_certificate",
    "wrong_certificate",
    "no_name",
    "wrong_node",
    "not_trusted",
    "handshake",
];

/// From a queue commit on tmpfs to the 15 s after which a forwarder goes elsewhere.
const ACK_SECONDS: [f64; 10] = [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 15.0];

impl Default for Metrics {
    fn default() -> Self {
        Self {
            streams: Gauge::default(),
            streams_waiting: Gauge::default(),
            credit_free: Gauge::default(),
            streams_opened: Counter::default(),
            streams_broken: Family::default(),
            clients_refused: Family::default(),
            security_files_current: Gauge::default(),
            batches_received: Counter::default(),
            batches_acknowledged: Counter::default(),
            batches_refused: Family::default(),
            records: Counter::default(),
            bytes_raw: Counter::default(),
            bytes_compressed: Counter::default(),
            gaps: Family::default(),
            gap_bytes: Counter::default(),
            status_files: Counter::default(),
            messages_unknown: Counter::default(),
            ack_seconds: Histogram::new(ACK_SECONDS),
        }
    }
}

impl Metrics {
    /// Makes them and registers them.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let m = metrics.clone();
        m.register_doors(registry);
        let r = registry;
        r.register("naru_aggregator_streams", "Forwarders' streams that are open", m.streams);
        r.register(
            "naru_aggregator_streams_waiting",
            "Streams that wait for credit; lasting, the aggregator or its queue is too slow",
            m.streams_waiting,
        );
        r.register(
            "naru_aggregator_credit_free_batches",
            "Batches that could be granted at once",
            m.credit_free,
        );
        r.register("naru_aggregator_streams_opened", "Streams opened", m.streams_opened);
        r.register(
            "naru_aggregator_streams_broken",
            "Streams ended because the client broke the protocol, by reason",
            m.streams_broken,
        );
        r.register("naru_aggregator_batches_received", "Batches received", m.batches_received);
        r.register(
            "naru_aggregator_batches_acknowledged",
            "Batches acknowledged: durable here",
            m.batches_acknowledged,
        );
        r.register(
            "naru_aggregator_batches_refused",
            "Batches refused, by reason; the forwarder keeps them",
            m.batches_refused,
        );
        r.register("naru_aggregator_records", "Records in acknowledged batches", m.records);
        r.register(
            "naru_aggregator_bytes_raw",
            "Bytes of acknowledged batches, uncompressed",
            m.bytes_raw,
        );
        r.register(
            "naru_aggregator_bytes_compressed",
            "Bytes of acknowledged batches as they travelled",
            m.bytes_compressed,
        );
        r.register("naru_aggregator_gaps", "Losses that forwarders declared, by reason", m.gaps);
        r.register(
            "naru_aggregator_gap_bytes",
            "Bytes declared lost, where start and end are known",
            m.gap_bytes,
        );
        r.register(
            "naru_aggregator_status_files",
            "States of files that forwarders reported",
            m.status_files,
        );
        r.register(
            "naru_aggregator_messages_unknown",
            "Messages of a kind that this version does not know",
            m.messages_unknown,
        );
        r.register(
            "naru_aggregator_ack_seconds",
            "From a batch's arrival to its acknowledgement",
            m.ack_seconds,
        );
        metrics.start_at_zero();
        metrics
    }

    /// A rate needs the zero before the first one; and the reference shows what there is.
    fn start_at_zero(&self) {
        for reason in ["no_hello", "second_hello", "bad_name", "wrong_cluster", "bad_number"] {
            self.streams_broken.get_or_create(&Reason { reason }).inc_by(0);
        }
        for reason in CLIENT_REASONS {
            self.clients_refused.get_or_create(&Reason { reason }).inc_by(0);
        }
        for reason in [
            RefuseReason::Busy,
            RefuseReason::NoCredit,
            RefuseReason::Checksum,
            RefuseReason::TooLarge,
            RefuseReason::Invalid,
            RefuseReason::WrongNode,
            RefuseReason::UnknownFormat,
            RefuseReason::Draining,
        ] {
            self.batches_refused
                .get_or_create(&Reason { reason: reasons::refuse(reason) })
                .inc_by(0);
        }
        for reason in
            [GapReason::Truncated, GapReason::Deleted, GapReason::Damaged, GapReason::Budget]
        {
            self.gaps.get_or_create(&Reason { reason: reasons::gap(reason) }).inc_by(0);
        }
    }

    /// Who is let in.
    fn register_doors(&self, registry: &mut Registry) {
        registry.register(
            "naru_aggregator_clients_refused",
            "Clients that were not let in, by reason: their token, their certificate, its names, the handshake",
            self.clients_refused.clone(),
        );
        registry.register(
            "naru_aggregator_security_files_current",
            "1 while the certificate, key, CA and token files on the disk are those in use",
            self.security_files_current.clone(),
        );
    }

    pub(super) fn stream_broken(&self, reason: &'static str) {
        self.streams_broken.get_or_create(&Reason { reason }).inc();
    }

    pub(super) fn client_refused(&self, reason: &'static str) {
        self.clients_refused.get_or_create(&Reason { reason }).inc();
    }

    pub(super) fn batch_refused(&self, reason: RefuseReason) {
        self.batches_refused.get_or_create(&Reason { reason: reasons::refuse(reason) }).inc();
    }

    pub(super) fn gap(&self, reason: &'static str) {
        self.gaps.get_or_create(&Reason { reason }).inc();
    }

    #[cfg(test)]
    pub(super) fn refused(&self, reason: RefuseReason) -> u64 {
        self.batches_refused.get_or_create(&Reason { reason: reasons::refuse(reason) }).get()
    }

    #[cfg(test)]
    pub(super) fn clients_refused(&self, reason: &'static str) -> u64 {
        self.clients_refused.get_or_create(&Reason { reason }).get()
    }

    #[cfg(test)]
    pub(super) fn broken(&self, reason: &'static str) -> u64 {
        self.streams_broken.get_or_create(&Reason { reason }).get()
    }

    #[cfg(test)]
    pub(super) fn gaps(&self, reason: &'static str) -> u64 {
        self.gaps.get_or_create(&Reason { reason }).get()
    }
}
