//! What reaches a real Elasticsearch: documents per second with Naru's delivery against a bare bulk loader, in turns.
//!
//! Both send the same documents with the same ids as `create`, in bulks of the same size, as many at once, into a new index
//! of the same template. The loader has its bodies ready in memory before the clock starts and does nothing with an answer
//! but count it. Delivery finds a full queue: it reads, decompresses, makes documents, sends, and completes entries on the
//! disk; its probe and its slow start are in its time. Each run is a process of its own, so CPU and memory are its own.
//!
//! `cargo bench -p naru-integration --bench elasticsearch`

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a benchmark")]

use std::net::SocketAddr;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use naru_aggregator::document::{Builder, Documents};
use naru_aggregator::elasticsearch::namespaces::{Namespaces, Place};
use naru_aggregator::elasticsearch::{Host, IndexPattern, Indices, MAX_NAMESPACES, Settings};
use naru_aggregator::queue::StoredBatch;
use naru_integration::corpus::Corpus;
use naru_integration::cpu;
use naru_integration::delivery::{self, Delivering};
use naru_integration::elasticsearch::bulk::{Bulk, Ready, bulks};
use naru_integration::elasticsearch::loader::load;
use naru_integration::elasticsearch::{Flavour, Server, Setup, available_or_skipped};
use naru_integration::rig::CLUSTER;
use naru_proto::batch;
use naru_proto::ids::ClusterKey;
use zstd_safe::DCtx;

const DOCUMENTS: u64 = 300_000;
/// A cold server takes a quarter of what a warm one does, and is not warm before a million documents.
const WARM_UPS: usize = 6;
const ROUNDS: usize = 7;
/// Less than the default of 8 MiB: a run has some hundred bulks, so that its first and its last ones do not decide.
const BULK_BYTES: usize = 2 << 20;
/// The default.
const CONCURRENCY: usize = 4;
/// Lines in a batch: a megabyte, as a forwarder that catches up sends it.
const BATCH_LINES: u64 = 5000;

fn main() {
    let arguments: Vec<_> = std::env::args().collect();
    if let [_, role, address] = &arguments[..] {
        let address = address.parse().unwrap();
        match role.as_str() {
            "naru" => naru(address),
            _ => bare(address),
        }
        return;
    }
    if !available_or_skipped("benchmark") {
        return;
    }
    let server = Setup::new(Flavour::Elasticsearch7).optimised().heap("1g").start();
    // The first one puts the template.
    for role in ["naru", "bare"].into_iter().cycle().take(WARM_UPS) {
        let run = child(&server, role);
        println!("warming, {role}: {:.0} documents a second", run.rate());
    }
    compare(&server);
}

fn compare(server: &Server) {
    println!("{DOCUMENTS} documents a run, bulks of {BULK_BYTES} B, {CONCURRENCY} at once");
    println!(
        "round   naru /s   bare /s   naru ÷ bare   naru CPU s   bare CPU s   naru MiB   bulks"
    );
    let mut ratios = Vec::new();
    let mut all = [Vec::new(), Vec::new()];
    for round in 0..ROUNDS {
        // Nobody is always first.
        let (naru, bare) = if round % 2 == 0 {
            let naru = child(server, "naru");
            (naru, child(server, "bare"))
        } else {
            let bare = child(server, "bare");
            (child(server, "naru"), bare)
        };
        let ratio = naru.rate() / bare.rate();
        println!(
            "{round:<5} {:>9.0} {:>9.0} {ratio:>13.3} {:>12.2} {:>12.2} {:>10.1}   {} : {}",
            naru.rate(),
            bare.rate(),
            naru.cpu_s,
            bare.cpu_s,
            naru.peak_mib,
            naru.bulks,
            bare.bulks,
        );
        ratios.push(ratio);
        all[0].push(naru);
        all[1].push(bare);
    }
    let [low, median, high] = quartiles(ratios);
    println!("naru ÷ bare: {median:.3} ({low:.3}–{high:.3})");
    for (name, runs) in ["naru", "bare"].into_iter().zip(&all) {
        let of = |what: fn(&Run) -> f64| quartiles(runs.iter().map(what).collect())[1];
        println!(
            "{name}: {:.0} documents a second, {:.0} per CPU second, {:.1} MiB at most; server {:.1} CPU s",
            of(Run::rate),
            DOCUMENTS as f64 / of(|run| run.cpu_s),
            of(|run| run.peak_mib),
            of(|run| run.server_cpu_s),
        );
    }
}

fn quartiles(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [1, 2, 3].map(|quarter| values[values.len() * quarter / 4])
}

#[derive(Debug, Clone, Copy)]
struct Run {
    seconds: f64,
    cpu_s: f64,
    peak_mib: f64,
    bulks: u64,
    server_cpu_s: f64,
}

impl Run {
    fn rate(&self) -> f64 {
        DOCUMENTS as f64 / self.seconds
    }

    fn print(begun: (Instant, Duration), bulks: u64) {
        let id = std::process::id();
        println!(
            "{} {} {} {bulks}",
            begun.0.elapsed().as_secs_f64(),
            (cpu::of_process(id) - begun.1).as_secs_f64(),
            cpu::memory_of_process(id).1 as f64 / 1_048_576.0,
        );
    }
}

/// A run in a process of its own; everything must be there after it, and is deleted.
fn child(server: &Server, role: &str) -> Run {
    let before = server.cpu_time();
    let output = Command::new(std::env::current_exe().unwrap())
        .args([role, &server.address().to_string()])
        .output()
        .unwrap();
    let server_cpu_s = (server.cpu_time() - before).as_secs_f64();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let line = String::from_utf8(output.stdout).unwrap();
    let fields: Vec<f64> = line.split_whitespace().map(|field| field.parse().unwrap()).collect();
    server.refresh();
    assert_eq!(server.count(), DOCUMENTS, "{role}: documents are missing");
    server.ask("DELETE", "/logstash-*", None);
    let [seconds, cpu_s, peak_mib, bulks] = fields[..] else { panic!("{line}") };
    Run { seconds, cpu_s, peak_mib, bulks: bulks as u64, server_cpu_s }
}

fn begin() -> (Instant, Duration) {
    (Instant::now(), cpu::of_process(std::process::id()))
}

fn naru(address: SocketAddr) {
    let host = Host::parse(&format!("http://{address}")).unwrap();
    let settings =
        Settings { bulk_bytes: BULK_BYTES, concurrency: CONCURRENCY, ..Settings::new(vec![host]) };
    let delivering = Delivering::start_with(settings, batches());
    let begun = begin();
    while !delivering.is_drained() {
        assert!(begun.0.elapsed() < Duration::from_secs(300), "{:?}", delivering.trouble.reason());
        thread::sleep(Duration::from_millis(5));
    }
    let bulks = delivering.metrics().count("naru_aggregator_bulk_seconds_count", "");
    Run::print(begun, bulks);
}

fn bare(address: SocketAddr) {
    let bulks = documents();
    let begun = begin();
    let loaded = load(address, bulks, CONCURRENCY);
    assert_eq!(loaded.with_status(201), DOCUMENTS, "{loaded:?}");
    Run::print(begun, loaded.requests);
}

/// The corpus as a queue holds it.
fn batches() -> impl Iterator<Item = StoredBatch> {
    let mut offset = 0;
    (0..DOCUMENTS / BATCH_LINES).map(move |number| {
        let mut lines = Vec::new();
        Corpus::Mixed.write(number, BATCH_LINES, &mut lines).unwrap();
        let stored = delivery::batch(offset, &lines, BATCH_LINES as u32);
        offset += lines.len() as u64;
        stored
    })
}

/// The same as bulks.
fn documents() -> Vec<Bulk> {
    let mut context = DCtx::create();
    let mut builder = Builder::new(ClusterKey::of(CLUSTER));
    let mut documents = Documents::default();
    for stored in batches() {
        for frame in batch::frames(&mut context, &stored.body, stored.raw_bytes as usize).unwrap() {
            let progress = builder.append(&frame, 0, usize::MAX, &mut documents);
            assert_eq!(progress.next_record, None);
        }
    }
    let indices = Indices::new(IndexPattern::default(), Namespaces::new(MAX_NAMESPACES));
    let named: Vec<_> = documents
        .iter()
        .map(|d| (indices.name(indices.index(Place::Any, d.id_time)), d.id.to_string(), d.source))
        .collect();
    bulks(named.iter().map(|(index, id, source)| Ready { index, id, source }), BULK_BYTES)
}
