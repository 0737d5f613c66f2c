//! The store's cost: documents per CPU second against serde_json's reading of the same documents in the same run, its
//! size against theirs, and its memory. Printed, never asserted.
//!
//! `cargo bench -p naru-integration --bench store [-- DOCUMENTS]`

use std::fs;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use naru_aggregator::document::{Documents, Identity};
use naru_aggregator::search::request::{RawRequest, SearchRequest};
use naru_aggregator::store::{Store, StoreConfig};
use naru_proto::ids::{ClusterKey, FileDocumentIds, FileId, IdTime};

const TIME_NS: i64 = 1_795_307_400_120_000_000;
/// A commit each: what arrives in half a second at 20 k a second.
const BATCH: u64 = 10_000;
const DEFAULT_DOCUMENTS: u64 = 1_000_000;

type Fallible<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Fallible<()> {
    let count = std::env::args().find_map(|arg| arg.parse().ok()).unwrap_or(DEFAULT_DOCUMENTS);
    let dir = tempfile::tempdir()?;
    let store = Store::open(StoreConfig {
        dir: dir.path().to_owned(),
        retention_max_bytes: u64::MAX,
        retention_max_age: None,
    })?;
    let (mut json_bytes, mut stored_s, mut parsed_s, mut peak_kib) = (0, 0.0, 0.0, 0);
    for first in (0..count).step_by(BATCH as usize) {
        let batch = generate(first, BATCH.min(count - first));
        json_bytes += batch.json_bytes();
        let before = cpu_s()?;
        for document in batch.iter() {
            std::hint::black_box(serde_json::from_slice::<serde_json::Value>(document.source)?);
        }
        let between = cpu_s()?;
        store.add(&batch)?;
        store.commit()?;
        parsed_s += between - before;
        stored_s += cpu_s()? - between;
        peak_kib = peak_kib.max(status_kib("RssAnon:")?);
    }
    let settled = cpu_s()?;
    std::thread::sleep(Duration::from_secs(3));
    stored_s += cpu_s()? - settled;
    let size = size(dir.path())?;
    println!("{count} documents of {} B", json_bytes as u64 / count);
    println!("store            {:>9.0} documents per CPU second", count as f64 / stored_s);
    println!("serde_json       {:>9.0} documents per CPU second", count as f64 / parsed_s);
    println!("store ÷ parse    {:>9.1} times the CPU", stored_s / parsed_s);
    println!("size ÷ JSON      {:>9.3}", size as f64 / json_bytes as f64);
    println!(
        "RSS, anonymous   {:>9} MiB at most; {} MiB of files mapped",
        peak_kib / 1024,
        status_kib("RssFile:")? / 1024
    );
    println!("RSS              {:>9} MiB at most", status_kib("VmHWM:")? / 1024);
    again(&store, count)?;
    search(&store)
}

/// The same documents once more: all are duplicates.
fn again(store: &Store, count: u64) -> Fallible<()> {
    let mut spent_s = 0.0;
    let asked = count.min(100_000);
    for first in (0..asked).step_by(BATCH as usize) {
        let batch = generate(first, BATCH.min(asked - first));
        let before = cpu_s()?;
        store.add(&batch)?;
        store.commit()?;
        spent_s += cpu_s()? - before;
    }
    println!(
        "duplicates       {:>9.0} documents per CPU second, {} refused",
        asked as f64 / spent_s,
        store.stats().duplicates
    );
    Ok(())
}

fn search(store: &Store) -> Fallible<()> {
    for query in [
        "*",
        "timeout",
        "\"order number 4242\"",
        "주문",
        "level:error AND NOT timeout",
        "kubernetes.pod_name:web-1*",
        "json.status:[500 TO 599]",
        "naru.offset:>100000000",
    ] {
        let raw = RawRequest { query: Some(query), ..RawRequest::default() };
        let request = SearchRequest::read(&raw, TIME_NS)?;
        let started = Instant::now();
        let page = store.search(&request, started + Duration::from_secs(60))?;
        println!(
            "{:>7.1} ms  {:>9} found  {query}",
            started.elapsed().as_secs_f64() * 1e3,
            page.total
        );
    }
    Ok(())
}

/// Half plain lines, half JSON bodies, of forty pods, with the metadata that the aggregator adds.
fn generate(first: u64, count: u64) -> Documents {
    let mut documents = Documents::default();
    for number in first..first + count {
        let pod = number % 40;
        let file = FileId([pod as u8 + 1; 12]);
        let time_ns = TIME_NS + number as i64 * 50_000;
        let random = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
        let (log, body) = body(number, random);
        let source = format!(
            r#"{{"@timestamp":"2026-11-22T00:{:02}:{:02}.{:09}Z","log":{},"stream":"{}","tag":"kubernetes.web-{pod}","level":"{}","docker":{{"container_id":"{pod:064x}"}},"kubernetes":{{"namespace_name":"shop-{}","pod_name":"web-{pod}-7d9f8c6b5-x{pod:03}k","pod_id":"0b1defa0-9e8e-4eab-9064-c6560{pod:07}","container_name":"web","host":"node-{}","labels":{{"app":"web","tier":"front"}}}},{body}"naru":{{"node":"node-{}","file":"{file}","offset":{}}}}}"#,
            number / 60_000 % 60,
            number / 1_000 % 60,
            number * 50_000 % 1_000_000_000,
            serde_json::Value::from(log),
            if number.is_multiple_of(5) { "stderr" } else { "stdout" },
            ["info", "info", "warn", "error"][(random % 4) as usize],
            pod % 4,
            pod % 8,
            pod % 8,
            number / 40 * 180,
        );
        let id_time = IdTime::new(Some(time_ns));
        let offset = number / 40 * 180;
        let id = FileDocumentIds::new(ClusterKey::of("bench"), "node", file).id(
            id_time,
            offset,
            source.as_bytes(),
        );
        let identity = Identity { id, id_time, timestamp_ns: time_ns, file, offset };
        documents.push(identity, |json| json.extend_from_slice(source.as_bytes()));
    }
    documents
}

fn body(number: u64, random: u64) -> (String, String) {
    let user = random % 50_000;
    match number % 4 {
        0 => {
            let json = format!(
                r#"{{"msg":"order number {} paid","user":{{"id":{user}}},"status":{},"ms":{}}}"#,
                random % 10_000,
                [200, 200, 201, 404, 500][(random % 5) as usize],
                random % 1_500
            );
            let spliced = format!(r#""json":{json},"#);
            (json, spliced)
        }
        1 => (
            format!("주문이 완료되었습니다 order number {} 사용자 {user}\n", random % 10_000),
            String::new(),
        ),
        2 => (
            format!(
                "10.0.{}.{} - - GET /api/v1/items/{} HTTP/1.1 200 {}\n",
                random % 256,
                random % 251,
                random % 100_000,
                random % 9_000
            ),
            String::new(),
        ),
        _ => (
            format!(
                "timeout of upstream {:x} after {} ms, retry {}\n",
                random,
                random % 30_000,
                random % 3
            ),
            String::new(),
        ),
    }
}

/// User and system time of the process.
fn cpu_s() -> Fallible<f64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks: u64 = after_name
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    Ok(ticks as f64 / 100.0)
}

fn status_kib(name: &str) -> Fallible<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)).ok_or("no such line")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

fn size(dir: &std::path::Path) -> Fallible<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        bytes += if entry.file_type()?.is_dir() {
            size(&entry.path())?
        } else {
            entry.metadata()?.len()
        };
    }
    Ok(bytes)
}
