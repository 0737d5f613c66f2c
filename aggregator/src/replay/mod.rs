//! Delivers again: what was delivered and is still on the disk, after an index was lost; dead letters, after what was wrong with
//! them was put right.
//!
//! A replay is a delivery of its own beside the live one, with one bulk in flight, so that the live one keeps its place; it runs as
//! long as somebody listens to it. Document ids are the same as before, so whatever was delivered already is there already, and a
//! replay that was cut off is simply done again, from where it was or from its beginning.
//!
//! [`select`] says which records (pure), [`entries`] and [`letters`] supply the delivery, this file starts and stops them.

mod entries;
mod letters;
mod select;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use naru_proto::ids::ClusterKey;
use serde::{Deserialize, Serialize};

use crate::deliver::{Delivery, Destination, Metrics, Supply, Trouble};
use crate::elasticsearch::client::Client;
use crate::elasticsearch::{Indices, Settings};
use crate::queue::{Letter, LetterId, Letters, Queue, Sequence};

use entries::EntrySupply;
use letters::{LetterRun, LetterSupply};
pub(crate) use select::Selection;

/// What may be on its way at once: two bulks and what they are made of.
const OUT_MAX_BYTES: usize = 8 << 20;
const OUT_MAX_ENTRIES: usize = 8;
/// A letter is a lease of its own.
const OUT_MAX_LETTERS: usize = 1000;
/// Bulks in flight: the live delivery has four by default.
const CONCURRENCY: usize = 1;

/// What is asked of a replay of the queue.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct EntriesAsked {
    /// Which records.
    pub(crate) selection: Selection,
    /// Documents replace those that are there.
    pub(crate) overwrite: bool,
    /// Nothing is delivered, only counted.
    pub(crate) dry_run: bool,
    /// To go on after this entry.
    pub(crate) after: u64,
}

/// How a replay stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Report {
    /// It has ended.
    pub(crate) done: bool,
    /// It has ended with everything that was asked for.
    pub(crate) complete: bool,
    /// Everything up to this entry is done.
    pub(crate) through: u64,
    /// The last entry that there was when it began.
    pub(crate) of: u64,
    /// Entries, or letters, that were read and asked for.
    pub(crate) taken: u64,
    /// Records in them.
    pub(crate) records: u64,
    /// Documents that were indexed.
    pub(crate) indexed: u64,
    /// Those that were there already.
    pub(crate) there: u64,
    /// Those that can still not be indexed.
    pub(crate) dead: u64,
    /// Letters that hold not enough to be tried again.
    pub(crate) cannot: u64,
    /// Entries that gave way before they were read.
    pub(crate) gone: u64,
    /// Entries that cannot be read.
    pub(crate) lost: u64,
    /// Why nothing is delivered now.
    pub(crate) trouble: Option<String>,
    /// Why it ended.
    pub(crate) error: Option<String>,
}

/// Counted while it runs.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    through: AtomicU64,
    of: AtomicU64,
    taken: AtomicU64,
    records: AtomicU64,
    cannot: AtomicU64,
    gone: AtomicU64,
    lost: AtomicU64,
    complete: AtomicBool,
    done: AtomicBool,
    error: Mutex<Option<String>>,
}

impl Counts {
    fn fail(&self, error: String) {
        *self.error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }
}

/// Why there is no replay.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReplayError {
    #[error("another replay runs: one at a time")]
    Busy,
    #[error(
        "this aggregator delivers to its own store, which keeps what it has: nothing is replayed into it"
    )]
    NotToElasticsearch,
    #[error("cannot start a thread: {0}")]
    Thread(#[from] std::io::Error),
}

/// Where documents are replayed to.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) settings: Settings,
    pub(crate) client: Client,
    pub(crate) indices: Indices,
    pub(crate) key: ClusterKey,
}

/// Starts replays, one at a time. A clone is the same.
#[derive(Clone)]
pub(crate) struct Replayer {
    queue: Arc<Queue>,
    letters: Letters,
    target: Option<Target>,
    is_busy: Arc<AtomicBool>,
}

/// A replay; dropping it stops it.
pub(crate) struct Running {
    counts: Arc<Counts>,
    metrics: Metrics,
    trouble: Trouble,
    stop: Arc<AtomicBool>,
}

/// No replay runs any more when it is dropped.
struct Turn(Arc<AtomicBool>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl Replayer {
    pub(crate) fn new(queue: Arc<Queue>, letters: Letters, target: Option<Target>) -> Self {
        Self { queue, letters, target, is_busy: Arc::default() }
    }

    /// Delivers entries again.
    pub(crate) fn entries(&self, asked: EntriesAsked) -> Result<Running, ReplayError> {
        let target = self.target.clone().ok_or(ReplayError::NotToElasticsearch)?;
        let turn = self.turn()?;
        let running = Running::new();
        let delivered = self.queue.delivered(Sequence(asked.after));
        running.counts.of.store(delivered.through().0, Ordering::Relaxed);
        running.counts.through.store(asked.after, Ordering::Relaxed);
        let EntriesAsked { selection, overwrite, dry_run, .. } = asked;
        let (counts, stop) = (Arc::clone(&running.counts), Arc::clone(&running.stop));
        let mut supply = EntrySupply::new(delivered, selection, Arc::clone(&counts), stop);
        let delivering = self.delivering(target, overwrite, &running);
        tracing::info!(of = supply.of(), overwrite, dry_run, "a replay of the queue begins");
        running.run(turn, move || {
            if dry_run {
                while supply.count() {}
            } else {
                let apart = supply.apart();
                delivering(Box::new(supply));
                counts.complete.fetch_and(apart.lowest().is_none(), Ordering::Relaxed);
            }
        })
    }

    /// Tries dead letters again that are asked for.
    pub(crate) fn letters(
        &self,
        is_asked: impl Fn(LetterId, &Letter) -> bool + Send + 'static,
        dry_run: bool,
    ) -> Result<Running, ReplayError> {
        let target = self.target.clone().ok_or(ReplayError::NotToElasticsearch)?;
        let turn = self.turn()?;
        let running = Running::new();
        let counts = Arc::clone(&running.counts);
        let run = Arc::new(LetterRun::new(self.letters.clone(), Arc::clone(&running.counts)));
        let stop = Arc::clone(&running.stop);
        let mut supply = LetterSupply::new(Arc::clone(&run), Box::new(is_asked), stop);
        let delivering = self.delivering(target, false, &running);
        tracing::info!(dry_run, "a replay of dead letters begins");
        running.run(turn, move || {
            if dry_run {
                while supply.count() {}
            } else {
                delivering(Box::new(supply));
                run.settle();
                counts.complete.fetch_and(run.is_empty(), Ordering::Relaxed);
            }
        })
    }

    fn turn(&self) -> Result<Turn, ReplayError> {
        let was_busy = self.is_busy.swap(true, Ordering::AcqRel);
        if was_busy { Err(ReplayError::Busy) } else { Ok(Turn(Arc::clone(&self.is_busy))) }
    }

    fn delivering(
        &self,
        target: Target,
        overwrite: bool,
        running: &Running,
    ) -> impl FnOnce(Box<dyn Supply>) + Send + use<> {
        let Target { settings, client, indices, key } = target;
        let settings = Settings { overwrite, concurrency: CONCURRENCY, ..settings };
        let destination = Destination::Elasticsearch(Box::new(settings), client, indices);
        let (letters, metrics) = (self.letters.clone(), running.metrics.clone());
        let (trouble, stop) = (running.trouble.clone(), Arc::clone(&running.stop));
        move |supply| {
            let delivery = Delivery::of(supply, key, destination, letters, metrics, trouble);
            // What is on its way when it is stopped is not waited for: it is not counted as done.
            delivery.run(&stop, Duration::ZERO);
        }
    }
}

impl Running {
    fn new() -> Self {
        Self {
            counts: Arc::default(),
            metrics: Metrics::default(),
            trouble: Trouble::default(),
            stop: Arc::default(),
        }
    }

    fn run(self, turn: Turn, body: impl FnOnce() + Send + 'static) -> Result<Self, ReplayError> {
        let counts = Arc::clone(&self.counts);
        std::thread::Builder::new().name("replay".to_owned()).spawn(move || {
            /// Also when it panics.
            struct Done(Arc<Counts>);
            impl Drop for Done {
                fn drop(&mut self) {
                    self.0.done.store(true, Ordering::Release);
                }
            }
            // In this order: who hears that it is done may begin another.
            let _done = Done(counts);
            let _turn = turn;
            body();
        })?;
        Ok(self)
    }

    /// How it stands.
    pub(crate) fn report(&self) -> Report {
        let counts = &self.counts;
        let done = counts.done.load(Ordering::Acquire);
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let (indexed, there, dead) = self.metrics.outcomes();
        let error = counts.error.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Report {
            done,
            complete: done && error.is_none() && counts.complete.load(Ordering::Relaxed),
            through: get(&counts.through),
            of: get(&counts.of),
            taken: get(&counts.taken),
            records: get(&counts.records),
            indexed,
            there,
            dead,
            cannot: get(&counts.cannot),
            gone: get(&counts.gone),
            lost: get(&counts.lost),
            trouble: self.trouble.reason(),
            error,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        let report = self.report();
        tracing::info!(?report, "a replay ends");
    }
}
