//! The delivery loop to Elasticsearch: entries of the queue become bulks, one index each, and bulks are sent until each of
//! their documents has its outcome.
//!
//! Two threads: this one reads the queue and makes documents; the other sends. What is between them is bounded in bytes, so
//! an outage stops this thread, and the queue holds what waits.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use naru_proto::batch;
use naru_proto::frame::Frame;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::budget::Budget;
use super::bury::bury_batch;
use super::entry::{Building, Origin, Place, Token};
use super::parked::{Label, Parked, Turn};
use super::send::{Load, Sender};
use super::{Metrics, Supply, Trouble};
use crate::document::{Builder, Documents};
use crate::elasticsearch::bulk::Bulk;
use crate::elasticsearch::client::Client;
use crate::elasticsearch::namespaces;
use crate::elasticsearch::{Index, Indices, Settings};
use crate::queue::{Balance, Lease, Letters, Reader};
use zstd_safe::DCtx;

/// How long a document waits for others to be sent with.
const LINGER: Duration = Duration::from_millis(100);
/// How long an idle loop sleeps before it looks whether it should stop.
const IDLE: Duration = Duration::from_millis(250);
/// The same while a side chain is emptied, whose next entry may be due at any time.
const PARKED_IDLE: Duration = Duration::from_millis(20);
/// Documents made at once.
const OUTPUT_BYTES: usize = 1 << 20;
/// Indices that bulks are collected for at once; a backlog of many days sends the fullest early.
const LANES_MAX: usize = 8;
/// Bulks between the threads: one is ready while others are in flight.
const READY: usize = 1;

/// What the loop works with.
pub(super) struct Parts {
    pub(super) supply: Box<dyn Supply>,
    pub(super) builder: Builder,
    pub(super) settings: Settings,
    pub(super) client: Client,
    pub(super) indices: Indices,
    pub(super) letters: Letters,
    pub(super) parked: Parked,
    pub(super) metrics: Metrics,
    pub(super) trouble: Trouble,
}

/// See the module. Runs until `stop` is set and everything is delivered, or `grace` has passed after that.
pub(super) fn run(parts: Parts, stop: &AtomicBool, grace: Duration) {
    let Parts { supply, builder, settings, client, indices, letters, parked, metrics, trouble } =
        parts;
    let overwrites = settings.overwrite;
    // Those in flight, one ready, one being filled.
    let budget = Budget::new(settings.bulk_bytes * (settings.concurrency + 2));
    let sender = Arc::new(Sender::new(
        settings,
        client,
        indices.clone(),
        letters.clone(),
        parked.clone(),
        metrics.clone(),
        trouble.clone(),
    ));
    let (ready, loads) = mpsc::channel(READY);
    let sending = {
        let sender = Arc::clone(&sender);
        std::thread::Builder::new().name("bulks".to_owned()).spawn(move || send_all(&sender, loads))
    };
    let sending = match sending {
        Ok(sending) => sending,
        Err(error) => {
            tracing::error!(%error, "cannot start a thread");
            return;
        }
    };
    let mut making = Making {
        supply,
        builder,
        indices,
        sender,
        letters,
        parked: parked.clone(),
        parked_readers: BTreeMap::new(),
        balance: Balance::default(),
        metrics,
        trouble,
        overwrites,
        budget,
        ready: Some(ready),
        context: DCtx::create(),
        documents: Documents::default(),
        lanes: BTreeMap::new(),
        oldest: None,
        deadline: None,
        grace,
    };
    making.run(stop);
    making.finish();
    drop(making);
    // A panic of the other thread ends this one.
    if sending.join().is_err() {
        std::panic::resume_unwind(Box::new("the bulks' thread panicked"));
    }
    parked.close();
}

/// Sends what comes, each bulk by a task of its own; ends when nothing comes any more and all is sent.
fn send_all(sender: &Arc<Sender>, mut loads: mpsc::Receiver<Message>) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "cannot start the runtime of the bulks");
            return;
        }
    };
    runtime.block_on(async {
        let mut tasks = JoinSet::new();
        loop {
            tokio::select! {
                message = loads.recv() => match message {
                    Some(Message::Load(load)) => {
                        let sender = Arc::clone(sender);
                        tasks.spawn(async move { sender.deliver(load).await });
                    }
                    Some(Message::Abandon) => return,
                    None => break,
                },
                Some(ended) = tasks.join_next() => resume(ended),
            }
        }
        while let Some(ended) = tasks.join_next().await {
            resume(ended);
        }
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
}

/// A task that panicked has documents without an outcome: this process must not go on.
fn resume(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        std::panic::resume_unwind(error.into_panic());
    }
}

enum Message {
    Load(Load),
    /// Nothing more is sent; what is in flight goes back to the queue.
    Abandon,
}

/// Documents that are sent together: of one index, and of one side chain or of none.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Lane {
    chain: Option<Label>,
    index: Index,
}

/// The thread that makes documents.
struct Making {
    supply: Box<dyn Supply>,
    builder: Builder,
    indices: Indices,
    sender: Arc<Sender>,
    letters: Letters,
    parked: Parked,
    parked_readers: BTreeMap<Label, Reader>,
    /// What is new first, what was parked second.
    balance: Balance,
    metrics: Metrics,
    trouble: Trouble,
    /// Documents replace those that are there.
    overwrites: bool,
    budget: Budget,
    ready: Option<mpsc::Sender<Message>>,
    context: DCtx<'static>,
    documents: Documents,
    lanes: BTreeMap<Lane, Bulk<Token>>,
    /// Since when a document waits in a lane.
    oldest: Option<Instant>,
    /// Set when the loop was asked to stop.
    deadline: Option<Instant>,
    grace: Duration,
}

/// The loop must end.
struct Stop;

impl Making {
    fn run(&mut self, stop: &AtomicBool) {
        loop {
            if self.is_over(stop) {
                return;
            }
            self.parked.press(self.supply.is_pressed());
            let Ok(took_parked) = self.take_parked(stop) else { return };
            let linger = self.oldest.map_or(IDLE, |oldest| LINGER.saturating_sub(oldest.elapsed()));
            let wait = match (took_parked || self.balance.is_ahead(), &self.parked_readers) {
                (true, _) => Duration::ZERO,
                (false, none) if none.is_empty() => linger,
                (false, _) => linger.min(PARKED_IDLE),
            };
            let lease = self.supply.next(wait);
            let idle = lease.is_none() && !took_parked;
            if lease.is_none() {
                self.balance.rest();
            }
            if let Some(lease) = lease
                && self.take(lease, None, stop).is_err()
            {
                return;
            }
            let due = self.oldest.is_some_and(|oldest| oldest.elapsed() >= LINGER);
            if due && self.send_lanes(stop).is_err() {
                return;
            }
            let drained = idle && self.lanes.is_empty() && self.budget.is_unused();
            if drained && (self.deadline.is_some() || self.supply.is_over()) {
                return;
            }
        }
    }

    /// Makes documents of the next entry of a side chain, if it is one's turn; says whether it did.
    fn take_parked(&mut self, stop: &AtomicBool) -> Result<bool, Stop> {
        // What is new comes first, and a stop does not wait for what is parked.
        if self.balance.is_ahead() || self.deadline.is_some() {
            return Ok(false);
        }
        match self.parked.turn(Instant::now()) {
            None => {
                self.parked_readers.clear();
                self.balance.rest();
                Ok(false)
            }
            Some(Turn::Delete(label)) => {
                self.parked_readers.remove(&label);
                self.parked.delete(&label);
                Ok(false)
            }
            Some(Turn::Send(label)) => {
                if !self.parked_readers.contains_key(&label)
                    && let Some(reader) = self.parked.reader(&label)
                {
                    self.parked_readers.insert(Arc::clone(&label), reader);
                }
                let reader = self.parked_readers.get_mut(&label);
                let Some(lease) = reader.and_then(|reader| reader.next(Duration::ZERO)) else {
                    return Ok(false);
                };
                self.take(lease, Some(label), stop)?;
                Ok(true)
            }
        }
    }

    fn is_over(&mut self, stop: &AtomicBool) -> bool {
        if self.deadline.is_none() && stop.load(Ordering::Acquire) {
            self.deadline = Some(Instant::now() + self.grace);
        }
        self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// Makes an entry's documents.
    fn take(&mut self, lease: Lease, chain: Option<Label>, stop: &AtomicBool) -> Result<(), Stop> {
        self.oldest.get_or_insert_with(Instant::now);
        let building = Building::new(lease);
        for origin in building.origins() {
            let Some(stored) = origin.stored() else { continue };
            self.balance.took(chain.is_some(), u64::from(stored.raw_bytes));
            match batch::frames(&mut self.context, &stored.body, stored.raw_bytes as usize) {
                Ok(frames) => {
                    for (number, frame) in (0..).zip(&frames) {
                        self.take_frame(frame, number, &origin, &chain, stop)?;
                    }
                }
                Err(error) => self.bury(stored, &error, stop)?,
            }
        }
        building.finish();
        self.metrics.marked(self.builder.tally());
        Ok(())
    }

    fn bury(
        &mut self,
        stored: &crate::queue::StoredBatch,
        error: &batch::BatchError,
        stop: &AtomicBool,
    ) -> Result<(), Stop> {
        while let Err(failed) = bury_batch(&self.letters, stored, error) {
            self.trouble.tell(Some(format!("dead letters cannot be kept: {failed}")));
            if self.is_over(stop) {
                return Err(Stop);
            }
            std::thread::sleep(IDLE);
        }
        self.metrics.count(0, 0, u64::from(stored.records));
        Ok(())
    }

    fn take_frame(
        &mut self,
        frame: &Frame,
        number: u32,
        origin: &Arc<Origin>,
        chain: &Option<Label>,
        stop: &AtomicBool,
    ) -> Result<(), Stop> {
        let mut records = (0..).zip(frame.records());
        let namespace = self.indices.place(&frame.source.writer);
        if namespace == namespaces::Place::Overflow {
            self.metrics.overflow.inc_by(frame.record_count() as u64);
        }
        let mut next = Some(0);
        while let Some(first) = next {
            let mut documents = std::mem::take(&mut self.documents);
            documents.clear();
            let progress = self.builder.append(frame, first, OUTPUT_BYTES, &mut documents);
            // One document a record, in order: one without its record would be lost.
            assert!(first + documents.len() <= frame.record_count(), "more documents than records");
            for document in documents.iter() {
                let Some((place, record)) = records.next() else { break };
                let place = Place { frame: number, record: place };
                let record = frame.bytes.slice_ref(record.raw);
                let index = self.indices.index(namespace, document.id_time);
                let lane = Lane { chain: chain.clone(), index };
                let after = self.lanes.get(&lane).map_or(0, |bulk| bulk.bytes_with(&document));
                if after > self.sender.ceiling() {
                    self.send_lane(&lane, stop)?;
                }
                let overwrites = self.overwrites;
                let bulk = self.lanes.entry(lane).or_insert_with(|| Bulk::new(index, overwrites));
                bulk.push(&document, record, origin.token(place));
            }
            self.documents = documents;
            while self.lanes.len() > LANES_MAX || self.lane_bytes() > self.sender.ceiling() {
                let fullest = self.lanes.iter().max_by_key(|(_, bulk)| bulk.bytes());
                let Some(lane) = fullest.map(|(lane, _)| lane.clone()) else { break };
                self.send_lane(&lane, stop)?;
            }
            next = progress.next_record;
        }
        Ok(())
    }

    /// What waits in all lanes: as much as one bulk, for which the budget has room.
    fn lane_bytes(&self) -> usize {
        self.lanes.values().map(Bulk::bytes).sum()
    }

    fn send_lanes(&mut self, stop: &AtomicBool) -> Result<(), Stop> {
        self.oldest = None;
        while let Some(lane) = self.lanes.keys().next().cloned() {
            self.send_lane(&lane, stop)?;
        }
        Ok(())
    }

    /// Hands a bulk over, as soon as there is room for it.
    fn send_lane(&mut self, lane: &Lane, stop: &AtomicBool) -> Result<(), Stop> {
        let Some(bulk) = self.lanes.remove(lane) else { return Ok(()) };
        let share = loop {
            if let Some(share) = self.budget.take(bulk.bytes(), IDLE) {
                break share;
            }
            self.parked.press(true);
            if self.is_over(stop) {
                return Err(Stop);
            }
        };
        let Some(ready) = &self.ready else { return Err(Stop) };
        let load = Load { bulk, share, chain: lane.chain.clone() };
        ready.blocking_send(Message::Load(load)).map_err(|_| Stop)
    }

    /// What is in flight at the deadline goes back to the queue, on the disk.
    fn finish(&mut self) {
        self.lanes.clear();
        let ready = self.ready.take();
        if let Some(ready) = ready
            && !self.budget.is_unused()
        {
            // Whoever does not listen any more has ended.
            ready.blocking_send(Message::Abandon).ok();
        }
    }
}
