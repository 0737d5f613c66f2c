//! Who has which entry: leased, given back, or done. A holder; no I/O.
//!
//! Everything below the oldest entry that is leased or given back is delivered: that is the
//! cursor. Leases may complete in any order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::chain::locked;
use super::entry::{Entry, Sequence};

/// How far delivery may run ahead of an entry that does not complete: it bounds what a crash
/// delivers twice. 1,024 entries are at most the keys of one segment.
const MAX_AHEAD: u64 = 1024;

/// The leases of one queue.
#[derive(Debug)]
pub(super) struct Leases {
    state: Mutex<State>,
    changed: Condvar,
}

/// Counters of what is not delivered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Backlog {
    pub(super) entries: u64,
    pub(super) batches: u64,
}

#[derive(Debug)]
struct State {
    /// The next entry to read.
    position: Sequence,
    /// The last one committed.
    head: Sequence,
    out: BTreeSet<Sequence>,
    returned: BTreeMap<Sequence, Entry>,
    max_out: usize,
    is_closed: bool,
    backlog: Backlog,
    lost: u64,
}

/// What the reader shall do next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Read this entry; `head` was committed by now.
    Read { sequence: Sequence, head: Sequence },
    /// Deliver this one again: its lease was dropped.
    Again(Sequence, Entry),
    /// Nothing in time, or closed.
    Nothing,
}

/// Delivery as it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Progress {
    pub(super) head: Sequence,
    pub(super) delivered: Sequence,
    pub(super) leased: usize,
    pub(super) backlog: Backlog,
    pub(super) lost: u64,
}

impl Leases {
    pub(super) fn new(
        delivered: Sequence,
        head: Sequence,
        backlog: Backlog,
        max_out: usize,
    ) -> Self {
        let state = State {
            position: delivered.next(),
            head,
            out: BTreeSet::new(),
            returned: BTreeMap::new(),
            max_out: max_out.max(1),
            is_closed: false,
            backlog,
            lost: 0,
        };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    pub(super) fn committed(&self, sequence: Sequence, batches: u64) {
        let mut state = self.lock();
        state.head = sequence;
        state.backlog.entries += 1;
        state.backlog.batches += batches;
        self.changed.notify_all();
    }

    /// Waits until there is something to do.
    pub(super) fn turn(&self, deadline: Instant) -> Turn {
        let mut state = self.lock();
        loop {
            if state.is_closed {
                return Turn::Nothing;
            }
            if let Some(turn) = state.turn() {
                return turn;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Turn::Nothing;
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// There is nothing at `sequence`; what follows begins with `next`.
    pub(super) fn skip(&self, sequence: Sequence, next: Sequence) {
        let mut state = self.lock();
        state.out.remove(&sequence);
        state.position = state.position.max(next);
    }

    /// The entry could not be read.
    pub(super) fn lose(&self, sequence: Sequence) {
        let mut state = self.lock();
        state.lost += 1;
        state.end(sequence, 0);
        self.changed.notify_all();
    }

    pub(super) fn complete(&self, sequence: Sequence, batches: u64) {
        self.lock().end(sequence, batches);
        self.changed.notify_all();
    }

    /// A lease ended without completing: the entry is delivered again.
    pub(super) fn give_back(&self, sequence: Sequence, entry: Entry) {
        let mut state = self.lock();
        if state.out.remove(&sequence) {
            state.returned.insert(sequence, entry);
        }
        self.changed.notify_all();
    }

    /// Nothing is leased any more.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_all();
    }

    /// Whether the entry, which was committed, is neither waiting nor on its way.
    pub(super) fn is_delivered(&self, sequence: Sequence) -> bool {
        let state = self.lock();
        sequence < state.position
            && !state.out.contains(&sequence)
            && !state.returned.contains_key(&sequence)
    }

    pub(super) fn progress(&self) -> Progress {
        let state = self.lock();
        Progress {
            head: state.head,
            delivered: state.delivered(),
            leased: state.out.len(),
            backlog: state.backlog,
            lost: state.lost,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }
}

impl State {
    fn turn(&mut self) -> Option<Turn> {
        if self.out.len() >= self.max_out {
            return None;
        }
        if let Some((sequence, entry)) = self.returned.pop_first() {
            self.out.insert(sequence);
            return Some(Turn::Again(sequence, entry));
        }
        let ahead = self.position.0 - self.delivered().0;
        if self.position > self.head || ahead > MAX_AHEAD {
            return None;
        }
        let sequence = self.position;
        self.out.insert(sequence);
        self.position = sequence.next();
        Some(Turn::Read { sequence, head: self.head })
    }

    fn delivered(&self) -> Sequence {
        let out = self.out.first().copied().unwrap_or(self.position);
        let returned = self.returned.keys().next().copied().unwrap_or(self.position);
        out.min(returned).min(self.position).previous()
    }

    fn end(&mut self, sequence: Sequence, batches: u64) {
        if !self.out.remove(&sequence) {
            return;
        }
        self.backlog.entries = self.backlog.entries.saturating_sub(1);
        self.backlog.batches = self.backlog.batches.saturating_sub(batches);
        if self.backlog.entries == 0 {
            // What entries that were lost held is not known.
            self.backlog.batches = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leases(committed: u64, max_out: usize) -> Leases {
        let leases = Leases::new(Sequence(0), Sequence(0), Backlog::default(), max_out);
        for sequence in 1..=committed {
            leases.committed(Sequence(sequence), 2);
        }
        leases
    }

    fn read(leases: &Leases) -> Option<u64> {
        match leases.turn(Instant::now()) {
            Turn::Read { sequence, .. } | Turn::Again(sequence, _) => Some(sequence.0),
            Turn::Nothing => None,
        }
    }

    #[test]
    fn the_cursor_is_what_is_done_without_a_hole() {
        let leases = leases(5, 10);
        for sequence in 1..=5 {
            assert_eq!(read(&leases), Some(sequence));
        }
        for (complete, delivered) in [(2, 0), (4, 0), (1, 2), (5, 2), (3, 5)] {
            leases.complete(Sequence(complete), 2);
            assert_eq!(leases.progress().delivered, Sequence(delivered), "after {complete}");
        }
        assert_eq!(leases.progress().backlog, Backlog::default());
    }

    #[test]
    fn a_window_is_kept() {
        let leases = leases(5, 2);
        assert_eq!((read(&leases), read(&leases), read(&leases)), (Some(1), Some(2), None));
        leases.complete(Sequence(2), 2);
        assert_eq!((read(&leases), read(&leases)), (Some(3), None));
        assert_eq!(leases.progress().delivered, Sequence(0));
    }

    #[test]
    fn delivery_does_not_run_far_ahead_of_one_entry() {
        let leases = leases(3000, 10);
        assert_eq!(read(&leases), Some(1));
        let mut last = 1;
        while let Some(sequence) = read(&leases) {
            leases.complete(Sequence(sequence), 2);
            last = sequence;
        }
        assert_eq!(last, MAX_AHEAD);
        leases.complete(Sequence(1), 2);
        assert_eq!(read(&leases), Some(MAX_AHEAD + 1));
    }

    #[test]
    fn what_is_given_back_comes_again_first() {
        let leases = leases(3, 2);
        assert_eq!((read(&leases), read(&leases)), (Some(1), Some(2)));
        leases.give_back(Sequence(1), Entry::default());
        assert_eq!(leases.progress().delivered, Sequence(0));
        assert_eq!((read(&leases), read(&leases)), (Some(1), None));
        leases.complete(Sequence(1), 2);
        leases.complete(Sequence(1), 2);
        assert_eq!(leases.progress().backlog, Backlog { entries: 2, batches: 4 });
        assert_eq!(leases.progress().delivered, Sequence(1));
    }

    #[test]
    fn holes_and_losses_do_not_stop_the_cursor() {
        let leases = leases(5, 10);
        assert_eq!(read(&leases), Some(1));
        leases.skip(Sequence(1), Sequence(3));
        assert_eq!(leases.progress().delivered, Sequence(2));
        assert_eq!(read(&leases), Some(3));
        leases.lose(Sequence(3));
        let progress = leases.progress();
        assert_eq!((progress.delivered, progress.lost), (Sequence(3), 1));
    }
}
