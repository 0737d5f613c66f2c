//! Writes entries to the chain: one commit, one fdatasync, then the caller may acknowledge.
//!
//! A segment on which anything failed is sealed as it is and never tried again: after a failed
//! fsync nobody knows what the kernel kept. What was committed to it before is durable and stays.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::chain::{Chain, Live, locked};
use super::config::SegmentLimits;
use super::entry::Sequence;
use super::layout::State;
use super::manifest::{Identity, Summary};
use super::part::{self, HEADER_BYTES, Header, Kind};
use super::segment::{Segment, StorageError, disk_bytes, max_value_bytes};

/// The only writer of a chain.
#[derive(Debug)]
pub(super) struct Writer {
    chain: Arc<Chain>,
    limits: SegmentLimits,
    next: Sequence,
    current: Option<Current>,
    /// One part while it is put together.
    scratch: Vec<u8>,
}

#[derive(Debug)]
struct Current {
    live: Arc<Live>,
    dir: PathBuf,
    keys: u32,
    stored_bytes: u64,
    born: Instant,
}

/// What is committed: a body of the given kind that stands for so many batches or letters.
pub(super) struct Commit<'a> {
    pub(super) kind: Kind,
    pub(super) batches: u16,
    pub(super) committed_ms: i64,
    pub(super) body: &'a [u8],
}

impl Writer {
    /// A writer that begins with `next`, in a segment of its own.
    pub(super) fn new(chain: Arc<Chain>, limits: SegmentLimits, next: Sequence) -> Self {
        Self { chain, limits, next, current: None, scratch: Vec::new() }
    }

    /// Makes an entry durable and gives its sequence. After an error nothing of it is promised.
    pub(super) fn commit(&mut self, commit: &Commit<'_>) -> Result<Sequence, StorageError> {
        let parts = commit.body.len().div_ceil(self.payload_bytes()).max(1);
        if self.is_due(parts, commit.body.len()) {
            self.seal();
        }
        if self.current.is_none() {
            self.begin()?;
        }
        let sequence = self.next;
        self.next = sequence.next();
        let result = self.write(sequence, parts as u16, commit);
        if result.is_err() {
            self.seal();
        }
        result.map(|()| sequence)
    }

    /// Ends the current segment, if there is one.
    pub(super) fn seal(&mut self) {
        if let Some(current) = self.current.take()
            && let Err(error) = self.chain.seal(current.live.identity.first)
        {
            tracing::warn!(%error, segment = %current.live.identity.first,
                "could not seal a segment: the next start will");
        }
    }

    fn payload_bytes(&self) -> usize {
        max_value_bytes(self.limits.tuning.sled_segment_bytes) - HEADER_BYTES
    }

    fn is_due(&self, parts: usize, bytes: usize) -> bool {
        self.current.as_ref().is_some_and(|current| {
            current.keys > 0
                && (current.keys as usize + parts > self.limits.max_keys as usize
                    || current.stored_bytes + bytes as u64 > self.limits.max_bytes
                    || current.born.elapsed() > self.limits.max_age)
        })
    }

    fn begin(&mut self) -> Result<(), StorageError> {
        let first = self.next;
        let identity = Identity::new(first, self.limits.tuning.sled_segment_bytes);
        let layout = &self.chain.layout;
        // What an attempt that failed has left.
        layout.delete(State::Open, first)?;
        let dir = layout.segment(State::Open, first);
        let segment = match Segment::create(&dir, &identity) {
            Ok(segment) => segment,
            Err(error) => {
                layout.delete(State::Open, first)?;
                return Err(error);
            }
        };
        let live = Arc::new(Live { segment, identity, keys: Mutex::default() });
        self.chain.begin(Arc::clone(&live));
        let born = Instant::now();
        self.current = Some(Current { live, dir, keys: 0, stored_bytes: 0, born });
        Ok(())
    }

    fn write(
        &mut self,
        sequence: Sequence,
        parts: u16,
        commit: &Commit<'_>,
    ) -> Result<(), StorageError> {
        let payload_bytes = self.payload_bytes();
        let Some(current) = &mut self.current else { return Ok(()) };
        let live = &current.live;
        let first_key = current.keys;
        for number in 0..parts {
            let start = usize::from(number) * payload_bytes;
            let end = (start + payload_bytes).min(commit.body.len());
            let key = first_key + u32::from(number);
            let header = Header {
                kind: commit.kind,
                batches: commit.batches,
                salt: live.identity.salt,
                sequence,
                committed_ms: commit.committed_ms,
                key,
                part: number,
                parts,
            };
            self.scratch.clear();
            part::encode(&header, &commit.body[start..end], &mut self.scratch);
            live.segment.put(key, &self.scratch)?;
            current.stored_bytes += self.scratch.len() as u64;
        }
        live.segment.commit(&self.limits.tuning.sync)?;
        current.keys += u32::from(parts);
        locked(&live.keys).push(first_key);
        let at = Summary {
            first: live.identity.first,
            last: sequence,
            batches: u64::from(commit.batches),
            oldest_ms: commit.committed_ms,
        };
        self.chain.committed(at, disk_bytes(&current.dir));
        Ok(())
    }
}
