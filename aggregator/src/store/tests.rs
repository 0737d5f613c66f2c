//! The store as a whole: once, durable, found, in order, bounded. Its answers against a naive reading: `oracle`.

mod cases;
mod oracle;

use std::collections::BTreeSet;
use std::time::{Duration, Instant, SystemTime};

use naru_proto::ids::{ClusterKey, FileDocumentIds, FileId, IdTime};
use tempfile::TempDir;

use super::*;
use crate::document::Identity;
use crate::search::request::{Hit, RawRequest, SearchRequest};

/// 2026-11-22T00:30:00.12Z
const TIME_NS: i64 = 1_795_307_400_120_000_000;
const DAY_NS: i64 = 86_400_000_000_000;

fn config(dir: &TempDir) -> StoreConfig {
    StoreConfig {
        dir: dir.path().join("store"),
        retention_max_bytes: 1 << 40,
        retention_max_age: None,
    }
}

fn open(dir: &TempDir) -> Store {
    Store::open(config(dir)).unwrap()
}

/// A document of the first file; `time_ns` is its time and decides its index.
fn push(documents: &mut Documents, time_ns: i64, offset: u64, source: &str) {
    push_of(documents, FileId([7; 12]), time_ns, offset, source);
}

fn push_of(documents: &mut Documents, file: FileId, time_ns: i64, offset: u64, source: &str) {
    let id_time = IdTime::new(Some(time_ns));
    let ids = FileDocumentIds::new(ClusterKey::of("default"), "node-1", file);
    let id = ids.id(id_time, offset, source.as_bytes());
    let identity = Identity { id, id_time, timestamp_ns: time_ns, file, offset };
    documents.push(identity, |json| json.extend_from_slice(source.as_bytes()));
}

fn of_logs(logs: &[&str]) -> Documents {
    let mut documents = Documents::default();
    for (offset, log) in (0..).zip(logs) {
        let source = serde_json::json!({ "log": log }).to_string();
        push(&mut documents, TIME_NS + offset as i64, offset, &source);
    }
    documents
}

fn add(store: &Store, documents: &Documents) -> Vec<AddOutcome> {
    let outcomes = store.add(documents).unwrap();
    store.commit().unwrap();
    outcomes
}

fn page(store: &Store, raw: &RawRequest<'_>) -> SearchPage {
    let request = SearchRequest::read(raw, TIME_NS).unwrap();
    let page = store.search(&request, Instant::now() + Duration::from_secs(60)).unwrap();
    assert!(page.incomplete.is_empty(), "{:?}", page.incomplete);
    page
}

/// All documents that a query finds, page by page.
fn all(store: &Store, query: &str, limit: usize) -> Vec<Hit> {
    let mut hits = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let raw = RawRequest {
            query: Some(query),
            limit: Some(limit),
            after: after.as_deref(),
            ..RawRequest::default()
        };
        let page = page(store, &raw);
        assert!(page.hits.len() <= limit);
        hits.extend(page.hits);
        after = page.next;
        if after.is_none() {
            assert_eq!(hits.len() as u64, page.total, "{query}");
            return hits;
        }
    }
}

fn count(store: &Store, query: &str) -> usize {
    all(store, query, 1000).len()
}

fn check(store: &Store, query: &str, expected: &[&str]) {
    let hits = all(store, query, 3);
    let mut logs: Vec<String> = (hits.iter())
        .map(|hit| serde_json::from_str::<serde_json::Value>(hit.source.get()).unwrap())
        .map(|source| source["log"].as_str().unwrap().to_owned())
        .collect();
    logs.sort();
    let mut expected: Vec<_> = expected.to_vec();
    expected.sort_unstable();
    assert_eq!(logs, expected, "{query}");
}

#[test]
fn words_phrases_and_negation() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    let logs = [
        "GET /pay timeout",
        "GET /pay ok",
        "timeouts of GET",
        "주문이 실패",
        "주문 완료",
        "v2주문",
    ];
    assert_eq!(add(&store, &of_logs(&logs)), vec![AddOutcome::Indexed; logs.len()]);
    check(&store, "*", &logs);
    check(&store, "timeout", &["GET /pay timeout"]);
    check(&store, "time*", &["GET /pay timeout", "timeouts of GET"]);
    check(&store, "get AND NOT timeout", &["GET /pay ok", "timeouts of GET"]);
    check(&store, "get -pay", &["timeouts of GET"]);
    check(&store, "NOT get", &["주문이 실패", "주문 완료", "v2주문"]);
    check(&store, "\"pay get\"", &[]);
    check(&store, "\"get pay\" (ok OR timeout)", &["GET /pay timeout", "GET /pay ok"]);
    check(&store, "\"pay time*\"", &[]);
    check(&store, "pay-time*", &["GET /pay timeout"]);
    check(&store, "주문", &["주문이 실패", "주문 완료", "v2주문"]);
    check(&store, "주문이", &["주문이 실패"]);
    check(&store, "문", &["주문이 실패", "주문 완료", "v2주문"]);
    check(&store, "\"주문 완\"", &["주문 완료"]);
    check(&store, "완료", &["주문 완료"]);
    check(&store, "주완", &[]);
}

#[test]
fn a_document_is_kept_once_across_reopening_and_kills() {
    let dir = TempDir::new().unwrap();
    let logs: Vec<_> = (0..100).map(|n| format!("line {n}")).collect();
    let logs: Vec<_> = logs.iter().map(String::as_str).collect();
    let (half, whole) = (of_logs(&logs[..50]), of_logs(&logs));
    {
        let store = open(&dir);
        store.add(&half).unwrap();
        assert_eq!(store.add(&half).unwrap(), vec![AddOutcome::Duplicate; 50]);
        assert_eq!(count(&store, "*"), 0);
        // Killed: what was not committed is gone.
    }
    {
        let store = open(&dir);
        assert_eq!(add(&store, &half), vec![AddOutcome::Indexed; 50]);
        assert_eq!(add(&store, &half), vec![AddOutcome::Duplicate; 50]);
        store.add(&whole).unwrap();
    }
    let store = open(&dir);
    assert_eq!(count(&store, "*"), 50);
    let outcomes = add(&store, &whole);
    assert_eq!(outcomes.iter().filter(|&&outcome| outcome == AddOutcome::Indexed).count(), 50);
    assert_eq!(count(&store, "*"), 100);
    let ids: BTreeSet<_> = all(&store, "*", 7).into_iter().map(|hit| hit.id).collect();
    assert_eq!(ids.len(), 100);
    assert_eq!(store.stats().duplicates, 50);
    let one = ids.first().unwrap();
    assert_eq!(count(&store, &format!("_id:{one}")), 1);
    assert_eq!(count(&store, &format!("NOT _id:{one}")), 99);
}

#[test]
fn the_source_comes_back_byte_for_byte() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    let sources = [
        r#"{ "log" : "a\u0000b\/\ud83d\ude00", "n":1.50,"big":123456789012345678901234567890 }"#,
        r#"{"log":"주문","dup":1,"dup":"x","":{"":[]}}"#,
        "{}",
    ];
    let mut documents = Documents::default();
    for (offset, source) in (0..).zip(sources) {
        push(&mut documents, TIME_NS, offset, source);
    }
    add(&store, &documents);
    let hits = all(&store, "*", 10);
    let found: Vec<_> = hits.iter().rev().map(|hit| hit.source.get()).collect();
    assert_eq!(found, sources);
}

#[test]
fn what_is_no_json_object_is_refused_and_the_rest_is_not() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    let mut documents = Documents::default();
    for (offset, source) in (0..).zip(["[1]", r#"{"log":"ok"}"#, r#"{"a":"#, "", r#"{"a":1} x"#]) {
        push(&mut documents, TIME_NS, offset, source);
    }
    let refused = AddOutcome::Refused(Refusal::NotJson);
    assert_eq!(add(&store, &documents), [refused, AddOutcome::Indexed, refused, refused, refused]);
    assert_eq!(count(&store, "*"), 1);
}

#[test]
fn hostile_documents_are_kept_and_found() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    let long = "x".repeat(960 * 1024);
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let many: Vec<_> = (0..10_000).map(|n| format!(r#""k{n}.a.b":{n}"#)).collect();
    let words: Vec<_> = (0..100_000).map(|n| format!("w{n}")).collect();
    let sources = [
        format!(r#"{{"log":"{long}","json":{{"{long}":"{long}"}},"last":"one"}}"#),
        format!(r#"{{"deep":{deep},"last":"two"}}"#),
        format!(r#"{{"json":{{{}}},"last":"three"}}"#, many.join(",")),
        r#"{"\u0000":"\u0000","a\u0000b":"c","..":".","last":"four"}"#.to_owned(),
        format!(r#"{{"log":"{}","last":"five"}}"#, words.join(" ")),
    ];
    let mut documents = Documents::default();
    for (offset, source) in (0..).zip(&sources) {
        push(&mut documents, TIME_NS, offset, source);
    }
    assert_eq!(add(&store, &documents), vec![AddOutcome::Indexed; sources.len()]);
    for last in ["one", "two", "three", "four", "five"] {
        assert_eq!(count(&store, &format!("last:{last}")), 1, "{last}");
    }
    assert_eq!(count(&store, "xxxxxxxxxx*"), 1);
    assert_eq!(count(&store, "json.k9999.a.b:9999"), 1);
    assert_eq!(count(&store, "json.k9999.a.b:[9000 TO *]"), 1);
    assert_eq!(count(&store, "w99999"), 1);
    let found: BTreeSet<_> =
        all(&store, "*", 2).into_iter().map(|hit| hit.source.get().to_owned()).collect();
    assert_eq!(found, sources.into_iter().collect());
}

#[test]
fn pages_through_equal_times_miss_nothing_and_repeat_nothing() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    for part in 0..5 {
        let mut documents = Documents::default();
        for number in 0..5_000_u64 {
            let file = FileId([(number % 3) as u8; 12]);
            let offset = part * 5_000 + number;
            push_of(&mut documents, file, TIME_NS, offset, r#"{"log":"same"}"#);
        }
        add(&store, &documents);
    }
    let hits = all(&store, "same", 999);
    let ids: BTreeSet<_> = hits.iter().map(|hit| hit.id.as_str()).collect();
    assert_eq!((hits.len(), ids.len()), (25_000, 25_000));
}

#[test]
fn newest_first_then_file_then_the_later_offset() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    let mut expected = Vec::new();
    let mut documents = Documents::default();
    for time in 0..3_i64 {
        for file in 0..3_u8 {
            for offset in 0..3_u64 {
                let source = format!(r#"{{"log":"{time} {file} {offset}"}}"#);
                // Three days, so three indices.
                let time_ns = TIME_NS + time * DAY_NS;
                push_of(&mut documents, FileId([file; 12]), time_ns, offset, &source);
                expected.push((-time, file, -(offset as i64), source));
            }
            add(&store, &documents);
            documents.clear();
        }
    }
    expected.sort();
    for limit in [1, 2, 5, 27, 1000] {
        let hits = all(&store, "*", limit);
        let found: Vec<_> = hits.iter().map(|hit| hit.source.get()).collect();
        let expected: Vec<_> = expected.iter().map(|(.., source)| source.as_str()).collect();
        assert_eq!(found, expected, "{limit}");
    }
    let raw = |from, to| RawRequest { from: Some(from), to: Some(to), ..RawRequest::default() };
    assert_eq!(page(&store, &raw("2026-11-22T00:30:00.12Z", "2026-11-23T00:30:00.12Z")).total, 9);
    assert_eq!(page(&store, &raw("2026-11-22T00:30:00.120000001Z", "now+3d")).total, 18);
    assert_eq!(page(&store, &raw("", "2026-11-23T00:30:00.120000001Z")).total, 18);
    assert_eq!(count(&store, "@timestamp:[2026-11-23 TO 2026-11-24}"), 9);
    assert_eq!(count(&store, "@timestamp:2026-11-24"), 9);
    assert_eq!(count(&store, "@timestamp:>\"2026-11-23T00:30:00.12Z\""), 9);
    assert_eq!(count(&store, "@timestamp:>=now+1d"), 18);
    assert_eq!(count(&store, "@timestamp:<2026-11-23T00:30:00.120000001Z"), 18);
    assert_eq!(count(&store, "_index:logstash-2026.11.23"), 9);
    assert_eq!(count(&store, "_index:logstash-* AND NOT _index:logstash-2026.11.23"), 18);
}

#[test]
fn many_days_at_once_need_few_writers() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    let mut documents = Documents::default();
    for number in 0..200_i64 {
        let source = format!(r#"{{"log":"line {number}"}}"#);
        push(&mut documents, TIME_NS + number % 10 * DAY_NS, number as u64, &source);
    }
    assert_eq!(add(&store, &documents), vec![AddOutcome::Indexed; 200]);
    assert_eq!(add(&store, &documents), vec![AddOutcome::Duplicate; 200]);
    assert!(store.writing().writers.len() <= MAX_WRITERS);
    assert_eq!((count(&store, "*"), store.stats().indices), (200, 10));
}

#[test]
fn retention_deletes_the_oldest_whole() {
    let dir = TempDir::new().unwrap();
    let store = Store::open(StoreConfig { retention_max_bytes: 1, ..config(&dir) }).unwrap();
    let mut documents = Documents::default();
    for day in 0..4 {
        push(&mut documents, TIME_NS - day * DAY_NS, 0, r#"{"log":"x"}"#);
    }
    store.add(&documents).unwrap();
    // Taken, so that the commit does not look at the sizes by itself with the machine's clock.
    store.writing().retention_at = Some(Instant::now());
    store.commit().unwrap();
    assert_eq!(count(&store, "*"), 4);
    let now = SystemTime::UNIX_EPOCH + Duration::from_nanos(TIME_NS as u64);
    let deleted = store.retain(now);
    assert_eq!(deleted, ["logstash-2026.11.19", "logstash-2026.11.20", "logstash-2026.11.21"]);
    assert_eq!(count(&store, "*"), 1);
    assert_eq!(store.retain(now), Vec::<String>::new());
    assert_eq!(store.stats().deleted_indices, 3);
    drop(store);
    let store = open(&dir);
    assert_eq!((count(&store, "*"), store.stats().indices), (1, 1));
    assert!(!dir.path().join("store/deleting").exists());
}

#[test]
fn a_damaged_index_is_set_aside_and_the_start_goes_on() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    let mut documents = Documents::default();
    for day in 0..3 {
        push(&mut documents, TIME_NS - day * DAY_NS, 0, r#"{"log":"x"}"#);
    }
    add(&store, &documents);
    drop(store);
    let path = |name: &str| dir.path().join("store").join(name);
    fs::write(path("logstash-2026.11.21/meta.json"), "{").unwrap();
    for entry in fs::read_dir(path("logstash-2026.11.20")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "fast" || extension == "idx") {
            fs::write(path, "garbage").unwrap();
        }
    }
    let store = open(&dir);
    let mut damaged: Vec<_> = store.damaged().iter().map(|index| index.index.as_str()).collect();
    damaged.sort_unstable();
    assert_eq!(damaged, ["logstash-2026.11.20", "logstash-2026.11.21"]);
    assert!(path("damaged/logstash-2026.11.20/meta.json").exists());
    assert_eq!(count(&store, "*"), 1);
    assert_eq!(add(&store, &documents)[1], AddOutcome::Indexed);
    assert_eq!(count(&store, "*"), 3);
}

#[test]
fn after_a_failure_the_same_documents_are_taken_again() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    let logs: Vec<_> = (0..20).map(|n| format!("line {n}")).collect();
    let logs: Vec<_> = logs.iter().map(String::as_str).collect();
    add(&store, &of_logs(&logs[..10]));
    store.add(&of_logs(&logs)).unwrap();
    let index = dir.path().join("store/logstash-2026.11.22");
    let away = dir.path().join("away");
    fs::rename(&index, &away).unwrap();
    assert!(store.commit().is_err(), "the directory is gone");
    assert!(store.add(&of_logs(&logs)).is_err(), "and no writer can be opened");
    assert!(matches!(store.commit(), Err(StoreError::Lost)), "which the next commit says");
    fs::rename(&away, &index).unwrap();
    let outcomes = add(&store, &of_logs(&logs));
    assert_eq!(outcomes[..10], [AddOutcome::Duplicate; 10]);
    assert_eq!(count(&store, "*"), 20);
    assert_eq!(add(&store, &of_logs(&logs)), vec![AddOutcome::Duplicate; 20]);
}

#[test]
fn a_search_ends_at_its_deadline_and_refuses_what_is_too_broad() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    let logs: Vec<_> = (0..2_100).map(|n| format!("id a{n}")).collect();
    add(&store, &of_logs(&logs.iter().map(String::as_str).collect::<Vec<_>>()));
    let request = |query| {
        let raw = RawRequest { query: Some(query), ..RawRequest::default() };
        SearchRequest::read(&raw, TIME_NS).unwrap()
    };
    let late = Instant::now() - Duration::from_millis(1);
    assert!(matches!(store.search(&request("id"), late), Err(SearchFailure::Deadline)));
    let soon = Instant::now() + Duration::from_secs(60);
    let broad = store.search(&request("id-a*"), soon);
    assert!(matches!(broad, Err(SearchFailure::TooBroad(word)) if word == "a"));
    assert_eq!(count(&store, "id-a1*"), 1_111);
    assert_eq!(count(&store, "a*"), 2_100);
}
