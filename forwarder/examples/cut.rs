//! What cutting costs: nanoseconds a line, next to finding its newline and reading its envelope alone.
//!
//! `cargo run --release -p naru-forwarder --example cut`

use std::hint::black_box;
use std::time::Instant;

use naru_forwarder::cut::{CutJournal, CutRecord, Cutter, Format, Sink};
use naru_proto::cri;
use naru_proto::ids::FileId;
use naru_proto::time::format_rfc3339_ns;

/// As the forwarder reads.
const CHUNK_BYTES: usize = 64 << 10;
const LINES: usize = 200_000;
const ROUNDS: usize = 7;

#[derive(Default)]
struct Count {
    records: usize,
    calls: usize,
}

impl Sink for Count {
    fn lines(&mut self, _: FileId, _: u64, _: &[u8], records: u32, _: bool, _: Option<i64>) {
        self.records += records as usize;
        self.calls += 1;
    }

    fn record(&mut self, _: CutRecord<'_>) {
        self.records += 1;
        self.calls += 1;
    }
}

fn main() {
    for line_bytes in [80, 256, 1024] {
        for (what, every) in [("F only", usize::MAX), ("2 iostreams, every 10th line P", 10)] {
            let log = log(line_bytes, every);
            let lines = memchr::memchr_iter(b'\n', &log).count();
            let memchr_ns = best(lines, || {
                log.chunks(CHUNK_BYTES).map(|c| memchr::memchr_iter(b'\n', c).count()).sum()
            });
            let envelope_ns = best(lines, || {
                let starts = (0..log.len()).step_by(line_bytes);
                starts.filter(|at| cri::envelope(&log[*at..at + line_bytes]).is_some()).count()
            });
            let cri_ns = best(lines, || cut(Format::Cri, &log));
            let plain_ns = best(lines, || cut(Format::Plain, &log));
            println!(
                "{line_bytes:>5} B, {what}: memchr {memchr_ns:.1} ns a line, envelope {envelope_ns:.1}, \
                 cut CRI {cri_ns:.1}, cut plain {plain_ns:.1}"
            );
        }
    }
}

fn cut(format: Format, log: &[u8]) -> usize {
    let (mut cutter, mut count) = (Cutter::new(format), Count::default());
    let cuts = CutJournal::default();
    let mut at = 0;
    while at < log.len() {
        let chunk = &log[at..log.len().min(at + CHUNK_BYTES)];
        at += cutter.cut(FileId([1; 12]), at as u64, chunk, &cuts, &mut count);
    }
    black_box(count.calls);
    count.records
}

/// The best of some rounds, in nanoseconds a line.
fn best(lines: usize, mut run: impl FnMut() -> usize) -> f64 {
    let round = |_| {
        let start = Instant::now();
        black_box(run());
        start.elapsed().as_nanos() as f64 / lines as f64
    };
    (0..ROUNDS).map(round).fold(f64::INFINITY, f64::min)
}

fn log(line_bytes: usize, every: usize) -> Vec<u8> {
    let mut log = Vec::with_capacity(LINES * line_bytes);
    for number in 0..LINES {
        // 10,000 lines a second.
        let time_ns = 1_795_307_400_000_000_000 + number as i64 * 100_000;
        let stream = if every < LINES && number % 3 == 0 { "stderr" } else { "stdout" };
        let tag = if number % every == every - 1 { 'P' } else { 'F' };
        let start = log.len();
        log.extend_from_slice(&format_rfc3339_ns(time_ns));
        log.extend_from_slice(format!(" {stream} {tag} request {number} ").as_bytes());
        log.resize(start + line_bytes - 1, b'x');
        log.push(b'\n');
    }
    log
}
