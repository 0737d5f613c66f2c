//! A real Elasticsearch with too much to do: it refuses items, or whole bulks, with 429. Everything is indexed exactly once.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

use std::collections::HashSet;
use std::time::Duration;

use naru_aggregator::elasticsearch::Settings;
use naru_integration::delivery::{Delivering, settings};
use naru_integration::elasticsearch::{Flavour, export_all, start_or_skip};
use naru_integration::eventually::eventually_within;

const LINES: usize = 40_000;
const PATIENCE: Duration = Duration::from_secs(240);

/// Delivers to a server with these settings; gives the 429 of whole bulks, and the documents sent again.
fn deliver(story: &str, narrow: &[(&str, &str)]) -> Option<(u64, u64)> {
    let server = start_or_skip(story, Flavour::Elasticsearch7, narrow)?;
    let many = Settings {
        concurrency: 16,
        bulk_bytes: 128 << 10,
        request_timeout: Duration::from_secs(60),
        ..settings(&server.url())
    };
    let mut delivering = Delivering::start(many);
    delivering.append_numbered(LINES);
    eventually_within(PATIENCE, "everything is indexed", || {
        if delivering.is_drained() {
            Ok(())
        } else {
            Err(format!("{:?}", delivering.trouble.reason()))
        }
    });
    let documents = export_all(&server);
    let texts: HashSet<&str> = documents.iter().filter_map(|one| one.text("/log")).collect();
    assert_eq!((documents.len(), texts.len()), (LINES, LINES), "missing or twice");
    assert!(delivering.letters().is_empty());
    let metrics = delivering.metrics();
    assert_eq!(metrics.count("naru_aggregator_delivery_failures_total", ""), 0, "it only was busy");
    let whole = metrics.sum("naru_aggregator_bulk_requests_total", "code=\"429\"");
    let again = metrics.count("naru_aggregator_retried_documents_total", "");
    let whole = whole.unwrap_or_default() as u64;
    println!(
        "{story}: {LINES} lines, {whole} bulks refused with 429, {again} documents sent again"
    );
    Some((whole, again))
}

#[test]
fn items_are_refused() {
    let narrow = [("thread_pool.write.size", "1"), ("thread_pool.write.queue_size", "1")];
    if let Some((whole, again)) = deliver("items_are_refused", &narrow) {
        // No bulk was refused or failed: what was sent again had its 429 by item.
        assert_eq!(whole, 0);
        assert!(again > 0, "the server was not busy");
    }
}

#[test]
fn whole_bulks_are_refused() {
    let narrow = [("indexing_pressure.memory.limit", "300kb")];
    if let Some((whole, again)) = deliver("whole_bulks_are_refused", &narrow) {
        assert!(whole > 0 && again > 0, "the server was not busy");
    }
}
