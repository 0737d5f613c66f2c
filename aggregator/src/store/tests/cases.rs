//! The cases that every implementation of the search answers alike: `testdata/search/cases.json`.
//!
//! What is expected was written by the store (`UPDATE=1` rewrites it) and is checked here against the oracle, which knows
//! no implementation. `integration/tests/search_elasticsearch.rs` asks Elasticsearch the same.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use super::oracle::{Doc, matches};
use super::*;
use crate::search::histogram::{HistogramRequest, RawHistogram};
use crate::search::parse::parse;

struct Cases {
    cases: Value,
    store: Store,
    docs: Vec<Doc>,
    _dir: TempDir,
}

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/search/cases.json")
}

fn load() -> Cases {
    let cases: Value = serde_json::from_slice(&fs::read(path()).unwrap()).unwrap();
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    let mut documents = Documents::default();
    for case in cases["documents"].as_array().unwrap() {
        let time = case["time"].as_str().unwrap();
        let time_ns = naru_proto::time::parse_rfc3339_ns(time.as_bytes()).unwrap();
        let file = FileId([case["file"].as_u64().unwrap() as u8; 12]);
        let offset = case["offset"].as_u64().unwrap();
        let mut source = case["source"].clone();
        source["@timestamp"] = time.into();
        source["naru"] = json!({"file": file.to_string(), "offset": offset});
        push_of(&mut documents, file, time_ns, offset, &source.to_string());
    }
    let outcomes = add(&store, &documents);
    assert!(outcomes.iter().all(|outcome| *outcome == AddOutcome::Indexed));
    let docs = documents.iter().map(|document| Doc {
        id: document.id.to_string(),
        index: document.index().to_string(),
        time_ns: document.timestamp_ns,
        source: serde_json::from_slice(document.source).unwrap(),
    });
    let docs = docs.collect();
    Cases { cases, store, docs, _dir: dir }
}

fn text<'a>(case: &'a Value, key: &str) -> Option<&'a str> {
    case[key].as_str()
}

impl Cases {
    /// The numbers of the documents that are found, page by page.
    fn found(&self, case: &Value, limit: usize) -> Vec<usize> {
        let mut found = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let raw = RawRequest {
                query: text(case, "query"),
                from: text(case, "from"),
                to: text(case, "to"),
                limit: Some(limit),
                after: after.as_deref(),
            };
            let page = page(&self.store, &raw);
            let number = |hit: &Hit| self.docs.iter().position(|doc| doc.id == hit.id).unwrap();
            found.extend(page.hits.iter().map(number));
            after = page.next;
            if after.is_none() {
                assert_eq!(found.len() as u64, page.total, "{case}");
                return found;
            }
        }
    }

    fn histogram(&self, case: &Value) -> Value {
        let raw = RawHistogram {
            query: text(case, "query"),
            from: text(case, "from"),
            to: text(case, "to"),
            interval: text(case, "interval"),
        };
        let request = HistogramRequest::read(&raw, TIME_NS).unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        let histogram = self.store.histogram(&request, deadline).unwrap();
        assert!(histogram.incomplete.is_empty());
        let (mut buckets, mut empty) = (Vec::new(), 0);
        for bucket in histogram.buckets() {
            let end_ms = bucket.from_ms + histogram.interval_ms;
            let inside = |doc: &&Doc| {
                (bucket.from_ms..end_ms).contains(&doc.time_ns.div_euclid(1_000_000))
                    && request.from_ns.is_none_or(|from| doc.time_ns >= from)
                    && request.to_ns_exclusive.is_none_or(|to| doc.time_ns < to)
                    && matches(&request.query, doc)
            };
            let docs: Vec<_> = self.docs.iter().filter(inside).collect();
            assert_eq!(bucket.count, docs.len() as u64, "{case}");
            for level in ["fatal", "error", "warn", "info", "debug", "trace"] {
                let count = docs.iter().filter(|doc| doc.source["level"] == level).count() as u64;
                assert_eq!(bucket.levels.get(level).copied().unwrap_or(0), count, "{case}");
            }
            empty += usize::from(bucket.count == 0);
            if bucket.count > 0 {
                buckets.push(json!([bucket.from, bucket.count, bucket.levels]));
            }
        }
        json!({"interval_ms": histogram.interval_ms, "empty": empty, "buckets": buckets})
    }
}

fn rewritten(mut loaded: Cases) -> String {
    let mut cases = std::mem::take(&mut loaded.cases);
    for part in ["queries", "ranges"] {
        for case in cases[part].as_array_mut().unwrap() {
            case["found"] = loaded.found(case, 1000).into();
        }
    }
    for case in cases["histograms"].as_array_mut().unwrap() {
        case["expected"] = loaded.histogram(case);
    }
    let mut text = String::from("{\n");
    for (number, part) in ["documents", "queries", "ranges", "histograms"].iter().enumerate() {
        let lines: Vec<_> =
            cases[part].as_array().unwrap().iter().map(|case| format!("    {case}")).collect();
        let comma = if number == 3 { "" } else { "," };
        writeln!(text, "  \"{part}\": [\n{}\n  ]{comma}", lines.join(",\n")).unwrap();
    }
    text + "}\n"
}

#[test]
fn the_store_answers_the_cases() {
    if std::env::var_os("UPDATE").is_some() {
        fs::write(path(), rewritten(load())).unwrap();
    }
    let loaded = load();
    let list = |part: &str| loaded.cases[part].as_array().unwrap().clone();
    let mut telling = 0;
    for case in list("queries").iter().chain(&list("ranges")) {
        let expected: Vec<usize> = serde_json::from_value(case["found"].clone()).unwrap();
        for limit in [1000, 2] {
            assert_eq!(loaded.found(case, limit), expected, "{case}");
        }
        if text(case, "from").is_none() {
            let query = parse(text(case, "query").unwrap()).unwrap();
            for (number, doc) in loaded.docs.iter().enumerate() {
                assert_eq!(expected.contains(&number), matches(&query, doc), "{case}: {number}");
            }
        }
        telling += usize::from(!expected.is_empty() && expected.len() < loaded.docs.len());
    }
    assert!(telling > 150, "{telling}");
    for case in list("histograms") {
        assert_eq!(loaded.histogram(&case), case["expected"], "{case}");
    }
}
