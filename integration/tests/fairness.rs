//! One pod at full speed beside 200 quiet ones, and an aggregator that cannot keep up: how long the quiet ones wait.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

use std::time::{Duration, Instant};

use naru_integration::eventually::eventually_within;
use naru_integration::node::{Container, Kubelet};
use naru_integration::pace::Pace;
use naru_integration::rig::Rig;
use naru_integration::seed::seeded;
use naru_integration::sink::{Keep, Sink};
use naru_proto::frame::IoStream::Stdout;

const QUIET: usize = 200;
/// Compressed. The loud pod writes much more.
const SINK_BYTES_PER_SECOND: u32 = 2 << 20;
const LASTS: Duration = Duration::from_secs(30);
/// While the window finds how much fits, nothing is measured.
const WARM_UP: Duration = Duration::from_secs(5);
/// A step of the writers: each quiet pod writes a line a second.
const STEPS_PER_SECOND: usize = 20;
/// What the loud pod writes in a step: 20 MB a second, of which less than half is taken.
const LOUD_BYTES_PER_STEP: usize = 1 << 20;
/// An unthrottled machine is not measured: the bound is the window's, in time of the sink, and as much again.
const DELAY_MAX: Duration = Duration::from_secs(8);

#[test]
fn b17_two_hundred_quiet_pods_beside_a_loud_one() {
    let mut random = seeded("fairness");
    let mut rig = Rig::new();
    let sink = Sink::slow(Keep::Documents, SINK_BYTES_PER_SECOND);
    let mut quiet: Vec<Container> =
        (0..QUIET).map(|i| rig.node.start("shop", &format!("quiet-{i}"), "web")).collect();
    let mut loud = rig.node.start("shop", "loud", "web");
    // Its files stay: what the story is about is waiting, not losing.
    let mut kubelet = Kubelet::new(10_000);
    let text: String = (0..1 << 20).map(|_| random.alphanumeric()).collect();
    let mut forwarder = rig.forwarder(sink.address());

    let begun = Instant::now();
    let begun_ns = now_ns();
    let mut pace = Pace::new(Duration::from_millis(1000 / STEPS_PER_SECOND as u64));
    let (mut step, mut measured) = (0, 0);
    while begun.elapsed() < LASTS {
        let mut bytes = 0;
        while bytes < LOUD_BYTES_PER_STEP {
            let start = random.usize(..text.len() - 8000);
            loud.line(Stdout, text.get(start..start + 8000).unwrap());
            bytes += 8000;
        }
        for index in (step..QUIET).step_by(STEPS_PER_SECOND) {
            measured += usize::from(now_ns() >= begun_ns + WARM_UP.as_nanos() as i64);
            quiet[index].line(Stdout, "a quiet line");
        }
        step = (step + 1) % STEPS_PER_SECOND;
        if step == 0 {
            kubelet.rotate(&mut loud, |_| ());
        }
        pace.next();
    }
    let written = rig.node.ledger().written();
    let taken = sink.document_count();
    println!("the loud pod wrote on for {LASTS:?}: {taken} of {written} lines are there by then");
    assert!(taken < written * 3 / 4, "the loud pod was not throttled");
    eventually_within(Duration::from_secs(30), "the quiet lines arrive", || {
        let arrived = delays(&sink, begun_ns).len();
        if arrived >= measured { Ok(()) } else { Err(format!("{arrived} of {measured}")) }
    });
    let mut delays = delays(&sink, begun_ns);
    delays.sort();
    let at = |share: f64| delays[((delays.len() - 1) as f64 * share) as usize];
    println!(
        "{} quiet lines waited: p50 {:.2?}, p99 {:.2?}, at most {:.2?}",
        delays.len(),
        at(0.5),
        at(0.99),
        at(1.0)
    );
    assert!(at(0.99) < DELAY_MAX, "p99 {:?}", at(0.99));
    forwarder.kill();
}

/// How long each quiet line took from its envelope's time to its arrival.
fn delays(sink: &Sink, begun_ns: i64) -> Vec<Duration> {
    let from_ns = begun_ns + WARM_UP.as_nanos() as i64;
    let quiet = sink.arrivals().into_iter().filter_map(|(indexed, arrived_ns)| {
        let written_ns = indexed.time_ns?;
        let is_quiet = indexed.pod.as_deref() != Some("loud") && written_ns >= from_ns;
        is_quiet.then(|| Duration::from_nanos((arrived_ns - written_ns).max(0) as u64))
    });
    quiet.collect()
}

fn now_ns() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    since.as_nanos() as i64
}
