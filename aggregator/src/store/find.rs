//! Answering a search: the first documents of the order from all indices, and how many there are.
//!
//! It keeps one page of candidates and looks at columns only; documents are read when the page is known. Segments are
//! taken newest first, so that once a page is full most others are only counted, or, on later pages, not looked at.
//! It stops at the deadline. An index that cannot be read is named in the answer and does not keep the others from it.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use serde_json::value::RawValue;
use tantivy::columnar::{BytesColumn, Column};
use tantivy::query::{EnableScoring, Weight};
use tantivy::schema::Value;
use tantivy::{
    COLLECT_BLOCK_BUFFER_LEN, DateTime, DocAddress, DocId, DocSet, Searcher, SegmentReader,
    TantivyDocument, TantivyError,
};
use tracing::error;

use super::compile::{CompileError, Compiler};
use super::day::Day;
use super::schema::{FIELDS, FILE, ID, OFFSET, TIME, id_text};
use crate::search::histogram::TooManyBuckets;
use crate::search::query::Query;
use crate::search::request::{Hit, PAGE_MAX_BYTES, SearchPage, SearchRequest, SortKey};

/// Why a search has no answer.
#[derive(Debug, thiserror::Error)]
pub enum SearchFailure {
    /// The deadline passed.
    #[error("the deadline passed")]
    Deadline,
    /// The last word of a phrase begins too many words.
    #[error("`{0}*` begins too many words")]
    TooBroad(String),
    /// A histogram would have too many buckets.
    #[error(transparent)]
    TooManyBuckets(#[from] TooManyBuckets),
}

/// Blocks of 64 documents between two looks at the clock.
pub(super) const BLOCKS_PER_LOOK: usize = 256;

/// What ends the search of an index, or of all.
pub(super) enum Stop {
    Search(SearchFailure),
    Index(TantivyError),
}

impl From<TantivyError> for Stop {
    fn from(error: TantivyError) -> Self {
        Self::Index(error)
    }
}

impl From<std::io::Error> for Stop {
    fn from(error: std::io::Error) -> Self {
        Self::Index(error.into())
    }
}

/// Answers a search from these indices.
pub(super) fn find(
    days: Vec<Arc<Day>>,
    request: &SearchRequest,
    deadline: Instant,
) -> Result<SearchPage, SearchFailure> {
    let mut finding = Finding {
        request,
        deadline,
        best: BinaryHeap::with_capacity(request.limit + 1),
        total: 0,
        incomplete: Vec::new(),
    };
    let mut segments = Vec::new();
    for day in days {
        let opened = catch_unwind(AssertUnwindSafe(|| open(&day, &request.query, request.now_ns)));
        let name = day.name.to_string();
        if let Some(opened) = or_incomplete(&mut finding.incomplete, &name, opened)? {
            segments.extend(opened);
        }
    }
    segments.sort_by_key(|segment| std::cmp::Reverse(segment.columns.times.max_value()));
    for segment in segments {
        let searched = catch_unwind(AssertUnwindSafe(|| finding.search(&segment)));
        or_incomplete(&mut finding.incomplete, &segment.columns.index, searched)?;
    }
    Ok(finding.page())
}

struct Finding<'a> {
    request: &'a SearchRequest,
    deadline: Instant,
    /// The last one is on top.
    best: BinaryHeap<Candidate>,
    total: u64,
    incomplete: Vec<String>,
}

/// A segment and what finds documents in it.
pub(super) struct Segment {
    pub(super) columns: Arc<Columns>,
    pub(super) weight: Arc<dyn Weight>,
}

/// What a segment's documents are ordered by.
pub(super) struct Columns {
    pub(super) index: String,
    searcher: Searcher,
    ordinal: u32,
    pub(super) times: Column<DateTime>,
    offsets: Column<u64>,
    files: Option<BytesColumn>,
    ids: Option<BytesColumn>,
}

impl Columns {
    pub(super) fn reader(&self) -> &SegmentReader {
        self.searcher.segment_reader(self.ordinal)
    }

    fn id(&self, document: DocId) -> Vec<u8> {
        bytes_at(self.ids.as_ref(), document).unwrap_or_default()
    }
}

fn bytes_at(column: Option<&BytesColumn>, document: DocId) -> Option<Vec<u8>> {
    let ordinal = column?.ords().first(document)?;
    let mut bytes = Vec::new();
    column?.ord_to_bytes(ordinal, &mut bytes).ok()?.then_some(bytes)
}

struct Candidate {
    time_ns: i64,
    file: [u8; 12],
    offset: u64,
    document: DocId,
    columns: Arc<Columns>,
}

impl Candidate {
    fn key(&self) -> SortKey {
        SortKey {
            timestamp_ns: self.time_ns,
            file: self.file,
            offset: self.offset,
            id: self.columns.id(self.document),
            index: self.columns.index.clone(),
        }
    }
}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        // As `SortKey` has it; ids are looked up only where all else is equal.
        other
            .time_ns
            .cmp(&self.time_ns)
            .then_with(|| self.file.cmp(&other.file))
            .then_with(|| other.offset.cmp(&self.offset))
            .then_with(|| self.key().cmp(&other.key()))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Candidate {}

/// Turns what one index failed with into a line of the answer.
pub(super) fn or_incomplete<T>(
    incomplete: &mut Vec<String>,
    index: &str,
    outcome: std::thread::Result<Result<T, Stop>>,
) -> Result<Option<T>, SearchFailure> {
    let reason = match outcome {
        Ok(Ok(value)) => return Ok(Some(value)),
        Ok(Err(Stop::Search(failure))) => return Err(failure),
        Ok(Err(Stop::Index(error))) => error.to_string(),
        Err(_) => "tantivy panicked".to_owned(),
    };
    error!(index, reason, "search index");
    let line = format!("{index}: {reason}");
    if !incomplete.contains(&line) {
        incomplete.push(line);
    }
    Ok(None)
}

/// The segments of an index that may hold something.
pub(super) fn open(day: &Day, query: &Query, now_ns: i64) -> Result<Vec<Segment>, Stop> {
    let searcher = day.searcher();
    if searcher.num_docs() == 0 {
        return Ok(Vec::new());
    }
    let index = day.name.to_string();
    let compiler = Compiler { index: &index, searcher: &searcher, now_ns };
    let query = compiler.compile(query).map_err(|error| match error {
        CompileError::TooBroad(word) => Stop::Search(SearchFailure::TooBroad(word)),
        CompileError::Index(error) => Stop::Index(error),
    })?;
    let weight: Arc<dyn Weight> =
        Arc::from(query.weight(EnableScoring::disabled_from_searcher(&searcher))?);
    let mut segments = Vec::new();
    for (ordinal, reader) in (0..).zip(searcher.segment_readers()) {
        let fast = reader.fast_fields();
        let columns = Columns {
            index: index.clone(),
            searcher: searcher.clone(),
            ordinal,
            times: fast.date(TIME)?,
            offsets: fast.u64(OFFSET)?,
            files: fast.bytes(FILE)?,
            ids: fast.bytes(ID)?,
        };
        segments.push(Segment { columns: Arc::new(columns), weight: Arc::clone(&weight) });
    }
    Ok(segments)
}

impl Finding<'_> {
    fn search(&mut self, segment: &Segment) -> Result<(), Stop> {
        let columns = &segment.columns;
        let first_ns = columns.times.min_value().into_timestamp_nanos();
        let last_ns = columns.times.max_value().into_timestamp_nanos();
        let request = self.request;
        if request.from_ns.is_some_and(|from| last_ns < from)
            || request.to_ns_exclusive.is_some_and(|to| first_ns >= to)
        {
            return Ok(());
        }
        if !self.may_show(first_ns, last_ns) {
            if request.after.is_some() {
                return Ok(());
            }
            let all_in_range = request.from_ns.is_none_or(|from| first_ns >= from)
                && request.to_ns_exclusive.is_none_or(|to| last_ns < to);
            if request.query == Query::All && all_in_range {
                self.total += u64::from(columns.reader().num_docs());
                return Ok(());
            }
        }
        let mut found = segment.weight.scorer(columns.reader(), 1.0)?;
        let mut files = HashMap::new();
        let mut block = [0; COLLECT_BLOCK_BUFFER_LEN];
        for blocks in 0_usize.. {
            if blocks.is_multiple_of(BLOCKS_PER_LOOK) && Instant::now() >= self.deadline {
                return Err(Stop::Search(SearchFailure::Deadline));
            }
            let count = found.fill_buffer(&mut block);
            for &document in block.iter().take(count) {
                self.consider(columns, document, &mut files);
            }
            if count < block.len() {
                break;
            }
        }
        Ok(())
    }

    /// Whether a document between these times can be on the page.
    fn may_show(&self, first_ns: i64, last_ns: i64) -> bool {
        let after_page_before =
            self.request.after.as_ref().is_none_or(|after| first_ns <= after.key.timestamp_ns);
        after_page_before && self.has_room(last_ns)
    }

    fn has_room(&self, time_ns: i64) -> bool {
        if self.best.len() < self.request.limit {
            return true;
        }
        self.best.peek().is_some_and(|worst| time_ns >= worst.time_ns)
    }

    fn consider(
        &mut self,
        columns: &Arc<Columns>,
        document: DocId,
        files: &mut HashMap<u64, [u8; 12]>,
    ) {
        let Some(time) = columns.times.first(document) else {
            return;
        };
        let time_ns = time.into_timestamp_nanos();
        if self.request.from_ns.is_some_and(|from| time_ns < from)
            || self.request.to_ns_exclusive.is_some_and(|to| time_ns >= to)
        {
            return;
        }
        self.total += 1;
        if !self.may_show(time_ns, time_ns) {
            return;
        }
        let candidate = Candidate {
            time_ns,
            file: file_at(columns, document, files),
            offset: columns.offsets.first(document).unwrap_or_default(),
            document,
            columns: Arc::clone(columns),
        };
        if let Some(after) = &self.request.after
            && time_ns == after.key.timestamp_ns
            && !comes_after(&candidate, &after.key)
        {
            return;
        }
        if self.best.len() < self.request.limit {
            self.best.push(candidate);
        } else if let Some(mut worst) = self.best.peek_mut()
            && candidate < *worst
        {
            *worst = candidate;
        }
    }

    fn page(self) -> SearchPage {
        let total = self.request.after.as_ref().map_or(self.total, |after| after.total);
        let mut page =
            SearchPage { total, hits: Vec::new(), next: None, incomplete: self.incomplete };
        let full = self.best.len() == self.request.limit;
        let mut bytes = 0;
        let mut last = None;
        let mut ended_early = false;
        for candidate in self.best.into_sorted_vec() {
            if bytes >= PAGE_MAX_BYTES {
                ended_early = true;
                break;
            }
            match read(&candidate) {
                Ok(hit) => {
                    bytes += hit.source.get().len();
                    page.hits.push(hit);
                }
                Err(reason) => {
                    error!(index = candidate.columns.index, reason, "read document");
                    page.incomplete.push(format!("{}: {reason}", candidate.columns.index));
                }
            }
            last = Some(candidate);
        }
        if full || ended_early {
            page.next = last.map(|last| self.request.next(last.key(), total));
        }
        page
    }
}

fn comes_after(candidate: &Candidate, key: &SortKey) -> bool {
    candidate
        .file
        .cmp(&key.file)
        .then_with(|| key.offset.cmp(&candidate.offset))
        .then_with(|| candidate.key().cmp(key))
        == Ordering::Greater
}

fn file_at(columns: &Columns, document: DocId, known: &mut HashMap<u64, [u8; 12]>) -> [u8; 12] {
    let files = columns.files.as_ref();
    let Some(ordinal) = files.and_then(|files| files.ords().first(document)) else {
        return [0; 12];
    };
    *known.entry(ordinal).or_insert_with(|| {
        bytes_at(files, document).and_then(|bytes| bytes.try_into().ok()).unwrap_or_default()
    })
}

fn read(candidate: &Candidate) -> Result<Hit, String> {
    let columns = &candidate.columns;
    let address = DocAddress::new(columns.ordinal, candidate.document);
    let read = catch_unwind(AssertUnwindSafe(|| columns.searcher.doc::<TantivyDocument>(address)));
    let document = match read {
        Ok(read) => read.map_err(|error| error.to_string())?,
        Err(_) => return Err("tantivy panicked".to_owned()),
    };
    let source = document.get_first(FIELDS.source).and_then(|value| value.as_str());
    let source = source.ok_or("a document without its source")?;
    Ok(Hit {
        index: columns.index.clone(),
        id: id_text(&columns.id(candidate.document)),
        source: RawValue::from_string(source.to_owned()).map_err(|error| error.to_string())?,
    })
}
