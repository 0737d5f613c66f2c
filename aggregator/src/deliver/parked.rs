//! Side chains: where documents lie durably whose index takes nothing, so that they cost the others nothing.
//!
//! A holder, and the place where chains are made and deleted. Each is a queue of its own (docs/decisions/0007): what is
//! appended is durable on return, and it is leased, completed and deleted by segments as in the queue. It is named by its
//! index, made when the first document is parked, and deleted when the last one has its outcome. What a chain and all of
//! them may take of the disk is bounded; when that is taken, documents stay where they were: nothing is dropped.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::Metrics;
use super::asking::Asking;
use crate::queue::{
    AppendError, Discarded, Full, OpenError, Quarantined, Queue, QueueConfig, Reader, StoredBatch,
};

/// Indices that may be parked at once: each has two threads and an open segment. Days that are closed at once are those
/// of a backlog; more of them wait their turn.
const CHAINS_MAX: usize = 16;
/// Entries of a chain on their way at once. One chain is emptied at a time, and the others ask with one.
const OPEN_ENTRIES: usize = 12;

/// The name of an index, and of its chain's directory.
pub(super) type Label = Arc<str>;

/// Settings of the side chains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParkedConfig {
    /// The directory of all chains; made when it is needed.
    pub dir: PathBuf,
    /// What all of them may take of the disk.
    pub max_bytes: u64,
    /// What one may take of it.
    pub index_max_bytes: u64,
    /// How long documents wait in memory before they are parked.
    pub after: Duration,
    /// See [`QueueConfig::reserve_percent`].
    pub reserve_percent: u8,
}

impl ParkedConfig {
    /// The defaults, for chains in `dir`.
    ///
    /// An index of 5,000 lines a second stores about 1 GiB an hour: one may be blocked for two hours, and so may the next
    /// day's, which begins meanwhile.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            max_bytes: 4 << 30,
            index_max_bytes: 2 << 30,
            after: Duration::from_secs(30),
            reserve_percent: 20,
        }
    }

    fn chain(&self, label: &str) -> QueueConfig {
        QueueConfig {
            max_bytes: self.index_max_bytes,
            reserve_percent: self.reserve_percent,
            // The queue itself has one.
            ballast_bytes: 0,
            max_leases: OPEN_ENTRIES,
            in_order: true,
            ..QueueConfig::new(self.dir.join(label))
        }
    }
}

/// Why documents cannot be parked: they stay where they are.
#[derive(Debug, thiserror::Error)]
pub(super) enum ParkError {
    #[error("nothing may be parked")]
    Never,
    #[error("what is parked of it takes all it may of the disk")]
    Index,
    #[error("what is parked takes all it may of the disk")]
    All,
    #[error("the disk has less than its reserve left")]
    Disk,
    #[error("the disk hangs")]
    Hanging,
    #[error("too many indices are parked")]
    TooMany,
    #[error("its chain is being deleted")]
    Closing,
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Append(#[from] AppendError),
    #[error(transparent)]
    Repack(#[from] super::repack::RepackError),
}

/// A chain in numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ChainStats {
    pub(crate) index: String,
    /// Entries that are not delivered.
    pub(crate) entries: u64,
    pub(crate) disk_bytes: u64,
    /// When its oldest segment began, milliseconds since 1970.
    pub(crate) oldest_ms: Option<i64>,
}

/// The side chains. A clone is the same.
#[derive(Debug, Clone)]
pub struct Parked {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// None: nothing is ever parked.
    config: Option<ParkedConfig>,
    chains: Mutex<BTreeMap<Label, Chain>>,
    /// What waits in memory stops others.
    is_pressed: AtomicBool,
    pressed: Notify,
}

struct Chain {
    /// None while it is deleted.
    queue: Option<Arc<Queue>>,
    asking: Asking,
    /// Who is about to append.
    entered: usize,
}

/// The right to append to a chain, which is not deleted meanwhile.
pub(super) struct Entered {
    inner: Arc<Inner>,
    label: Label,
    queue: Arc<Queue>,
}

/// What the reading thread shall do for a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Turn {
    /// Send its next entry.
    Send(Label),
    /// All of it is delivered.
    Delete(Label),
}

impl Parked {
    /// Nothing is parked, ever.
    pub(crate) fn never() -> Self {
        Self::of(None, BTreeMap::new())
    }

    /// Opens the chains that an earlier process has left. Blocking.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(config: ParkedConfig) -> Result<Self, OpenError> {
        let mut chains = BTreeMap::new();
        for label in found(&config.dir)? {
            let (queue, opened) = Queue::open(config.chain(&label))?;
            tracing::info!(
                index = label,
                entries = opened.entries,
                "documents that an earlier run has parked; the index is asked for them"
            );
            let asking = Asking::at_once(Instant::now());
            let chain = Chain { queue: Some(Arc::new(queue)), asking, entered: 0 };
            chains.insert(Label::from(label), chain);
        }
        Ok(Self::of(Some(config), chains))
    }

    fn of(config: Option<ParkedConfig>, chains: BTreeMap<Label, Chain>) -> Self {
        let inner = Inner {
            config,
            chains: Mutex::new(chains),
            is_pressed: AtomicBool::new(false),
            pressed: Notify::new(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// How long documents wait in memory; None when they may not be parked.
    pub(super) fn after(&self) -> Option<Duration> {
        self.inner.config.as_ref().map(|config| config.after)
    }

    /// Whether new documents of the index go to its chain.
    pub(super) fn is_parked(&self, label: &str) -> bool {
        self.inner.lock().get(label).is_some_and(|chain| !chain.asking.is_taking())
    }

    /// Enters a chain, made when there is none. Blocking; nobody sees the chains while one is made, which is rare.
    pub(super) fn enter(&self, label: &str) -> Result<Entered, ParkError> {
        let config = self.inner.config.as_ref().ok_or(ParkError::Never)?;
        let mut chains = self.inner.lock();
        if disk_bytes(&chains) >= config.max_bytes {
            return Err(ParkError::All);
        }
        if !chains.contains_key(label) {
            if !is_name(label) {
                return Err(ParkError::Never);
            }
            if chains.len() >= CHAINS_MAX {
                return Err(ParkError::TooMany);
            }
            let (queue, _) = Queue::open(config.chain(label))?;
            let asking = Asking::later(Instant::now());
            let chain = Chain { queue: Some(Arc::new(queue)), asking, entered: 0 };
            chains.insert(Label::from(label), chain);
        }
        let (label, _) = chains.get_key_value(label).ok_or(ParkError::Closing)?;
        let label = Arc::clone(label);
        let chain = chains.get_mut(&label).ok_or(ParkError::Closing)?;
        let queue = Arc::clone(chain.queue.as_ref().ok_or(ParkError::Closing)?);
        match queue.stats().full {
            Some(Full::Queue) => return Err(ParkError::Index),
            Some(Full::Disk) => return Err(ParkError::Disk),
            Some(Full::Hanging) => return Err(ParkError::Hanging),
            None => {}
        }
        chain.entered += 1;
        Ok(Entered { inner: Arc::clone(&self.inner), label, queue })
    }

    /// The index took documents: its chain is emptied, and new ones go to it.
    pub(super) fn accepted(&self, label: &str) {
        if let Some(chain) = self.inner.lock().get_mut(label) {
            chain.asking.accepted();
        }
    }

    /// The index took none.
    pub(super) fn refused(&self, label: &str, fraction: f64) {
        if let Some(chain) = self.inner.lock().get_mut(label) {
            chain.asking.refused(Instant::now(), fraction);
        }
    }

    /// What is to be done now; one chain is emptied at a time.
    pub(super) fn turn(&self, now: Instant) -> Option<Turn> {
        let mut chains = self.inner.lock();
        let mut emptied = None;
        for (label, chain) in chains.iter_mut() {
            let Some(queue) = &chain.queue else { continue };
            let stats = queue.stats();
            if stats.entries == 0 {
                if chain.entered == 0 && stats.leased == 0 && !is_damaged(queue) {
                    return Some(Turn::Delete(Arc::clone(label)));
                }
            } else if chain.asking.is_taking() {
                emptied.get_or_insert_with(|| Arc::clone(label));
            } else if chain.asking.turn(now, stats.leased) {
                return Some(Turn::Send(Arc::clone(label)));
            }
        }
        emptied.map(Turn::Send)
    }

    /// The reader of a chain; None while there is another.
    pub(super) fn reader(&self, label: &str) -> Option<Reader> {
        self.inner.lock().get(label)?.queue.as_ref()?.reader()
    }

    /// Deletes a chain of which nothing is left, unless somebody has entered it since. Its reader must be dropped.
    /// Blocking.
    pub(super) fn delete(&self, label: &str) {
        let Some(config) = &self.inner.config else { return };
        let queue = {
            let mut chains = self.inner.lock();
            let Some(chain) = chains.get_mut(label) else { return };
            let is_empty = |queue: &Arc<Queue>| queue.stats().entries == 0;
            if chain.entered > 0 || !chain.queue.as_ref().is_some_and(is_empty) {
                return;
            }
            chain.queue.take()
        };
        if let Some(queue) = queue {
            queue.close();
        }
        let removed = std::fs::remove_dir_all(config.dir.join(label));
        // Entries that come back because it could not be deleted are in the index.
        if let Err(error) = removed {
            tracing::warn!(index = label, %error, "could not delete an empty side chain");
        }
        self.inner.lock().remove(label);
        tracing::info!(index = label, "all that was parked is delivered");
    }

    /// What waits in memory stops others, or does not any more.
    pub(super) fn press(&self, is_pressed: bool) {
        if self.inner.is_pressed.swap(is_pressed, Ordering::AcqRel) != is_pressed && is_pressed {
            self.inner.pressed.notify_waiters();
        }
    }

    /// Whether what waits in memory stops others.
    pub(super) fn is_pressed(&self) -> bool {
        self.inner.is_pressed.load(Ordering::Acquire)
    }

    /// Waits until what waits in memory stops others.
    pub(super) fn pressed(&self) -> tokio::sync::futures::Notified<'_> {
        self.inner.pressed.notified()
    }

    /// The chains in numbers.
    pub(crate) fn stats(&self) -> Vec<ChainStats> {
        let chains = self.inner.lock();
        let stats = |(label, chain): (&Label, &Chain)| {
            let stats = chain.queue.as_ref()?.stats();
            Some(ChainStats {
                index: label.to_string(),
                entries: stats.entries,
                disk_bytes: stats.disk_bytes,
                oldest_ms: stats.oldest_ms,
            })
        };
        chains.iter().filter_map(stats).collect()
    }

    /// Sets the gauges that are about chains.
    pub fn refresh(&self, metrics: &Metrics) {
        metrics.chains(&self.stats());
    }

    /// The damaged segments found since the start.
    pub(crate) fn quarantined(&self) -> Vec<Quarantined> {
        self.queues().iter().flat_map(|queue| queue.quarantined()).collect()
    }

    /// Deletes damaged segments whose readable entries are delivered; their chains go then. Blocking.
    ///
    /// # Errors
    /// The disk.
    pub(crate) fn discard(&self) -> io::Result<Vec<Discarded>> {
        let mut found = Vec::new();
        for queue in self.queues().iter().filter(|queue| is_damaged(queue)) {
            found.extend(queue.discard(None)?);
        }
        Ok(found)
    }

    /// Saves what was delivered of each. Blocking.
    pub(super) fn close(&self) {
        self.queues().iter().for_each(|queue| queue.close());
    }

    fn queues(&self) -> Vec<Arc<Queue>> {
        self.inner.lock().values().filter_map(|chain| chain.queue.clone()).collect()
    }
}

/// Whether something of it is to be looked at by a person: it is not deleted.
fn is_damaged(queue: &Queue) -> bool {
    queue.segments().quarantine > 0
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Label, Chain>> {
        self.chains.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entered {
    /// Appends them; all are durable on return. After an error some may be in the chain: sent twice, indexed once.
    pub(super) async fn append(&self, batches: Vec<StoredBatch>) -> Result<(), ParkError> {
        let mut appends = JoinSet::new();
        for batch in batches {
            appends.spawn(self.queue.append(batch));
        }
        while let Some(appended) = appends.join_next().await {
            match appended {
                Ok(result) => drop(result?),
                Err(died) if died.is_panic() => std::panic::resume_unwind(died.into_panic()),
                // The runtime ends, and this with it.
                Err(_) => return Err(ParkError::Append(AppendError::Closed)),
            }
        }
        Ok(())
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        if let Some(chain) = self.inner.lock().get_mut(&self.label) {
            chain.entered = chain.entered.saturating_sub(1);
        }
    }
}

impl std::fmt::Debug for Chain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Chain").field("asking", &self.asking).finish_non_exhaustive()
    }
}

fn disk_bytes(chains: &BTreeMap<Label, Chain>) -> u64 {
    let queues = chains.values().filter_map(|chain| chain.queue.as_ref());
    queues.map(|queue| queue.stats().disk_bytes).sum()
}

/// The names of the chains in a directory.
fn found(dir: &Path) -> Result<Vec<String>, OpenError> {
    let read = || -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(dir)? {
            let name = entry?.file_name();
            match name.to_str().filter(|name| is_name(name)) {
                Some(name) => names.push(name.to_owned()),
                None => tracing::warn!(?name, "not a side chain: left alone"),
            }
        }
        Ok(names)
    };
    match read() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        other => other.map_err(|source| OpenError::Io { dir: dir.to_path_buf(), source }),
    }
}

/// Whether an index's name can be a directory's as it is.
fn is_name(label: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    label.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric())
        && label.bytes().all(is_plain)
        && label.len() <= 255
}

#[cfg(test)]
mod tests;
