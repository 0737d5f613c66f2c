//! Delivery: entries of the queue become documents, documents go to their destination, and an entry is completed when
//! each of its documents has an outcome that is durable.
//!
//! It runs on a thread of its own. When the destination fails, entries stay or are given back, and it tries again, for ever,
//! with growing pauses: the queue holds what waits. Nothing is dropped here; what can never be taken becomes a dead letter.
//! This file is the loop to the embedded store.
//!
//! The way to Elasticsearch: `supply` gives an entry, whose documents `to_elasticsearch` gathers into bulks under a `budget` of
//! memory, each document with its right to an outcome (`entry`, `part`). `prepare` asks the server what it is, `pace` says how
//! much it may have, `send` sends, `outcome` reads the answers. What will never be taken is buried (`bury`); an index that
//! takes nothing is `held` and then `parked`, its documents written again by `repack`, and asked again as `asking` says.

mod asking;
mod budget;
mod bury;
mod entry;
mod held;
mod metrics;
mod outcome;
mod pace;
mod parked;
mod part;
mod prepare;
mod repack;
mod send;
mod supply;
mod to_elasticsearch;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use naru_proto::batch;
use naru_proto::frame::Frame;
use naru_proto::ids::ClusterKey;
use zstd_safe::DCtx;

use crate::document::{Builder, Document, Documents};
use crate::elasticsearch::client::Client;
use crate::elasticsearch::{Indices, Settings};
use crate::queue::{Content, Lease, Letter, Letters, StoredBatch};
use crate::store::{AddOutcome, Store};

pub use metrics::Metrics;
pub(crate) use parked::ChainStats;
pub use parked::{Parked, ParkedConfig};
pub use supply::Supply;

use bury::bury_batch;

/// How long the oldest document added waits to be made durable and visible; a commit costs tens of milliseconds.
const COMMIT_INTERVAL: Duration = Duration::from_millis(500);
/// Documents built at once: bounds the memory of a batch whose documents are many times its size.
const OUTPUT_BYTES: usize = 4 << 20;
/// Entries open at once, less than the queue leases.
const OPEN_ENTRIES: usize = 12;
const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// Where documents go.
pub enum Destination {
    /// To the embedded store.
    Store(Arc<Store>),
    /// To Elasticsearch or OpenSearch.
    Elasticsearch(Box<Settings>, Client, Indices),
    /// They are built and forgotten: what the rest costs is measured so.
    Discard,
}

/// Why the last attempt to deliver failed, for `/readyz`.
#[derive(Debug, Clone, Default)]
pub struct Trouble {
    reason: Arc<Mutex<Option<String>>>,
}

impl Trouble {
    /// None while delivery works.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        self.reason.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, reason: Option<String>) {
        *self.reason.lock().unwrap_or_else(PoisonError::into_inner) = reason;
    }

    /// Logs it too, when it is another than before.
    fn tell(&self, reason: Option<String>) {
        let mut known = self.reason.lock().unwrap_or_else(PoisonError::into_inner);
        if *known == reason {
            return;
        }
        match &reason {
            Some(reason) => tracing::warn!(reason, "delivery waits; the queue holds what comes"),
            None => tracing::info!("delivery goes on"),
        }
        *known = reason;
    }
}

/// See the module.
pub struct Delivery {
    supply: Box<dyn Supply>,
    builder: Builder,
    destination: Destination,
    letters: Letters,
    parked: Parked,
    metrics: Metrics,
    trouble: Trouble,
    context: DCtx<'static>,
    documents: Documents,
    /// Added to the store, not yet durable.
    open: Vec<Lease>,
    open_since: Option<Instant>,
    counts: Counts,
    pause: Duration,
}

/// Outcomes that count once they are durable.
#[derive(Debug, Default, Clone, Copy)]
struct Counts {
    indexed: u64,
    duplicates: u64,
    dead: u64,
}

/// Why an entry could not be taken now.
#[derive(Debug, thiserror::Error)]
enum DeliverError {
    #[error("the store does not take documents")]
    Store(#[from] crate::store::StoreError),
    #[error("the dead letters cannot be kept")]
    Letters(#[from] crate::queue::LetterError),
}

impl Delivery {
    /// Of what the supply leases.
    #[must_use]
    pub fn new(
        supply: impl Supply + 'static,
        key: ClusterKey,
        destination: Destination,
        letters: Letters,
        metrics: Metrics,
        trouble: Trouble,
    ) -> Self {
        Self::of(Box::new(supply), key, destination, letters, metrics, trouble)
    }

    /// The same of a boxed one.
    pub(crate) fn of(
        supply: Box<dyn Supply>,
        key: ClusterKey,
        destination: Destination,
        letters: Letters,
        metrics: Metrics,
        trouble: Trouble,
    ) -> Self {
        Self {
            supply,
            builder: Builder::new(key),
            destination,
            letters,
            parked: Parked::never(),
            metrics,
            trouble,
            context: DCtx::create(),
            documents: Documents::default(),
            open: Vec::new(),
            open_since: None,
            counts: Counts::default(),
            pause: PAUSE_MIN,
        }
    }

    /// Where documents go whose index takes nothing; without it they wait in memory.
    #[must_use]
    pub fn parking(self, parked: Parked) -> Self {
        Self { parked, ..self }
    }

    /// Runs until `stop` is set and the queue is empty or `grace` has passed after that, or until the supply is over and all of
    /// it has its outcome.
    pub fn run(self, stop: &AtomicBool, grace: Duration) {
        match self.destination {
            Destination::Elasticsearch(settings, client, indices) => {
                let parts = to_elasticsearch::Parts {
                    supply: self.supply,
                    builder: self.builder,
                    settings: *settings,
                    client,
                    indices,
                    letters: self.letters,
                    parked: self.parked,
                    metrics: self.metrics,
                    trouble: self.trouble,
                };
                to_elasticsearch::run(parts, stop, grace);
            }
            Destination::Store(_) | Destination::Discard => self.run_here(stop, grace),
        }
    }

    fn run_here(mut self, stop: &AtomicBool, grace: Duration) {
        let mut deadline = None;
        loop {
            if stop.load(Ordering::Acquire) {
                let deadline = *deadline.get_or_insert_with(|| Instant::now() + grace);
                if Instant::now() >= deadline {
                    break;
                }
            }
            let wait = self
                .open_since
                .map_or(COMMIT_INTERVAL, |since| COMMIT_INTERVAL.saturating_sub(since.elapsed()));
            let lease = self.supply.next(wait);
            let idle = lease.is_none();
            let result = lease.map_or(Ok(()), |lease| self.take(lease));
            let due = self.open.len() >= OPEN_ENTRIES
                || self.open_since.is_some_and(|since| since.elapsed() >= COMMIT_INTERVAL);
            let result = match result {
                Ok(()) if due => self.commit(),
                result => result,
            };
            match result {
                Ok(())
                    if idle
                        && self.open.is_empty()
                        && (deadline.is_some() || self.supply.is_over()) =>
                {
                    break;
                }
                Ok(()) => {}
                Err(error) => self.failed(&error),
            }
        }
        if let Err(error) = self.commit() {
            self.failed(&error);
        }
    }

    /// Adds an entry's documents to the store.
    fn take(&mut self, lease: Lease) -> Result<(), DeliverError> {
        self.open_since.get_or_insert_with(Instant::now);
        for stored in lease.batches() {
            match batch::frames(&mut self.context, &stored.body, stored.raw_bytes as usize) {
                Ok(frames) => {
                    for frame in &frames {
                        self.take_frame(frame, stored)?;
                    }
                }
                Err(error) => {
                    bury_batch(&self.letters, stored, &error)?;
                    self.counts.dead += u64::from(stored.records);
                }
            }
        }
        self.open.push(lease);
        Ok(())
    }

    fn take_frame(&mut self, frame: &Frame, stored: &StoredBatch) -> Result<(), DeliverError> {
        let mut next = Some(0);
        while let Some(first) = next {
            let mut documents = std::mem::take(&mut self.documents);
            documents.clear();
            let progress = self.builder.append(frame, first, OUTPUT_BYTES, &mut documents);
            let added = self.add(frame, first, &documents, stored);
            self.documents = documents;
            added?;
            next = progress.next_record;
        }
        Ok(())
    }

    fn add(
        &mut self,
        frame: &Frame,
        first: usize,
        documents: &Documents,
        stored: &StoredBatch,
    ) -> Result<(), DeliverError> {
        let Destination::Store(store) = &self.destination else {
            self.counts.indexed += documents.len() as u64;
            return Ok(());
        };
        let outcomes = store.add(documents)?;
        // One outcome a document: a missing one would complete an entry whose document is nowhere.
        assert_eq!(outcomes.len(), documents.len(), "the store lost count of its documents");
        for (place, (document, outcome)) in documents.iter().zip(outcomes).enumerate() {
            match outcome {
                AddOutcome::Indexed => self.counts.indexed += 1,
                AddOutcome::Duplicate => self.counts.duplicates += 1,
                AddOutcome::Refused(refusal) => {
                    let reason = refusal.to_string();
                    self.letters.append(&letter(
                        &document,
                        frame,
                        first + place,
                        stored,
                        reason,
                    ))?;
                    self.counts.dead += 1;
                }
            }
        }
        Ok(())
    }

    /// Makes what was added durable and completes its entries.
    fn commit(&mut self) -> Result<(), DeliverError> {
        if let Destination::Store(store) = &self.destination {
            store.commit()?;
        }
        self.open.drain(..).for_each(Lease::complete);
        self.open_since = None;
        self.pause = PAUSE_MIN;
        self.trouble.set(None);
        let counts = std::mem::take(&mut self.counts);
        self.metrics.count(counts.indexed, counts.duplicates, counts.dead);
        self.metrics.marked(self.builder.tally());
        Ok(())
    }

    /// Gives everything back that is not durable, and waits.
    fn failed(&mut self, error: &DeliverError) {
        let reason = sentence(error);
        tracing::error!(reason, "delivery failed; the queue holds what waits");
        self.trouble.set(Some(reason));
        self.metrics.failures.inc();
        self.open.clear();
        self.open_since = None;
        self.counts = Counts::default();
        std::thread::sleep(self.pause);
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        // The store says once what it lost since its last commit; all of that comes again.
        if let Destination::Store(store) = &self.destination {
            store.commit().ok();
        }
    }
}

/// An error and its causes in one line.
fn sentence(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn letter(
    document: &Document<'_>,
    frame: &Frame,
    place: usize,
    stored: &StoredBatch,
    reason: String,
) -> Letter {
    let content = match frame.part(place..place + 1) {
        Some(frame) => Content::Frame(Box::new(frame)),
        None => Content::Bytes {
            bytes: bytes::Bytes::new(),
            file_id: document.file.0,
            offset: document.offset,
        },
    };
    Letter {
        content,
        node: stored.node.clone(),
        index: document.index().to_string(),
        document_id: document.id.to_string(),
        reason,
        attempts: 1,
        first_ms: stored.received_ms,
        last_ms: crate::clock::now_ms(),
    }
}
