//! Leases of what is delivered apart from the queue's own order: entries of a replay, dead letters that are tried again.
//!
//! A holder. It bounds what is out at once, and says what was completed: nothing else depends on it, so that one given back is
//! simply not completed.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::chain::locked;

/// See the module.
#[derive(Debug)]
pub struct Apart {
    state: Mutex<State>,
    freed: Condvar,
    max_bytes: usize,
    max_out: usize,
}

#[derive(Debug, Default)]
struct State {
    /// What is out, by its ticket, and its bytes.
    out: BTreeMap<u64, usize>,
    out_bytes: usize,
    /// The lowest that was given back.
    given_back: Option<u64>,
    completed: Vec<u64>,
}

impl Apart {
    /// At most so many leases, of so many bytes, are out at once; one always may be.
    pub(crate) fn new(max_out: usize, max_bytes: usize) -> Self {
        Self { state: Mutex::default(), freed: Condvar::new(), max_bytes, max_out }
    }

    /// Waits until one of so many bytes may be given out; false when it may not in time.
    pub(crate) fn has_room(&self, bytes: usize, timeout: Duration) -> bool {
        let full = |state: &mut State| {
            let more = state.out_bytes.saturating_add(bytes);
            !state.out.is_empty() && (state.out.len() >= self.max_out || more > self.max_bytes)
        };
        let waited = self.freed.wait_timeout_while(locked(&self.state), timeout, full);
        !full(&mut waited.unwrap_or_else(PoisonError::into_inner).0)
    }

    pub(super) fn begin(&self, ticket: u64, bytes: usize) {
        let mut state = locked(&self.state);
        state.out.insert(ticket, bytes);
        state.out_bytes += bytes;
    }

    pub(super) fn end(&self, ticket: u64, completed: bool) {
        let mut state = locked(&self.state);
        if let Some(bytes) = state.out.remove(&ticket) {
            state.out_bytes -= bytes;
            if completed {
                state.completed.push(ticket);
            } else {
                state.given_back = Some(state.given_back.map_or(ticket, |low| low.min(ticket)));
            }
        }
        self.freed.notify_all();
    }

    /// The tickets of what was completed since it was asked before.
    pub(crate) fn take_completed(&self) -> Vec<u64> {
        std::mem::take(&mut locked(&self.state).completed)
    }

    /// The lowest ticket that was not completed: out, or given back.
    pub(crate) fn lowest(&self) -> Option<u64> {
        let state = locked(&self.state);
        state.out.keys().next().copied().into_iter().chain(state.given_back).min()
    }

    /// Waits until nothing is out; false when something still is.
    pub(crate) fn is_empty_within(&self, timeout: Duration) -> bool {
        let is_out = |state: &mut State| !state.out.is_empty();
        let waited = self.freed.wait_timeout_while(locked(&self.state), timeout, is_out);
        !is_out(&mut waited.unwrap_or_else(PoisonError::into_inner).0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_out_is_bounded_and_what_is_completed_is_said_once() {
        let apart = Apart::new(2, 100);
        assert!(apart.has_room(1000, Duration::ZERO), "one always has");
        apart.begin(7, 1000);
        assert!(!apart.has_room(1, Duration::ZERO), "by bytes");
        apart.end(7, true);
        apart.begin(8, 1);
        apart.begin(9, 1);
        assert!(!apart.has_room(1, Duration::ZERO), "by number");
        assert_eq!(apart.lowest(), Some(8));
        assert!(!apart.is_empty_within(Duration::ZERO));
        apart.end(8, false);
        apart.end(9, true);
        apart.end(9, true);
        assert_eq!(apart.lowest(), Some(8), "it was given back");
        assert!(apart.is_empty_within(Duration::ZERO));
        assert_eq!((apart.take_completed(), apart.take_completed()), (vec![7, 9], vec![]));
    }
}
