//! Searching Elasticsearch with the one query language: what [`crate::search`] asks for, answered from an index pattern.
//!
//! A search asks which kinds the fields have, then for documents in pieces that fit in memory; nothing is kept between
//! two searches, here or there, so a page can be asked for at any time and of any host. It does not repeat a request.

mod answer;
mod compile;
mod fields;
mod pattern;

use std::ops::Bound;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

pub use answer::SearchFailure;
pub use compile::ANALYSIS;
pub use fields::ANALYZER;

use super::client::{Answer, Body, Client, Method};
use crate::search::histogram::{Histogram, HistogramRequest, LEVELS, TooManyBuckets};
use crate::search::query::{Query, TIMESTAMP, Test};
use crate::search::request::{PAGE_MAX_BYTES, SearchPage, SearchRequest, SortKey};
use compile::{Compiler, time_range};
use fields::Fields;

/// Documents of the first piece of a page; a document is a kilobyte or so, and 7 MiB at most.
const FIRST_PIECE: usize = 100;
/// What a later piece should hold, going by what came before.
const PIECE_BYTES: usize = 4 * 1024 * 1024;
/// Buckets asked for at once. Each has seven counts, and Elasticsearch answers no more than 65,536.
const BUCKETS_AT_ONCE: usize = 1_000;
/// Elasticsearch is to end this much before nobody waits any more.
const ANSWER_TIME: Duration = Duration::from_millis(500);

/// Searches the indices of a pattern.
#[derive(Debug, Clone)]
pub struct Search {
    client: Client,
    indices: String,
}

/// Why there is no histogram.
#[derive(Debug, thiserror::Error)]
pub enum HistogramFailure {
    /// As with a search.
    #[error(transparent)]
    Search(#[from] SearchFailure),
    /// It has too many buckets.
    #[error(transparent)]
    TooManyBuckets(#[from] TooManyBuckets),
}

impl Search {
    /// Searches indices named as in a URL: a name, or a pattern with `*`, or several with commas.
    #[must_use]
    pub fn new(client: Client, indices: impl Into<String>) -> Self {
        Self { client, indices: indices.into() }
    }

    /// Answers a search.
    ///
    /// # Errors
    /// Says why there is no answer.
    pub async fn search(
        &self,
        request: &SearchRequest,
        deadline: Instant,
    ) -> Result<SearchPage, SearchFailure> {
        let fields = self.fields(&[&request.query], deadline).await?;
        let range = (request.from_ns, request.to_ns_exclusive);
        let query = filtered(&fields, &request.query, request.now_ns, range);
        let mut page = SearchPage {
            total: request.after.as_ref().map_or(0, |after| after.total),
            hits: Vec::new(),
            next: None,
            incomplete: Vec::new(),
        };
        let mut last = request.after.as_ref().map(|after| after.key.clone());
        let mut counts = request.after.is_none();
        let mut bytes = 0;
        loop {
            let left = request.limit - page.hits.len();
            let size = left.min(piece(page.hits.len(), bytes));
            let body = search_body(&query, size, last.as_ref(), counts);
            let answer = self.ask(body, deadline).await?;
            let part = answer::page(answer.status, &answer.body);
            let part = part.map_err(|failure| named(failure, &request.query))?;
            if std::mem::take(&mut counts) {
                page.total = part.total;
            }
            page.incomplete.extend(part.incomplete);
            let ended = part.found.len() < size;
            for found in part.found {
                bytes += found.hit.source.get().len();
                page.hits.push(found.hit);
                last = Some(found.key);
                if bytes >= PAGE_MAX_BYTES {
                    break;
                }
            }
            let full = page.hits.len() == request.limit || bytes >= PAGE_MAX_BYTES;
            if full || ended {
                let last = last.filter(|_| full && !page.hits.is_empty());
                page.next = last.map(|key| request.next(key, page.total));
                page.incomplete.dedup();
                return Ok(page);
            }
        }
    }

    /// Counts documents over time.
    ///
    /// # Errors
    /// Says why there is no answer.
    pub async fn histogram(
        &self,
        request: &HistogramRequest,
        deadline: Instant,
    ) -> Result<Histogram, HistogramFailure> {
        let by_level = LEVELS
            .map(|level| Query::Field("level".to_owned(), Test::Exact(level.as_str().to_owned())));
        let queries: Vec<_> = by_level.iter().chain([&request.query]).collect();
        let fields = self.fields(&queries, deadline).await?;
        let range = match (request.from_ns, request.to_ns_exclusive) {
            (Some(from_ns), Some(to_ns_exclusive)) => (from_ns, to_ns_exclusive),
            asked => {
                let query = filtered(&fields, &request.query, request.now_ns, asked);
                let answer = self.ask(ends_body(&query), deadline).await?;
                let ends = answer::first_and_last_ms(answer.status, &answer.body);
                let Some((first_ms, last_ms)) =
                    ends.map_err(|failure| named(failure, &request.query))?
                else {
                    return Ok(Histogram::none(request));
                };
                // Elasticsearch says them in milliseconds: the last document lies within its one.
                request.range_of(first_ms * 1_000_000, last_ms * 1_000_000 + 999_999)
            }
        };
        let mut histogram = Histogram::new(request, range)?;
        let compiler = Compiler { fields: &fields, now_ns: request.now_ns };
        let levels: serde_json::Map<_, _> = (LEVELS.iter().zip(&by_level))
            .map(|(level, query)| (level.as_str().to_owned(), compiler.compile(query)))
            .collect();
        for (from_ms, to_ms) in histogram.runs(BUCKETS_AT_ONCE) {
            let ns = |ms: i64| ms.saturating_mul(1_000_000);
            let piece = (range.0.max(ns(from_ms)), range.1.min(ns(to_ms)));
            let piece = (Some(piece.0), Some(piece.1));
            let query = filtered(&fields, &request.query, request.now_ns, piece);
            let body = times_body(&query, histogram.interval_ms, &levels);
            let answer = self.ask(body, deadline).await?;
            let counted = answer::counted(answer.status, &answer.body);
            let (counted, incomplete) =
                counted.map_err(|failure| named(failure, &request.query))?;
            for counted in counted {
                histogram.add(counted.from_ms, counted.count, &counted.levels);
            }
            histogram.incomplete.extend(incomplete);
            histogram.incomplete.dedup();
        }
        Ok(histogram)
    }

    /// Asks which kinds the fields of these queries have.
    async fn fields(&self, queries: &[&Query], deadline: Instant) -> Result<Fields, SearchFailure> {
        let mut fields = Fields::default();
        for names in fields::asked_names(queries) {
            let path = format!(
                "/{}/_mapping/field/{names}?ignore_unavailable=true&allow_no_indices=true",
                self.indices
            );
            let answer = self.send(Method::GET, &path, None, deadline).await?;
            if let Some(mappings) = answer::other(answer.status, &answer.body)? {
                fields.read(&mappings);
            }
        }
        Ok(fields)
    }

    async fn ask(&self, mut body: Value, deadline: Instant) -> Result<Answer, SearchFailure> {
        let left = deadline.saturating_duration_since(Instant::now());
        if let Some(body) = body.as_object_mut() {
            let timeout = left.saturating_sub(ANSWER_TIME).max(Duration::from_millis(1));
            body.insert("timeout".to_owned(), format!("{}ms", timeout.as_millis()).into());
        }
        let path = format!(
            "/{}/_search?ignore_unavailable=true&allow_no_indices=true&allow_partial_search_results=true",
            self.indices
        );
        self.send(Method::POST, &path, Some(Body::json(body.to_string())), deadline).await
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Body>,
        deadline: Instant,
    ) -> Result<Answer, SearchFailure> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(SearchFailure::Deadline);
        }
        let sent = self.client.send(method, path, body, left).await;
        sent.map_err(|error| match Instant::now() >= deadline {
            true => SearchFailure::Deadline,
            false => SearchFailure::Failed(error.to_string()),
        })
    }
}

/// How many documents to ask for next.
fn piece(hits: usize, bytes: usize) -> usize {
    match hits {
        0 => FIRST_PIECE,
        hits => (PIECE_BYTES / (bytes / hits).max(1)).max(1),
    }
}

fn filtered(
    fields: &Fields,
    query: &Query,
    now_ns: i64,
    (from_ns, to_ns_exclusive): (Option<i64>, Option<i64>),
) -> Value {
    let mut filter = vec![Compiler { fields, now_ns }.compile(query)];
    if from_ns.is_some() || to_ns_exclusive.is_some() {
        let low = from_ns.map_or(Bound::Unbounded, Bound::Included);
        let high = to_ns_exclusive.map_or(Bound::Unbounded, Bound::Excluded);
        filter.push(time_range(TIMESTAMP, low, high));
    }
    json!({"bool": {"filter": filter}})
}

/// The order of [`SortKey`]. Documents that are not Naru's have no file and no offset; what tells those of one time apart
/// is the number that their shard gave them, which costs no memory, as sorting by `_id` would.
fn sort() -> Value {
    json!([
        {TIMESTAMP: {"order": "desc", "unmapped_type": "date_nanos", "numeric_type": "date_nanos", "missing": 0}},
        {"naru.file": {"order": "asc", "unmapped_type": "keyword", "missing": answer::file_text(&[0; 12])}},
        {"naru.offset": {"order": "desc", "unmapped_type": "long", "missing": 0}},
        {"_seq_no": {"order": "asc"}},
        {"_index": {"order": "asc"}},
    ])
}

fn search_body(query: &Value, size: usize, after: Option<&SortKey>, counts: bool) -> Value {
    let mut body =
        json!({"query": query, "sort": sort(), "size": size, "track_total_hits": counts});
    if let (Some(key), Some(body)) = (after, body.as_object_mut()) {
        let number = key.id.as_slice().try_into().map_or(0, u64::from_be_bytes);
        let offset = i64::try_from(key.offset).unwrap_or(i64::MAX);
        let file = answer::file_text(&key.file);
        let after = json!([key.timestamp_ns, file, offset, number, key.index]);
        body.insert("search_after".to_owned(), after);
    }
    body
}

fn ends_body(query: &Value) -> Value {
    json!({"query": query, "size": 0, "track_total_hits": false, "aggs": {
        "first": {"min": {"field": TIMESTAMP}},
        "last": {"max": {"field": TIMESTAMP}},
    }})
}

fn times_body(query: &Value, interval_ms: i64, levels: &serde_json::Map<String, Value>) -> Value {
    // Empty buckets are ours to fill in: they are the same everywhere, and need not be sent.
    json!({"query": query, "size": 0, "track_total_hits": false, "aggs": {"times": {
        "date_histogram": {
            "field": TIMESTAMP, "fixed_interval": format!("{interval_ms}ms"), "min_doc_count": 1
        },
        "aggs": {"levels": {"filters": {"filters": levels}}},
    }}})
}

/// Elasticsearch does not say which word is too broad.
fn named(failure: SearchFailure, query: &Query) -> SearchFailure {
    match failure {
        SearchFailure::TooBroad(_) => {
            SearchFailure::TooBroad(compile::phrase_prefix(query).unwrap_or_default())
        }
        failure => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_grow_to_what_fits() {
        assert_eq!(piece(0, 0), FIRST_PIECE);
        assert_eq!(piece(100, 100 * 1024), 4096);
        assert_eq!(piece(100, 100 * 7 * 1024 * 1024), 1);
        assert_eq!(piece(100, 0), PIECE_BYTES);
    }
}
