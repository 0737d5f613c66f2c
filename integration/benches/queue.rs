//! The queue's commits against a plain append + fdatasync log, on the same disk, in turns.
//!
//! 16 producers append batches of random bytes (compressed batches do not compress) and wait for
//! each acknowledgement. Each run is a process of its own, so that CPU and memory are its own. What
//! is compared is written by the same gathering, one checksum and one fdatasync per commit:
//!
//! * `log`: one file per 64 MiB, appended to;
//! * `512k`: the queue with sled segments of 512 KiB, up to nine keys a commit (what ships);
//! * `2m`: of 2 MiB, up to three keys a commit;
//! * `8m`: of 8 MiB, one key a commit.
//!
//! `cargo bench -p naru-integration --bench queue` prints ratios (the disk is noisy: only runs next
//! to each other compare). docs/decisions/0001 has what was decided by it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a benchmark")]

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use naru_aggregator::queue::{Queue, QueueConfig, StoredBatch, Tuning};
use naru_integration::cpu;
use tokio::sync::{mpsc, oneshot};

const PRODUCERS: usize = 16;
const ROUNDS: usize = 5;
/// Stored by one run: three segments of the queue.
const RUN_BYTES: u64 = 192 << 20;
const SIZES: [usize; 2] = [58_000, 512_000];
const VARIANTS: [&str; 4] = ["log", "512k", "2m", "8m"];
/// The queue's own limit for one commit.
const COMMIT_MAX_BYTES: usize = 1 << 20;

/// What one run cost.
#[derive(Debug, Clone, Copy)]
struct Run {
    mb_per_s: f64,
    p50_ms: f64,
    p99_ms: f64,
    cpu_s: f64,
    peak_mb: f64,
    /// Bytes on the device per byte stored.
    amplification: f64,
}

fn main() {
    let arguments: Vec<_> = std::env::args().collect();
    if let [_, role, variant, size, dir] = &arguments[..] {
        match role.as_str() {
            "write" => write(variant, size.parse().unwrap(), Path::new(dir)),
            _ => reopen(variant, Path::new(dir)),
        }
        return;
    }
    for size in SIZES {
        compare(size);
    }
    for variant in &VARIANTS[1..] {
        let dir = tempfile::tempdir().unwrap();
        child("write", variant, SIZES[0], dir.path());
        let found = child("reopen", variant, SIZES[0], dir.path());
        println!("{variant}: backlog of {} MiB: {found}", RUN_BYTES >> 20);
    }
}

fn compare(size: usize) {
    println!("\n{PRODUCERS} producers, batches of {size} bytes, medians of {ROUNDS} rounds");
    let mut runs: [Vec<Run>; 4] = Default::default();
    for round in 0..ROUNDS {
        for turn in 0..VARIANTS.len() {
            // Nobody is always first.
            let variant = (round + turn) % VARIANTS.len();
            let dir = tempfile::tempdir().unwrap();
            let line = child("write", VARIANTS[variant], size, dir.path());
            runs[variant].push(Run::parse(&line));
        }
    }
    println!(
        "      ÷ log (quartiles)  MB/s   p50 ms  p99 ms  CPU s  CPU ÷ log  peak MB  write amp"
    );
    let log = runs[0].clone();
    for (variant, runs) in VARIANTS.iter().zip(&runs) {
        let of = |what: fn(&Run) -> f64| quartiles(runs.iter().map(what).collect())[1];
        let ratio = |what: fn(&Run) -> f64| {
            quartiles(runs.iter().zip(&log).map(|(run, log)| what(run) / what(log)).collect())
        };
        let [low, middle, high] = ratio(|run| run.mb_per_s);
        println!(
            "{variant:>5} {middle:5.2} ({low:.2}-{high:.2}) {:6.0} {:8.1} {:7.1} {:6.2} {:10.2} \
             {:8.0} {:10.2}",
            of(|run| run.mb_per_s),
            of(|run| run.p50_ms),
            of(|run| run.p99_ms),
            of(|run| run.cpu_s),
            ratio(|run| run.cpu_s)[1],
            of(|run| run.peak_mb),
            of(|run| run.amplification),
        );
    }
}

fn quartiles(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [1, 2, 3].map(|quarter| values[values.len() * quarter / 4])
}

/// Runs this binary again and gives the line that it printed.
fn child(role: &str, variant: &str, size: usize, dir: &Path) -> String {
    let output = Command::new(std::env::current_exe().unwrap())
        .args([role, variant, &size.to_string()])
        .arg(dir)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{role} {variant}: {errors}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

impl Run {
    fn print(&self) {
        println!(
            "{} {} {} {} {} {}",
            self.mb_per_s, self.p50_ms, self.p99_ms, self.cpu_s, self.peak_mb, self.amplification
        );
    }

    fn parse(line: &str) -> Self {
        let values: Vec<f64> = line.split_whitespace().map(|v| v.parse().unwrap()).collect();
        let [mb_per_s, p50_ms, p99_ms, cpu_s, peak_mb, amplification] = values[..] else {
            panic!("{line}")
        };
        Self { mb_per_s, p50_ms, p99_ms, cpu_s, peak_mb, amplification }
    }
}

fn config(variant: &str, dir: &Path) -> QueueConfig {
    let sled_segment_bytes = match variant {
        "512k" => 512 << 10,
        "2m" => 2 << 20,
        _ => 8 << 20,
    };
    QueueConfig {
        reserve_percent: 0,
        ballast_bytes: 0,
        tuning: Tuning { sled_segment_bytes, ..Tuning::default() },
        ..QueueConfig::new(dir.join("queue"))
    }
}

fn bodies(size: usize) -> Vec<Bytes> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut body = || {
        let mut bytes = Vec::with_capacity(size + 8);
        while bytes.len() < size {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            bytes.extend_from_slice(&state.to_le_bytes());
        }
        bytes.truncate(size);
        Bytes::from(bytes)
    };
    (0..PRODUCERS).map(|_| body()).collect()
}

/// One run: prints what it cost.
fn write(variant: &str, size: usize, dir: &Path) {
    let sink = if variant == "log" {
        Sink::Log(PlainLog::start(dir))
    } else {
        Sink::Queue(Queue::open(config(variant, dir)).unwrap().0)
    };
    let (sink, bodies) = (Arc::new(sink), bodies(size));
    let before = (cpu::of_process(std::process::id()), written_bytes(), Instant::now());
    let latencies = Arc::new(Mutex::new(Vec::new()));
    let left = Arc::new(AtomicU64::new(RUN_BYTES / size as u64));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut producers = tokio::task::JoinSet::new();
        for body in bodies {
            let (sink, left, all) = (Arc::clone(&sink), Arc::clone(&left), Arc::clone(&latencies));
            producers.spawn(async move {
                let mut seen = Vec::new();
                while take_one(&left) {
                    let began = Instant::now();
                    sink.append(body.clone()).await;
                    seen.push(began.elapsed());
                }
                all.lock().unwrap().extend(seen);
            });
        }
        while let Some(ended) = producers.join_next().await {
            ended.unwrap();
        }
    });
    let took = before.2.elapsed();
    let mut latencies = latencies.lock().unwrap().clone();
    latencies.sort_unstable();
    let at = |share: f64| {
        latencies[((latencies.len() - 1) as f64 * share) as usize].as_secs_f64() * 1000.0
    };
    let stored = (latencies.len() * size) as f64;
    let id = std::process::id();
    Run {
        mb_per_s: stored / 1e6 / took.as_secs_f64(),
        p50_ms: at(0.5),
        p99_ms: at(0.99),
        cpu_s: (cpu::of_process(id) - before.0).as_secs_f64(),
        peak_mb: cpu::memory_of_process(id).1 as f64 / 1e6,
        amplification: (written_bytes() - before.1) as f64 / stored,
    }
    .print();
}

fn take_one(left: &AtomicU64) -> bool {
    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
}

/// What this process has sent to the block layer.
fn written_bytes() -> u64 {
    let io = fs::read_to_string("/proc/self/io").unwrap();
    let line = io.lines().find_map(|line| line.strip_prefix("write_bytes: ")).unwrap();
    line.parse().unwrap()
}

/// Opens a queue with a backlog and drains it: prints how long that took.
fn reopen(variant: &str, dir: &Path) {
    let began = Instant::now();
    let queue = Queue::open(config(variant, dir)).unwrap().0;
    let opened = began.elapsed();
    let mut reader = queue.reader().unwrap();
    let mut bytes = 0;
    let mut first = None;
    while let Some(lease) = reader.next(Duration::ZERO) {
        first.get_or_insert_with(|| began.elapsed());
        bytes += lease.batches().iter().map(|batch| batch.body.len()).sum::<usize>();
        lease.complete();
    }
    let drained = began.elapsed() - opened;
    println!(
        "open {:.0} ms, first entry after {:.0} ms, drained at {:.0} MB/s, peak {:.0} MB",
        opened.as_secs_f64() * 1000.0,
        first.unwrap().as_secs_f64() * 1000.0,
        bytes as f64 / 1e6 / drained.as_secs_f64(),
        cpu::memory_of_process(std::process::id()).1 as f64 / 1e6,
    );
}

enum Sink {
    Log(PlainLog),
    Queue(Queue),
}

impl Sink {
    async fn append(&self, body: Bytes) {
        match self {
            Self::Log(log) => log.append(body).await,
            Self::Queue(queue) => {
                let batch = StoredBatch {
                    node: "node-1".into(),
                    received_ms: 0,
                    records: 1000,
                    raw_bytes: 284_000,
                    crc32c: 0,
                    body,
                };
                queue.append(batch).await.unwrap();
            }
        }
    }
}

/// The bar: what a log without sled would do.
struct PlainLog {
    sender: mpsc::Sender<(Bytes, oneshot::Sender<()>)>,
}

impl PlainLog {
    fn start(dir: &Path) -> Self {
        let (sender, receiver) = mpsc::channel(64);
        let dir = dir.to_owned();
        std::thread::spawn(move || Self::run(&dir, receiver));
        Self { sender }
    }

    async fn append(&self, body: Bytes) {
        let (ack, acked) = oneshot::channel();
        self.sender.send((body, ack)).await.unwrap();
        acked.await.unwrap();
    }

    fn run(dir: &Path, mut receiver: mpsc::Receiver<(Bytes, oneshot::Sender<()>)>) {
        let mut held = None;
        let mut log = LogFile::new(dir, 0);
        let mut entry = Vec::new();
        while let Some((body, ack)) = held.take().or_else(|| receiver.blocking_recv()) {
            entry.clear();
            entry.extend_from_slice(&body);
            let mut acks = vec![ack];
            while let Ok(next) = receiver.try_recv() {
                if entry.len() + next.0.len() > COMMIT_MAX_BYTES {
                    held = Some(next);
                    break;
                }
                entry.extend_from_slice(&next.0);
                acks.push(next.1);
            }
            if log.bytes + entry.len() > 64 << 20 {
                log = LogFile::new(dir, log.number + 1);
            }
            log.commit(&entry);
            for ack in acks {
                ack.send(()).unwrap();
            }
        }
    }
}

struct LogFile {
    file: File,
    number: u32,
    bytes: usize,
}

impl LogFile {
    fn new(dir: &Path, number: u32) -> Self {
        let path: PathBuf = dir.join(format!("log-{number}"));
        let file = File::create(path).unwrap();
        file.sync_all().unwrap();
        File::open(dir).unwrap().sync_all().unwrap();
        Self { file, number, bytes: 0 }
    }

    fn commit(&mut self, entry: &[u8]) {
        let mut header = [0; 16];
        header[..4].copy_from_slice(&crc32c::crc32c(entry).to_le_bytes());
        header[4..12].copy_from_slice(&(entry.len() as u64).to_le_bytes());
        self.file.write_all(&header).unwrap();
        self.file.write_all(entry).unwrap();
        self.file.sync_data().unwrap();
        self.bytes += header.len() + entry.len();
    }
}
