//! Numbers that queue and dead letters keep themselves, read when somebody asks.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::text;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use crate::queue::{Letters, Queue};

/// What every metric of the aggregator begins with.
pub(crate) const PREFIX: &str = "naru_aggregator";

type Seconds = Gauge<f64, AtomicU64>;

/// Gauges that are set just before they are read.
#[derive(Debug, Default)]
pub(crate) struct Gauges {
    queue_entries: Gauge,
    queue_disk: Gauge,
    queue_full: Gauge,
    queue_quarantined: Gauge,
    queue_oldest_age: Seconds,
    queue_commit_running: Seconds,
    queue_failed_commits: Gauge,
    queue_lost_entries: Gauge,
    queue_retained: Gauge,
    queue_retained_segments: Gauge,
    letters: Gauge,
    letters_disk: Gauge,
    letters_expired: Gauge,
}

impl Gauges {
    /// Makes them and registers them.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let gauges = Self::default();
        let registry = registry.sub_registry_with_prefix(PREFIX);
        let mut plain = |name: &str, help: &str, gauge: &Gauge| {
            registry.register(name, help, gauge.clone());
        };
        plain("queue_entries", "Entries that are not delivered", &gauges.queue_entries);
        plain("queue_full", "1 while the queue takes nothing", &gauges.queue_full);
        plain(
            "queue_quarantined_segments",
            "Damaged segments found since the start",
            &gauges.queue_quarantined,
        );
        plain(
            "queue_failed_commits",
            "Commits that failed since the start; nothing of them was acknowledged",
            &gauges.queue_failed_commits,
        );
        plain(
            "queue_lost_entries",
            "Entries that could not be read since the start: acknowledged, and lost with the disk",
            &gauges.queue_lost_entries,
        );
        plain(
            "dead_letters",
            "Records kept because they can never be indexed; dead-letters list shows them",
            &gauges.letters,
        );
        plain(
            "queue_retained_segments",
            "Delivered segments that are kept for a replay",
            &gauges.queue_retained_segments,
        );
        plain(
            "dead_letters_expired",
            "Dead letters that were deleted for their age since the start",
            &gauges.letters_expired,
        );
        for (name, help, gauge) in [
            (
                "queue_disk",
                "What the queue takes of the disk, but for what is delivered and kept",
                &gauges.queue_disk,
            ),
            (
                "queue_retained",
                "What delivered segments take that are kept for a replay",
                &gauges.queue_retained,
            ),
            ("dead_letters_disk", "What the dead letters take of the disk", &gauges.letters_disk),
        ] {
            registry.register_with_unit(name, help, Unit::Bytes, gauge.clone());
        }
        for (name, help, gauge) in [
            (
                "queue_oldest_age",
                "Age of the oldest segment that is not delivered; 0 when all is",
                &gauges.queue_oldest_age,
            ),
            (
                "queue_commit_running",
                "How long the current commit has been running; lasting, the disk hangs",
                &gauges.queue_commit_running,
            ),
        ] {
            registry.register_with_unit(name, help, Unit::Seconds, gauge.clone());
        }
        gauges
    }

    /// Sets them to what holds now.
    pub(crate) fn refresh(&self, queue: &Queue, letters: &Letters) {
        let stats = queue.stats();
        let age = stats.oldest_ms.map_or(0, |oldest| crate::clock::now_ms().saturating_sub(oldest));
        self.queue_entries.set(gauge(stats.entries));
        self.queue_disk.set(gauge(stats.disk_bytes));
        self.queue_full.set(i64::from(stats.full.is_some()));
        self.queue_quarantined.set(gauge(stats.quarantined as u64));
        self.queue_oldest_age.set(age.max(0) as f64 / 1000.0);
        self.queue_commit_running
            .set(stats.commit_running.map_or(0.0, |since| since.as_secs_f64()));
        self.queue_failed_commits.set(gauge(stats.failed_commits));
        self.queue_lost_entries.set(gauge(stats.lost_entries));
        self.queue_retained.set(gauge(stats.retained.bytes));
        self.queue_retained_segments.set(gauge(stats.retained.segments));
        let stats = letters.stats();
        self.letters.set(gauge(stats.letters));
        self.letters_disk.set(gauge(stats.disk_bytes));
        self.letters_expired.set(gauge(stats.expired));
    }
}

/// A count as a gauge takes it.
pub(crate) fn gauge(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Every metric in Prometheus' text format.
pub(crate) fn text(registry: &Registry) -> String {
    let mut out = String::new();
    match text::encode(&mut out, registry) {
        Ok(()) => out,
        Err(error) => format!("# cannot encode: {error}\n"),
    }
}
