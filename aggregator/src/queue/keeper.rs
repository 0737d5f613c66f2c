//! The keeper: a thread that saves the cursor, removes delivered segments and what
//! is kept of them beyond its bounds, and puts the ballast back. Nothing waits for it, and nothing is lost when it is late.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use super::Shared;
use super::committer::now_ms;
use super::cursor::Cursor;
use super::disk::{Ballast, Room};
use super::retention::{self, Bounds};

/// What is delivered within one interval before a crash is delivered again.
const INTERVAL: Duration = Duration::from_millis(500);

/// The keeper's own state.
pub(super) struct Keeper {
    pub(super) shared: Arc<Shared>,
    pub(super) cursor: Cursor,
    pub(super) ballast: Ballast,
    pub(super) bounds: Bounds,
    /// Whether the last round failed: a lasting failure is logged once.
    pub(super) is_failing: bool,
}

impl Keeper {
    /// Works until the other end of `stop` is dropped, and once more then.
    pub(super) fn run(mut self, stop: &Receiver<()>) {
        while let Err(RecvTimeoutError::Timeout) = stop.recv_timeout(INTERVAL) {
            self.round();
        }
        self.round();
    }

    fn round(&mut self) {
        match self.keep() {
            Ok(()) => self.is_failing = false,
            Err(error) if !self.is_failing => {
                tracing::warn!(%error, "could not save the cursor or remove a segment");
                self.is_failing = true;
            }
            Err(_) => {}
        }
    }

    fn keep(&mut self) -> std::io::Result<()> {
        let done = self.shared.leases.done();
        if done != *self.cursor.done() {
            // Before the segments go: sequences are not used twice.
            self.cursor.save(done)?;
        }
        let chain = &self.shared.chain;
        chain.remove_done(self.cursor.done(), self.bounds.retain.is_on())?;
        let pruned = retention::prune(chain, &self.bounds, now_ms());
        // What could not be deleted gives no room.
        let retained = if pruned.is_ok() { chain.retained.stats().bytes } else { 0 };
        self.shared.intake.set_retained_bytes(retained);
        self.shared.intake.set_queue_bytes(chain.bytes());
        pruned?;
        self.ballast.restore(Room::of(chain.layout.root())?, self.bounds.reserve_percent)
    }
}
