//! The keeper: a thread that saves the cursor, removes delivered segments, and puts the ballast
//! back. Nothing waits for it, and nothing is lost when it is late.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use super::Shared;
use super::cursor::Cursor;
use super::disk::{Ballast, Room};

/// What is delivered within one interval before a crash is delivered again.
const INTERVAL: Duration = Duration::from_millis(500);

/// The keeper's own state.
pub(super) struct Keeper {
    pub(super) shared: Arc<Shared>,
    pub(super) cursor: Cursor,
    pub(super) ballast: Ballast,
    pub(super) reserve_percent: u8,
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
        let delivered = self.shared.leases.progress().delivered;
        if delivered > self.cursor.delivered() {
            // Before the segments go: sequences are not used twice.
            self.cursor.save(delivered)?;
        }
        self.shared.chain.remove_through(self.cursor.delivered())?;
        self.shared.intake.set_queue_bytes(self.shared.chain.bytes());
        self.ballast.restore(Room::of(self.shared.chain.layout.root())?, self.reserve_percent)
    }
}
