//! Queries against the golden requests they become (`UPDATE=1` rewrites them).

use std::fmt::Write as _;
use std::path::Path;

use super::*;
use crate::elasticsearch::search::ANALYZER;
use crate::search::parse::parse;

const NOW_NS: i64 = 1_795_307_400_120_000_000;

/// Two indices of ours that disagree about `json.mixed`, and one that something else made.
fn fields() -> Fields {
    let of = |kind: Value| json!({"mapping": {"leaf": kind}});
    let text =
        json!({"type": "text", "fields": {"keyword": {"type": "keyword", "ignore_above": 256}}});
    let mut fields = Fields::default();
    fields.read(&json!({
        "logstash-2026.11.22": {"mappings": {
            "log": of(json!({"type": "text", "analyzer": ANALYZER})),
            "level": of(json!({"type": "keyword"})),
            "json.status": of(json!({"type": "long"})),
            "json.small": of(json!({"type": "byte"})),
            "json.took": of(json!({"type": "double"})),
            "json.float": of(json!({"type": "float"})),
            "json.ok": of(json!({"type": "boolean"})),
            "json.at": of(json!({"type": "date"})),
            "json.mixed": of(json!({"type": "long"})),
            "json.place": of(json!({"type": "ip"})),
            "kubernetes.labels": of(json!({"type": "flattened"})),
        }},
        "logstash-2026.11.21": {"mappings": {
            "log": of(json!({"type": "text", "analyzer": ANALYZER})),
            "json.mixed": of(json!({"type": "keyword"})),
            "tag": of(text),
        }},
    }));
    fields
}

const QUERIES: [&str; 64] = [
    "*",
    "Time-Out",
    "timeout",
    "time*",
    "order-time*",
    "주",
    "주문",
    "주문이 완료",
    "\"주문 완\"",
    "\"v2주문 그\"",
    "a b",
    "a OR b",
    "NOT a",
    "a -b -(c d)",
    "NOT NOT a",
    "level:error",
    "level:=error",
    "level:web-*",
    "level:\"주문 v2\"",
    "level:\"--\"",
    "level:é",
    "level:>\"a\"",
    "level:[\"a\" TO \"b\"}",
    "level:>5",
    "level:*",
    "json:*",
    "log:*",
    "json.status:500",
    "json.status:5e2",
    "json.status:500.5",
    "json.status:x",
    "json.status:5*",
    "json.status:>499.5",
    "json.status:<499.5",
    "json.status:{1 TO 3}",
    "json.status:{1 TO 2}",
    "json.status:<1e300",
    "json.status:>1e300",
    "json.status:>9223372036854775807",
    "json.small:>=-1000",
    "json.small:1000",
    "json.took:>=1",
    "json.took:-1.5",
    "json.took:0",
    "json.took:<-0.0",
    "json.float:>1e300",
    "json.float:<1e300",
    "json.ok:true",
    "json.ok:[\"a\" TO \"g\"]",
    "json.ok:1",
    "json.at:2026-11-22",
    "json.at:>\"2026-11-22T00:00:00Z\"",
    "json.at:soon",
    "json.mixed:5",
    "json.place:10.0.0.1",
    "kubernetes.labels.app:web",
    "tag:web-0",
    "tag:=web-0",
    "tag:web-*",
    "nothing:x",
    "@timestamp:2026-11-22",
    "@timestamp:[1960-01-01 TO now-15m]",
    "@timestamp:<1960-01-01",
    "_id:AaIA OR _index:logstash-2026* OR _index:x OR _id:*",
];

#[test]
fn queries_become_the_golden_requests() {
    let fields = fields();
    let mut found = String::new();
    for query in QUERIES {
        let compiled = Compiler { fields: &fields, now_ns: NOW_NS }.compile(&parse(query).unwrap());
        writeln!(found, "{query}\n    {compiled}").unwrap();
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/search/elasticsearch.txt");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &found).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    for (found, expected) in found.lines().zip(expected.lines()) {
        assert_eq!(found, expected);
    }
    assert_eq!(found.len(), expected.len());
}

#[test]
fn an_index_with_another_analyzer_is_asked_for_its_own_words() {
    let mut fields = Fields::default();
    fields.read(&json!({"old": {"mappings": {"log": {"mapping": {"log": {
        "type": "text", "fields": {"keyword": {"type": "keyword"}}
    }}}}}}));
    let compiled =
        |query: &str| Compiler { fields: &fields, now_ns: 0 }.compile(&parse(query).unwrap());
    assert_eq!(compiled("user_id"), json!({"match_phrase": {"log": {"query": "user_id"}}}));
    let prefix =
        json!({"match_phrase_prefix": {"log": {"query": "user_i", "max_expansions": 1000}}});
    assert_eq!(compiled("user_i*"), prefix);
}

#[test]
fn a_refused_prefix_is_named() {
    let named = |query: &str| phrase_prefix(&parse(query).unwrap());
    assert_eq!(named("a time* OR NOT id-a*"), Some("a".to_owned()));
    assert_eq!(named("그-주"), Some("주".to_owned()));
    assert_eq!(named("time* a b"), None);
}

#[test]
fn the_analysis_is_json_and_names_the_analyzer() {
    let analysis: Value = serde_json::from_str(ANALYSIS).unwrap();
    assert!(analysis["analyzer"][ANALYZER].is_object());
    assert_eq!(analysis["filter"]["naru_word_limit"]["length"], WORD_MAX_UNITS);
}

#[test]
fn a_long_word_is_asked_for_as_it_is_kept() {
    let words = |text: &str| asked(text, false).words.concat().encode_utf16().count();
    assert_eq!(words(&"x".repeat(300)), WORD_MAX_UNITS);
    assert_eq!(words(&"x".repeat(255)), 255);
    assert_eq!(words(&"é".repeat(256)), 255);
}
