//! Delivered segments that are kept for a replay: which there are, and which give way.
//!
//! They lie in `done/`, whole, until their bytes or their age are too much, or the queue needs the room: what waits for delivery
//! always comes first. The oldest goes first.

use std::collections::BTreeMap;
use std::io;
use std::sync::Mutex;
use std::time::Duration;

use super::chain::{Chain, locked};
use super::config::QueueConfig;
use super::disk::Room;
use super::entry::Sequence;
use super::layout::State;
use super::manifest::Summary;

/// How much of what is delivered is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retain {
    /// What it may take of the disk; 0: nothing is kept.
    pub max_bytes: u64,
    /// For how long, counted from when the segment's first entry was queued; None: for as long as the bytes allow.
    pub max_age: Option<Duration>,
}

impl Retain {
    /// Whether anything is kept.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.max_bytes > 0
    }
}

/// What is kept, in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RetainedStats {
    /// How many segments.
    pub segments: u64,
    /// What they take on the disk.
    pub bytes: u64,
    /// When the oldest of them began, milliseconds since 1970.
    pub oldest_ms: Option<i64>,
}

/// A delivered segment that is kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kept {
    pub(super) summary: Summary,
    pub(super) bytes: u64,
}

/// The kept segments of one chain.
#[derive(Debug, Default)]
pub(super) struct Retained {
    segments: Mutex<BTreeMap<Sequence, Kept>>,
}

impl Retained {
    pub(super) fn add(&self, kept: Kept) {
        locked(&self.segments).insert(kept.summary.first, kept);
    }

    pub(super) fn stats(&self) -> RetainedStats {
        let segments = locked(&self.segments);
        RetainedStats {
            segments: segments.len() as u64,
            bytes: segments.values().map(|kept| kept.bytes).sum(),
            oldest_ms: segments.values().next().map(|kept| kept.summary.oldest_ms),
        }
    }

    pub(super) fn summaries(&self) -> Vec<Summary> {
        locked(&self.segments).values().map(|kept| kept.summary).collect()
    }

    fn oldest(&self) -> Option<Kept> {
        locked(&self.segments).values().next().copied()
    }

    fn remove(&self, first: Sequence) {
        locked(&self.segments).remove(&first);
    }
}

/// What the kept segments give way to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) retain: Retain,
    /// What the queue may take, with what is kept.
    pub(super) max_bytes: u64,
    pub(super) reserve_percent: u8,
    /// What may come in until the next look.
    pub(super) headroom_bytes: u64,
}

impl From<&QueueConfig> for Bounds {
    fn from(config: &QueueConfig) -> Self {
        Self {
            retain: config.retain,
            max_bytes: config.max_bytes,
            reserve_percent: config.reserve_percent,
            // Two segments are more than a disk takes in between two looks, half a second.
            headroom_bytes: (2 * config.segment_max_bytes).min(config.max_bytes / 8),
        }
    }
}

impl Bounds {
    /// Whether the oldest of what is kept has to go.
    fn is_over(&self, kept: RetainedStats, waiting_bytes: u64, now_ms: i64, room: Room) -> bool {
        let age = kept.oldest_ms.map_or(0, |oldest| now_ms.saturating_sub(oldest));
        let max_age = self.retain.max_age.map_or(i64::MAX, |age| age.as_millis() as i64);
        let all = waiting_bytes.saturating_add(kept.bytes).saturating_add(self.headroom_bytes);
        kept.bytes > self.retain.max_bytes
            || age > max_age
            || all > self.max_bytes
            || room.is_short(self.reserve_percent, self.headroom_bytes)
    }
}

/// Deletes what is too much, the oldest first. A crash in the middle leaves a directory that the next start deletes.
pub(super) fn prune(chain: &Chain, bounds: &Bounds, now_ms: i64) -> io::Result<()> {
    while let Some(oldest) = chain.retained.oldest() {
        // Each deletion changes both.
        let room = Room::of(chain.layout.root())?;
        if !bounds.is_over(chain.retained.stats(), chain.bytes(), now_ms, room) {
            break;
        }
        let Summary { first, last, .. } = oldest.summary;
        // Whoever asks for it from now on hears that it is gone.
        chain.retained.remove(first);
        if let Err(error) = chain.layout.delete(State::Done, first) {
            chain.retained.add(oldest);
            return Err(error);
        }
        tracing::debug!(%first, %last, bytes = oldest.bytes, "a retained segment gave way");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bound_makes_the_oldest_go() {
        let bounds = Bounds {
            retain: Retain { max_bytes: 100, max_age: Some(Duration::from_secs(10)) },
            max_bytes: 1000,
            reserve_percent: 20,
            headroom_bytes: 50,
        };
        let check = |bytes, oldest_ms, waiting, available_bytes, expected: bool| {
            let kept = RetainedStats { segments: 1, bytes, oldest_ms: Some(oldest_ms) };
            let room = Room { total_bytes: 1000, available_bytes };
            let over = bounds.is_over(kept, waiting, 20_000, room);
            assert_eq!(over, expected, "{bytes} {oldest_ms} {waiting} {available_bytes}");
        };
        check(100, 10_000, 850, 250, false);
        check(101, 10_000, 0, 1000, true);
        check(100, 9_999, 0, 1000, true);
        check(100, 10_000, 851, 1000, true);
        check(100, 10_000, 0, 249, true);
    }
}
