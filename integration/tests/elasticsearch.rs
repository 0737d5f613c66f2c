//! The real servers as the stories use them: everything is there exactly once, after a kill too.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

use std::collections::HashSet;
use std::time::{Duration, Instant};

use naru_integration::elasticsearch::bulk::{Bulk, Ready, bulks};
use naru_integration::elasticsearch::loader::load;
use naru_integration::elasticsearch::{Flavour, Server, export_all, start_or_skip};
use serde_json::json;

const DOCUMENTS: usize = 25_000;
const BULK_MAX_BYTES: usize = 1 << 20;
const CONNECTIONS: usize = 2;

/// An answer takes milliseconds; a server that is stopped gives none.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

#[test]
fn elasticsearch7_keeps_everything_once() {
    keeps_everything_once("elasticsearch7_keeps_everything_once", Flavour::Elasticsearch7);
}

#[test]
fn opensearch2_keeps_everything_once() {
    keeps_everything_once("opensearch2_keeps_everything_once", Flavour::OpenSearch2);
}

fn keeps_everything_once(story: &str, flavour: Flavour) {
    let begun = Instant::now();
    let Some(mut server) = start_or_skip(story, flavour, &[]) else { return };

    let ids: Vec<String> = (0..DOCUMENTS).map(|number| format!("{number:08x}")).collect();
    let bulks = bulks_of(&ids);
    assert!(bulks.len() > CONNECTIONS, "{}", bulks.len());
    for status in [201, 409] {
        let loaded = load(server.address(), bulks.clone(), CONNECTIONS);
        assert_eq!(loaded.with_status(status), DOCUMENTS as u64, "{:?}", loaded.statuses);
        println!("{} documents answered with {status} in {:.1?}", loaded.documents, loaded.elapsed);
    }
    assert_all_there_once(&server, &ids);

    server.put_settings("logs-1", &json!({"index.blocks.write": true}));
    let loaded = load(server.address(), bulks, CONNECTIONS);
    assert_eq!(loaded.with_status(403), DOCUMENTS as u64 / 2, "{:?}", loaded.statuses);

    server.kill();
    assert!(server.request_within(ANSWER_WITHIN, "GET", "/", None).is_err());
    let address = server.address();
    server.restart();
    assert_eq!(server.address(), address);
    assert_all_there_once(&server, &ids);

    server.pause();
    let failure = server.request_within(ANSWER_WITHIN, "GET", "/", None).unwrap_err();
    assert!(failure.to_string().contains("elapsed"), "{failure}");
    server.resume();
    assert_eq!(server.request("GET", "/", None).0, 200);

    let (_, most) = server.memory();
    let (mib, cpu) = (most >> 20, server.cpu_time());
    println!("{story}: {:.1?}, at most {mib} MiB, {cpu:.1?} of CPU since", begun.elapsed());
}

/// Half of them in each of two indices.
fn bulks_of(ids: &[String]) -> Vec<Bulk> {
    let sources: Vec<String> = ids
        .iter()
        .map(|id| json!({"log": format!("line {id}"), "@timestamp": "2026-11-22T00:30:00Z"}))
        .map(|source| source.to_string())
        .collect();
    let documents = ids.iter().zip(&sources).enumerate().map(|(number, (id, source))| Ready {
        index: ["logs-0", "logs-1"][number % 2],
        id,
        source: source.as_bytes(),
    });
    bulks(documents, BULK_MAX_BYTES)
}

fn assert_all_there_once(server: &Server, ids: &[String]) {
    let exported = export_all(server);
    assert_eq!(exported.len(), ids.len());
    assert_eq!(server.count(), ids.len() as u64);
    let found: HashSet<&str> = exported.iter().map(|document| document.id.as_str()).collect();
    assert!(ids.iter().all(|id| found.contains(id.as_str())));
    for document in &exported {
        assert_eq!(document.text("/log"), Some(format!("line {}", document.id).as_str()));
    }
}
