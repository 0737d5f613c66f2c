//! Counting documents over time.
//!
//! Times are read from their column and levels from the index's terms, so that no document is read, and an index needs
//! nothing that a search does not. It stops at the deadline.

use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use tantivy::schema::IndexRecordOption;
use tantivy::{COLLECT_BLOCK_BUFFER_LEN, DocId, DocSet, TERMINATED, Term};

use super::day::Day;
use super::find::{BLOCKS_PER_LOOK, SearchFailure, Segment, Stop, open, or_incomplete};
use super::schema::FIELDS;
use super::terms::keyword_term;
use crate::search::histogram::{Histogram, HistogramRequest, LEVELS, LevelCounts};

const NO_LEVEL: u8 = u8::MAX;
const NS_PER_MS: i64 = 1_000_000;

/// Counts what a request asks for in these indices.
pub(super) fn histogram(
    days: Vec<Arc<Day>>,
    request: &HistogramRequest,
    deadline: Instant,
) -> Result<Histogram, SearchFailure> {
    let counting = Counting { request, deadline };
    let mut incomplete = Vec::new();
    let mut segments = Vec::new();
    for day in days {
        let opened = catch_unwind(AssertUnwindSafe(|| open(&day, &request.query, request.now_ns)));
        let opened = or_incomplete(&mut incomplete, &day.name.to_string(), opened)?;
        segments.extend(opened.into_iter().flatten().filter(|segment| counting.may_hold(segment)));
    }
    let range = match (request.from_ns, request.to_ns_exclusive) {
        (Some(from_ns), Some(to_ns_exclusive)) => Some((from_ns, to_ns_exclusive)),
        _ => {
            let mut ends: Option<(i64, i64)> = None;
            for segment in &segments {
                let found = catch_unwind(AssertUnwindSafe(|| counting.ends(segment)));
                let found = or_incomplete(&mut incomplete, &segment.columns.index, found)?;
                if let Some((first, last)) = found.flatten() {
                    let (before, after) = ends.unwrap_or((first, last));
                    ends = Some((before.min(first), after.max(last)));
                }
            }
            ends.map(|(first_ns, last_ns)| request.range_of(first_ns, last_ns))
        }
    };
    let Some(range) = range else {
        let mut none = Histogram::none(request);
        none.incomplete = incomplete;
        return Ok(none);
    };
    let mut histogram = Histogram::new(request, range)?;
    for segment in &segments {
        let counted = catch_unwind(AssertUnwindSafe(|| counting.count(segment, &mut histogram)));
        or_incomplete(&mut incomplete, &segment.columns.index, counted)?;
    }
    histogram.incomplete = incomplete;
    Ok(histogram)
}

struct Counting<'a> {
    request: &'a HistogramRequest,
    deadline: Instant,
}

impl Counting<'_> {
    fn in_range(&self, time_ns: i64) -> bool {
        self.request.from_ns.is_none_or(|from| time_ns >= from)
            && self.request.to_ns_exclusive.is_none_or(|to| time_ns < to)
    }

    fn may_hold(&self, segment: &Segment) -> bool {
        let times = times_of(segment);
        self.request.from_ns.is_none_or(|from| *times.end() >= from)
            && self.request.to_ns_exclusive.is_none_or(|to| *times.start() < to)
    }

    /// The times of the first and the last document that is found.
    fn ends(&self, segment: &Segment) -> Result<Option<(i64, i64)>, Stop> {
        let mut ends: Option<(i64, i64)> = None;
        self.for_each(segment, |_, time_ns| {
            let (first, last) = ends.unwrap_or((time_ns, time_ns));
            ends = Some((first.min(time_ns), last.max(time_ns)));
        })?;
        Ok(ends)
    }

    fn count(&self, segment: &Segment, histogram: &mut Histogram) -> Result<(), Stop> {
        let levels = levels(segment)?;
        self.for_each(segment, |document, time_ns| {
            let mut counts = LevelCounts::default();
            let level = levels.get(document as usize).copied().unwrap_or(NO_LEVEL);
            if let Some(count) = counts.get_mut(usize::from(level)) {
                *count = 1;
            }
            histogram.add(time_ns.div_euclid(NS_PER_MS), 1, &counts);
        })
    }

    /// Calls `take` with each document that is found and its time.
    fn for_each(&self, segment: &Segment, mut take: impl FnMut(DocId, i64)) -> Result<(), Stop> {
        let mut found = segment.weight.scorer(segment.columns.reader(), 1.0)?;
        let mut block = [0; COLLECT_BLOCK_BUFFER_LEN];
        for blocks in 0_usize.. {
            if blocks.is_multiple_of(BLOCKS_PER_LOOK) && Instant::now() >= self.deadline {
                return Err(Stop::Search(SearchFailure::Deadline));
            }
            let count = found.fill_buffer(&mut block);
            for &document in block.iter().take(count) {
                let time = segment.columns.times.first(document);
                let time_ns = time.map(tantivy::DateTime::into_timestamp_nanos);
                if let Some(time_ns) = time_ns.filter(|&time_ns| self.in_range(time_ns)) {
                    take(document, time_ns);
                }
            }
            if count < block.len() {
                break;
            }
        }
        Ok(())
    }
}

fn times_of(segment: &Segment) -> RangeInclusive<i64> {
    let times = &segment.columns.times;
    times.min_value().into_timestamp_nanos()..=times.max_value().into_timestamp_nanos()
}

/// Which of [`LEVELS`] each document of a segment has: a byte a document, for the time of one answer.
fn levels(segment: &Segment) -> Result<Vec<u8>, Stop> {
    let reader = segment.columns.reader();
    let mut levels = vec![NO_LEVEL; reader.max_doc() as usize];
    let terms = reader.inverted_index(FIELDS.source)?;
    for (place, level) in (0..).zip(LEVELS) {
        let term = Term::from_field_text(FIELDS.source, &keyword_term("level", level.as_str()));
        let Some(mut documents) = terms.read_postings(&term, IndexRecordOption::Basic)? else {
            continue;
        };
        let mut document = documents.doc();
        while document != TERMINATED {
            if let Some(level) = levels.get_mut(document as usize) {
                *level = place;
            }
            document = documents.advance();
        }
    }
    Ok(levels)
}
