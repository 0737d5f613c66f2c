//! Declared losses: kept in the checkpoint, beside what they are about, until an aggregator has them.
//!
//! A kill between the loss and the checkpoint finds the loss again; one after it finds the declaration. Told twice is told
//! once: the aggregator knows a loss by its file and range.

use naru_proto::ids::FileId;
use naru_proto::reasons;
use naru_proto::wire;

use super::Tailer;
use super::source::SourceTail;
use crate::channel::Outbound;
use crate::checkpoint::DeclaredGap;
use crate::clock;
use crate::files::source_name;

/// Losses of one source that wait for an aggregator, 100 bytes each: more than that are in the log and the metric alone.
const WAITING_MAX: usize = 1000;

/// A range that will not be read any more.
pub(super) struct Loss {
    pub(super) file: Option<FileId>,
    pub(super) start: u64,
    pub(super) end_exclusive: Option<u64>,
    pub(super) last_known_size: u64,
    pub(super) reason: wire::GapReason,
}

impl Tailer {
    /// Declares a loss, after the source's state says that it will not be read.
    pub(super) fn lost(&mut self, index: usize, loss: &Loss) {
        let files = self.sources.get(index).map(|source| &source.files);
        let file =
            files.into_iter().flatten().find(|file| loss.file.is_some() && file.id == loss.file);
        let since_ns = file.map_or(0, |file| file.modified_ns);
        self.lost_since(index, loss, since_ns);
    }

    /// The same of what was written after a time.
    pub(super) fn lost_since(&mut self, index: usize, loss: &Loss, since_ns: i64) {
        let Some(source) = self.sources.get_mut(index) else { return };
        let same = |(_, known): &(u64, DeclaredGap)| {
            known.file.is_some()
                && (known.file, known.start, known.reason) == (loss.file, loss.start, loss.reason)
        };
        if source.gaps.iter().any(same) {
            return;
        }
        let reason = reasons::gap(loss.reason);
        tracing::warn!(
            source = %source_name(&source.source),
            start = loss.start,
            end_exclusive = ?loss.end_exclusive,
            last_known_size = loss.last_known_size,
            reason,
            "log lines may be lost"
        );
        let end = loss.end_exclusive.unwrap_or(loss.last_known_size);
        self.outgoing.metrics.gap(reason, end.saturating_sub(loss.start));
        let now_ns = clock::now_ns();
        // Saved at once, so that a restart does not declare it again.
        self.timers.save = clock::now();
        source.unsaved = true;
        if source.gaps.len() >= WAITING_MAX {
            return;
        }
        let gap = DeclaredGap {
            file: loss.file,
            start: loss.start,
            end_exclusive: loss.end_exclusive,
            last_known_size: loss.last_known_size,
            reason: loss.reason,
            from_time_ns: since_ns.clamp(0, now_ns),
            until_time_ns: now_ns,
        };
        let number = self.next_gap;
        self.next_gap += 1;
        self.notices.push_back(Outbound::Gap(number, wire_gap(source, &gap)));
        source.gaps.push((number, gap));
    }

    /// Tells again what an earlier run declared.
    pub(super) fn tell_restored(&mut self) {
        for source in self.sources.values_mut() {
            for at in 0..source.gaps.len() {
                let Some((number, gap)) = source.gaps.get_mut(at) else { continue };
                *number = self.next_gap;
                self.next_gap += 1;
                let (number, gap) = (*number, gap.clone());
                self.notices.push_back(Outbound::Gap(number, wire_gap(source, &gap)));
            }
        }
    }

    /// Forgets what an aggregator has.
    pub(super) fn take_told(&mut self) {
        while let Ok(told) = self.end.told.try_recv() {
            for (index, source) in self.sources.iter_mut() {
                let before = source.gaps.len();
                source.gaps.retain(|(number, _)| !told.contains(number));
                if source.gaps.len() != before {
                    source.unsaved = true;
                    self.attention.insert(index);
                }
            }
        }
    }
}

fn wire_gap(source: &SourceTail, gap: &DeclaredGap) -> wire::Gap {
    wire::Gap {
        source: Some(source.source.clone().into()),
        file_id: gap.file.map(|id| id.0.to_vec().into()).unwrap_or_default(),
        start: gap.start,
        end_exclusive: gap.end_exclusive,
        last_known_size: gap.last_known_size,
        reason: gap.reason.into(),
        from_time_ns: gap.from_time_ns,
        until_time_ns: gap.until_time_ns,
    }
}
