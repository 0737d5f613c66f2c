//! Looks at a queue or at letters that no process uses, and changes nothing: sled, which may write when it opens, is not
//! asked.
//!
//! The directory is locked meanwhile, so that no process starts into it.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::OpenError;
use super::cursor;
use super::disk::Lock;
use super::done::Done;
use super::entry::Sequence;
use super::layout::{Layout, State};
use super::letter::{Letter, LetterId};
use super::manifest::{Identity, Summary};
use super::part::Kind;
use super::recover::describe;
use super::scan::{self, Found};
use super::segment::disk_bytes;
use super::settled::Changes;

/// Segments by their state.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Segments {
    /// Being written.
    pub open: u64,
    /// Waiting for delivery, or being read.
    pub sealed: u64,
    /// Found damaged, and kept.
    pub quarantine: u64,
    /// Delivered, and kept.
    pub retained: u64,
}

impl Segments {
    pub(super) fn count(&mut self, state: State) {
        match state {
            State::Open => self.open += 1,
            State::Sealed => self.sealed += 1,
            State::Quarantine => self.quarantine += 1,
            State::Done => self.retained += 1,
        }
    }
}

/// A queue that no process uses, in numbers.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// Entries that are not delivered.
    pub entries: u64,
    /// Batches in them; of a segment that is partly delivered, all of its.
    pub batches: u64,
    /// What all segments take on the disk, but for those that are delivered and kept.
    pub disk_bytes: u64,
    /// What those take.
    pub retained_bytes: u64,
    /// When the oldest segment that is not delivered began, milliseconds since 1970.
    pub oldest_ms: Option<i64>,
    /// The last entry committed.
    pub head: Sequence,
    /// Every entry up to this one is delivered.
    pub delivered: Sequence,
    /// By their state.
    pub segments: Segments,
    /// Where the damaged ones lie.
    pub quarantined: Vec<PathBuf>,
}

/// Looks at a queue. Blocking: it reads what a crash left open.
///
/// # Errors
/// A process uses it, or it cannot be read.
pub fn inspect(dir: &Path) -> Result<Inspection, OpenError> {
    let look = || {
        let _lock = lock(dir)?;
        let layout = Layout::at(dir);
        let done = cursor::read(dir)?;
        let mut found = Inspection { delivered: done.through, ..Inspection::default() };
        for (first, state) in segments(&layout)? {
            let place = layout.segment(state, first);
            found.disk_bytes += disk_bytes(&place);
            found.segments.count(state);
            if state == State::Quarantine {
                found.quarantined.push(place.clone());
            }
            if let (Some(summary), _) = describe(&place, first) {
                found.add(&summary, &done);
            }
        }
        for first in layout.list(State::Done)? {
            found.segments.count(State::Done);
            found.retained_bytes += disk_bytes(&layout.segment(State::Done, first));
        }
        Ok(found)
    };
    look().map_err(|error| OpenError::of(dir.to_path_buf(), error))
}

impl Inspection {
    fn add(&mut self, summary: &Summary, done: &Done) {
        self.head = self.head.max(summary.last);
        if !done.holds(summary.first, summary.last) {
            let all = summary.last.0 + 1 - summary.first.0;
            self.entries += all - done.count(summary.first, summary.last);
            self.batches += summary.batches;
            self.oldest_ms.get_or_insert(summary.oldest_ms);
        }
    }
}

/// The letters of a directory that no process uses, oldest first.
pub struct StoredLetters {
    layout: Layout,
    segments: VecDeque<(Sequence, State)>,
    root: PathBuf,
    changes: Changes,
    entries: VecDeque<(Sequence, Kind, Bytes)>,
    letters: VecDeque<(LetterId, Letter)>,
    _lock: Lock,
}

impl StoredLetters {
    /// Takes the directory for as long as it is read. Blocking.
    ///
    /// # Errors
    /// A process uses it, or it cannot be read.
    pub fn open(dir: &Path) -> Result<Self, OpenError> {
        let open = || {
            let lock = lock(dir)?;
            let layout = Layout::at(dir);
            Ok(Self {
                segments: segments(&layout)?.into(),
                layout,
                root: dir.to_path_buf(),
                changes: Changes::default(),
                entries: VecDeque::new(),
                letters: VecDeque::new(),
                _lock: lock,
            })
        };
        open().map_err(|error| OpenError::of(dir.to_path_buf(), error))
    }
}

impl Iterator for StoredLetters {
    type Item = (LetterId, Letter);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(letter) = self.letters.pop_front() {
                return Some(letter);
            }
            if let Some((sequence, kind, body)) = self.entries.pop_front() {
                let letters = Letter::decode_all(kind, &body).unwrap_or_default();
                for (place, mut letter) in (0..).zip(letters) {
                    let id = LetterId { sequence, place };
                    if !self.changes.is_gone(id) {
                        self.changes.apply(id, &mut letter);
                        self.letters.push_back((id, letter));
                    }
                }
                continue;
            }
            let (first, state) = self.segments.pop_front()?;
            let place = self.layout.segment(state, first);
            self.changes = Changes::load(&self.root, first);
            match bodies(&place, first) {
                Ok(bodies) => self.entries = bodies,
                Err(error) => {
                    tracing::error!(%error, path = %place.display(), "could not read a segment");
                }
            }
        }
    }
}

/// What a segment's whole entries of letters hold: 64 MB at most.
fn bodies(place: &Path, first: Sequence) -> io::Result<VecDeque<(Sequence, Kind, Bytes)>> {
    let salt = Identity::load(place, first).map(|identity| identity.salt);
    let db = place.join("db");
    let Found { entries, .. } = scan::scan(&db, salt)?;
    let file = File::open(&db)?;
    let mut bodies = VecDeque::new();
    for (sequence, place) in entries {
        if let Some(body) = scan::read(&file, sequence, &place)? {
            bodies.push_back((sequence, place.kind, Bytes::from(body)));
        }
    }
    Ok(bodies)
}

/// Every segment that is not about to be deleted, oldest first.
fn segments(layout: &Layout) -> io::Result<Vec<(Sequence, State)>> {
    let mut found = Vec::new();
    for state in [State::Open, State::Sealed, State::Quarantine] {
        found.extend(layout.list(state)?.into_iter().map(|first| (first, state)));
    }
    found.sort_unstable_by_key(|(first, _)| *first);
    Ok(found)
}

fn lock(dir: &Path) -> io::Result<Lock> {
    Lock::take(File::open(dir.join("lock"))?)
}
