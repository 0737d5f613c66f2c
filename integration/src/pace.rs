//! How fast a simulated container writes. It paces the load; nothing waits for anything by it.

use std::thread;
use std::time::{Duration, Instant};

/// Even steps from the moment it was made.
#[derive(Debug)]
pub struct Pace {
    step: Duration,
    next: Instant,
}

impl Pace {
    /// One step takes this long.
    #[must_use]
    pub fn new(step: Duration) -> Self {
        Self { step, next: Instant::now() + step }
    }

    /// Returns when the current step is over; at once when the caller is late.
    pub fn next(&mut self) {
        thread::sleep(self.next.saturating_duration_since(Instant::now()));
        self.next += self.step;
    }
}

/// An outage has a length of its own: this waits for nothing to happen.
pub fn lasts(time: Duration) {
    thread::sleep(time);
}
