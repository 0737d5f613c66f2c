//! Real servers and what their mappings make of documents: a template that several put at once, more fields than an index
//! may have, names that exclude each other, lines of one instant, indices that were there before with another mapping.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

use naru_aggregator::elasticsearch::{Credentials, Settings};
use naru_integration::delivery::{Delivering, settings};
use naru_integration::elasticsearch::{Flavour, Server, start_or_skip};
use naru_integration::export::Document;
use serde_json::{Value, json};
use tempfile::TempDir;

/// As the template says.
const FIELDS_MAX: usize = 2000;
const KEYS: usize = 5000;
/// Each line that brings new names makes the server change its mapping, one after the other.
const KEYS_A_LINE: usize = 250;
const RACERS: usize = 5;

#[test]
fn elasticsearch7_maps_what_comes() {
    maps_what_comes("elasticsearch7_maps_what_comes", Flavour::Elasticsearch7);
}

#[test]
fn elasticsearch8_maps_what_comes() {
    maps_what_comes("elasticsearch8_maps_what_comes", Flavour::Elasticsearch8);
}

#[test]
fn opensearch2_maps_what_comes() {
    maps_what_comes("opensearch2_maps_what_comes", Flavour::OpenSearch2);
}

fn maps_what_comes(story: &str, flavour: Flavour) {
    let Some(server) = start_or_skip(story, flavour, &[]) else { return };
    let stage = Stage::new(&server);
    five_put_the_template_at_once(&server, &stage);
    more_keys_than_fields(&server, &stage);
    names_that_exclude_each_other(&server, &stage);
    lines_of_one_instant(&server, &stage);
    indices_with_another_mapping(&server, &stage);
}

struct Stage {
    settings: Settings,
    _directory: TempDir,
}

impl Stage {
    fn new(server: &Server) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut settings = settings(&server.url());
        // Five at once on one server that has just started, beside whatever else runs here.
        settings.request_timeout = std::time::Duration::from_secs(30);
        if server.flavour() == Flavour::Elasticsearch8 {
            let (ca, password_file) =
                (directory.path().join("ca"), directory.path().join("password"));
            std::fs::write(&ca, server.ca().pem()).unwrap();
            std::fs::write(&password_file, "changeme").unwrap();
            settings.ca = Some(ca);
            settings.credentials = Credentials::Basic { user: "elastic".to_owned(), password_file };
        }
        Self { settings, _directory: directory }
    }

    /// Delivers lines of a day that no other part of the story has.
    fn deliver(&self, day: i64, step_ns: i64, lines: &[String]) -> Delivering {
        let mut delivering = Delivering::start(self.settings.clone());
        delivering.set_day(day);
        delivering.set_step_ns(step_ns);
        for lines in lines.chunks(100) {
            delivering.append(lines.iter().map(String::as_str));
        }
        delivering.drained();
        delivering
    }
}

/// What an index holds, in the order of their times.
fn documents(server: &Server, index: &str) -> Vec<Document> {
    server.refresh();
    let query = json!({"size": 5000, "sort": [
        {"@timestamp": {"order": "asc"}}, {"naru.offset": {"order": "asc"}},
    ]});
    let answer = server.ask("POST", &format!("/{index}/_search"), Some(&query));
    let hits = answer["hits"]["hits"].as_array().unwrap();
    let document = |hit: &Value| Document {
        id: hit["_id"].as_str().unwrap().to_owned(),
        index: hit["_index"].as_str().unwrap().to_owned(),
        source: hit["_source"].clone(),
    };
    hits.iter().map(document).collect()
}

fn texts(documents: &[Document]) -> Vec<&str> {
    documents.iter().map(|document| document.text("/log").unwrap()).collect()
}

fn repaired(documents: &[Document]) -> usize {
    documents.iter().filter(|document| document.text("/naru/json") == Some("mapping")).count()
}

fn five_put_the_template_at_once(server: &Server, stage: &Stage) {
    let mut racers: Vec<_> =
        (0..RACERS).map(|_| Delivering::start(stage.settings.clone())).collect();
    for (racer, namespace) in racers.iter_mut().zip(["a", "b", "c", "d", "e"]) {
        // All have the same ids: what one has indexed is a duplicate of the others.
        racer.set_namespace(namespace);
        racer.append_numbered(100);
    }
    for racer in &racers {
        racer.drained();
        assert!(racer.letters().is_empty(), "{:?}", racer.letters());
        let failures = racer.metrics().count("naru_aggregator_delivery_failures_total", "");
        assert_eq!(failures, 0, "nobody is told that another was first");
    }
    let templates = server.ask("GET", "/_index_template", None);
    let names: Vec<_> = templates["index_templates"].as_array().unwrap().iter().collect();
    let ours = names.iter().filter(|template| template["name"] == "naru").count();
    assert_eq!(ours, 1, "{templates}");
    let indices = server.ask("GET", "/logstash-*", None);
    let indices: Vec<&String> = indices.as_object().unwrap().keys().collect();
    assert_eq!(indices, ["logstash-2026.11.22"]);
    let mapping = server.ask("GET", "/logstash-2026.11.22/_mapping/field/@timestamp", None);
    assert!(mapping.to_string().contains("date_nanos"), "{mapping}");
    assert_eq!(documents(server, "logstash-2026.11.22").len(), 100);
}

fn more_keys_than_fields(server: &Server, stage: &Stage) {
    let line = |first: usize| {
        let fields = (first..first + KEYS_A_LINE).map(|key| (format!("key_{key}"), json!("x")));
        Value::Object(fields.collect()).to_string()
    };
    let lines: Vec<String> = (0..KEYS).step_by(KEYS_A_LINE).map(line).collect();
    let delivering = stage.deliver(1, 1000, &lines);
    assert!(delivering.letters().is_empty(), "{:?}", delivering.letters());
    let found = documents(server, "logstash-2026.11.23");
    assert_eq!(texts(&found), lines);
    let mapping = server.ask("GET", "/logstash-2026.11.23/_mapping", None);
    let fields = fields(&mapping["logstash-2026.11.23"]["mappings"]);
    println!(
        "{KEYS} keys in {} lines: {fields} fields, {} lines repaired",
        lines.len(),
        repaired(&found)
    );
    assert!((100..=FIELDS_MAX).contains(&fields), "{fields}");
    // From 8.14 on the server itself leaves out what is too much.
    assert_eq!(repaired(&found) == 0, server.flavour() == Flavour::Elasticsearch8);
}

/// Fields of a mapping, objects included, as the server counts them.
fn fields(mapping: &Value) -> usize {
    let properties = mapping["properties"].as_object();
    properties.map_or(0, |properties| properties.values().map(|field| 1 + fields(field)).sum())
}

fn names_that_exclude_each_other(server: &Server, stage: &Stage) {
    let lines = [
        json!({"app": "x"}).to_string(),
        json!({"app.kubernetes.io/name": "y"}).to_string(),
        json!({"app_kubernetes_io/name": "z"}).to_string(),
        json!({"app": {"name": "w"}}).to_string(),
        json!({"app": 7}).to_string(),
    ];
    let delivering = stage.deliver(2, 1000, &lines);
    assert!(delivering.letters().is_empty(), "{:?}", delivering.letters());
    let found = documents(server, "logstash-2026.11.24");
    assert_eq!(texts(&found), lines);
    println!("names that exclude each other: {} of 5 repaired", repaired(&found));
    assert!((1..=2).contains(&repaired(&found)));
    for (word, expected) in [("x", 0), ("y", 1), ("z", 2), ("w", 3)] {
        let query = json!({"query": {"match_phrase": {"log": word}}});
        let answer = server.ask("POST", "/logstash-2026.11.24/_search", Some(&query));
        assert_eq!(answer["hits"]["total"]["value"], 1, "{word}: {answer}");
        assert_eq!(answer["hits"]["hits"][0]["_source"]["log"], json!(lines[expected]));
    }
}

fn lines_of_one_instant(server: &Server, stage: &Stage) {
    let lines = |of: &str| (0..1000).map(|n| format!("{of} {n}")).collect::<Vec<_>>();
    let (millisecond, nanosecond) = (lines("within a millisecond"), lines("within a nanosecond"));
    stage.deliver(3, 1000, &millisecond);
    assert_eq!(texts(&documents(server, "logstash-2026.11.25")), millisecond);
    stage.deliver(4, 0, &nanosecond);
    assert_eq!(texts(&documents(server, "logstash-2026.11.26")), nanosecond);
}

fn indices_with_another_mapping(server: &Server, stage: &Stage) {
    let put = |index: &str, properties: Value| {
        let body = json!({"mappings": {"properties": properties}});
        server.ask("PUT", &format!("/{index}"), Some(&body));
    };
    // The parsed body is not what it was: the text is kept.
    put("logstash-2026.11.27", json!({"json": {"type": "keyword"}}));
    let lines = [json!({"a": 1}).to_string(), "a text".to_owned()];
    let delivering = stage.deliver(5, 1000, &lines);
    assert!(delivering.letters().is_empty(), "{:?}", delivering.letters());
    let found = documents(server, "logstash-2026.11.27");
    assert_eq!((texts(&found).len(), repaired(&found)), (2, 1));
    // The text itself is not: nothing that Naru may leave out helps.
    put("logstash-2026.11.28", json!({"log": {"type": "long"}}));
    let delivering = stage.deliver(6, 1000, &["no number".to_owned(), "7".to_owned()]);
    let letters = delivering.letters();
    assert_eq!(letters.len(), 1, "{letters:?}");
    println!("an index with another mapping: {}", letters[0].reason);
    assert!(
        letters[0].reason.contains("failed to parse field [log] of type [long]"),
        "{letters:?}"
    );
    assert_eq!(letters[0].index, "logstash-2026.11.28");
    assert_eq!(texts(&documents(server, "logstash-2026.11.28")), ["7"]);
}
