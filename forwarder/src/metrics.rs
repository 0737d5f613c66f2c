//! Every metric of the forwarder. The doc comment of a field is its help text.

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;

use naru_proto::reasons;
use naru_proto::wire::RefuseReason;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use crate::files::FileStateName;

/// Labels of refusals and of gaps.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Reason {
    reason: &'static str,
}

/// Labels of files.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct FileLabel {
    state: &'static str,
}

/// Why bytes were lost, as the tailing thread names it.
const GAPS: [&str; 4] = ["truncated", "deleted", "damaged", "budget"];

macro_rules! metrics {
    ($($(#[doc = $help:literal])+ $field:ident: $type:ty = ($name:literal, $unit:expr);)+) => {
        /// The forwarder's metrics; clones count together.
        #[derive(Debug, Clone, Default)]
        pub struct Metrics {
            $($(#[doc = $help])+ pub $field: $type,)+
        }

        impl Metrics {
            /// Registers every metric; names begin with `naru_forwarder_`.
            pub fn register(&self, registry: &mut Registry) {
                let registry = registry.sub_registry_with_prefix("naru_forwarder");
                $(
                    let help = concat!($($help,)+).trim().trim_end_matches('.');
                    match $unit {
                        Some(unit) => {
                            registry.register_with_unit($name, help, unit, self.$field.clone());
                        }
                        None => registry.register($name, help, self.$field.clone()),
                    }
                )+
                self.start_at_zero();
            }
        }
    };
}

metrics! {
    /// Bytes read from log files, uncompressed.
    read_bytes: Counter = ("read", Some(Unit::Bytes));
    /// Records cut from what was read.
    cut_records: Counter = ("cut_records", None::<Unit>);
    /// Lines without a readable envelope; they are sent, marked.
    malformed_records: Counter = ("malformed_records", None::<Unit>);
    /// Records cut while waiting for their end; they are sent, marked.
    incomplete_records: Counter = ("incomplete_records", None::<Unit>);
    /// Compressed bytes of batches sent, every time they were.
    sent_bytes: Counter = ("sent", Some(Unit::Bytes));
    /// Compressed bytes of batches that were sent before.
    resent_bytes: Counter = ("resent", Some(Unit::Bytes));
    /// Records of batches that were sent before.
    resent_records: Counter = ("resent_records", None::<Unit>);
    /// Compressed bytes of batches that the aggregator made durable.
    acknowledged_bytes: Counter = ("acknowledged", Some(Unit::Bytes));
    /// Records that the aggregator made durable.
    acknowledged_records: Counter = ("acknowledged_records", None::<Unit>);
    /// Batches that the aggregator refused, by reason.
    refusals: Family<Reason, Counter> = ("refused_batches", None::<Unit>);
    /// Records that the aggregator says it will never take: they are set apart, kept and tried every minute; the command files says where they are.
    never_records: Gauge = ("refused_for_ever_records", None::<Unit>);
    /// Streams opened to aggregators.
    streams_opened: Counter = ("streams_opened", None::<Unit>);
    /// Rounds over all of the aggregator's addresses in which none took a stream.
    rounds_failed: Counter = ("connection_rounds_failed", None::<Unit>);
    /// 1 while the certificates and the token in use are those that the files held at the last connection.
    credentials_current: Gauge = ("credentials_current", None::<Unit>);
    /// Losses declared, by reason: bytes that were written and cannot be read any more.
    gaps: Family<Reason, Counter> = ("gaps", None::<Unit>);
    /// Files that cannot be read now.
    unreadable_files: Gauge = ("unreadable_files", None::<Unit>);
    /// Log files, and new directories of pods and containers, that were seen to come and were gone before they could be opened: what they held is not known.
    missed_files: Counter = ("missed_files", None::<Unit>);
    /// Files being tailed.
    open_files: Gauge = ("open_files", None::<Unit>);
    /// Bytes of deleted files that are held open because not all of them is acknowledged, or because somebody may still write to them.
    deleted_bytes: Gauge = ("deleted", Some(Unit::Bytes));
    /// Compressed bytes sent and not yet acknowledged.
    unacknowledged_bytes: Gauge = ("unacknowledged", Some(Unit::Bytes));
    /// Compressed bytes that may be unacknowledged: fewer where the aggregator is slow, so that quiet files wait behind little.
    window_bytes: Gauge = ("window", Some(Unit::Bytes));
    /// Bytes in log files that are not yet acknowledged.
    lag_bytes: Gauge = ("lag", Some(Unit::Bytes));
    /// For how long at least the oldest byte that is not acknowledged has been there, of the file that is furthest behind.
    lag_seconds: Gauge<f64, AtomicU64> = ("lag_seconds", None::<Unit>);
    /// In how many seconds the kubelet will delete a file that is not read, at the rates at which containers write now; +Inf where it will not.
    loss_in_seconds: Gauge<f64, AtomicU64> = ("loss_in_seconds", None::<Unit>);
    /// Bytes that wait for the end of their record.
    held_bytes: Gauge = ("held", Some(Unit::Bytes));
    /// Files by their state; the command files says which and what the states mean.
    files: Family<FileLabel, Gauge> = ("files", None::<Unit>);
    /// Bytes declared lost, by reason, as far as their number is known.
    lost_bytes: Family<Reason, Counter> = ("lost", Some(Unit::Bytes));
    /// Containers, pods and namespaces that the aggregator's policy excludes.
    policy_excluded: Gauge = ("policy_excluded", None::<Unit>);
    /// 1 while another forwarder uses the data directory and this one waits for its end.
    standing_by: Gauge = ("standing_by", None::<Unit>);
    /// 1 while the checkpoint can be saved.
    checkpoint_saved: Gauge = ("checkpoint_saved", None::<Unit>);
    /// Times the checkpoint was written and synced.
    checkpoint_syncs: Counter = ("checkpoint_syncs", None::<Unit>);
}

impl Metrics {
    /// A rate needs the zero before the first one; and the reference shows what there is.
    fn start_at_zero(&self) {
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
            self.refusals.get_or_create(&Reason { reason: reasons::refuse(reason) }).inc_by(0);
        }
        for reason in GAPS {
            self.gaps.get_or_create(&Reason { reason }).inc_by(0);
            self.lost_bytes.get_or_create(&Reason { reason }).inc_by(0);
        }
        self.files(&HashMap::new());
        self.loss_in_seconds.set(f64::INFINITY);
    }

    /// Counts a refusal.
    pub fn refused(&self, reason: RefuseReason) {
        self.refusals.get_or_create(&Reason { reason: reasons::refuse(reason) }).inc();
    }

    /// Counts a declared loss of so many bytes; 0 where their number is not known.
    pub fn gap(&self, reason: &'static str, bytes: u64) {
        self.gaps.get_or_create(&Reason { reason }).inc();
        self.lost_bytes.get_or_create(&Reason { reason }).inc_by(bytes);
    }

    #[cfg(test)]
    pub(crate) fn files_in(&self, state: FileStateName) -> i64 {
        self.files.get_or_create(&FileLabel { state: state.as_str() }).get()
    }

    /// Says how many files are in which state.
    pub fn files(&self, states: &HashMap<FileStateName, i64>) {
        for state in FileStateName::ALL {
            let count = states.get(&state).copied().unwrap_or_default();
            self.files.get_or_create(&FileLabel { state: state.as_str() }).set(count);
        }
    }
}
