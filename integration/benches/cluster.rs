//! What a line costs, and how long it takes, from its file to a bulk's body: forwarder and aggregator as they are shipped, a
//! process each, TLS and a token between them, a queue with its `fdatasync`, and a sink that stands for Elasticsearch.
//!
//! `cargo bench -p naru-integration --bench cluster`

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a benchmark")]

use std::cmp::Reverse;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use naru_integration::bulk_sink::{Answer, BulkSink};
use naru_integration::cluster::{Cluster, Plan};
use naru_integration::corpus::{Corpus, Size};
use naru_integration::cpu;
use naru_integration::eventually::eventually;
use naru_integration::node::Zone;
use naru_integration::pace::Pace;

const LINES: u64 = 1_000_000;
const ROUNDS: usize = 3;

const LINES_A_SECOND: usize = 5000;
const PACED: Duration = Duration::from_secs(20);
/// A container writes some lines at once.
const STEP: Duration = Duration::from_millis(1);

fn main() {
    println!(
        "corpus       lines   lines / CPU s   forwarder alone   aggregator alone   \
         lines / s   peak MiB"
    );
    for corpus in Corpus::ALL {
        let mut rounds: Vec<_> =
            (0..ROUNDS).map(|round| throughput(corpus, round as u64)).collect();
        rounds.sort_by_key(|round| Reverse(round.cpu()));
        let median = &rounds[ROUNDS / 2];
        println!(
            "{:<10} {:>7} {:>15.0} {:>17.0} {:>18.0} {:>11.0}   {:.1} + {:.1}",
            corpus.name(),
            median.size.lines,
            median.lines_in(median.cpu()),
            median.lines_in(median.forwarder.cpu),
            median.lines_in(median.aggregator.cpu),
            median.lines_in(median.took),
            median.forwarder.peak_mib,
            median.aggregator.peak_mib,
        );
        let summed: Vec<_> = rounds.iter().map(|r| format!("{:.0}", r.lines_in(r.cpu()))).collect();
        println!("           rounds: {}", summed.join(", "));
        let threads: Vec<_> = median
            .threads
            .iter()
            .filter(|(_, time)| *time >= Duration::from_millis(20))
            .map(|(name, time)| format!("{name} {:.2}", time.as_secs_f64()))
            .collect();
        println!("           aggregator's CPU s: {}", threads.join(", "));
    }
    latency();
}

#[derive(Debug, Clone, Copy)]
struct Cost {
    cpu: Duration,
    peak_mib: f64,
}

impl Cost {
    fn of(id: u32) -> Self {
        let peak_mib = cpu::memory_of_process(id).1 as f64 / 1_048_576.0;
        Self { cpu: cpu::of_process(id), peak_mib }
    }
}

struct Round {
    size: Size,
    forwarder: Cost,
    aggregator: Cost,
    /// The aggregator's.
    threads: Vec<(String, Duration)>,
    took: Duration,
}

impl Round {
    fn cpu(&self) -> Duration {
        self.forwarder.cpu + self.aggregator.cpu
    }

    fn lines_in(&self, time: Duration) -> f64 {
        self.size.lines as f64 / time.as_secs_f64()
    }
}

fn plan(sink: &BulkSink) -> Plan {
    Plan { nodes: 1, aggregators: 1, tls: true, elasticsearch: sink.url(), settings: String::new() }
}

/// A file that is there when the forwarder starts.
fn throughput(corpus: Corpus, seed: u64) -> Round {
    let sink = BulkSink::null();
    let mut cluster = Cluster::new(&plan(&sink));
    let mut out = BufWriter::new(log(&cluster));
    let size = corpus.write(seed, LINES, &mut out).unwrap();
    out.flush().unwrap();
    cluster.start_aggregator(0);
    cluster.wait_for_aggregators();
    cluster.start_forwarder(0);
    let begun = Instant::now();
    eventually("every line is in a bulk", || {
        let documents = sink.received().documents;
        if documents >= size.lines { Ok(()) } else { Err(format!("{documents} documents")) }
    });
    let took = begun.elapsed();
    let (forwarder, aggregator) = costs(&mut cluster);
    let threads = cpu::by_thread(cluster.aggregator(0).id());
    cluster.stop();
    Round { size, forwarder, aggregator, threads, took }
}

fn log(cluster: &Cluster) -> File {
    let directory = cluster.nodes[0].node.pods().join("bench_hot_0123/app");
    fs::create_dir_all(&directory).unwrap();
    File::create(directory.join("0.log")).unwrap()
}

fn costs(cluster: &mut Cluster) -> (Cost, Cost) {
    let (forwarder, aggregator) = (cluster.forwarder(0).id(), cluster.aggregator(0).id());
    (Cost::of(forwarder), Cost::of(aggregator))
}

/// When each line arrived, by its number.
type Arrivals = Arc<Mutex<Vec<Option<Instant>>>>;

/// A file that grows, followed by a forwarder that has found it.
fn latency() {
    let lines = LINES_A_SECOND * PACED.as_secs() as usize;
    let arrivals: Arrivals = Arc::new(Mutex::new(vec![None; lines + 1]));
    let sink = {
        let arrivals = Arc::clone(&arrivals);
        BulkSink::scripted(move |request| {
            let now = Instant::now();
            let mut arrivals = arrivals.lock().unwrap();
            for item in &request.items {
                arrivals[number_in(&item.source)].get_or_insert(now);
            }
            Answer::Store.into()
        })
    };
    let mut cluster = Cluster::new(&plan(&sink));
    let mut log = log(&cluster);
    cluster.start();
    let mut written = vec![write(&mut log, 0..1)];
    arrived(&arrivals, 0..1);

    let (forwarder, aggregator) = costs(&mut cluster);
    let mut pace = Pace::new(STEP);
    let per_step = LINES_A_SECOND * STEP.as_millis() as usize / 1000;
    for first in (1..=lines).step_by(per_step) {
        let at = write(&mut log, first..first + per_step);
        written.extend([at].repeat(per_step));
        pace.next();
    }
    arrived(&arrivals, 0..lines + 1);
    let (forwarder_after, aggregator_after) = costs(&mut cluster);
    let duplicates = sink.received().duplicates;
    cluster.stop();

    let arrivals = arrivals.lock().unwrap();
    let mut latencies: Vec<Duration> =
        arrivals.iter().zip(&written).skip(1).map(|(at, from)| at.unwrap() - *from).collect();
    latencies.sort_unstable();
    let at = |share: f64| {
        latencies[((latencies.len() - 1) as f64 * share) as usize].as_secs_f64() * 1000.0
    };
    let paced = *written.last().unwrap() - written[1];
    println!(
        "\n{lines} lines, {:.0} a second, from a line's write to a bulk that holds it",
        lines as f64 / paced.as_secs_f64()
    );
    println!(
        "p50 {:.0} ms   p90 {:.0} ms   p99 {:.0} ms   longest {:.0} ms   in {} bulks, {duplicates} twice",
        at(0.5),
        at(0.9),
        at(0.99),
        at(1.0),
        sink.received().requests
    );
    for (name, before, after) in
        [("forwarder", forwarder, forwarder_after), ("aggregator", aggregator, aggregator_after)]
    {
        println!(
            "{name:<10} {:.1} % of a core, {:.1} MiB at most",
            100.0 * (after.cpu - before.cpu).as_secs_f64() / paced.as_secs_f64(),
            after.peak_mib
        );
    }
}

/// Writes lines with these numbers at once; returns when that began.
fn write(log: &mut File, numbers: std::ops::Range<usize>) -> Instant {
    let since_1970 = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    let time = Zone::SEOUL.rfc3339_nano(since_1970.as_nanos() as i64);
    let text: String = numbers.map(|number| line(&time, number)).collect();
    let began = Instant::now();
    log.write_all(text.as_bytes()).unwrap();
    began
}

fn line(time: &str, number: usize) -> String {
    format!(
        "{time} stdout F number={number:08} 10.244.3.7 - - \"GET /api/v1/orders/{number:08}?currency=KRW \
         HTTP/1.1\" 200 512 0.{:03} \"Mozilla/5.0 (X11; Linux x86_64) order-frontend/4.2\"\n",
        number % 1000
    )
}

fn number_in(source: &[u8]) -> usize {
    let text = std::str::from_utf8(source).unwrap();
    let (_, after) = text.split_once("number=").unwrap();
    after.get(..8).unwrap().parse().unwrap()
}

fn arrived(arrivals: &Arrivals, numbers: std::ops::Range<usize>) {
    eventually("each line arrives", || {
        let arrivals = arrivals.lock().unwrap();
        let missing = arrivals[numbers.clone()].iter().filter(|at| at.is_none()).count();
        if missing == 0 { Ok(()) } else { Err(format!("{missing} lines are missing")) }
    });
}
