//! Reads what was delivered and is still on the disk: retained segments, and the delivered entries of those that are not yet
//! delivered to their end.
//!
//! Blocking, and past sled, which is never asked about a segment that somebody else may have open. Nothing is changed, and
//! nothing is held back: a segment that gives way meanwhile is reported as gone.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::ops::RangeInclusive;
use std::sync::Arc;

use bytes::Bytes;

use super::Shared;
use super::entry::{Entry, Sequence, StoredBatch};
use super::layout::{Layout, State};
use super::manifest::{Identity, Summary};
use super::part::Kind;
use super::recover::lost;
use super::scan::{self, Found, Place};

/// What was delivered, oldest first.
pub struct Delivered {
    shared: Arc<Shared>,
    after: Sequence,
    /// The last entry that there was when it began.
    through: Sequence,
    segments: VecDeque<Summary>,
    current: Option<Opened>,
}

struct Opened {
    db: File,
    entries: VecDeque<(Sequence, Place)>,
}

/// What comes next.
#[derive(Debug)]
pub enum DeliveredEntry {
    /// The batches of an entry.
    Entry(Sequence, Vec<StoredBatch>),
    /// A segment gave way before it could be read.
    Gone(RangeInclusive<Sequence>),
    /// Entries that cannot be read.
    Lost(Vec<Sequence>),
}

impl Delivered {
    pub(super) fn new(shared: Arc<Shared>, after: Sequence) -> Self {
        let through = shared.leases.progress().head;
        let mut segments = shared.chain.retained.summaries();
        segments.extend(shared.chain.summaries());
        segments.sort_unstable_by_key(|summary| summary.first);
        segments.dedup_by_key(|summary| summary.first);
        segments.retain(|summary| summary.last > after && summary.first <= through);
        Self { shared, after, through, segments: segments.into(), current: None }
    }

    /// The last entry that there was when it began.
    pub fn through(&self) -> Sequence {
        self.through
    }

    /// The next entry that is delivered by now; what is on its way comes by itself.
    fn advance(&mut self) -> Option<DeliveredEntry> {
        loop {
            while let Some((sequence, place)) =
                self.current.as_mut().and_then(|opened| opened.entries.pop_front())
            {
                let is_asked = sequence > self.after && sequence <= self.through;
                if is_asked && self.shared.leases.is_delivered(sequence) {
                    return Some(self.read(sequence, &place));
                }
            }
            let summary = self.segments.pop_front()?;
            match open(&self.shared.chain.layout, &summary) {
                Ok(Some((db, found))) => {
                    let lost: Vec<_> = lost(&found, &summary)
                        .into_iter()
                        .filter(|sequence| *sequence > self.after && *sequence <= self.through)
                        .filter(|sequence| self.shared.leases.is_delivered(*sequence))
                        .collect();
                    self.current =
                        Some(Opened { db, entries: found.entries.into_iter().collect() });
                    if !lost.is_empty() {
                        return Some(DeliveredEntry::Lost(lost));
                    }
                }
                Ok(None) => return Some(DeliveredEntry::Gone(summary.first..=summary.last)),
                Err(error) => {
                    tracing::error!(%error, segment = %summary.first, "could not read a segment");
                    let all = (summary.first.0..=summary.last.0).map(Sequence);
                    return Some(DeliveredEntry::Lost(all.collect()));
                }
            }
        }
    }

    fn read(&self, sequence: Sequence, place: &Place) -> DeliveredEntry {
        let db = self.current.as_ref().map(|opened| &opened.db);
        let body = db.and_then(|db| scan::read(db, sequence, place).ok().flatten());
        let entry = body.filter(|_| place.kind == Kind::Batches);
        match entry.and_then(|body| Entry::decode(&Bytes::from(body))) {
            Some(entry) => DeliveredEntry::Entry(sequence, entry.batches),
            None => DeliveredEntry::Lost(vec![sequence]),
        }
    }
}

impl Iterator for Delivered {
    type Item = DeliveredEntry;

    fn next(&mut self) -> Option<DeliveredEntry> {
        self.advance()
    }
}

/// The segment wherever it lies by now; None when it is gone. Once it is open it may be deleted.
fn open(layout: &Layout, summary: &Summary) -> io::Result<Option<(File, Found)>> {
    // Segments move from one to the next of these, at most once while it is looked for.
    let places = [State::Open, State::Sealed, State::Quarantine, State::Done, State::Quarantine];
    for state in places {
        let place = layout.segment(state, summary.first);
        let salt = Identity::load(&place, summary.first).map(|identity| identity.salt);
        match File::open(place.join("db")) {
            Ok(db) => {
                let found = scan::scan_file(&db, salt)?;
                return Ok(Some((db, found)));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}
