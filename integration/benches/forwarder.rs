//! What the forwarder costs: its CPU time against zstd level 1 over the same bytes, in the same run, in turns.
//!
//! One hot file that is there when the forwarder starts, sent to a sink in this process that acknowledges at once: plain
//! gRPC over loopback, no TLS yet. `cargo bench -p naru-integration --bench forwarder`

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a benchmark")]

use std::fs::{self, File};
use std::io::BufWriter;
use std::path::Path;
use std::time::Duration;

use naru_integration::corpus::{Corpus, Size};
use naru_integration::cpu;
use naru_integration::eventually::eventually;
use naru_integration::rig::Rig;
use naru_integration::sink::{Keep, Sink};
use naru_proto::limits::ZSTD_FRAME_MAX_BYTES;
use zstd_safe::CCtx;

const LINES: u64 = 1_000_000;
const ROUNDS: usize = 5;

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
            median.peak_bytes as f64 / 1_048_576.0,
        );
    }
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
    let sink = Sink::start(Keep::Nothing);
    let process = rig.forwarder(sink.address());
    eventually("every line is sent", || {
        let records = sink.received().records;
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
