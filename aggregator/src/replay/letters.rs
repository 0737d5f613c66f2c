//! Supplies a delivery with dead letters, each an entry of its own, and settles those that were delivered.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use naru_proto::body::BodyWriter;
use naru_proto::frame::Frame;
use naru_proto::wire;

use super::{Counts, OUT_MAX_BYTES, OUT_MAX_LETTERS};
use crate::deliver::Supply;
use crate::queue::{Apart, Content, Lease, Letter, LetterId, Letters, StoredBatch};

/// What a replay of letters has on its way.
pub(super) struct LetterRun {
    letters: Letters,
    apart: Arc<Apart>,
    counts: Arc<Counts>,
    /// By the ticket: which letter, and how often it had been tried in vain.
    out: Mutex<HashMap<u64, (LetterId, u32)>>,
}

impl LetterRun {
    pub(super) fn new(letters: Letters, counts: Arc<Counts>) -> Self {
        let apart = Arc::new(Apart::new(OUT_MAX_LETTERS, OUT_MAX_BYTES));
        Self { letters, apart, counts, out: Mutex::default() }
    }

    /// Whether each that was given out was completed.
    pub(super) fn is_empty(&self) -> bool {
        self.apart.lowest().is_none()
    }

    /// Deletes those that have been delivered: those that were completed, and not written down as tried in vain.
    pub(super) fn settle(&self) {
        let completed = self.apart.take_completed();
        if completed.is_empty() {
            return;
        }
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        let ended: Vec<_> = completed.iter().filter_map(|ticket| out.remove(ticket)).collect();
        drop(out);
        let delivered = ended.into_iter().filter(|(id, before)| self.letters.tries(*id) == *before);
        let delivered: Vec<LetterId> = delivered.map(|(id, _)| id).collect();
        if let Err(error) = self.letters.settle(&delivered) {
            // They are delivered, and there the next time: nothing is lost or twice.
            self.counts.fail(format!("delivered letters cannot be deleted: {error}"));
        }
    }
}

/// Whether a letter is among those to be tried.
type IsAsked = Box<dyn Fn(LetterId, &Letter) -> bool + Send>;

/// See the module.
pub(super) struct LetterSupply {
    run: Arc<LetterRun>,
    all: Box<dyn Iterator<Item = (LetterId, Letter)> + Send>,
    is_asked: IsAsked,
    stop: Arc<AtomicBool>,
    body: BodyWriter,
    is_over: bool,
}

impl LetterSupply {
    pub(super) fn new(run: Arc<LetterRun>, is_asked: IsAsked, stop: Arc<AtomicBool>) -> Self {
        // Letters that come meanwhile are for the next time.
        let last = run.letters.last();
        let all = run.letters.iter().take_while(move |(id, _)| id.sequence <= last);
        Self {
            run,
            all: Box::new(all),
            is_asked,
            stop,
            body: BodyWriter::default(),
            is_over: false,
        }
    }

    /// Reads on, and counts what is asked for; false at the end.
    pub(super) fn count(&mut self) -> bool {
        if self.stop.load(Ordering::Acquire) {
            return false;
        }
        self.take();
        !self.is_over
    }

    /// The next letter; nothing when it is not asked for, or cannot be tried.
    fn take(&mut self) -> Option<(LetterId, StoredBatch)> {
        let counts = &self.run.counts;
        let Some((id, letter)) = self.all.next() else {
            counts.complete.store(true, Ordering::Relaxed);
            self.is_over = true;
            return None;
        };
        if !(self.is_asked)(id, &letter) {
            return None;
        }
        let Content::Frame(frame) = letter.content else {
            counts.cannot.fetch_add(1, Ordering::Relaxed);
            return None;
        };
        counts.taken.fetch_add(1, Ordering::Relaxed);
        counts.records.fetch_add(1, Ordering::Relaxed);
        Some((id, batch(&mut self.body, letter.node, letter.first_ms, *frame)))
    }
}

impl Supply for LetterSupply {
    fn next(&mut self, timeout: Duration) -> Option<Lease> {
        self.run.settle();
        if self.is_over {
            self.run.apart.is_empty_within(timeout);
            self.run.settle();
            return None;
        }
        if !self.run.apart.has_room(0, timeout) {
            return None;
        }
        let (id, batch) = self.take()?;
        // Sequences are counted, and places less than 1,024.
        let ticket = (id.sequence.0 << 10) | u64::from(id.place);
        let tries = self.run.letters.tries(id);
        let mut out = self.run.out.lock().unwrap_or_else(PoisonError::into_inner);
        out.insert(ticket, (id, tries));
        Some(Lease::apart(&self.run.apart, ticket, Some(id), vec![batch]))
    }

    fn is_over(&self) -> bool {
        self.is_over
    }
}

/// A batch of one frame.
fn batch(body: &mut BodyWriter, node: String, received_ms: i64, mut frame: Frame) -> StoredBatch {
    let records = frame.record_count() as u32;
    let bytes = std::mem::take(&mut frame.bytes);
    body.push(&wire::Frame::from(frame), &bytes);
    let raw_bytes = body.raw_bytes() as u32;
    let body = Bytes::from(body.finish());
    StoredBatch { node, received_ms, records, raw_bytes, crc32c: crc32c::crc32c(&body), body }
}
