//! The chain: which segments there are, in order, and what each of them holds.
//!
//! A holder. The writer adds to the newest, readers find the segment of a sequence, the keeper
//! removes what is delivered. Nothing here reads or writes an entry.

use std::collections::BTreeMap;
use std::io;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::done::Done;
use super::entry::Sequence;
use super::inspect::Segments;
use super::layout::{Layout, State};
use super::manifest::{Identity, Summary};
use super::retention::{Kept, Retained};
use super::segment::{Segment, disk_bytes};

/// A segment that was found damaged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantined {
    /// Where it lies now.
    pub path: PathBuf,
    /// Why it was moved there.
    pub damage: Damage,
    /// The sequences it should hold.
    pub range: RangeInclusive<Sequence>,
    /// Entries in that range that could not be read; the others are delivered.
    pub lost: Vec<Sequence>,
    /// Its size on the disk.
    pub bytes: u64,
}

/// What was found wrong with a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// sled refused to open or read it, or panicked.
    Unreadable,
    /// Entries are missing or fail their checksum.
    Entries,
    /// It holds entries of a format that this release does not know.
    UnknownVersion(u8),
}

/// The open segment, as the writer fills it and the reader follows.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) segment: Segment,
    pub(super) identity: Identity,
    /// The first key of each entry, by its distance from the first sequence.
    pub(super) keys: Mutex<Vec<u32>>,
}

impl Live {
    pub(super) fn first_key(&self, sequence: Sequence) -> Option<u32> {
        let distance = sequence.0.checked_sub(self.identity.first.0)?;
        locked(&self.keys).get(distance as usize).copied()
    }

    /// sled's file, wherever the segment lies by now.
    pub(super) fn db_path(&self, chain: &Chain) -> PathBuf {
        let first = self.identity.first;
        let state = locked(&chain.segments).get(&first).map_or(State::Open, |known| known.state);
        chain.layout.segment(state, first).join("db")
    }
}

/// A segment, as far as it is known without reading it.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) state: State,
    /// `None` while nothing was committed to it.
    pub(super) summary: Option<Summary>,
    pub(super) bytes: u64,
    pub(super) live: Option<Arc<Live>>,
}

/// All segments of one directory.
#[derive(Debug)]
pub(super) struct Chain {
    pub(super) layout: Layout,
    segments: Mutex<BTreeMap<Sequence, Known>>,
    quarantined: Mutex<Vec<Quarantined>>,
    /// Delivered segments that are kept.
    pub(super) retained: Retained,
}

impl Chain {
    pub(super) fn new(layout: Layout, segments: BTreeMap<Sequence, Known>) -> Self {
        Self {
            layout,
            segments: Mutex::new(segments),
            quarantined: Mutex::default(),
            retained: Retained::default(),
        }
    }

    /// The segment that holds `sequence`, or the next one after it.
    pub(super) fn at_or_after(&self, sequence: Sequence) -> Option<(Summary, Known)> {
        let segments = locked(&self.segments);
        // Segments do not overlap: all but the last that begin at or before it end before it.
        let from = segments.range(..=sequence).next_back().map_or(sequence, |(first, _)| *first);
        segments.range(from..).find_map(|(_, known)| {
            let summary = known.summary.filter(|summary| summary.last >= sequence)?;
            Some((summary, known.clone()))
        })
    }

    /// A new, empty segment.
    pub(super) fn begin(&self, live: Arc<Live>) {
        let first = live.identity.first;
        let known = Known { state: State::Open, summary: None, bytes: 0, live: Some(live) };
        locked(&self.segments).insert(first, known);
    }

    /// An entry was committed to the segment that begins with `at.first`.
    pub(super) fn committed(&self, at: Summary, bytes: u64) {
        if let Some(known) = locked(&self.segments).get_mut(&at.first) {
            known.bytes = bytes;
            let summary = known.summary.get_or_insert(Summary { batches: 0, ..at });
            summary.last = at.last;
            summary.batches += at.batches;
        }
    }

    /// Writes the summary of the open segment and moves it; an empty one is deleted. Its sled stays
    /// open for whoever holds it. After a failure it is read, and removed, where it lies.
    pub(super) fn seal(&self, first: Sequence) -> io::Result<()> {
        let Some(known) = locked(&self.segments).get(&first).cloned() else { return Ok(()) };
        let Some(summary) = known.summary else {
            locked(&self.segments).remove(&first);
            return self.layout.delete(State::Open, first);
        };
        let saved = summary.save(&self.layout.segment(State::Open, first));
        {
            // Nobody must see the old place without the open sled: both change at once.
            let mut segments = locked(&self.segments);
            let Some(known) = segments.get_mut(&first) else { return Ok(()) };
            known.live = None;
            saved?;
            self.layout.rename(first, State::Open, State::Sealed)?;
            known.state = State::Sealed;
        }
        self.layout.sync_move(State::Open, State::Sealed)
    }

    /// Moves a closed segment to quarantine and keeps the report. It stays in the chain: what is
    /// readable in it is delivered from there. One that is still written stays where it is.
    pub(super) fn quarantine(&self, summary: Summary, damage: Damage, lost: Vec<Sequence>) {
        let mut state = State::Open;
        if let Some(known) = locked(&self.segments).get_mut(&summary.first) {
            state = known.state;
            if known.live.is_none() && state != State::Quarantine {
                match self.layout.rename(summary.first, state, State::Quarantine) {
                    Ok(()) => known.state = State::Quarantine,
                    Err(error) => tracing::warn!(%error, "could not move to quarantine"),
                }
            }
            state = known.state;
        }
        if let Err(error) = self.layout.sync_move(State::Sealed, State::Quarantine) {
            tracing::warn!(%error, "the move to quarantine may be undone by a power cut");
        }
        self.report(state, summary.first..=summary.last, damage, lost);
    }

    /// Keeps the report of a damaged segment.
    pub(super) fn report(
        &self,
        state: State,
        range: RangeInclusive<Sequence>,
        damage: Damage,
        lost: Vec<Sequence>,
    ) {
        let path = self.layout.segment(state, *range.start());
        let report = Quarantined { bytes: disk_bytes(&path), path, damage, range, lost };
        report.log();
        let mut reports = locked(&self.quarantined);
        match reports.iter_mut().find(|known| known.range.start() == report.range.start()) {
            Some(known) => known.add(report),
            None => reports.push(report),
        }
    }

    /// The damaged segments found since the start.
    pub(super) fn quarantined(&self) -> Vec<Quarantined> {
        locked(&self.quarantined).clone()
    }

    pub(super) fn quarantined_count(&self) -> usize {
        locked(&self.quarantined).len()
    }

    /// Takes the closed segments of which every entry is delivered out of the chain, and deletes them unless they are
    /// kept: what lies in `done/` is delivered and whole.
    pub(super) fn remove_done(&self, done: &Done, keeps: bool) -> io::Result<()> {
        while let Some((first, known)) = self.oldest_done(done) {
            self.layout.rename(first, known.state, State::Done)?;
            locked(&self.segments).remove(&first);
            if let Some(summary) = known.summary.filter(|_| keeps) {
                self.retained.add(Kept { summary, bytes: known.bytes });
            }
            self.layout.sync_move(known.state, State::Done)?;
            if !keeps {
                self.layout.delete(State::Done, first)?;
            }
        }
        Ok(())
    }

    /// Deletes one closed segment; false when it is still written.
    pub(super) fn remove(&self, first: Sequence) -> io::Result<bool> {
        let Some(known) = locked(&self.segments).get(&first).cloned() else { return Ok(true) };
        if known.live.is_some() {
            return Ok(false);
        }
        self.layout.rename(first, known.state, State::Done)?;
        locked(&self.segments).remove(&first);
        self.layout.sync_move(known.state, State::Done)?;
        self.layout.delete(State::Done, first)?;
        Ok(true)
    }

    /// What each segment holds, without those that hold nothing yet.
    pub(super) fn summaries(&self) -> Vec<Summary> {
        locked(&self.segments).values().filter_map(|known| known.summary).collect()
    }

    /// A segment that is no longer in quarantine is not reported any more.
    pub(super) fn forget(&self, first: Sequence) {
        locked(&self.quarantined).retain(|known| *known.range.start() != first);
    }

    fn oldest_done(&self, done: &Done) -> Option<(Sequence, Known)> {
        let segments = locked(&self.segments);
        let ended = segments.iter().find(|(_, known)| {
            known.live.is_none()
                && known.state != State::Quarantine
                && known.summary.is_some_and(|summary| done.holds(summary.first, summary.last))
        });
        ended.map(|(first, known)| (*first, known.clone()))
    }

    /// Segments by their state.
    pub(super) fn states(&self) -> Segments {
        let mut found = Segments::default();
        locked(&self.segments).values().for_each(|known| found.count(known.state));
        found.retained = self.retained.stats().segments;
        found
    }

    /// Bytes that all segments take, those in quarantine too.
    pub(super) fn bytes(&self) -> u64 {
        locked(&self.segments).values().map(|known| known.bytes).sum()
    }

    /// Entries and batches that are not done; batches of a segment that is partly done all count.
    pub(super) fn backlog(&self, done: &Done) -> (u64, u64) {
        let segments = locked(&self.segments);
        let left = segments.values().filter_map(|known| {
            let summary = known.summary?;
            let all = summary.last.0 + 1 - summary.first.0;
            let entries = all - done.count(summary.first, summary.last);
            (entries > 0).then_some((entries, summary.batches))
        });
        left.fold((0, 0), |all, segment| (all.0 + segment.0, all.1 + segment.1))
    }
}

impl Quarantined {
    /// More was found wrong with the same segment.
    fn add(&mut self, more: Self) {
        self.path = more.path;
        self.lost.extend(more.lost);
        self.lost.sort_unstable();
        self.lost.dedup();
    }

    fn log(&self) {
        let (first, last) = (self.range.start(), self.range.end());
        if self.lost.is_empty() {
            tracing::warn!(path = %self.path.display(), damage = ?self.damage, %first, %last,
                bytes = self.bytes, "damaged segment in quarantine: all its entries are readable");
        } else {
            tracing::error!(path = %self.path.display(), damage = ?self.damage, %first, %last,
                bytes = self.bytes, lost = self.lost.len(), "damaged segment in quarantine");
        }
    }
}

/// Locks; a panic elsewhere ends the process anyway.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
