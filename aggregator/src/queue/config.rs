//! What a queue is told: where it lies, how far it may grow, when a segment ends.

use std::path::PathBuf;
use std::time::Duration;

use super::retention::Retain;

/// Settings of one queue; `QueueConfig::new` has the measured defaults.
#[derive(Debug, Clone)]
pub struct QueueConfig {
    /// The queue's own directory; made when it is not there.
    pub dir: PathBuf,
    /// A segment is sealed before it would store more than this.
    pub segment_max_bytes: u64,
    /// A segment is sealed before it would hold more sled keys than this.
    pub segment_max_keys: u32,
    /// A segment is sealed by the first commit after this age.
    pub segment_max_age: Duration,
    /// Intake stops when the queue itself takes this much of the disk.
    pub max_bytes: u64,
    /// Intake stops when less than this share of the whole disk is free: sled cannot be opened on
    /// a full one. Production keeps it at 20 or above.
    pub reserve_percent: u8,
    /// Size of the file that is given up when the disk is full at a start; 0 for none.
    pub ballast_bytes: u64,
    /// What is kept of what is delivered.
    pub retain: Retain,
    /// How many entries (1 MiB each, or one larger batch) may be leased at once.
    pub max_leases: usize,
    /// Entries are leased in the order of their commits, however many there are.
    pub in_order: bool,
    /// Intake stops while a commit has been running for longer: forwarders that hear nothing for 15 s go elsewhere, and
    /// before that it should be known why.
    pub hanging_after: Duration,
    /// What only benchmarks and power-cut tests change.
    #[doc(hidden)]
    pub tuning: Tuning,
}

impl QueueConfig {
    /// The defaults for a queue in `dir`.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            segment_max_bytes: 64 << 20,
            segment_max_keys: 1024,
            segment_max_age: Duration::from_secs(600),
            max_bytes: 20 << 30,
            reserve_percent: 20,
            ballast_bytes: 24 << 20,
            retain: Retain::default(),
            max_leases: 16,
            in_order: false,
            hanging_after: Duration::from_secs(10),
            tuning: Tuning::default(),
        }
    }
}

/// Internals that a benchmark compares and a power-cut test breaks.
#[doc(hidden)]
#[derive(Debug, Clone)]
pub struct Tuning {
    /// sled's own segment (its I/O buffer), a power of two. A value may take a quarter of it;
    /// docs/decisions/0001 has the measurement.
    pub sled_segment_bytes: u32,
    /// Whether a commit is made durable.
    pub sync: SyncMode,
}

impl Default for Tuning {
    fn default() -> Self {
        Self { sled_segment_bytes: 512 << 10, sync: SyncMode::Data }
    }
}

/// How a commit reaches the disk.
#[doc(hidden)]
#[derive(Debug, Clone)]
pub enum SyncMode {
    /// `fdatasync` before the acknowledgement.
    Data,
    /// TEST ONLY: acknowledge without it. This is the mutant that the power-cut test must see
    /// lose batches.
    Never,
    /// Every `fdatasync` fails while the flag is set.
    #[cfg(test)]
    Failing(std::sync::Arc<std::sync::atomic::AtomicBool>),
    /// Every `fdatasync` takes as long as the flag is set.
    #[cfg(test)]
    Hanging(std::sync::Arc<std::sync::atomic::AtomicBool>),
}

/// When a segment ends, and how it is written: the part of the settings every chain needs.
#[derive(Debug, Clone)]
pub(super) struct SegmentLimits {
    pub(super) max_bytes: u64,
    pub(super) max_keys: u32,
    pub(super) max_age: Duration,
    pub(super) tuning: Tuning,
}

impl From<&QueueConfig> for SegmentLimits {
    fn from(config: &QueueConfig) -> Self {
        Self {
            max_bytes: config.segment_max_bytes,
            max_keys: config.segment_max_keys,
            max_age: config.segment_max_age,
            tuning: config.tuning.clone(),
        }
    }
}
