//! Supplies a delivery with entries that were delivered before.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use zstd_safe::DCtx;

use super::select::{Scratch, Selection};
use super::{Counts, OUT_MAX_BYTES, OUT_MAX_ENTRIES};
use crate::deliver::Supply;
use crate::queue::{Apart, Delivered, DeliveredEntry, Lease, Sequence, StoredBatch};

/// See the module.
pub(super) struct EntrySupply {
    delivered: Delivered,
    selection: Selection,
    scratch: Scratch,
    context: DCtx<'static>,
    apart: Arc<Apart>,
    counts: Arc<Counts>,
    stop: Arc<AtomicBool>,
    /// The last entry that was read.
    read: Sequence,
    is_over: bool,
}

impl EntrySupply {
    pub(super) fn new(
        delivered: Delivered,
        selection: Selection,
        counts: Arc<Counts>,
        stop: Arc<AtomicBool>,
    ) -> Self {
        Self {
            delivered,
            selection,
            scratch: Scratch::default(),
            context: DCtx::create(),
            apart: Arc::new(Apart::new(OUT_MAX_ENTRIES, OUT_MAX_BYTES)),
            read: Sequence(counts.through.load(Ordering::Relaxed)),
            counts,
            stop,
            is_over: false,
        }
    }

    pub(super) fn of(&self) -> u64 {
        self.delivered.through().0
    }

    pub(super) fn apart(&self) -> Arc<Apart> {
        Arc::clone(&self.apart)
    }

    /// Reads on, and counts what is asked for; false at the end.
    pub(super) fn count(&mut self) -> bool {
        if !self.stop.load(Ordering::Acquire) {
            self.take();
        } else {
            self.is_over = true;
        }
        self.say_through();
        !self.is_over
    }

    /// The batches of the next entry; nothing when it holds nothing that is asked for.
    fn take(&mut self) -> Option<(Sequence, Vec<StoredBatch>)> {
        let counts = Arc::clone(&self.counts);
        let (sequence, stored) = match self.delivered.next() {
            Some(DeliveredEntry::Entry(sequence, batches)) => (sequence, batches),
            Some(DeliveredEntry::Gone(range)) => {
                let entries = range.end().0 - range.start().0 + 1;
                tracing::warn!(first = %range.start(), last = %range.end(), "a retained segment gave way before it was replayed");
                counts.gone.fetch_add(entries, Ordering::Relaxed);
                return None;
            }
            Some(DeliveredEntry::Lost(lost)) => {
                tracing::error!(entries = lost.len(), first = ?lost.first(), "entries cannot be read: they are not replayed");
                counts.lost.fetch_add(lost.len() as u64, Ordering::Relaxed);
                return None;
            }
            None => {
                counts.complete.store(true, Ordering::Relaxed);
                self.read = self.delivered.through();
                self.is_over = true;
                return None;
            }
        };
        self.read = sequence;
        let mut batches = Vec::new();
        for batch in stored {
            let taken = self.selection.take(&batch, &mut self.context, &mut self.scratch);
            match taken {
                Ok(taken) => batches.extend(taken),
                Err(error) => {
                    tracing::error!(%error, %sequence, "a batch cannot be decoded: it is a dead letter since it was delivered");
                    counts.lost.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        if batches.is_empty() {
            return None;
        }
        let records: u64 = batches.iter().map(|batch| u64::from(batch.records)).sum();
        counts.taken.fetch_add(1, Ordering::Relaxed);
        counts.records.fetch_add(records, Ordering::Relaxed);
        Some((sequence, batches))
    }

    /// Everything before the oldest that is on its way is done.
    fn say_through(&self) {
        let through = self.apart.lowest().map_or(self.read.0, |lowest| lowest - 1);
        self.counts.through.fetch_max(through, Ordering::Relaxed);
    }
}

impl Supply for EntrySupply {
    fn next(&mut self, timeout: Duration) -> Option<Lease> {
        self.say_through();
        if self.is_over {
            // Others are waited for, and nothing else.
            self.apart.is_empty_within(timeout);
            return None;
        }
        // The bytes of an entry are known once it is read.
        if !self.apart.has_room(1 << 20, timeout) {
            return None;
        }
        let (sequence, batches) = self.take()?;
        Some(Lease::apart(&self.apart, sequence.0, None, batches))
    }

    fn is_over(&self) -> bool {
        self.is_over
    }
}

impl Drop for EntrySupply {
    fn drop(&mut self) {
        self.say_through();
    }
}
