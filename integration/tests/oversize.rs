//! A line of 1 GiB without a newline, as a host file and as a container's log, through a forwarder that is a process: its
//! peak of memory is printed and bounded, every byte arrives, and the lines behind it are intact.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use naru_integration::cpu::memory_of_process;
use naru_integration::eventually::eventually_within;
use naru_integration::rig::Rig;
use naru_integration::sink::{Keep, Sink};

const GIB: usize = 1 << 30;
/// Far more than is needed, far less than the line.
const RSS_MAX_BYTES: u64 = 64 << 20;
const PATIENCE: Duration = Duration::from_secs(300);

/// One line; its newline is written later.
fn write_line(path: &Path, head: &str) {
    let mut file = File::create(path).unwrap();
    file.write_all(head.as_bytes()).unwrap();
    let block = vec![b'x'; 1 << 20];
    for _ in 0..GIB >> 20 {
        file.write_all(&block).unwrap();
    }
}

#[test]
fn b11_a_line_of_one_gib_needs_no_memory_and_harms_no_other() {
    let mut rig = Rig::new();
    let host = rig.path("host.log");
    rig.settings = format!("files:\n  - {{name: host, path: {}}}\n", host.display());
    let container = rig.path("pods").join("shop_web-0_7c1f").join("web");
    fs::create_dir_all(&container).unwrap();
    let container = container.join("0.log");
    let long = "2026-11-22T00:30:00Z stdout F ";
    write_line(&host, "");
    write_line(&container, long);
    let sink = Sink::start(Keep::Nothing);
    let mut forwarder = rig.forwarder(sink.address());
    let next = "\n2026-11-22T00:30:01Z stdout F the next line\n";
    for path in [&host, &container] {
        let mut file = OpenOptions::new().append(true).open(path).unwrap();
        file.write_all(next.as_bytes()).unwrap();
    }
    // A piece is as long as the cap; the rest of the line and the next one are two more.
    let pieces = |bytes: usize| bytes.div_ceil(naru_proto::limits::RECORD_MAX_BYTES) as u64 + 1;
    let expected = pieces(GIB + 1) + pieces(GIB + long.len() + 1);
    eventually_within(PATIENCE, "both lines and the next ones have come", || {
        let found = sink.received();
        if found.records >= expected { Ok(()) } else { Err(format!("{found:?} of {expected}")) }
    });
    let received = sink.received();
    let (now, peak) = memory_of_process(forwarder.id());
    println!(
        "2 lines of 1 GiB: {} records; forwarder RSS {:.1} MiB, at most {:.1} MiB",
        received.records,
        now as f64 / 1_048_576.0,
        peak as f64 / 1_048_576.0
    );
    assert_eq!((received.records, received.bytes_again), (expected, 0));
    assert!(peak <= RSS_MAX_BYTES, "{peak}");
    assert!(forwarder.terminate().success());
}
