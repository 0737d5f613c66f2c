//! What a start does with the segments it finds: as little as it can.
//!
//! Sealed segments are known by their summary and not opened. What lies in `open/` was written by
//! a process that is gone: it is scanned and sealed, never written again, so that a torn tail
//! stays a tail. Damage found here is reported; damage inside sealed segments is found, and
//! reported, when the reader comes to it.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use super::chain::{Chain, Damage, Known};
use super::entry::Sequence;
use super::layout::{Layout, State};
use super::manifest::{Identity, Summary};
use super::retention::Kept;
use super::scan::{Found, scan};
use super::segment::disk_bytes;

/// A chain as it was found.
pub(super) struct Recovered {
    pub(super) chain: Chain,
    /// The highest sequence that any file or name speaks of.
    pub(super) last: Sequence,
    /// Segments whose end was cut off in the middle of a commit.
    pub(super) torn: Vec<TornTail>,
}

/// The end of a segment that a crash (or damage) cut off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TornTail {
    /// The last entry before the cut; what followed it was not acknowledged, unless the disk lost
    /// what it had confirmed.
    pub after: Sequence,
    /// Bytes that could not be read as an entry.
    pub bytes: u64,
}

/// Finds the chain below `root`, and puts it in order. What was delivered is deleted, unless the chain `keeps` it.
pub(super) fn recover(root: &Path, keeps: bool) -> io::Result<Recovered> {
    let layout = Layout::create(root)?;
    let mut recovery = Recovery::of(&layout);
    for first in layout.list(State::Done)? {
        recovery.delivered(first, keeps)?;
    }
    for state in [State::Quarantine, State::Sealed, State::Open] {
        for first in layout.list(state)? {
            recovery.segment(state, first)?;
        }
    }
    let Recovery { last, segments, torn, damaged, unreadable, kept, .. } = recovery;
    let ends: Vec<_> = unreadable
        .iter()
        .map(|(first, damage)| {
            let next = segments.range(first..).next();
            (*first, next.map_or(*first, |(next, _)| next.previous()), *damage)
        })
        .collect();
    let chain = Chain::new(layout, segments);
    kept.into_iter().for_each(|kept| chain.retained.add(kept));
    for (summary, damage, lost) in damaged {
        chain.quarantine(summary, damage, lost);
    }
    for (first, end, damage) in ends {
        let lost = (first.0..=end.0).map(Sequence).collect();
        chain.report(State::Quarantine, first..=end, damage, lost);
    }
    Ok(Recovered { chain, last, torn })
}

struct Recovery<'a> {
    layout: &'a Layout,
    last: Sequence,
    segments: BTreeMap<Sequence, Known>,
    torn: Vec<TornTail>,
    damaged: Vec<(Summary, Damage, Vec<Sequence>)>,
    /// Segments without one whole entry.
    unreadable: Vec<(Sequence, Damage)>,
    kept: Vec<Kept>,
}

impl<'a> Recovery<'a> {
    fn of(layout: &'a Layout) -> Self {
        Self {
            layout,
            last: Sequence::default(),
            segments: BTreeMap::new(),
            torn: Vec::new(),
            damaged: Vec::new(),
            unreadable: Vec::new(),
            kept: Vec::new(),
        }
    }

    /// A segment in `done/`; one without a readable entry is the rest of a deletion.
    fn delivered(&mut self, first: Sequence, keeps: bool) -> io::Result<()> {
        let place = self.layout.segment(State::Done, first);
        let summary = keeps.then(|| describe(&place, first).0).flatten();
        self.last = self.last.max(first);
        match summary.filter(|_| place.join("db").is_file()) {
            Some(summary) => {
                self.last = self.last.max(summary.last);
                self.kept.push(Kept { summary, bytes: disk_bytes(&place) });
                Ok(())
            }
            None => self.layout.delete(State::Done, first),
        }
    }

    fn segment(&mut self, state: State, first: Sequence) -> io::Result<()> {
        self.last = self.last.max(first);
        let place = self.layout.segment(state, first);
        let (summary, found) = describe(&place, first);
        let Some(summary) = summary else { return self.set_aside(state, first, &found) };
        self.last = self.last.max(summary.last);
        if self.segments.contains_key(&first) {
            tracing::warn!(segment = %first, ?state, "two segments of one name: left alone");
            return Ok(());
        }
        let mut known = Known { state, summary: Some(summary), bytes: 0, live: None };
        if state == State::Open {
            match self.seal(&summary) {
                Ok(()) => known.state = State::Sealed,
                Err(error) => tracing::warn!(%error, segment = %first, "could not seal"),
            }
        }
        if let Some(found) = found {
            if state == State::Open && (found.torn_bytes > 0 || !found.broken.is_empty()) {
                self.torn.push(TornTail { after: summary.last, bytes: found.torn_bytes });
            }
            let lost = lost(&found, &summary);
            if !lost.is_empty() || found.version.is_some() {
                self.damaged.push((summary, damage(&found), lost));
            }
        }
        known.bytes = disk_bytes(&self.layout.segment(known.state, first));
        self.segments.insert(first, known);
        Ok(())
    }

    fn seal(&self, summary: &Summary) -> io::Result<()> {
        summary.save(&self.layout.segment(State::Open, summary.first))?;
        self.layout.rename(summary.first, State::Open, State::Sealed)?;
        self.layout.sync_move(State::Open, State::Sealed)
    }

    /// A segment without one whole entry: deleted if nothing was ever committed, else kept.
    /// What was written last is a cut tail; of a sealed one, all of its range is lost.
    fn set_aside(
        &mut self,
        state: State,
        first: Sequence,
        found: &Option<Found>,
    ) -> io::Result<()> {
        let is_empty = found.as_ref().is_some_and(|found| {
            found.torn_bytes == 0 && found.broken.is_empty() && found.version.is_none()
        });
        if is_empty && state == State::Open {
            return self.layout.delete(state, first);
        }
        match found {
            Some(found) if state == State::Open && found.version.is_none() => {
                let bytes = disk_bytes(&self.layout.segment(state, first));
                self.torn.push(TornTail { after: first.previous(), bytes });
            }
            found => {
                let damage = found.as_ref().map_or(Damage::Unreadable, damage);
                self.unreadable.push((first, damage));
            }
        }
        if state == State::Quarantine {
            return Ok(());
        }
        if self.layout.segment(State::Quarantine, first).exists() {
            return self.layout.delete(state, first);
        }
        self.layout.rename(first, state, State::Quarantine)?;
        self.layout.sync_move(state, State::Quarantine)
    }
}

/// What a segment holds: from its summary, or by a scan where that is missing. No scan and no
/// summary: it could not be read at all.
pub(super) fn describe(place: &Path, first: Sequence) -> (Option<Summary>, Option<Found>) {
    if let Some(summary) = Summary::load(place, first) {
        return (Some(summary), None);
    }
    let salt = Identity::load(place, first).map(|identity| identity.salt);
    let found = match scan(&place.join("db"), salt) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Found::default(),
        Err(error) => {
            tracing::error!(%error, segment = %first, "could not read a segment");
            return (None, None);
        }
    };
    let whole = found.entries.range(first..);
    let summary = whole.clone().next_back().map(|(last, _)| Summary {
        first,
        last: *last,
        batches: whole.clone().map(|(_, place)| u64::from(place.batches)).sum(),
        oldest_ms: whole.clone().next().map_or(0, |(_, place)| place.committed_ms),
    });
    (summary, Some(found))
}

/// The entries that the summary promises and the scan did not find.
pub(super) fn lost(found: &Found, summary: &Summary) -> Vec<Sequence> {
    (summary.first.0..=summary.last.0)
        .map(Sequence)
        .filter(|sequence| !found.entries.contains_key(sequence))
        .collect()
}

/// The name for what a scan found wrong.
pub(super) fn damage(found: &Found) -> Damage {
    found.version.map_or(Damage::Entries, Damage::UnknownVersion)
}
