//! Who has which entry: leased, given back, or done. A holder; no I/O.
//!
//! Leases may complete in any order. Entries are read by two cursors: when delivery is behind, the entries that come from
//! then on are read by the newest, and what came before by the oldest; each gets half of the bytes while both have some
//! ([`Balance`]), and all of them while the other has none. So what is new is not starved by a backlog, nor the backlog by
//! what is new.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::balance::Balance;
use super::chain::locked;
use super::config::QueueConfig;
use super::done::Done;
use super::entry::{Entry, Sequence};

/// Entries that make delivery behind: as many more as are leased at once. With 64, what was new after a short outage came
/// after the 64 before it, which a busy server needs many seconds for.
const BEHIND: u64 = 16;
/// The same of what is new: some seconds of the fastest commits (about a hundred a second). What is left behind again is
/// delivered after all that is older.
const NEWEST_BEHIND: u64 = 512;
/// Backlogs at most; the newest cursor jumps no more when there are as many. With what is leased they make fewer ranges
/// than the cursor's file takes.
const BACKLOGS_MAX: usize = 8;

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
    /// What was left behind and is not read, oldest first: ranges without their ends.
    behind: Vec<(Sequence, Sequence)>,
    /// The next entry that the newest cursor reads; the only cursor, when nothing was left behind.
    position: Sequence,
    /// The last one committed.
    head: Sequence,
    out: BTreeSet<Sequence>,
    returned: BTreeMap<Sequence, Entry>,
    order: Order,
    is_closed: bool,
    /// The oldest first, the newest second.
    balance: Balance,
    /// Both had something at the last turn.
    is_shared: bool,
    backlog: Backlog,
    lost: u64,
}

/// How entries are leased.
#[derive(Debug, Clone, Copy)]
pub(super) struct Order {
    /// So many at once.
    pub(super) max_out: usize,
    /// By one cursor only.
    pub(super) in_order: bool,
}

impl From<&QueueConfig> for Order {
    fn from(config: &QueueConfig) -> Self {
        Self { max_out: config.max_leases.max(1), in_order: config.in_order }
    }
}

/// Which cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Oldest,
    Newest,
}

/// What the reader shall do next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Read this entry; `head` was committed by now.
    Read { sequence: Sequence, head: Sequence, end: End },
    /// Deliver this one again: its lease was dropped.
    Again(Sequence, Entry),
    /// Nothing in time, or closed.
    Nothing,
}

/// Delivery as it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Progress {
    pub(super) head: Sequence,
    /// Every entry up to this one is delivered.
    pub(super) delivered: Sequence,
    pub(super) leased: usize,
    pub(super) backlog: Backlog,
    pub(super) lost: u64,
}

impl Leases {
    pub(super) fn new(done: &Done, head: Sequence, backlog: Backlog, order: Order) -> Self {
        let state = State {
            behind: done.gaps(),
            position: done.last().next(),
            head,
            out: BTreeSet::new(),
            returned: BTreeMap::new(),
            order,
            is_closed: false,
            balance: Balance::default(),
            is_shared: false,
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

    /// An entry of so many bytes was read.
    pub(super) fn took(&self, end: End, bytes: u64) {
        let mut state = self.lock();
        if state.is_shared {
            state.balance.took(end == End::Newest, bytes);
        }
    }

    /// There is nothing at `sequence`; what follows begins with `next`.
    pub(super) fn skip(&self, sequence: Sequence, next: Sequence) {
        let mut state = self.lock();
        state.out.remove(&sequence);
        let after = |at: Sequence| if at > sequence { at.max(next) } else { at };
        state.position = after(state.position);
        state.behind.iter_mut().for_each(|(from, end)| *from = after(*from).min(*end));
        state.behind.retain(|(from, end)| from < end);
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
            && !state.behind.iter().any(|(from, end)| (*from..*end).contains(&sequence))
            && !state.out.contains(&sequence)
            && !state.returned.contains_key(&sequence)
    }

    /// Whether half of what may be leased is.
    pub(super) fn is_pressed(&self) -> bool {
        let state = self.lock();
        2 * state.out.len() >= state.order.max_out
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

    /// What is delivered.
    pub(super) fn done(&self) -> Done {
        let state = self.lock();
        let single = |sequence: &Sequence| (*sequence, sequence.next());
        let leased = state.out.iter().map(single);
        let returned = state.returned.keys().map(single);
        Done::but(state.behind.iter().copied().chain(leased).chain(returned), state.position)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }
}

impl State {
    fn turn(&mut self) -> Option<Turn> {
        if self.out.len() >= self.order.max_out {
            return None;
        }
        if let Some((sequence, entry)) = self.returned.pop_first() {
            self.out.insert(sequence);
            return Some(Turn::Again(sequence, entry));
        }
        let behind = if self.behind.is_empty() { BEHIND } else { NEWEST_BEHIND };
        let is_behind = !self.order.in_order && self.position.0 + behind <= self.head.0;
        if is_behind && self.behind.len() < BACKLOGS_MAX {
            self.behind.push((self.position, self.head));
            self.position = self.head;
        }
        let (has_old, has_new) = (!self.behind.is_empty(), self.position <= self.head);
        self.is_shared = has_old && has_new;
        if !self.is_shared {
            self.balance.rest();
        }
        let end = match (has_old, has_new) {
            (false, false) => return None,
            (true, true) if self.balance.is_ahead() => End::Oldest,
            (true, false) => End::Oldest,
            (_, true) => End::Newest,
        };
        let sequence = match (end, self.behind.first_mut()) {
            (End::Oldest, Some((from, _))) => advance(from),
            (End::Oldest | End::Newest, _) => advance(&mut self.position),
        };
        self.behind.retain(|(from, end)| from < end);
        self.out.insert(sequence);
        Some(Turn::Read { sequence, head: self.head, end })
    }

    fn delivered(&self) -> Sequence {
        let behind = self.behind.first().map_or(self.position, |(from, _)| *from);
        let out = self.out.first().copied().unwrap_or(self.position);
        let returned = self.returned.keys().next().copied().unwrap_or(self.position);
        behind.min(out).min(returned).min(self.position).previous()
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

/// Moves a cursor on; gives what it was at.
fn advance(cursor: &mut Sequence) -> Sequence {
    let at = *cursor;
    *cursor = at.next();
    at
}

#[cfg(test)]
mod tests;
