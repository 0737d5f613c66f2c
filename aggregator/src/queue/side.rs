//! The side chain: a durable chain of its own for what must not hold up the queue.
//!
//! The same segments, commits and recovery as the queue's; what is appended is durable on return. It holds dead letters
//! (`letters`). A parked index has a whole queue of its own (`docs/decisions/0007`).

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::chain::{Chain, locked};
use super::committer::now_ms;
use super::config::{SegmentLimits, Tuning};
use super::disk::Lock;
use super::entry::Sequence;
use super::part::Kind;
use super::recover::recover;
use super::segment::StorageError;
use super::source::Source;
use super::writer::{Commit, Writer};

/// A chain of a directory of its own.
#[derive(Debug)]
pub(super) struct Side {
    pub(super) chain: Arc<Chain>,
    pub(super) writer: Mutex<Writer>,
    /// Held as long as anybody uses the chain.
    _lock: Lock,
}

impl Side {
    /// Opens the chain, or makes one; what is appended comes after `last`, and after all that is there.
    pub(super) fn open(dir: &Path, last: Sequence) -> io::Result<Self> {
        std::fs::create_dir_all(dir)?;
        let lock = Lock::directory(dir)?;
        let recovered = recover(dir, false)?;
        let chain = Arc::new(recovered.chain);
        // What is put aside is little and stays: a segment is never closed for its age.
        let limits = SegmentLimits {
            max_bytes: 64 << 20,
            max_keys: 1024,
            max_age: Duration::MAX,
            tuning: Tuning::default(),
        };
        let writer = Writer::new(Arc::clone(&chain), limits, recovered.last.max(last).next());
        Ok(Self { chain, writer: Mutex::new(writer), _lock: lock })
    }

    /// Makes a body durable that stands for so many.
    pub(super) fn append(
        &self,
        kind: Kind,
        count: u16,
        body: &[u8],
    ) -> Result<Sequence, StorageError> {
        let commit = Commit { kind, batches: count, committed_ms: now_ms(), body };
        locked(&self.writer).commit(&commit)
    }

    /// Every readable entry from one on, oldest first.
    pub(super) fn entries(side: &Arc<Self>, first: Sequence) -> Entries {
        Entries { side: Arc::clone(side), source: None, next: first }
    }
}

/// Every readable entry of the chain.
pub(super) struct Entries {
    side: Arc<Side>,
    source: Option<Source>,
    next: Sequence,
}

impl Iterator for Entries {
    type Item = (Sequence, Kind, bytes::Bytes);

    fn next(&mut self) -> Option<Self::Item> {
        let chain = &self.side.chain;
        loop {
            let source = match self.source.take().filter(|source| source.holds(self.next)) {
                Some(source) => self.source.insert(source),
                None => {
                    let (summary, known) = chain.at_or_after(self.next)?;
                    self.next = self.next.max(summary.first);
                    self.source.insert(Source::open(chain, summary, &known))
                }
            };
            let sequence = self.next;
            self.next = sequence.next();
            if let Some(stored) = source.read(chain, sequence) {
                return Some((sequence, stored.kind, stored.body));
            }
        }
    }
}
