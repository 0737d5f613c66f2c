//! Declared losses. So far they are logged and counted, and the last ones are kept in memory: nothing here is durable,
//! the ledger that closes the sum is not built yet.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};

use naru_proto::frame::Source;
use naru_proto::ids::FileId;
use naru_proto::reasons;
use naru_proto::wire::{self, GapReason};

use super::metrics::Metrics;
use crate::enrich::path;

/// Enough to see what happened; the counters have them all.
const KEPT_MAX: usize = 64;

/// Declarations that are known, so that one told again is not counted again: a forwarder tells each until it knows that it
/// arrived. 100 bytes each.
const KNOWN_MAX: usize = 10_000;

/// A declared loss.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// Of which forwarder.
    pub node: String,
    /// As in a document's `naru.source`; empty if the message does not say.
    pub source: String,
    /// None if the file was never read.
    pub file: Option<FileId>,
    /// The first lost byte.
    pub start: u64,
    /// The byte after the last; None if that is not known.
    pub end_exclusive: Option<u64>,
    /// The label of its reason.
    pub reason: &'static str,
}

/// The last ones.
#[derive(Debug, Default)]
pub(super) struct Gaps {
    kept: Mutex<VecDeque<Gap>>,
    known: Mutex<Known>,
}

/// By file and range; a file that was never read by when it was declared.
type Key = (String, Option<FileId>, u64, Option<u64>, &'static str, i64);

#[derive(Debug, Default)]
struct Known {
    keys: HashSet<Key>,
    order: VecDeque<Key>,
}

impl Known {
    /// False when it is known already.
    fn insert(&mut self, key: Key) -> bool {
        if !self.keys.insert(key.clone()) {
            return false;
        }
        self.order.push_back(key);
        if self.order.len() > KNOWN_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.keys.remove(&oldest);
        }
        true
    }
}

impl Gaps {
    /// Logs, counts and keeps what the forwarder of a node declared, once.
    pub(super) fn declare(&self, node: &str, gap: wire::Gap, metrics: &Metrics) {
        let reason = GapReason::try_from(gap.reason).unwrap_or(GapReason::Unspecified);
        let source = gap.source.and_then(|source| Source::try_from(source).ok());
        let until_ns = gap.until_time_ns;
        let gap = Gap {
            node: node.to_owned(),
            source: source.as_ref().map(path::name).unwrap_or_default(),
            file: FileId::from_bytes(&gap.file_id),
            start: gap.start,
            end_exclusive: gap.end_exclusive,
            reason: reasons::gap(reason),
        };
        let when = if gap.file.is_some() { 0 } else { until_ns };
        let whose = format!("{node} {}", gap.source);
        let key = (whose, gap.file, gap.start, gap.end_exclusive, gap.reason, when);
        if !self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(key) {
            return;
        }
        tracing::warn!(
            node,
            source = gap.source,
            file = ?gap.file,
            start = gap.start,
            end_exclusive = ?gap.end_exclusive,
            reason = gap.reason,
            "the forwarder declares a loss"
        );
        metrics.gap(gap.reason);
        let bytes = gap.end_exclusive.map_or(0, |end| end.saturating_sub(gap.start));
        metrics.gap_bytes.inc_by(bytes);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == KEPT_MAX {
            kept.pop_front();
        }
        kept.push_back(gap);
    }

    /// The last ones, oldest first.
    pub(super) fn recent(&self) -> Vec<Gap> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b16_gaps_are_counted_once_and_the_last_are_kept() {
        let (gaps, metrics) = (Gaps::default(), Metrics::default());
        for start in 0..KEPT_MAX as u64 + 3 {
            let end_exclusive = (start % 2 == 0).then_some(start + 10);
            let reason = GapReason::Deleted.into();
            let gap = wire::Gap { start, end_exclusive, reason, ..wire::Gap::default() };
            gaps.declare("node-1", gap.clone(), &metrics);
            gaps.declare("node-1", gap, &metrics);
        }
        let kept = gaps.recent();
        assert_eq!(kept.len(), KEPT_MAX);
        assert_eq!(kept.first().map(|gap| gap.start), Some(3));
        assert_eq!(metrics.gaps("deleted"), KEPT_MAX as u64 + 3);
        assert_eq!(metrics.gap_bytes.get(), 10 * (KEPT_MAX as u64 / 2 + 2));
    }

    #[test]
    fn a_gap_that_lies_is_still_a_gap() {
        let (gaps, metrics) = (Gaps::default(), Metrics::default());
        let gap = wire::Gap {
            start: 9,
            end_exclusive: Some(3),
            reason: 77,
            file_id: bytes::Bytes::from_static(b"short"),
            ..wire::Gap::default()
        };
        gaps.declare("node-1", gap, &metrics);
        assert_eq!((metrics.gaps("unspecified"), metrics.gap_bytes.get()), (1, 0));
        assert_eq!(gaps.recent().first().map(|gap| gap.file), Some(None));
    }
}
