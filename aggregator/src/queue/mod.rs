//! The durable queue: what is appended is on the disk before it is acknowledged, and stays until
//! its lease is completed.
//!
//! # Design
//!
//! A chain of small sled databases (*segments*, a directory each), because one big sled never gives
//! disk back, and because damage then stays within 64 MB. A *commit* writes an *entry*: the batches
//! that waited, still compressed, in one or several sled values of at most a quarter of sled's I/O
//! buffer. One thread commits (`committer`, `writer`, `segment`), one reads (`reader`, `source`),
//! one keeps the cursor and the disk in order (`keeper`). Dead letters lie in a second chain (`side`).
//!
//! # On the disk
//!
//! ```text
//! lock        flock: one process
//! cursor      which entries are delivered: two slots (cursor.rs)
//! ballast     space to give up when a start finds the disk full
//! open/       N/ the segment that is written, named by its first sequence
//! sealed/     N/ waits for delivery
//! done/       N/ delivered: kept for a replay, or about to be deleted
//! quarantine/ N/ damaged: what is readable was delivered from there; for a person to look at
//! N/          db, conf, blobs/ (always empty), snap.*: sled's · identity, summary (manifest.rs)
//! sled        key: u32 big-endian, counted per segment · tree: key / 9, u32 big-endian
//! value       a part: header, checksum, a slice of an entry's body (part.rs); body (entry.rs)
//! ```
//!
//! Each of these formats carries a version and a checksum; `testdata/queue/` pins their bytes.
//!
//! # Promises
//!
//! * An acknowledged batch survives `kill -9` and a power cut. It is delivered at least once; after a
//!   crash what was completed in the last half second comes again. In order of commit, unless delivery
//!   is behind: then what comes new and what is old have their turns (`leases`).
//! * A damaged, truncated, unknown or missing file never stops a start. Entries that are intact are
//!   delivered even if sled cannot open the segment any more; those that are not are reported by
//!   their sequence, and the segment is kept.
//! * Memory does not grow with the backlog: at most three segments and `max_leases` entries.
//! * On a full disk intake stops, delivery goes on. The same while a commit hangs.
//!
//! # What it is not
//!
//! It does not look into batches and does not check their own checksum. What is delivered is kept
//! only as far as `retention` says; `delivered` reads it again for a replay. sled is never asked to remove, scan or count.

mod apart;
mod balance;
mod bytes_in;
mod chain;
mod committer;
mod config;
mod cursor;
mod delivered;
mod disk;
mod done;
mod entry;
mod inspect;
mod intake;
mod keeper;
mod layout;
mod leases;
mod letter;
mod letters;
mod manifest;
mod part;
mod quarantine;
mod reader;
mod recover;
mod retention;
mod scan;
mod segment;
mod settled;
mod side;
mod source;
mod verify;
mod writer;

#[cfg(test)]
pub(crate) mod tests;

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

pub use apart::Apart;
pub use balance::Balance;
pub use chain::{Damage, Quarantined};
pub use committer::CommitError;
pub use config::QueueConfig;
#[doc(hidden)]
pub use config::{SyncMode, Tuning};
pub use delivered::{Delivered, DeliveredEntry};
pub use entry::{Metadata, Sequence, StoredBatch};
pub use inspect::{Inspection, Segments, StoredLetters, inspect};
pub use intake::Full;
pub use letter::{Content, Letter, LetterId};
pub use letters::{LetterError, LetterStats, Letters, LettersConfig};
pub use quarantine::Discarded;
pub use reader::{Lease, Reader};
pub use recover::TornTail;
pub use retention::{Retain, RetainedStats};
pub use segment::StorageError;
pub use settled::Tried;
pub use verify::{Verified, verify};

use chain::{Chain, locked};
use committer::{Committer, Request, WAITING_MAX_BATCHES};
use cursor::Cursor;
use disk::{Ballast, Lock, is_full};
use intake::Intake;
use keeper::Keeper;
use leases::{Backlog, Leases};
use writer::Writer;

/// A batch as large as the wire allows, compressed.
const WIRE_BATCH_MAX_BYTES: u64 = 1 << 20;
/// What `append` takes at most: an entry of it still has few parts, and memory is bounded by it.
const BATCH_MAX_BYTES: usize = 4 << 20;

/// The queue of one aggregator.
pub struct Queue {
    shared: Arc<Shared>,
    running: Mutex<Option<Running>>,
}

/// What a start found.
#[derive(Debug, Default)]
pub struct Opened {
    /// Damaged segments. What is damaged inside sealed segments is found when the reader comes to
    /// it: `Queue::quarantined` has all.
    pub quarantined: Vec<Quarantined>,
    /// Commits that a crash cut off: not acknowledged, unless the disk lost what it confirmed.
    pub torn: Vec<TornTail>,
    /// Entries that wait for delivery.
    pub entries: u64,
}

/// Why a queue cannot be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Another process has this queue.
    #[error("another process has the queue in {}", dir.display())]
    Locked {
        /// The queue's directory.
        dir: PathBuf,
    },
    /// The directory cannot be made, read or written.
    #[error("cannot open the queue in {}", dir.display())]
    Io {
        /// The queue's directory.
        dir: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
}

/// Why a batch is not in the queue.
#[derive(Debug, Error)]
pub enum AppendError {
    /// No room: refuse, and let the sender come again, or go elsewhere.
    #[error("the queue is full ({full:?})")]
    Full {
        /// What is full.
        full: Full,
        /// When to try again.
        retry_after: Duration,
    },
    /// Larger than any batch may be: refuse for ever.
    #[error("the batch is too large")]
    TooLarge,
    /// The commit failed: refuse, not acknowledged.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The queue is closed. When nobody closed it, its committer died.
    #[error("the queue is closed")]
    Closed,
}

/// The queue in numbers; from counters, cheap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stats {
    /// Entries that are not delivered.
    pub entries: u64,
    /// Batches in them; up to a segment more for a while after a start.
    pub batches: u64,
    /// What all segments take on the disk, quarantine too, but for those that are delivered and kept.
    pub disk_bytes: u64,
    /// What is delivered and kept.
    pub retained: RetainedStats,
    /// When the oldest segment that is not delivered began, milliseconds since 1970.
    pub oldest_ms: Option<i64>,
    /// The last entry committed.
    pub head: Sequence,
    /// Every entry up to this one is delivered.
    pub delivered: Sequence,
    /// Entries leased now.
    pub leased: usize,
    /// Whether a batch of 1 MiB would be refused, and why.
    pub full: Option<Full>,
    /// Commits that failed since the start.
    pub failed_commits: u64,
    /// Entries that could not be read since the start.
    pub lost_entries: u64,
    /// Segments found damaged since the start.
    pub quarantined: usize,
    /// How long the current commit has been running; a disk or sled that hangs shows here.
    pub commit_running: Option<Duration>,
}

/// What the queue's threads, its reader and its leases share.
#[derive(Debug)]
struct Shared {
    chain: Arc<Chain>,
    leases: Leases,
    intake: Arc<Intake>,
    failed_commits: AtomicU64,
    has_reader: AtomicBool,
    /// Held as long as anybody uses the queue.
    _lock: Lock,
}

struct Running {
    requests: mpsc::Sender<Request>,
    committer: JoinHandle<()>,
    keeper: JoinHandle<()>,
    stop_keeper: std::sync::mpsc::Sender<()>,
}

impl Queue {
    /// Opens the queue in `config.dir`, or makes one. Blocking: it scans what a crash left open.
    pub fn open(config: QueueConfig) -> Result<(Self, Opened), OpenError> {
        let ballast = Ballast::new(&config.dir, config.ballast_bytes);
        let result = match Self::open_with(&config) {
            Err(error) if is_full(&error) && ballast.release() => {
                tracing::warn!("the disk is full: the ballast was given up to open the queue");
                Self::open_with(&config)
            }
            other => other,
        };
        result.map_err(|source| OpenError::of(config.dir, source))
    }

    fn open_with(config: &QueueConfig) -> io::Result<(Self, Opened)> {
        std::fs::create_dir_all(&config.dir)?;
        let lock = Lock::directory(&config.dir)?;
        let recovered = recover::recover(&config.dir, config.retain.is_on())?;
        let cursor = Cursor::open(&config.dir)?;
        let done = cursor.done();
        let head = recovered.last.max(done.last());
        let chain = Arc::new(recovered.chain);
        let (entries, batches) = chain.backlog(done);
        let backlog = Backlog { entries, batches };
        let intake = Arc::new(Intake::new(config));
        intake.set_queue_bytes(chain.bytes());
        intake.set_retained_bytes(chain.retained.stats().bytes);
        let shared = Arc::new(Shared {
            chain: Arc::clone(&chain),
            leases: Leases::new(done, head, backlog, config.into()),
            intake,
            failed_commits: AtomicU64::new(0),
            has_reader: AtomicBool::new(false),
            _lock: lock,
        });
        let writer = Writer::new(chain, config.into(), head.next());
        let running = Running::start(&shared, writer, cursor, config)?;
        let opened =
            Opened { quarantined: shared.chain.quarantined(), torn: recovered.torn, entries };
        Ok((Self { shared, running: Mutex::new(Some(running)) }, opened))
    }

    /// Appends a batch; ready when it is durable. The future may be dropped: the batch is then in
    /// the queue, or not.
    pub fn append(
        &self,
        batch: StoredBatch,
    ) -> impl Future<Output = Result<Sequence, AppendError>> + Send + use<> {
        let requests = locked(&self.running).as_ref().map(|running| running.requests.clone());
        let intake = Arc::clone(&self.shared.intake);
        async move {
            let requests = requests.ok_or(AppendError::Closed)?;
            let bytes = batch.stored_bytes();
            if bytes > BATCH_MAX_BYTES || batch.node.len() > usize::from(u16::MAX) {
                return Err(AppendError::TooLarge);
            }
            let waiting = intake.admit(bytes as u64).map_err(|full| AppendError::Full {
                full,
                retry_after: intake::retry_after(full),
            })?;
            let (ack, acked) = oneshot::channel();
            let request = Request { batch, ack, waiting };
            requests.send(request).await.map_err(|_| AppendError::Closed)?;
            drop(requests);
            Ok(acked.await.map_err(|_| AppendError::Closed)??)
        }
    }

    /// The reader; `None` while there is another.
    pub fn reader(&self) -> Option<Reader> {
        Reader::new(Arc::clone(&self.shared))
    }

    /// The queue in numbers.
    pub fn stats(&self) -> Stats {
        let progress = self.shared.leases.progress();
        let oldest = self.shared.chain.at_or_after(progress.delivered.next());
        Stats {
            entries: progress.backlog.entries,
            batches: progress.backlog.batches,
            disk_bytes: self.shared.chain.bytes(),
            retained: self.shared.chain.retained.stats(),
            oldest_ms: oldest.map(|(summary, _)| summary.oldest_ms),
            head: progress.head,
            delivered: progress.delivered,
            leased: progress.leased,
            full: self.shared.intake.full(WIRE_BATCH_MAX_BYTES),
            failed_commits: self.shared.failed_commits.load(Ordering::Relaxed),
            lost_entries: progress.lost,
            quarantined: self.shared.chain.quarantined_count(),
            commit_running: self.shared.intake.commit_running(),
        }
    }

    /// What was delivered and is still on the disk, after an entry. Blocking, when it is read.
    pub fn delivered(&self, after: Sequence) -> Delivered {
        Delivered::new(Arc::clone(&self.shared), after)
    }

    /// The segments by their state.
    pub fn segments(&self) -> Segments {
        self.shared.chain.states()
    }

    /// The damaged segments found since the start, by it and by the reader.
    pub fn quarantined(&self) -> Vec<Quarantined> {
        self.shared.chain.quarantined()
    }

    /// Commits what waits, stops leasing, and saves the cursor; what is leased and not completed by
    /// now comes again. Blocking. The directory stays locked until reader and leases are dropped.
    pub fn close(&self) {
        let Some(running) = locked(&self.running).take() else { return };
        running.stop(&self.shared.leases);
    }
}

impl OpenError {
    fn of(dir: PathBuf, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::WouldBlock => Self::Locked { dir },
            _ => Self::Io { dir, source },
        }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.close();
    }
}

impl Running {
    fn start(
        shared: &Arc<Shared>,
        writer: Writer,
        cursor: Cursor,
        config: &QueueConfig,
    ) -> io::Result<Self> {
        let (requests, waiting) = mpsc::channel(WAITING_MAX_BATCHES);
        let committer = Committer::new(Arc::clone(shared), writer, waiting);
        let keeper = Keeper {
            shared: Arc::clone(shared),
            cursor,
            ballast: Ballast::new(&config.dir, config.ballast_bytes),
            bounds: config.into(),
            is_failing: false,
        };
        let (stop_keeper, stopped) = std::sync::mpsc::channel();
        let thread = |name: &str| std::thread::Builder::new().name(name.to_owned());
        Ok(Self {
            requests,
            committer: thread("queue-committer").spawn(move || committer.run())?,
            keeper: thread("queue-keeper").spawn(move || keeper.run(&stopped))?,
            stop_keeper,
        })
    }

    fn stop(self, leases: &Leases) {
        drop(self.requests);
        if self.committer.join().is_err() {
            tracing::error!("the committer died; what it held was not acknowledged");
        }
        leases.close();
        drop(self.stop_keeper);
        if self.keeper.join().is_err() {
            tracing::error!("the keeper died; the cursor may be behind");
        }
    }
}
