//! What a line costs from its file to its document, both ends in one process: forwarder, gRPC over loopback, queue with its
//! `fdatasync`, decode and document. Once into nothing, once into the embedded store.
//!
//! `cargo bench -p naru-integration --bench pipeline`

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a benchmark")]

use std::fs::{self, File};
use std::io::BufWriter;
use std::time::Duration;

use naru_integration::corpus::{Corpus, Size};
use naru_integration::cpu;
use naru_integration::eventually::eventually;
use naru_integration::rig::Rig;

const ROUNDS: usize = 3;

fn main() {
    println!("corpus      into      lines   lines / CPU s      peak MiB");
    for corpus in Corpus::ALL {
        for (name, lines, arguments) in
            [("nothing", 1_000_000, &["--discard"][..]), ("the store", 200_000, &[])]
        {
            let mut rounds: Vec<_> =
                (0..ROUNDS).map(|round| measure(corpus, round as u64, lines, arguments)).collect();
            rounds.sort_by_key(|round| round.cpu);
            let median = &rounds[ROUNDS / 2];
            println!(
                "{:<10}  {name:<9} {:>6} {:>15.0} {:>13.1}",
                corpus.name(),
                median.size.lines,
                median.size.lines as f64 / median.cpu.as_secs_f64(),
                median.peak_bytes as f64 / 1_048_576.0,
            );
        }
    }
}

struct Round {
    size: Size,
    cpu: Duration,
    peak_bytes: u64,
}

fn measure(corpus: Corpus, seed: u64, lines: u64, arguments: &[&str]) -> Round {
    let mut rig = Rig::new();
    let directory = rig.node.pods().join("bench_hot_0123/app");
    fs::create_dir_all(&directory).unwrap();
    let log = File::create(directory.join("0.log")).unwrap();
    let size = corpus.write(seed, lines, &mut BufWriter::new(log)).unwrap();
    let pods = rig.node.pods().to_owned();
    let mut process = rig.standalone_on(&pods, arguments);
    process.ready();
    eventually("every line has its outcome", || {
        let done =
            process.metrics().count("naru_aggregator_documents_total", "outcome=\"indexed\"");
        if done >= lines { Ok(()) } else { Err(format!("{done} documents")) }
    });
    let cpu = cpu::of_process(process.id());
    let peak_bytes = cpu::memory_of_process(process.id()).1;
    Round { size, cpu, peak_bytes }
}
