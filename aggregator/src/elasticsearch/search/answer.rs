//! What Elasticsearch answers, read.
//!
//! Pure. An answer of some shards only is an answer, and says what it lacks; what is refused is told from what failed.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::search::histogram::{LEVELS, LevelCounts};
use crate::search::request::{Hit, SortKey};

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SearchFailure {
    /// Elasticsearch or the network took too long.
    #[error("the deadline passed")]
    Deadline,
    /// The last word of a phrase begins too many words.
    #[error("`{0}*` begins too many words")]
    TooBroad(String),
    /// Elasticsearch has too much to do.
    #[error("Elasticsearch has too much to do")]
    Busy,
    /// Elasticsearch will not do it.
    #[error("Elasticsearch refused the query: {0}")]
    Refused(String),
    /// Something is broken.
    #[error("{0}")]
    Failed(String),
}

/// A document and its place.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) hit: Hit,
    pub(super) key: SortKey,
}

/// One answer to `_search` that asked for documents.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) total: u64,
    pub(super) found: Vec<Found>,
    pub(super) incomplete: Vec<String>,
}

/// Documents of one interval.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) from_ms: i64,
    pub(super) count: u64,
    pub(super) levels: LevelCounts,
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(default)]
    timed_out: bool,
    #[serde(rename = "_shards")]
    shards: Shards,
    #[serde(borrow)]
    hits: Hits<'a>,
    #[serde(default)]
    aggregations: Value,
}

#[derive(Deserialize)]
struct Shards {
    #[serde(default)]
    failures: Vec<ShardFailure>,
}

#[derive(Deserialize)]
struct ShardFailure {
    #[serde(default)]
    index: String,
    reason: Value,
}

#[derive(Deserialize)]
struct Hits<'a> {
    #[serde(default)]
    total: Option<Total>,
    #[serde(borrow, default)]
    hits: Vec<RawHit<'a>>,
}

#[derive(Deserialize)]
struct Total {
    value: u64,
}

#[derive(Deserialize)]
struct RawHit<'a> {
    #[serde(rename = "_index")]
    index: String,
    #[serde(rename = "_id")]
    id: String,
    #[serde(rename = "_source", borrow, default)]
    source: Option<&'a RawValue>,
    /// `@timestamp` in nanoseconds, `naru.file`, `naru.offset`, `_seq_no`, `_index`.
    sort: (i64, String, i64, u64, String),
}

/// A page or a part of one.
pub(super) fn page(status: u16, body: &[u8]) -> Result<Part, SearchFailure> {
    let (body, incomplete) = read(status, body)?;
    let total = body.hits.total.map_or(0, |total| total.value);
    let found = body.hits.hits.into_iter().map(found).collect::<Result<_, _>>()?;
    Ok(Part { total, found, incomplete })
}

fn found(hit: RawHit<'_>) -> Result<Found, SearchFailure> {
    let (timestamp_ns, file, offset, number, index) = hit.sort;
    let source = match hit.source {
        Some(source) => source.to_owned(),
        // An index may be told not to keep it.
        None => RawValue::from_string("{}".to_owned())
            .map_err(|error| SearchFailure::Failed(error.to_string()))?,
    };
    let key = SortKey {
        timestamp_ns,
        file: file_bytes(&file),
        offset: u64::try_from(offset).unwrap_or_default(),
        id: number.to_be_bytes().to_vec(),
        index,
    };
    Ok(Found { hit: Hit { index: hit.index, id: hit.id, source }, key })
}

/// The times of the first and the last document in milliseconds; none when there is no document.
pub(super) fn first_and_last_ms(
    status: u16,
    body: &[u8],
) -> Result<Option<(i64, i64)>, SearchFailure> {
    let (body, _) = read(status, body)?;
    let ms = |name: &str| {
        let value = body.aggregations.get(name)?.get("value")?.as_f64()?;
        Some(value.floor() as i64)
    };
    Ok(ms("first").zip(ms("last")))
}

/// The intervals in which there are documents.
pub(super) fn counted(
    status: u16,
    body: &[u8],
) -> Result<(Vec<Counted>, Vec<String>), SearchFailure> {
    let (body, incomplete) = read(status, body)?;
    let buckets = body.aggregations.pointer("/times/buckets").and_then(Value::as_array);
    let counted = buckets.into_iter().flatten().filter_map(|bucket| {
        let mut levels = LevelCounts::default();
        for (count, level) in levels.iter_mut().zip(LEVELS) {
            let pointer = format!("/levels/buckets/{}/doc_count", level.as_str());
            *count = bucket.pointer(&pointer).and_then(Value::as_u64).unwrap_or_default();
        }
        let count = bucket.get("doc_count")?.as_u64()?;
        Some(Counted { from_ms: bucket.get("key")?.as_i64()?, count, levels })
    });
    Ok((counted.collect(), incomplete))
}

/// An answer that is no search: its JSON; none where the index is not there.
pub(super) fn other(status: u16, body: &[u8]) -> Result<Option<Value>, SearchFailure> {
    match status {
        200 => serde_json::from_slice(body).map(Some).map_err(|error| unreadable(&error)),
        404 => Ok(None),
        status => Err(refusal(status, body)),
    }
}

fn read(status: u16, body: &[u8]) -> Result<(Body<'_>, Vec<String>), SearchFailure> {
    if status != 200 {
        return Err(refusal(status, body));
    }
    let body: Body<'_> = serde_json::from_slice(body).map_err(|error| unreadable(&error))?;
    if body.timed_out {
        return Err(SearchFailure::Deadline);
    }
    let mut incomplete = Vec::new();
    for failure in &body.shards.failures {
        if is_too_broad(&failure.reason) {
            return Err(SearchFailure::TooBroad(String::new()));
        }
        let line = format!("{}: {}", failure.index, reason(&failure.reason));
        if !incomplete.contains(&line) {
            incomplete.push(line);
        }
    }
    Ok((body, incomplete))
}

fn refusal(status: u16, body: &[u8]) -> SearchFailure {
    let error = serde_json::from_slice::<Value>(body).unwrap_or_default();
    let error = error.get("error").unwrap_or(&Value::Null);
    let cause = error.pointer("/root_cause/0").or_else(|| error.pointer("/failed_shards/0/reason"));
    let said = reason(cause.unwrap_or(error));
    match status {
        _ if is_too_broad(error) => SearchFailure::TooBroad(String::new()),
        400 => SearchFailure::Refused(said),
        408 | 504 => SearchFailure::Deadline,
        429 | 503 => SearchFailure::Busy,
        status => SearchFailure::Failed(format!("Elasticsearch answered {status}: {said}")),
    }
}

/// Lucene's limit of 1,024 clauses, wherever among the causes it is said.
fn is_too_broad(error: &Value) -> bool {
    let text = error.to_string();
    ["too_many_clauses", "too many clauses", "maxClauseCount"]
        .iter()
        .any(|sign| text.contains(sign))
}

fn reason(error: &Value) -> String {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    // The innermost cause is the one that says something.
    let mut inner = error;
    while let Some(cause) = inner.get("caused_by") {
        inner = cause;
    }
    let said = inner.get("reason").and_then(text).or_else(|| error.get("reason").and_then(text));
    said.or_else(|| text(error)).unwrap_or_else(|| "no reason given".to_owned())
}

fn unreadable(error: &serde_json::Error) -> SearchFailure {
    SearchFailure::Failed(format!("Elasticsearch's answer cannot be read: {error}"))
}

/// The text of a file's id.
pub(super) fn file_text(file: &[u8; 12]) -> String {
    naru_proto::ids::FileId(*file).to_string()
}

/// What is no id sorts as a document without one.
fn file_bytes(text: &str) -> [u8; 12] {
    let mut file = [0; 12];
    for (byte, pair) in file.iter_mut().zip(text.as_bytes().chunks(2)) {
        let pair = std::str::from_utf8(pair).unwrap_or_default();
        *byte = u8::from_str_radix(pair, 16).unwrap_or_default();
    }
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_hits_and_failed_shards() {
        let body = r#"{"timed_out":false,"_shards":{"total":2,"failed":1,"failures":[
            {"shard":0,"index":"logstash-2026.11.21","reason":{"type":"a","reason":"outer","caused_by":{"type":"b","reason":"inner"}}},
            {"shard":1,"index":"logstash-2026.11.21","reason":{"type":"a","reason":"outer","caused_by":{"type":"b","reason":"inner"}}}]},
            "hits":{"total":{"value":7,"relation":"eq"},"hits":[{"_index":"logstash-2026.11.22","_id":"x",
            "_source":{ "log" : "a" },"sort":[1795307400000000002,"0708090a0b0c0d0e0f101112",4,1,"logstash-2026.11.22"]}]}}"#;
        let part = page(200, body.as_bytes()).unwrap();
        assert_eq!(
            (part.total, part.incomplete),
            (7, vec!["logstash-2026.11.21: inner".to_owned()])
        );
        let found = &part.found[0];
        assert_eq!(found.hit.source.get(), r#"{ "log" : "a" }"#);
        assert_eq!(file_text(&found.key.file), "0708090a0b0c0d0e0f101112");
        assert_eq!((found.key.timestamp_ns, found.key.offset), (1_795_307_400_000_000_002, 4));
    }

    fn check(status: u16, body: &str, expected: SearchFailure) {
        assert_eq!(page(status, body.as_bytes()).err(), Some(expected), "{body}");
    }

    #[test]
    fn refusals_are_told_apart() {
        let failed = |text: &str| SearchFailure::Failed(text.to_owned());
        check(
            400,
            r#"{"error":{"root_cause":[{"reason":"bad regexp"}],"reason":"all shards failed"},"status":400}"#,
            SearchFailure::Refused("bad regexp".to_owned()),
        );
        let clauses = r#"{"error":{"root_cause":[{"type":"too_many_clauses","reason":"maxClauseCount is set to 1024"}]}}"#;
        check(400, clauses, SearchFailure::TooBroad(String::new()));
        check(500, clauses, SearchFailure::TooBroad(String::new()));
        check(429, "{}", SearchFailure::Busy);
        check(503, "upstream", SearchFailure::Busy);
        check(504, "", SearchFailure::Deadline);
        check(401, "{}", failed("Elasticsearch answered 401: no reason given"));
        let timed_out = r#"{"timed_out":true,"_shards":{},"hits":{"hits":[]}}"#;
        check(200, timed_out, SearchFailure::Deadline);
        assert!(matches!(page(200, b"<html>"), Err(SearchFailure::Failed(_))));
        assert_eq!(other(404, b"{}"), Ok(None));
    }

    #[test]
    fn counts_and_their_ends() {
        let body =
            br#"{"_shards":{},"hits":{"hits":[]},"aggregations":{"first":{"value":1795221000123.0},
            "last":{"value":1795307400000.5},"times":{"buckets":[{"key":1795221000000,"doc_count":2,
            "levels":{"buckets":{"error":{"doc_count":1},"info":{"doc_count":0}}}}]}}}"#;
        assert_eq!(first_and_last_ms(200, body), Ok(Some((1_795_221_000_123, 1_795_307_400_000))));
        let levels = [0, 1, 0, 0, 0, 0];
        let expected = Counted { from_ms: 1_795_221_000_000, count: 2, levels };
        assert_eq!(counted(200, body), Ok((vec![expected], Vec::new())));
        let none = br#"{"_shards":{},"hits":{"hits":[]},"aggregations":{"first":{"value":null},"last":{"value":null}}}"#;
        assert_eq!(first_and_last_ms(200, none), Ok(None));
    }
}
