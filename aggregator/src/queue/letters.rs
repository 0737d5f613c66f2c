//! The dead letters: a side chain of records that can never be indexed, each with its reason. When it is full the lane that
//! writes to it has to stop: nothing is dropped to make room.
//!
//! A letter goes when it was delivered after all, when somebody purges it, or when it is older than somebody asked for; a segment
//! of which each letter is gone is deleted (`settled`).

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use thiserror::Error;

use super::OpenError;
use super::chain::{Quarantined, locked};
use super::cursor::{self, Cursor};
use super::done::Done;
use super::entry::Sequence;
use super::letter::{Letter, LetterId};
use super::manifest::Summary;
use super::part::Kind;
use super::segment::StorageError;
use super::settled::{Settled, Tried};
use super::side::{Entries, Side};

/// Letters that make one commit at most; bounds the memory of `append_all`.
const COMMIT_MAX_BYTES: usize = 1 << 20;
const COMMIT_MAX_LETTERS: usize = 1024;
/// Letters that are settled with one sync.
const SETTLE_MAX: usize = 10_000;

/// Settings of the dead letters' chain.
#[derive(Debug, Clone)]
pub struct LettersConfig {
    /// The chain's own directory; made when it is not there.
    pub dir: PathBuf,
    /// What it may take of the disk.
    pub max_bytes: u64,
}

impl LettersConfig {
    /// A chain in `dir` of at most `max_bytes`.
    pub fn new(dir: impl Into<PathBuf>, max_bytes: u64) -> Self {
        Self { dir: dir.into(), max_bytes }
    }
}

/// Why a letter could not be kept: the lane has to stop.
#[derive(Debug, Error)]
pub enum LetterError {
    /// Somebody has to look at the letters first.
    #[error("the dead letters take all the room they may have")]
    Full,
    /// The disk.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl From<io::Error> for LetterError {
    fn from(error: io::Error) -> Self {
        Self::Storage(error.into())
    }
}

/// The dead letters. A clone is the same chain.
#[derive(Debug, Clone)]
pub struct Letters {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    side: Arc<Side>,
    max_bytes: u64,
    settled: Mutex<Settled>,
    /// Letters' numbers are not used twice, also when all letters are gone.
    last: Mutex<Cursor>,
    /// No segment is deleted while an entry is read.
    reading: Mutex<()>,
    expired: AtomicU64,
}

/// The letters in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LetterStats {
    /// How many there are.
    pub letters: u64,
    /// What they take on the disk.
    pub disk_bytes: u64,
    /// How many were dropped for their age since the start.
    pub expired: u64,
}

impl Letters {
    /// Opens the chain, or makes one. Blocking.
    pub fn open(config: LettersConfig) -> Result<Self, OpenError> {
        let inner = Inner::open(&config).map_err(|error| OpenError::of(config.dir, error))?;
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Keeps a letter: durable on return. Blocking.
    pub fn append(&self, letter: &Letter) -> Result<Sequence, LetterError> {
        self.append_all(std::slice::from_ref(letter))
    }

    /// Keeps letters, with one sync for each MiB of them; all are durable on return. After an error
    /// some may have been kept. Blocking.
    pub fn append_all(&self, letters: &[Letter]) -> Result<Sequence, LetterError> {
        let bytes: usize = letters.iter().map(Letter::stored_bytes).sum();
        self.inner.check_room(bytes)?;
        let mut last = Sequence::default();
        let mut body = Vec::new();
        let mut count = 0;
        for (number, letter) in letters.iter().enumerate() {
            letter.encode(&mut body);
            count += 1;
            let is_last = number + 1 == letters.len();
            if is_last || count == COMMIT_MAX_LETTERS || body.len() >= COMMIT_MAX_BYTES {
                last = self.inner.side.append(Kind::Letters, count as u16, &body)?;
                body.clear();
                count = 0;
            }
        }
        Ok(last)
    }

    /// Letters that were tried again in vain stay, with what is said now; durable on return. Blocking.
    pub fn tried(&self, all: &[Tried]) -> Result<(), LetterError> {
        self.inner.check_room(all.iter().map(|tried| 100 + tried.reason.len()).sum())?;
        for (segment, all) in self.inner.by_segment(all, |tried| tried.id) {
            locked(&self.inner.settled).tried(segment, &all)?;
        }
        Ok(())
    }

    /// These letters are gone: durable on return. Blocking.
    pub fn settle(&self, ids: &[LetterId]) -> Result<(), LetterError> {
        for ids in ids.chunks(SETTLE_MAX) {
            for (segment, ids) in self.inner.by_segment(ids, |id| *id) {
                locked(&self.inner.settled).settle(segment, &ids)?;
                self.inner.remove_if_empty(segment)?;
            }
        }
        Ok(())
    }

    /// Drops the letters whose last attempt was before; says how many. Blocking.
    pub fn expire(&self, before_ms: i64) -> Result<u64, LetterError> {
        let mut old = Vec::new();
        let mut dropped = 0;
        let chain = &self.inner.side.chain;
        let summaries = chain.summaries().into_iter().filter(|at| at.oldest_ms < before_ms);
        let Some(last) = summaries.map(|summary| summary.last).max() else { return Ok(0) };
        for (id, letter) in self.iter().take_while(|(id, _)| id.sequence <= last) {
            if letter.last_ms < before_ms {
                old.push(id);
                dropped += 1;
            }
            if old.len() == SETTLE_MAX {
                self.settle(&std::mem::take(&mut old))?;
            }
        }
        self.settle(&old)?;
        self.inner.expired.fetch_add(dropped, Ordering::Relaxed);
        Ok(dropped)
    }

    /// All letters, oldest first. Blocking: it reads segment by segment, and what is appended meanwhile may come or not.
    pub fn iter(&self) -> impl Iterator<Item = (LetterId, Letter)> + use<> {
        self.starting_at(Sequence(0))
    }

    /// One of them. Blocking.
    pub fn get(&self, id: LetterId) -> Option<Letter> {
        let mut commit =
            self.starting_at(id.sequence).take_while(|(at, _)| at.sequence == id.sequence);
        commit.find_map(|(at, letter)| (at == id).then_some(letter))
    }

    fn starting_at(&self, first: Sequence) -> AllLetters {
        let entries = Side::entries(&self.inner.side, first);
        AllLetters { inner: Arc::clone(&self.inner), entries, waiting: VecDeque::new() }
    }

    /// The last commit that there is.
    pub fn last(&self) -> Sequence {
        let chain = &self.inner.side.chain;
        chain.summaries().iter().map(|summary| summary.last).max().unwrap_or_default()
    }

    /// How often a letter was tried in vain since it was kept.
    pub fn tries(&self, id: LetterId) -> u32 {
        let Some(segment) = self.inner.segment(id.sequence) else { return 0 };
        let settled = locked(&self.inner.settled);
        settled.of(segment.first).map_or(0, |changes| changes.tries(id))
    }

    /// The letters in numbers.
    pub fn stats(&self) -> LetterStats {
        let chain = &self.inner.side.chain;
        let (_, letters) = chain.backlog(&Done::default());
        let settled = locked(&self.inner.settled);
        LetterStats {
            letters: letters.saturating_sub(settled.count()),
            disk_bytes: chain.bytes() + settled.bytes(),
            expired: self.inner.expired.load(Ordering::Relaxed),
        }
    }

    /// Damaged segments found since the start.
    pub fn quarantined(&self) -> Vec<Quarantined> {
        self.inner.side.chain.quarantined()
    }
}

impl Inner {
    fn open(config: &LettersConfig) -> io::Result<Self> {
        std::fs::create_dir_all(&config.dir)?;
        let side = Side::open(&config.dir, cursor::read(&config.dir)?.through)?;
        let firsts: Vec<_> = side.chain.summaries().iter().map(|summary| summary.first).collect();
        Ok(Self {
            side: Arc::new(side),
            max_bytes: config.max_bytes,
            settled: Mutex::new(Settled::open(&config.dir, &firsts)?),
            last: Mutex::new(Cursor::open(&config.dir)?),
            reading: Mutex::default(),
            expired: AtomicU64::new(0),
        })
    }

    fn check_room(&self, bytes: usize) -> Result<(), LetterError> {
        let taken = self.side.chain.bytes() + locked(&self.settled).bytes();
        let is_full = taken.saturating_add(bytes as u64) > self.max_bytes;
        if is_full { Err(LetterError::Full) } else { Ok(()) }
    }

    /// The segment of a letter; None when it is gone with all its letters.
    fn segment(&self, sequence: Sequence) -> Option<Summary> {
        let (summary, _) = self.side.chain.at_or_after(sequence)?;
        (summary.first <= sequence).then_some(summary)
    }

    fn by_segment<T: Clone>(
        &self,
        all: &[T],
        id: impl Fn(&T) -> LetterId,
    ) -> Vec<(Sequence, Vec<T>)> {
        let mut found: Vec<(Sequence, Vec<T>)> = Vec::new();
        for one in all {
            let Some(segment) = self.segment(id(one).sequence).map(|at| at.first) else { continue };
            match found.iter_mut().find(|(known, _)| *known == segment) {
                Some((_, ones)) => ones.push(one.clone()),
                None => found.push((segment, vec![one.clone()])),
            }
        }
        found
    }

    /// Deletes a segment of which each letter is gone.
    fn remove_if_empty(&self, first: Sequence) -> io::Result<()> {
        let chain = &self.side.chain;
        // Nothing is added to it meanwhile.
        let mut writer = locked(&self.side.writer);
        let Some(summary) = self.segment(first) else { return Ok(()) };
        let mut settled = locked(&self.settled);
        let gone = settled.of(first).map_or(0, |changes| changes.gone_count());
        if gone < summary.batches {
            return Ok(());
        }
        let _reading = locked(&self.reading);
        let mut last = locked(&self.last);
        let highest = last.done().through.max(summary.last);
        last.save(Done::through(highest))?;
        if !chain.remove(first)? {
            writer.seal();
            chain.remove(first)?;
        }
        chain.forget(first);
        settled.remove(first)
    }
}

/// Every letter that is not gone.
struct AllLetters {
    inner: Arc<Inner>,
    entries: Entries,
    waiting: VecDeque<(LetterId, Letter)>,
}

impl Iterator for AllLetters {
    type Item = (LetterId, Letter);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(letter) = self.waiting.pop_front() {
                return Some(letter);
            }
            let (sequence, kind, body) = {
                let _reading = locked(&self.inner.reading);
                self.entries.next()?
            };
            let Some(letters) = Letter::decode_all(kind, &body) else {
                tracing::error!(%sequence, "an intact entry that is no letter");
                continue;
            };
            let settled = locked(&self.inner.settled);
            let changes = self.inner.segment(sequence).and_then(|at| settled.of(at.first));
            for (place, mut letter) in (0..).zip(letters) {
                let id = LetterId { sequence, place };
                match changes {
                    Some(changes) if changes.is_gone(id) => continue,
                    Some(changes) => changes.apply(id, &mut letter),
                    None => {}
                }
                self.waiting.push_back((id, letter));
            }
        }
    }
}

#[cfg(test)]
mod tests;
