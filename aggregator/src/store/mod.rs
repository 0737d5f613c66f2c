//! The embedded store: daily tantivy indices in one directory. Only `standalone` has it.
//!
//! It promises: a document whose id was taken is not taken again, also after a crash; what [`Store::commit`] returned
//! `Ok` for is on disk and is found; what is damaged is set aside and said, and never stops a start. [`Store::add`] and
//! [`Store::commit`] block and are for one delivery thread; searches may run beside them. It does not retry: after an
//! error all that was added since the last commit is to be added again, and what was kept of it comes out as a duplicate.

mod compile;
mod day;
mod find;
mod histogram;
mod retention;
mod schema;
mod steady;
mod terms;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};

use naru_proto::ids::IndexName;
use serde::de::IgnoredAny;
use tantivy::TantivyError;
use tracing::{error, warn};

use crate::document::{Document, Documents};
use crate::search::histogram::{Histogram, HistogramRequest};
use crate::search::request::{SearchPage, SearchRequest};
use day::{Day, DayWriter};
pub use find::SearchFailure;
use schema::{FIELDS, ID_BYTES};

/// Writers open at once. Each has 15 MB for what it collects and two threads; logs that arrive are of today, late ones
/// of yesterday, and a backlog adds few more.
const MAX_WRITERS: usize = 4;
/// Documents in memory between two commits: more, and the store commits by itself.
const UNCOMMITTED_MAX_BYTES: usize = 32 * 1024 * 1024;
/// A document above this is no log line.
const DOCUMENT_MAX_BYTES: usize = 16 * 1024 * 1024;
/// How often the sizes on disk are looked at.
const RETENTION_INTERVAL: Duration = Duration::from_secs(10);

/// How the store is opened.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// Its directory, made when it is not there.
    pub dir: PathBuf,
    /// What the indices may have of the disk: the oldest are deleted whole above it.
    pub retention_max_bytes: u64,
    /// A day's index is deleted when the day ended this long ago.
    pub retention_max_age: Option<Duration>,
}

/// What became of one document that was added. It counts once [`Store::commit`] returned `Ok`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddOutcome {
    /// It is taken.
    Indexed,
    /// Its id was taken before.
    Duplicate,
    /// It can never be taken.
    Refused(Refusal),
}

/// Why a document can never be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Its source is not one JSON object in UTF-8.
    #[error("the source is not a JSON object")]
    NotJson,
    /// It is larger than 16 MiB.
    #[error("the document is larger than 16 MiB")]
    TooLarge,
}

/// Why nothing was made durable. All that was added since the last commit is to be added again.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// tantivy or the disk failed.
    #[error("write to index {index}")]
    Index {
        /// Its name.
        index: String,
        /// Why.
        #[source]
        source: TantivyError,
    },
    /// An [`Store::add`] before this commit failed, and documents added before it are gone.
    #[error("documents were lost by a failure since the last commit")]
    Lost,
    /// The directory cannot be used.
    #[error("use directory {dir}")]
    Directory {
        /// Which.
        dir: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// What the store did and holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StoreStats {
    /// Documents taken since it was opened.
    pub indexed: u64,
    /// Documents whose id was taken before.
    pub duplicates: u64,
    /// Documents refused.
    pub refused: u64,
    /// Commits that failed, and adds.
    pub failures: u64,
    /// Indices.
    pub indices: u64,
    /// Documents in them.
    pub documents: u64,
    /// Bytes on disk when last looked at.
    pub bytes: u64,
    /// Indices deleted by retention.
    pub deleted_indices: u64,
    /// Indices set aside as damaged when it was opened.
    pub damaged_indices: u64,
}

/// An index that could not be opened and was set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedIndex {
    /// Its name.
    pub index: String,
    /// Where it lies now.
    pub moved_to: PathBuf,
    /// Why.
    pub reason: String,
}

/// The store.
#[derive(Debug)]
pub struct Store {
    config: StoreConfig,
    days: RwLock<BTreeMap<IndexName, Arc<Day>>>,
    writing: Mutex<Writing>,
    damaged: Vec<DamagedIndex>,
    counts: Counts,
}

#[derive(Debug, Default)]
struct Counts {
    indexed: AtomicU64,
    duplicates: AtomicU64,
    refused: AtomicU64,
    failures: AtomicU64,
    bytes: AtomicU64,
    deleted: AtomicU64,
}

/// The state of the one delivery thread.
#[derive(Default)]
struct Writing {
    /// The last one was used last.
    writers: Vec<DayWriter>,
    uncommitted_bytes: usize,
    /// Something added since the last commit was thrown away.
    lost: bool,
    retention_at: Option<Instant>,
}

impl std::fmt::Debug for Writing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writing").field("lost", &self.lost).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens what is in a directory; an index that cannot be opened is moved to `damaged/` in it.
    ///
    /// # Errors
    /// The directory itself cannot be read or made.
    pub fn open(config: StoreConfig) -> Result<Self, StoreError> {
        let mut days = BTreeMap::new();
        let mut damaged = Vec::new();
        let opened = open_all(&config.dir, &mut days, &mut damaged);
        opened.map_err(|source| StoreError::Directory { dir: config.dir.clone(), source })?;
        for index in &damaged {
            let moved_to = index.moved_to.display();
            error!(index = index.index, reason = index.reason, %moved_to, "set aside damaged index");
        }
        Ok(Self {
            config,
            days: RwLock::new(days),
            writing: Mutex::default(),
            damaged,
            counts: Counts::default(),
        })
    }

    /// The indices that were set aside by [`Store::open`].
    #[must_use]
    pub fn damaged(&self) -> &[DamagedIndex] {
        &self.damaged
    }

    /// Takes documents; the outcomes are in their order.
    ///
    /// # Errors
    /// None of them is sure to be kept, nor what was added since the last commit.
    pub fn add(&self, documents: &Documents) -> Result<Vec<AddOutcome>, StoreError> {
        let mut writing = self.writing();
        let added = self.add_all(&mut writing, documents);
        if added.is_err() {
            self.counts.failures.fetch_add(1, Relaxed);
            writing.lost = true;
        }
        added
    }

    /// Makes all that was added durable and visible.
    ///
    /// # Errors
    /// All that was added since the last commit is to be added again.
    pub fn commit(&self) -> Result<(), StoreError> {
        let mut writing = self.writing();
        let mut committed = self.commit_all(&mut writing);
        if std::mem::take(&mut writing.lost) && committed.is_ok() {
            committed = Err(StoreError::Lost);
        }
        if committed.is_err() {
            self.counts.failures.fetch_add(1, Relaxed);
            // It was said now.
            writing.lost = false;
        }
        if writing.retention_at.is_none_or(|at| at.elapsed() >= RETENTION_INTERVAL) {
            writing.retention_at = Some(Instant::now());
            self.retain_locked(&mut writing, SystemTime::now());
        }
        committed
    }

    /// Deletes the oldest indices that are too much or too old, and returns their names. Commits do it every 10 s.
    pub fn retain(&self, now: SystemTime) -> Vec<String> {
        self.retain_locked(&mut self.writing(), now)
    }

    /// Answers a search. It blocks.
    ///
    /// # Errors
    /// The deadline passed, or the query asks for too much.
    pub fn search(
        &self,
        request: &SearchRequest,
        deadline: Instant,
    ) -> Result<SearchPage, SearchFailure> {
        find::find(self.all_days(), request, deadline)
    }

    /// Counts documents over time. It blocks.
    ///
    /// # Errors
    /// The deadline passed, or the request asks for too much.
    pub fn histogram(
        &self,
        request: &HistogramRequest,
        deadline: Instant,
    ) -> Result<Histogram, SearchFailure> {
        histogram::histogram(self.all_days(), request, deadline)
    }

    /// What it did and holds.
    #[must_use]
    pub fn stats(&self) -> StoreStats {
        let days = self.days.read().unwrap_or_else(PoisonError::into_inner);
        StoreStats {
            indexed: self.counts.indexed.load(Relaxed),
            duplicates: self.counts.duplicates.load(Relaxed),
            refused: self.counts.refused.load(Relaxed),
            failures: self.counts.failures.load(Relaxed),
            indices: days.len() as u64,
            documents: days.values().map(|day| day.searcher().num_docs()).sum(),
            bytes: self.counts.bytes.load(Relaxed),
            deleted_indices: self.counts.deleted.load(Relaxed),
            damaged_indices: self.damaged.len() as u64,
        }
    }

    fn add_all(
        &self,
        writing: &mut Writing,
        documents: &Documents,
    ) -> Result<Vec<AddOutcome>, StoreError> {
        // Index by index: a batch of a backlog may touch more than there are writers.
        let documents: Vec<_> = documents.iter().collect();
        let mut order: Vec<_> = (0..documents.len()).collect();
        order.sort_by_key(|&at| documents.get(at).map(Document::index));
        let mut outcomes = vec![AddOutcome::Duplicate; documents.len()];
        for at in order {
            if let (Some(document), Some(outcome)) = (documents.get(at), outcomes.get_mut(at)) {
                *outcome = self.add_one(writing, document)?;
            }
        }
        for outcome in &outcomes {
            let count = match outcome {
                AddOutcome::Indexed => &self.counts.indexed,
                AddOutcome::Duplicate => &self.counts.duplicates,
                AddOutcome::Refused(_) => &self.counts.refused,
            };
            count.fetch_add(1, Relaxed);
        }
        Ok(outcomes)
    }

    fn add_one(
        &self,
        writing: &mut Writing,
        document: &Document<'_>,
    ) -> Result<AddOutcome, StoreError> {
        let (id, source) = match check(document) {
            Ok(checked) => checked,
            Err(refusal) => return Ok(AddOutcome::Refused(refusal)),
        };
        if writing.uncommitted_bytes >= UNCOMMITTED_MAX_BYTES {
            self.commit_all(writing)?;
        }
        self.use_writer(writing, document.index())?;
        let Some(writer) = writing.writers.last_mut() else {
            return Err(StoreError::Lost);
        };
        let failed = |source| StoreError::Index { index: document.index().to_string(), source };
        let taken = match writer.has(&id) {
            Ok(true) => return Ok(AddOutcome::Duplicate),
            Ok(false) => writer.add(id, FIELDS.document(document, id, source)),
            Err(error) => Err(error),
        };
        if let Err(error) = taken {
            // The next one finds what is committed and nothing else.
            writing.writers.pop();
            return Err(failed(error));
        }
        writing.uncommitted_bytes += source.len();
        Ok(AddOutcome::Indexed)
    }

    /// Makes the writer of an index the last one.
    fn use_writer(&self, writing: &mut Writing, index: IndexName) -> Result<(), StoreError> {
        if let Some(at) = writing.writers.iter().rposition(|writer| writer.day.name == index) {
            let length = writing.writers.len();
            if at + 1 < length {
                let writer = writing.writers.remove(at);
                writing.writers.push(writer);
            }
            return Ok(());
        }
        if writing.writers.len() >= MAX_WRITERS {
            let mut oldest = writing.writers.remove(0);
            commit(&mut oldest)?;
        }
        let failed = |source| StoreError::Index { index: index.to_string(), source };
        let day = self.day(index).map_err(failed)?;
        writing.writers.push(DayWriter::open(day).map_err(failed)?);
        Ok(())
    }

    fn all_days(&self) -> Vec<Arc<Day>> {
        let days = self.days.read().unwrap_or_else(PoisonError::into_inner);
        days.values().map(Arc::clone).collect()
    }

    fn day(&self, index: IndexName) -> Result<Arc<Day>, TantivyError> {
        let mut days = self.days.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(day) = days.get(&index) {
            return Ok(Arc::clone(day));
        }
        let day = Arc::new(Day::create(index, &self.config.dir)?);
        days.insert(index, Arc::clone(&day));
        Ok(day)
    }

    /// Commits every writer, also after one failed; a failed one is thrown away.
    fn commit_all(&self, writing: &mut Writing) -> Result<(), StoreError> {
        let mut outcome = Ok(());
        let writers = std::mem::take(&mut writing.writers);
        for mut writer in writers {
            match commit(&mut writer) {
                Ok(()) => writing.writers.push(writer),
                Err(error) => {
                    warn!(%error, "commit index");
                    outcome = Err(error);
                }
            }
        }
        writing.uncommitted_bytes = 0;
        outcome
    }

    fn writing(&self) -> MutexGuard<'_, Writing> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn commit(writer: &mut DayWriter) -> Result<(), StoreError> {
    if !writer.is_dirty() {
        return Ok(());
    }
    let index = writer.day.name;
    writer.commit().map_err(|source| StoreError::Index { index: index.to_string(), source })
}

/// What must hold of a document for it to be kept and given back in an answer.
fn check<'a>(document: &Document<'a>) -> Result<([u8; ID_BYTES], &'a str), Refusal> {
    if document.source.len() > DOCUMENT_MAX_BYTES {
        return Err(Refusal::TooLarge);
    }
    let source = std::str::from_utf8(document.source).map_err(|_| Refusal::NotJson)?;
    let json: Result<IgnoredAny, _> = serde_json::from_str(source);
    let id = schema::id_bytes(document.id.as_str());
    match (source.starts_with('{'), json, id) {
        (true, Ok(_), Some(id)) => Ok((id, source)),
        _ => Err(Refusal::NotJson),
    }
}

fn open_all(
    dir: &Path,
    days: &mut BTreeMap<IndexName, Arc<Day>>,
    damaged: &mut Vec<DamagedIndex>,
) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    retention::finish_deleting(dir)?;
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let Some(index) = IndexName::parse(name) else {
            continue;
        };
        match Day::open(index, path.clone()) {
            Ok(day) => {
                days.insert(index, Arc::new(day));
            }
            Err(error) => {
                let moved_to = set_aside(dir, &path, name)?;
                let (index, reason) = (name.to_owned(), error.to_string());
                damaged.push(DamagedIndex { index, moved_to, reason });
            }
        }
    }
    Ok(())
}

/// Moves an index away, to a name that nothing has.
fn set_aside(dir: &Path, path: &Path, name: &str) -> io::Result<PathBuf> {
    let damaged = dir.join("damaged");
    fs::create_dir_all(&damaged)?;
    let mut moved_to = damaged.join(name);
    for number in 1.. {
        if !moved_to.exists() {
            break;
        }
        moved_to = damaged.join(format!("{name}-{number}"));
    }
    fs::rename(path, &moved_to)?;
    day::sync_dir(&damaged)?;
    day::sync_dir(dir)?;
    Ok(moved_to)
}
