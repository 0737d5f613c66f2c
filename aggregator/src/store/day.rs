//! One daily index on disk: opening it, its reader, and its writer.
//!
//! A [`DayWriter`] promises that an id is taken once: it looks into what is committed and into what it took since. When
//! anything fails it is thrown away, and with it all that was not committed; nothing here retries.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use naru_proto::ids::IndexName;
use tantivy::directory::MmapDirectory;
use tantivy::index::SegmentId;
use tantivy::indexer::{IndexWriterOptions, LogMergePolicy};
use tantivy::store::Compressor;
use tantivy::{
    Index, IndexReader, IndexSettings, IndexWriter, InvertedIndexReader, ReloadPolicy, Searcher,
    TantivyDocument, TantivyError,
};

use super::schema::{FIELDS, ID_BYTES, tokenizers};

/// What a writer collects before it lays down a segment: the least that tantivy takes.
const WRITER_HEAP_BYTES: usize = 15_000_000;
/// Documents compressed together: half the size of 16 KiB blocks for logs, and still 1 ms to read.
const STORE_BLOCK_BYTES: usize = 64 * 1024;
/// Blocks that a reader keeps uncompressed, for the pages of one search.
const STORE_CACHE_BLOCKS: usize = 16;
/// A segment is not merged further above this: merging it again costs more than searching it.
const MERGE_MAX_DOCUMENTS: usize = 2_000_000;

/// A daily index that can be searched.
pub(super) struct Day {
    pub(super) name: IndexName,
    pub(super) dir: PathBuf,
    index: Index,
    reader: IndexReader,
}

impl std::fmt::Debug for Day {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Day").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Day {
    /// Opens what is in a directory. tantivy may panic over a damaged file: that is an error here.
    pub(super) fn open(name: IndexName, dir: PathBuf) -> Result<Self, TantivyError> {
        let opened = catch_unwind(AssertUnwindSafe(|| {
            let index = Index::builder()
                .schema(FIELDS.schema.clone())
                .tokenizers(tokenizers())
                .settings(settings())
                .open_or_create(MmapDirectory::open(&dir)?)?;
            let reader = index
                .reader_builder()
                .reload_policy(ReloadPolicy::Manual)
                .doc_store_cache_num_blocks(STORE_CACHE_BLOCKS)
                .try_into()?;
            Ok::<_, TantivyError>((index, reader))
        }));
        let (index, reader) = match opened {
            Ok(opened) => opened?,
            Err(_) => return Err(TantivyError::InternalError("tantivy panicked".to_owned())),
        };
        Ok(Self { name, dir, index, reader })
    }

    /// Makes an empty one whose directory is durable.
    pub(super) fn create(name: IndexName, parent: &Path) -> Result<Self, TantivyError> {
        let dir = parent.join(name.to_string());
        fs::create_dir_all(&dir)?;
        let day = Self::open(name, dir)?;
        sync_dir(&day.dir)?;
        sync_dir(parent)?;
        Ok(day)
    }

    /// What was committed when it was last reloaded.
    pub(super) fn searcher(&self) -> Searcher {
        self.reader.searcher()
    }

    /// The bytes of its files.
    pub(super) fn size(&self) -> io::Result<u64> {
        size(&self.dir)
    }
}

/// Makes names in a directory durable.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// The bytes of the files in a directory. Files that go away meanwhile count nothing.
pub(super) fn size(dir: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(dir)? {
        bytes += entry?.metadata().map_or(0, |metadata| metadata.len());
    }
    Ok(bytes)
}

fn settings() -> IndexSettings {
    IndexSettings {
        docstore_compression: Compressor::Lz4,
        // One thread a writer is enough, and compressing is a twentieth of its work.
        docstore_compress_dedicated_thread: false,
        docstore_blocksize: STORE_BLOCK_BYTES,
        ..IndexSettings::default()
    }
}

/// Writes to one daily index.
pub(super) struct DayWriter {
    pub(super) day: Arc<Day>,
    writer: IndexWriter,
    committed: CommittedIds,
    uncommitted: HashSet<[u8; ID_BYTES]>,
}

impl DayWriter {
    /// Opens the only writer of a day.
    pub(super) fn open(day: Arc<Day>) -> Result<Self, TantivyError> {
        let options = IndexWriterOptions::builder()
            .memory_budget_per_thread(WRITER_HEAP_BYTES)
            .num_worker_threads(1)
            .num_merge_threads(1)
            .build();
        let writer = day.index.writer_with_options(options)?;
        let mut merges = LogMergePolicy::default();
        merges.set_max_docs_before_merge(MERGE_MAX_DOCUMENTS);
        writer.set_merge_policy(Box::new(merges));
        // A commit that failed half-way may have become durable all the same.
        day.reader.reload()?;
        let mut committed = CommittedIds::default();
        committed.follow(&day.searcher())?;
        Ok(Self { day, writer, committed, uncommitted: HashSet::new() })
    }

    /// Whether an id was taken, committed or not.
    pub(super) fn has(&self, id: &[u8; ID_BYTES]) -> Result<bool, TantivyError> {
        Ok(self.uncommitted.contains(id) || self.committed.contains(id)?)
    }

    /// Takes a document whose id was not.
    pub(super) fn add(
        &mut self,
        id: [u8; ID_BYTES],
        document: TantivyDocument,
    ) -> Result<(), TantivyError> {
        self.writer.add_document(document)?;
        self.uncommitted.insert(id);
        Ok(())
    }

    /// Whether there is anything to commit.
    pub(super) fn is_dirty(&self) -> bool {
        !self.uncommitted.is_empty()
    }

    /// Makes all that was taken durable, then visible.
    pub(super) fn commit(&mut self) -> Result<(), TantivyError> {
        self.writer.commit()?;
        // tantivy does not sync the directory after it renamed the new list of segments into it.
        sync_dir(&self.day.dir)?;
        self.day.reader.reload()?;
        self.committed.follow(&self.day.searcher())?;
        self.uncommitted.clear();
        Ok(())
    }
}

/// The ids in the committed segments.
///
/// Ids sort by time, so most segments need no look: what is written now is not in what was written before.
#[derive(Default)]
struct CommittedIds {
    segments: HashMap<SegmentId, SegmentIds>,
}

struct SegmentIds {
    first: Vec<u8>,
    last: Vec<u8>,
    ids: Arc<InvertedIndexReader>,
}

impl CommittedIds {
    /// Looks at the segments that came and forgets those that went.
    fn follow(&mut self, searcher: &Searcher) -> Result<(), TantivyError> {
        let mut before = std::mem::take(&mut self.segments);
        for segment in searcher.segment_readers() {
            let id = segment.segment_id();
            let known = match before.remove(&id) {
                Some(known) => known,
                None => SegmentIds::of(segment.inverted_index(FIELDS.id)?)?,
            };
            self.segments.insert(id, known);
        }
        Ok(())
    }

    fn contains(&self, id: &[u8; ID_BYTES]) -> Result<bool, TantivyError> {
        for segment in self.segments.values() {
            if (segment.first.as_slice()..=segment.last.as_slice()).contains(&id.as_slice())
                && segment.ids.terms().get(id)?.is_some()
            {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl SegmentIds {
    fn of(ids: Arc<InvertedIndexReader>) -> Result<Self, TantivyError> {
        let count = ids.terms().num_terms() as u64;
        let (mut first, mut last) = (Vec::new(), Vec::new());
        ids.terms().ord_to_term(0, &mut first)?;
        ids.terms().ord_to_term(count.saturating_sub(1), &mut last)?;
        Ok(Self { first, last, ids })
    }
}
