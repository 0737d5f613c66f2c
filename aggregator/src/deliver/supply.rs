//! What delivery gets its entries from: the queue, or a replay.

use std::time::Duration;

use crate::queue::{Lease, Reader};

/// Leases entries, one after the other. Blocking: it belongs on delivery's thread.
pub trait Supply: Send {
    /// The next entry; None when there is none in time.
    fn next(&mut self, timeout: Duration) -> Option<Lease>;

    /// Whether none will ever come: delivery ends when all that came has its outcome.
    fn is_over(&self) -> bool;

    /// Whether what is leased stops others that wait: it is parked sooner then.
    fn is_pressed(&self) -> bool {
        false
    }
}

impl Supply for Reader {
    fn next(&mut self, timeout: Duration) -> Option<Lease> {
        Reader::next(self, timeout)
    }

    fn is_over(&self) -> bool {
        false
    }

    fn is_pressed(&self) -> bool {
        Reader::is_pressed(self)
    }
}
