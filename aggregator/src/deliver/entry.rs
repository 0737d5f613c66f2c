//! The right to an outcome: an entry of the queue is completed when each of its documents has one.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::queue::{Lease, LetterId, StoredBatch};

/// An entry whose documents are on their way. Dropping it gives the entry back to its chain.
struct Entry {
    lease: Mutex<Option<Lease>>,
    /// The letter that is tried again.
    letter: Option<LetterId>,
    /// As they were queued: what has to wait is taken from them.
    batches: Vec<StoredBatch>,
    /// Documents without an outcome, and one for as long as documents are still made of it.
    open: AtomicUsize,
}

/// Makes documents of an entry; the entry cannot complete before it is finished.
pub(super) struct Building {
    entry: Arc<Entry>,
}

/// A batch of the entry.
pub(super) struct Origin {
    entry: Arc<Entry>,
    batch: usize,
}

/// The right of one document to its outcome.
#[must_use = "a document without an outcome is delivered again"]
pub(super) struct Token {
    origin: Arc<Origin>,
    place: Place,
}

/// Where in its batch a document's record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) frame: u32,
    pub(super) record: u32,
}

impl Building {
    pub(super) fn new(lease: Lease) -> Self {
        // Their bodies are shared, not copied.
        let batches = lease.batches().to_vec();
        let letter = lease.letter();
        let lease = Mutex::new(Some(lease));
        Self { entry: Arc::new(Entry { lease, letter, batches, open: AtomicUsize::new(1) }) }
    }

    /// Its batches, in order.
    pub(super) fn origins(&self) -> impl Iterator<Item = Arc<Origin>> + use<> {
        let entry = Arc::clone(&self.entry);
        (0..entry.batches.len())
            .map(move |batch| Arc::new(Origin { entry: Arc::clone(&entry), batch }))
    }

    /// All documents were made.
    pub(super) fn finish(self) {
        self.entry.settle();
    }
}

impl Origin {
    /// For one document.
    pub(super) fn token(self: &Arc<Self>, place: Place) -> Token {
        self.entry.open.fetch_add(1, Ordering::Relaxed);
        Token { origin: Arc::clone(self), place }
    }

    /// The batch.
    pub(super) fn stored(&self) -> Option<&StoredBatch> {
        self.entry.batches.get(self.batch)
    }
}

impl Token {
    /// The node that the document's batch came from.
    pub(super) fn node(&self) -> &str {
        self.stored().map_or("", |stored| &stored.node)
    }

    /// The batch that the document's record is in.
    pub(super) fn stored(&self) -> Option<&StoredBatch> {
        self.origin.stored()
    }

    /// The letter that is tried again with it.
    pub(super) fn letter(&self) -> Option<LetterId> {
        self.origin.entry.letter
    }

    /// Where in it.
    pub(super) fn place(&self) -> Place {
        self.place
    }

    /// Whether both are of one batch.
    pub(super) fn is_beside(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.origin, &other.origin)
    }

    /// The document is indexed, or a dead letter that is durable, or in a side chain.
    pub(super) fn settle(self) {
        self.origin.entry.settle();
    }
}

impl Entry {
    fn settle(&self) {
        // The last one must see what all others did.
        if self.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            let lease = self.lease.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(lease) = lease {
                lease.complete();
            }
        }
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Token").finish_non_exhaustive()
    }
}
