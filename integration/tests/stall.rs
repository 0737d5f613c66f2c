//! An aggregator that hangs: connections stay, and nothing is answered. The files are the buffer meanwhile. When it goes on,
//! those who write a line now and then do not wait behind those who have written much. 8 s in the gate, 10 minutes by
//! `NARU_LONG=1`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use naru_integration::cpu;
use naru_integration::eventually::eventually_within;
use naru_integration::fault::damage::files_below;
use naru_integration::ledger::Again;
use naru_integration::node::{Container, Kubelet};
use naru_integration::pace::Pace;
use naru_integration::rig::Rig;
use naru_integration::scale::scaled;
use naru_integration::seed::seeded;
use naru_integration::sink::{Keep, Sink};
use naru_proto::frame::IoStream::Stdout;

const LIVE: usize = 20;
/// Each live container writes a line in so many steps.
const STEP: Duration = Duration::from_millis(10);
/// A rotation of the loud one's log.
const ROTATE_BYTES: usize = 4 << 20;
const PATIENCE: Duration = Duration::from_secs(120);
/// What a hanging aggregator may cost: the window of what is not acknowledged, twice for what is on its way in buffers.
const MORE_MEMORY_MAX: u64 = 16 << 20;
/// The checkpoint takes room by the MiB, and there are two of them.
const MORE_DISK_MAX: u64 = 3 << 20;

struct Load {
    live: Vec<Container>,
    loud: Container,
    kubelet: Kubelet,
    bytes: usize,
    text: String,
    random: fastrand::Rng,
}

impl Load {
    fn new(rig: &mut Rig) -> Self {
        let mut random = seeded("stall");
        let live = (0..LIVE).map(|i| rig.node.start("shop", &format!("live-{i}"), "web")).collect();
        let loud = rig.node.start("shop", "loud", "web");
        let text = (0..1 << 20).map(|_| random.alphanumeric()).collect();
        // Its files stay: what the story is about is waiting, not losing.
        Self { live, loud, kubelet: Kubelet::new(10_000), bytes: 0, text, random }
    }

    /// Writes for so long, and calls now and then.
    fn go_on(&mut self, lasts: Duration, loud_bytes_per_step: usize, mut look: impl FnMut()) {
        let (begun, mut pace) = (Instant::now(), Pace::new(STEP));
        for step in 0.. {
            if begun.elapsed() >= lasts {
                break;
            }
            self.live[step % LIVE].line(Stdout, "a live line");
            let start = self.random.usize(..self.text.len() - loud_bytes_per_step);
            self.loud.line(Stdout, self.text.get(start..start + loud_bytes_per_step).unwrap());
            self.bytes += loud_bytes_per_step;
            if self.bytes >= ROTATE_BYTES {
                self.bytes = 0;
                self.kubelet.rotate(&mut self.loud, |_| ());
            }
            if step % 50 == 0 {
                look();
            }
            pace.next();
        }
    }
}

/// Bytes that files take on the disk.
fn disk_of(directory: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let blocks = |path| std::fs::symlink_metadata(path).map_or(0, |found| found.blocks() * 512);
    files_below(directory).into_iter().map(blocks).sum()
}

fn now_ns() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as i64
}

fn caught_up(rig: &Rig, sink: &Sink) {
    let written = rig.node.ledger().written();
    eventually_within(PATIENCE, "every line has arrived", || match sink.document_count() {
        count if count >= written => Ok(()),
        count => Err(format!("{count} of {written}")),
    });
}

#[test]
fn b15_an_aggregator_that_hangs_costs_neither_memory_nor_disk_and_is_caught_up_with() {
    let hangs = scaled(Duration::from_secs(8), Duration::from_secs(600));
    let loud = scaled(8000, 2000);
    let mut rig = Rig::new();
    let sink = Sink::start(Keep::Documents);
    let mut load = Load::new(&mut rig);
    let mut forwarder = rig.forwarder(sink.address());
    let (id, data) = (forwarder.id(), rig.forwarder_data());
    load.go_on(Duration::from_secs(2), loud, || ());
    caught_up(&rig, &sink);
    let before = (cpu::memory_of_process(id).0, disk_of(&data));

    sink.hang();
    let hung_ns = now_ns();
    let mut most = before;
    load.go_on(hangs, loud, || {
        most.0 = most.0.max(cpu::memory_of_process(id).0);
        most.1 = most.1.max(disk_of(&data));
    });
    let behind = rig.node.ledger().written() - sink.document_count();
    assert!(behind > LIVE, "it did not hang");
    sink.go_on();
    let went_on_ns = now_ns();
    load.go_on(scaled(Duration::from_secs(3), Duration::from_secs(30)), loud, || ());
    caught_up(&rig, &sink);

    println!(
        "hung for {hangs:?}, {behind} lines behind; RSS {:.1} MiB before, at most {:.1}; its disk {} KiB, at most {}",
        before.0 as f64 / 1048576.0,
        most.0 as f64 / 1048576.0,
        before.1 >> 10,
        most.1 >> 10,
    );
    print_delays(&sink, hung_ns, went_on_ns);
    let received = sink.received();
    let again = Again { bytes: received.bytes_again, duplicates: received.duplicates };
    let verdict = rig.node.ledger().judge(sink.documents());
    verdict.print("an aggregator hangs", Some(again));
    verdict.assert_closed();
    assert!(most.0 < before.0 + MORE_MEMORY_MAX, "the backlog is held in memory");
    assert!(most.1 < before.1 + MORE_DISK_MAX, "the backlog is copied to the disk");
    assert!(forwarder.terminate().success());
}

/// How long lines took that were written since the sink went on, and when those were there that had waited.
fn print_delays(sink: &Sink, hung_ns: i64, went_on_ns: i64) {
    let (mut live, mut waited) = (Vec::new(), [0, 0]);
    for (indexed, arrived_ns) in sink.arrivals() {
        let Some(written_ns) = indexed.time_ns else { continue };
        let is_loud = indexed.pod.as_deref() == Some("loud");
        if written_ns >= went_on_ns && !is_loud {
            live.push(Duration::from_nanos((arrived_ns - written_ns).max(0) as u64));
        } else if (hung_ns..went_on_ns).contains(&written_ns) {
            let waited = &mut waited[usize::from(is_loud)];
            *waited = (*waited).max(arrived_ns - went_on_ns);
        }
    }
    live.sort();
    let at = |share: f64| live[((live.len() - 1) as f64 * share) as usize];
    let after = waited.map(|ns| Duration::from_nanos(ns.max(0) as u64));
    println!(
        "{} lines of live containers after it went on waited: p50 {:.2?}, p99 {:.2?}, at most {:.2?}; \
         what had waited was there after {:.2?} (live), {:.2?} (loud)",
        live.len(),
        at(0.5),
        at(0.99),
        at(1.0),
        after[0],
        after[1],
    );
}
