//! What the forwarder costs, with TLS: its CPU time for one hot file against zstd level 1 over the same bytes, in turns; then
//! what a paced load from one file and from 1,000 costs, and what 10,000 idle files do.
//!
//! It sends to the aggregator's real ingest in this process, which counts and acknowledges at once.
//! `cargo bench -p naru-integration --bench forwarder`; `NARU_PROGRAMS=DIR` measures a release's binary.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a benchmark")]

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use naru_aggregator::ingest::{Authentication, Security, TlsFiles};
use naru_integration::corpus::{Corpus, Size};
use naru_integration::cpu;
use naru_integration::eventually::eventually;
use naru_integration::node::Zone;
use naru_integration::pace::{Pace, lasts};
use naru_integration::pki::Ca;
use naru_integration::process::Process;
use naru_integration::receiver::Receiver;
use naru_integration::rig::Rig;
use naru_proto::limits::ZSTD_FRAME_MAX_BYTES;
use zstd_safe::CCtx;

const LINES: u64 = 1_000_000;
const ROUNDS: usize = 5;

const LINES_A_SECOND: usize = 10_000;
const PACED: Duration = Duration::from_secs(30);
const IDLE_FILES: usize = 10_000;
const IDLE: Duration = Duration::from_secs(62);
const MIB: f64 = 1_048_576.0;

fn main() {
    println!(
        "corpus      lines    MB   forwarder ÷ zstd 1   lines / CPU s   CPU s / GB   peak MiB"
    );
    for corpus in Corpus::ALL {
        let mut rounds: Vec<Round> =
            (0..ROUNDS).map(|round| measure(corpus, round as u64)).collect();
        rounds.sort_by(|a, b| a.ratio().total_cmp(&b.ratio()));
        let (low, median, high) = (&rounds[0], &rounds[ROUNDS / 2], &rounds[ROUNDS - 1]);
        println!(
            "{:<10} {:>6} {:>5}   {:.2} ({:.2}–{:.2})   {:>13.0} {:>12.2} {:>10.1}",
            corpus.name(),
            median.size.lines,
            median.size.bytes / 1_000_000,
            median.ratio(),
            low.ratio(),
            high.ratio(),
            median.size.lines as f64 / median.forwarder.as_secs_f64(),
            median.forwarder.as_secs_f64() / (median.size.bytes as f64 / 1e9),
            median.peak_bytes as f64 / MIB,
        );
    }
    println!("\nfiles   lines/s   % of a core   peak MiB");
    for files in [1, 1000] {
        paced(files);
    }
    idle();
}

struct Round {
    size: Size,
    forwarder: Duration,
    zstd: Duration,
    peak_bytes: u64,
}

impl Round {
    fn ratio(&self) -> f64 {
        self.forwarder.as_secs_f64() / self.zstd.as_secs_f64()
    }
}

fn measure(corpus: Corpus, seed: u64) -> Round {
    let mut rig = Rig::new();
    let directory = rig.node.pods().join("bench_hot_0123/app");
    fs::create_dir_all(&directory).unwrap();
    let log = directory.join("0.log");
    let size = corpus.write(seed, LINES, &mut BufWriter::new(File::create(&log).unwrap())).unwrap();
    let before = zstd_cpu(&log);
    let (sink, process) = start(&mut rig);
    eventually("every line is sent", || {
        let records = sink.records();
        if records >= size.lines { Ok(()) } else { Err(format!("{records} records")) }
    });
    let forwarder = cpu::of_process(process.id());
    let peak_bytes = cpu::memory_of_process(process.id()).1;
    let zstd = (before + zstd_cpu(&log)) / 2;
    Round { size, forwarder, zstd, peak_bytes }
}

/// Level 1 in frames of the wire's size, as the forwarder compresses.
fn zstd_cpu(log: &Path) -> Duration {
    let bytes = fs::read(log).unwrap();
    let mut context = CCtx::create();
    let mut out = vec![0; zstd_safe::compress_bound(ZSTD_FRAME_MAX_BYTES)];
    let before = cpu::of_this_thread();
    for piece in bytes.chunks(ZSTD_FRAME_MAX_BYTES) {
        std::hint::black_box(context.compress(&mut out[..], piece, 1).unwrap());
    }
    cpu::of_this_thread() - before
}

/// A receiver with TLS and a token, and the forwarder that sends to it.
fn start(rig: &mut Rig) -> (Receiver, Process) {
    let ca = Ca::new();
    for (name, text) in [("ca", ca.pem()), ("server", &ca.sign("receiver")), ("token", "secret")] {
        fs::write(rig.path(name), text).unwrap();
    }
    let (ca, server, token) = (rig.path("ca"), rig.path("server"), rig.path("token"));
    let receiver = Receiver::counting(Security {
        tls: Some(TlsFiles { certificate: server.clone(), key: server }),
        authentication: Authentication::Token { file: token.clone() },
        plaintext: false,
    });
    let process = rig.forwarder_with(&format!(
        "address: \"{}\", token: {}, tls: {{ca: {}, server_name: receiver}}",
        receiver.address(),
        token.display(),
        ca.display(),
    ));
    (receiver, process)
}

fn logs(rig: &Rig, count: usize) -> Vec<File> {
    let log = |number: usize| {
        let directory = rig.node.pods().join(format!("bench_web-{number}_{number:08}/app"));
        fs::create_dir_all(&directory).unwrap();
        File::create(directory.join("0.log")).unwrap()
    };
    (0..count).map(log).collect()
}

fn line(number: usize) -> String {
    let since_1970 = SystemTime::UNIX_EPOCH.elapsed().unwrap();
    let time = Zone::SEOUL.rfc3339_nano(since_1970.as_nanos() as i64);
    format!(
        "{time} stdout F 10.244.3.7 - - \"GET /api/v1/orders/{number:08}?currency=KRW HTTP/1.1\" 200 512 \
         0.{:03} \"https://shop.example.com/checkout\" \"Mozilla/5.0 (X11; Linux x86_64) order-frontend/4.2\"\n",
        number % 1000
    )
}

fn has(receiver: &Receiver, records: usize) {
    eventually("every line is sent", || {
        let found = receiver.records();
        if found >= records as u64 { Ok(()) } else { Err(format!("{found} records")) }
    });
}

/// 10,000 lines a second from so many files in turn.
fn paced(files: usize) {
    let mut rig = Rig::new();
    let mut logs = logs(&rig, files);
    logs.iter_mut().for_each(|log| log.write_all(line(0).as_bytes()).unwrap());
    let (receiver, process) = start(&mut rig);
    has(&receiver, files);
    let before = cpu::of_process(process.id());
    let begun = Instant::now();
    let mut pace = Pace::new(Duration::from_millis(1));
    let lines = LINES_A_SECOND * PACED.as_secs() as usize;
    for number in 0..lines {
        logs[number % files].write_all(line(number).as_bytes()).unwrap();
        if number % (LINES_A_SECOND / 1000) == 0 {
            pace.next();
        }
    }
    let took = begun.elapsed().as_secs_f64();
    has(&receiver, files + lines);
    let spent = (cpu::of_process(process.id()) - before).as_secs_f64();
    println!(
        "{files:>5} {:>9.0} {:>13.2} {:>10.1}",
        lines as f64 / took,
        100.0 * spent / took,
        cpu::memory_of_process(process.id()).1 as f64 / MIB
    );
}

/// A line in each of many files, and then nothing.
fn idle() {
    let slab = slab_bytes();
    let mut rig = Rig::new();
    let mut logs = logs(&rig, IDLE_FILES);
    logs.iter_mut().for_each(|log| log.write_all(line(0).as_bytes()).unwrap());
    let written = slab_bytes();
    let (receiver, process) = start(&mut rig);
    has(&receiver, IDLE_FILES);
    // The last acknowledgements are saved, and the first reconcile is over.
    lasts(Duration::from_secs(35));
    let (before, calls_before) = (cpu::of_process(process.id()), calls(process.id()));
    lasts(IDLE);
    let spent = (cpu::of_process(process.id()) - before).as_secs_f64();
    let (resident, peak) = cpu::memory_of_process(process.id());
    let opened = slab_bytes();
    println!(
        "\n{IDLE_FILES} idle files: {:.3} % of a core over {} s, {} reads, RSS {:.1} MiB (at most {:.1}), {} descriptors",
        100.0 * spent / IDLE.as_secs_f64(),
        IDLE.as_secs(),
        calls(process.id()) - calls_before,
        resident as f64 / MIB,
        peak as f64 / MIB,
        fs::read_dir(format!("/proc/{}/fd", process.id())).unwrap().count(),
    );
    println!(
        "slab of the whole machine: {:.1} MiB more for the files themselves, {:.1} MiB more when all are open and watched",
        (written as f64 - slab as f64) / MIB,
        (opened as f64 - written as f64) / MIB
    );
}

fn calls(id: u32) -> u64 {
    let io = fs::read_to_string(format!("/proc/{id}/io")).unwrap();
    io.lines().find_map(|line| line.strip_prefix("syscr:")).unwrap().trim().parse().unwrap()
}

fn slab_bytes() -> u64 {
    let info = fs::read_to_string("/proc/meminfo").unwrap();
    let line = info.lines().find_map(|line| line.strip_prefix("Slab:")).unwrap();
    line.trim_end_matches("kB").trim().parse::<u64>().unwrap() * 1024
}
