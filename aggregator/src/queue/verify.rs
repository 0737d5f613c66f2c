//! Reads every segment of a chain and says what is intact in it and what is lost. Nothing is changed, nothing is locked: it may
//! look at a chain that is in use.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::entry::{Entry, Sequence};
use super::layout::{Layout, State};
use super::letter::Letter;
use super::manifest::{Identity, Summary};
use super::part::Kind;
use super::recover::lost;
use super::scan::{self, Found};
use super::segment::disk_bytes;

/// What was found in one segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Where it lies.
    pub path: PathBuf,
    /// `open`, `sealed`, `done` or `quarantine`.
    pub state: &'static str,
    /// The first sequence it should hold, and the last as far as anybody knows.
    pub first: Sequence,
    /// See `first`.
    pub last: Option<Sequence>,
    /// Entries that are whole.
    pub entries: u64,
    /// Batches, or letters, in them.
    pub batches: u64,
    /// Bytes of their content.
    pub bytes: u64,
    /// What the segment takes on the disk.
    pub disk_bytes: u64,
    /// Entries that it should hold and does not, as ranges, first and last.
    pub lost: Vec<(Sequence, Sequence)>,
    /// Bytes after the last whole entry that are none: of the open segment, a commit that was cut off or is being written.
    pub torn_bytes: u64,
    /// What is wrong, in words; nothing when all is well.
    pub damage: Vec<String>,
}

/// The segments of a chain, one after the other, oldest state first. Blocking.
///
/// # Errors
/// There is no chain in `dir`.
pub fn verify(dir: &Path) -> io::Result<impl Iterator<Item = Verified> + use<>> {
    let layout = Layout::at(dir);
    let mut all = Vec::new();
    for state in [State::Quarantine, State::Done, State::Sealed, State::Open] {
        all.extend(layout.list(state)?.into_iter().map(|first| (first, state)));
    }
    all.sort_by_key(|(first, _)| *first);
    Ok(all.into_iter().filter_map(move |(first, state)| segment(&layout, first, state)))
}

/// None when it was deleted since it was listed.
fn segment(layout: &Layout, first: Sequence, listed: State) -> Option<Verified> {
    let states = [listed, State::Sealed, State::Quarantine, State::Done];
    let found = states.into_iter().find_map(|state| {
        let path = layout.segment(state, first);
        path.is_dir().then_some((state, path))
    });
    let (state, path) = found?;
    let mut verified = Verified {
        state: state.directory(),
        first,
        last: None,
        entries: 0,
        batches: 0,
        bytes: 0,
        disk_bytes: disk_bytes(&path),
        lost: Vec::new(),
        torn_bytes: 0,
        damage: Vec::new(),
        path,
    };
    let salt = Identity::load(&verified.path, first).map(|identity| identity.salt);
    if salt.is_none() {
        verified.damage.push("its identity is missing or damaged: sled is not asked".to_owned());
    }
    let read = File::open(verified.path.join("db"))
        .and_then(|db| scan::scan_file(&db, salt).map(|found| (db, found)));
    match read {
        Ok((db, found)) => verified.look(state, &db, &found),
        Err(error) if error.kind() == io::ErrorKind::NotFound && !verified.path.is_dir() => {
            return None;
        }
        Err(error) => {
            verified.damage.push(format!("it cannot be read: {error}"));
            verified.lose_all();
        }
    }
    Some(verified)
}

impl Verified {
    /// Whether something is wrong with it.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        !self.damage.is_empty() || !self.lost.is_empty()
    }

    fn look(&mut self, state: State, db: &File, found: &Found) {
        let summary = Summary::load(&self.path, self.first);
        if summary.is_none() && state != State::Open {
            self.damage
                .push("its summary is missing or damaged: where it ends is not known".into());
        }
        let last = found.entries.range(self.first..).next_back().map(|(last, _)| *last);
        self.last = summary.map(|summary| summary.last).or(last);
        if let Some(version) = found.version {
            self.damage.push(format!("an entry is of format {version}, which is not known here"));
        }
        let mut missing = match self.last {
            Some(last) => {
                let range = Summary { first: self.first, last, batches: 0, oldest_ms: 0 };
                lost(found, &range)
            }
            None => Vec::new(),
        };
        for (sequence, place) in found.entries.range(self.first..) {
            match scan::read(db, *sequence, place) {
                Ok(Some(body)) if reads(place.kind, &body) => {
                    self.entries += 1;
                    self.batches += u64::from(place.batches);
                    self.bytes += body.len() as u64;
                }
                Ok(_) => missing.push(*sequence),
                Err(error) => {
                    self.damage.push(format!("entry {sequence} cannot be read: {error}"));
                    missing.push(*sequence);
                }
            }
        }
        if summary.is_none() {
            let broken = found.broken.values().map(scan::Place::bytes).sum::<u64>();
            self.torn_bytes = found.torn_bytes + broken;
        }
        missing.sort_unstable();
        missing.dedup();
        self.lost = ranges(&missing);
    }

    fn lose_all(&mut self) {
        let summary = Summary::load(&self.path, self.first);
        self.last = summary.map(|summary| summary.last);
        self.lost = vec![(self.first, self.last.unwrap_or(self.first))];
    }
}

/// Whether a body, whose checksum is right, is what its kind says.
fn reads(kind: Kind, body: &[u8]) -> bool {
    let body = Bytes::copy_from_slice(body);
    match kind {
        Kind::Batches => Entry::decode(&body).is_some_and(|entry| {
            entry.batches.iter().all(|batch| crc32c::crc32c(&batch.body) == batch.crc32c)
        }),
        Kind::Letters | Kind::LettersV1 => Letter::decode_all(kind, &body).is_some(),
    }
}

/// Sorted sequences as ranges.
fn ranges(sequences: &[Sequence]) -> Vec<(Sequence, Sequence)> {
    let mut ranges: Vec<(Sequence, Sequence)> = Vec::new();
    for sequence in sequences {
        match ranges.last_mut() {
            Some((_, last)) if last.next() == *sequence => *last = *sequence,
            _ => ranges.push((*sequence, *sequence)),
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_become_ranges() {
        let found = ranges(&[1, 2, 3, 7, 9, 10].map(Sequence));
        let expected = [(1, 3), (7, 7), (9, 10)].map(|(a, b)| (Sequence(a), Sequence(b)));
        assert_eq!(found, expected);
        assert!(ranges(&[]).is_empty());
    }
}
