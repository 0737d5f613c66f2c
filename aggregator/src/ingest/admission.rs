//! Admission: who may send a batch, so that all streams together never hold more of them than the pool.
//!
//! Credit is whole batches. The pool has 64 permits; a stream's credit, and each of its batches until it is answered,
//! holds one. So at most 64 streams hold credit at a time. Permits go to the streams that wait, one a turn, first come
//! first served: a thousand streams all advance.
//!
//! How much a stream may hold is its window, 1 to 8: it doubles when the stream has spent all it had, shrinks by one
//! while more than half is left over.
//!
//! Credit cannot be taken back. So when streams wait, what a stream has not spent for [`IDLE_AFTER`] is *lent*: its
//! permits go to those who wait, and the stream keeps its word that it may send. When it does, it gets a free permit, or
//! else its batch is refused with `NO_CREDIT` and it waits for its turn like the others. An idle node therefore always
//! has a batch in hand and starves nobody. What lending costs in memory is one message, at most, in the receive buffer
//! of each stream that wakes while the pool is used up: it is refused before it is looked at.
//!
//! A holder: it reads no clock and wakes nobody but through [`Notify`].

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::metrics::Metrics;

/// The batches that one stream may hold: 8 MiB, what a client may have unacknowledged.
const WINDOW_MAX: u32 = 8;
/// Ten times the time that a forwarder waits to fill a batch.
pub(super) const IDLE_AFTER: Duration = Duration::from_secs(2);

/// The pool, shared by all streams.
pub(super) struct Admission {
    pool: Mutex<Pool>,
    metrics: Metrics,
}

impl Admission {
    pub(super) fn new(batches: u32, streams_max: usize, metrics: Metrics) -> Self {
        Self { pool: Mutex::new(Pool::new(batches, streams_max)), metrics }
    }

    /// A place among the streams; None when there are too many.
    pub(super) fn open(self: &Arc<Self>, now: Instant) -> Option<Seat> {
        let wake = Arc::new(Notify::new());
        let id = self.with(|pool| pool.open(now, Arc::clone(&wake)))?;
        Some(Seat { admission: Arc::clone(self), id, wake })
    }

    /// Lends what idle streams hold to those who wait; to be called a few times in [`IDLE_AFTER`].
    pub(super) fn lend(&self, now: Instant) {
        self.with(|pool| pool.lend(now));
    }

    fn with<T>(&self, change: impl FnOnce(&mut Pool) -> T) -> T {
        // A panic inside leaves whole numbers behind, so a poisoned pool is still one.
        let mut pool: MutexGuard<'_, Pool> =
            self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = change(&mut pool);
        self.metrics.streams.set(pool.streams.len() as i64);
        self.metrics.credit_free.set(i64::from(pool.free));
        self.metrics.streams_waiting.set(pool.turns.len() as i64);
        changed
    }
}

/// A stream's place; dropping it returns what the stream holds.
#[must_use]
pub(super) struct Seat {
    admission: Arc<Admission>,
    id: u64,
    wake: Arc<Notify>,
}

impl Seat {
    /// Waits until there may be credit to announce.
    pub(super) async fn changed(&self) {
        self.wake.notified().await;
    }

    /// The credit that the client has not been told of.
    pub(super) fn announce(&self) -> u32 {
        self.admission.with(|pool| pool.announce(self.id))
    }

    /// Whether the batch that arrived was allowed; if so it is to be [`Self::answered`] once.
    pub(super) fn spend(&self, now: Instant) -> bool {
        self.admission.with(|pool| pool.spend(self.id, now))
    }

    /// As many batches have their answer.
    pub(super) fn answered(&self, batches: u32, now: Instant) {
        self.admission.with(|pool| pool.answered(self.id, batches, now));
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let now = Instant::now();
        self.admission.with(|pool| pool.close(self.id, now));
    }
}

struct Pool {
    /// Permits; none while a stream waits.
    free: u32,
    streams: BTreeMap<u64, Stream>,
    streams_max: usize,
    next_id: u64,
    /// Who waits, each once, in the order of their turns.
    turns: VecDeque<u64>,
}

struct Stream {
    wake: Arc<Notify>,
    window: u32,
    /// In the client's hand, each with a permit.
    credit: u32,
    /// In the client's hand, without.
    lent: u32,
    /// Granted and not yet announced; part of credit.
    unannounced: u32,
    /// Sent without credit: the client counts them, so the next grant makes up for them.
    debt: u32,
    /// Not yet answered, each with a permit.
    in_flight: u32,
    /// When it last got credit or spent some.
    moved: Instant,
    waiting: bool,
}

impl Stream {
    fn wants(&self) -> bool {
        self.credit + self.lent + self.in_flight < self.window
    }
}

impl Pool {
    fn new(batches: u32, streams_max: usize) -> Self {
        Self {
            free: batches,
            streams: BTreeMap::new(),
            streams_max,
            next_id: 0,
            turns: VecDeque::new(),
        }
    }

    fn open(&mut self, now: Instant, wake: Arc<Notify>) -> Option<u64> {
        if self.streams.len() >= self.streams_max {
            return None;
        }
        let id = self.next_id;
        self.next_id += 1;
        let stream = Stream {
            wake,
            window: 1,
            credit: 0,
            lent: 0,
            unannounced: 0,
            debt: 0,
            in_flight: 0,
            moved: now,
            waiting: false,
        };
        self.streams.insert(id, stream);
        self.queue(id);
        self.grant(now);
        Some(id)
    }

    fn close(&mut self, id: u64, now: Instant) {
        if let Some(stream) = self.streams.remove(&id) {
            self.free += stream.credit + stream.in_flight;
            self.turns.retain(|waiting| *waiting != id);
            self.grant(now);
        }
    }

    fn announce(&mut self, id: u64) -> u32 {
        self.streams.get_mut(&id).map_or(0, |stream| std::mem::take(&mut stream.unannounced))
    }

    fn spend(&mut self, id: u64, now: Instant) -> bool {
        let Some(stream) = self.streams.get_mut(&id) else { return false };
        let allowed = if stream.credit > 0 {
            stream.credit -= 1;
            true
        } else if stream.lent > 0 {
            stream.lent -= 1;
            let permit = self.free > 0;
            self.free -= u32::from(permit);
            permit
        } else {
            stream.debt = stream.debt.saturating_add(1);
            false
        };
        stream.moved = now;
        if allowed {
            stream.in_flight += 1;
            let left = stream.credit + stream.lent;
            if left == 0 {
                stream.window = (stream.window * 2).min(WINDOW_MAX);
            } else if left > stream.window / 2 {
                stream.window = (stream.window - 1).max(1);
            }
        }
        self.queue(id);
        self.grant(now);
        allowed
    }

    fn answered(&mut self, id: u64, batches: u32, now: Instant) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        let batches = batches.min(stream.in_flight);
        stream.in_flight -= batches;
        self.free += batches;
        self.queue(id);
        self.grant(now);
    }

    fn lend(&mut self, now: Instant) {
        if self.turns.is_empty() {
            return;
        }
        for stream in self.streams.values_mut() {
            if stream.credit > 0 && now.saturating_duration_since(stream.moved) >= IDLE_AFTER {
                self.free += stream.credit;
                stream.lent += std::mem::take(&mut stream.credit);
                stream.window = 1;
            }
        }
        self.grant(now);
    }

    fn queue(&mut self, id: u64) {
        if let Some(stream) = self.streams.get_mut(&id)
            && !stream.waiting
            && stream.wants()
        {
            stream.waiting = true;
            self.turns.push_back(id);
        }
    }

    fn grant(&mut self, now: Instant) {
        while self.free > 0
            && let Some(id) = self.turns.pop_front()
        {
            let Some(stream) = self.streams.get_mut(&id) else { continue };
            stream.waiting = false;
            if stream.wants() {
                self.free -= 1;
                stream.credit += 1;
                stream.unannounced += 1 + std::mem::take(&mut stream.debt);
                stream.moved = now;
                stream.wake.notify_one();
            }
            self.queue(id);
        }
    }
}

#[cfg(test)]
mod tests;
