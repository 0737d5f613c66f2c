//! The right to an outcome: an entry of the queue is completed when each of its documents has one.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::queue::Lease;

/// An entry whose documents are on their way. Dropping it gives the entry back to the queue.
struct Entry {
    lease: Mutex<Option<Lease>>,
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
    node: String,
}

/// The right of one document to its outcome.
#[must_use = "a document without an outcome is delivered again"]
pub(super) struct Token {
    origin: Arc<Origin>,
}

impl Building {
    pub(super) fn new(lease: Lease) -> Self {
        Self {
            entry: Arc::new(Entry { lease: Mutex::new(Some(lease)), open: AtomicUsize::new(1) }),
        }
    }

    /// A batch that came from this node.
    pub(super) fn origin(&self, node: &str) -> Arc<Origin> {
        Arc::new(Origin { entry: Arc::clone(&self.entry), node: node.to_owned() })
    }

    /// All documents were made.
    pub(super) fn finish(self) {
        self.entry.settle();
    }
}

impl Origin {
    /// For one document.
    pub(super) fn token(self: &Arc<Self>) -> Token {
        self.entry.open.fetch_add(1, Ordering::Relaxed);
        Token { origin: Arc::clone(self) }
    }
}

impl Token {
    /// The node that the document's batch came from.
    pub(super) fn node(&self) -> &str {
        &self.origin.node
    }

    /// The document is indexed, or a dead letter that is durable.
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
