//! 50 × kill -9 at random moments, one ledger over all of them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

use std::time::{Duration, Instant};

use naru_integration::ledger::Again;
use naru_integration::metrics::Metrics;
use naru_integration::node::{Container, Kubelet};
use naru_integration::pace::Pace;
use naru_integration::process::Process;
use naru_integration::rig::Rig;
use naru_integration::seed::seeded;
use naru_proto::frame::IoStream::{Stderr, Stdout};

const KILLS: usize = 50;
const CONTAINERS: usize = 12;

/// The longest life: from before the program is ready to long after it has caught up.
const LIFE_MAX_MS: u64 = 1500;

/// The lives that are long enough to be asked what they did.
const ASKED_FROM: Duration = Duration::from_millis(LIFE_MAX_MS / 3);

/// Every so many lives the program catches up before it is killed.
const CATCH_UP_EVERY: usize = 5;

/// What the kubelet keeps: a container that is rotated more often before its lines are saved as read loses the oldest by right.
const ROTATIONS_MAX: u32 = 3;

/// The writers, and how often each was rotated since the program had everything and had saved that.
struct Writers {
    kubelet: Kubelet,
    containers: Vec<(Container, u32)>,
}

impl Writers {
    /// Some lines of one container, and now and then a rotation.
    fn step(&mut self, random: &mut fastrand::Rng) {
        let index = random.usize(..self.containers.len());
        let (container, rotations) = &mut self.containers[index];
        for _ in 0..random.usize(1..40) {
            let iostream = if random.bool() { Stdout } else { Stderr };
            container.line(iostream, "x".repeat(random.usize(..300)));
        }
        if random.u8(..8) == 0 {
            container.interleaved("o".repeat(random.usize(..40_000)), "e".repeat(20_000));
        }
        if random.u8(..8) == 0 && *rotations < ROTATIONS_MAX {
            *rotations += 1;
            container.begin(Stdout, "begun before the rotation, ");
            self.kubelet.rotate(container, |container| {
                container.line(Stderr, "into the renamed file");
            });
            container.finish(Stdout, "finished after it");
        }
    }

    /// Everything that was written is there, and the checkpoint says so: two more lines are saved one after the other, and
    /// all that came before is saved with the second.
    fn everything_is_saved(&mut self, rig: &Rig, process: &mut Process) {
        let address = process.ready();
        rig.caught_up(address);
        let mut syncs = || process.metrics().count("naru_forwarder_checkpoint_syncs_total", "");
        let before = syncs();
        while syncs() < before + 2 {
            self.containers[0].0.line(Stdout, "one more");
            rig.caught_up(address);
        }
        self.containers.iter_mut().for_each(|(_, rotations)| *rotations = 0);
    }
}

/// What the program told just before it was killed, summed over its lives. It is less than there was: what happened
/// between the last question and the kill is not in it.
#[derive(Default)]
struct Told {
    again: Again,
    records: u64,
    lives: usize,
}

impl Told {
    fn add(&mut self, metrics: &Metrics) {
        let duplicates = metrics.count("naru_aggregator_documents_total", "outcome=\"duplicate\"");
        let records = metrics.count("naru_aggregator_records_total", "");
        // A record that was sent again is as long as the others of that life.
        let bytes = metrics.count("naru_aggregator_bytes_raw_total", "");
        self.again.bytes += duplicates * bytes / records.max(1);
        self.again.duplicates += duplicates;
        self.records += records;
        self.lives += 1;
    }
}

#[test]
fn b12_fifty_kills_lose_nothing_and_index_nothing_twice() {
    let mut random = seeded("crash");
    let mut rig = Rig::new();
    let mut writers = Writers {
        kubelet: Kubelet::default(),
        containers: (0..CONTAINERS)
            .map(|i| (rig.node.start("shop", &format!("web-{i}"), "web"), 0))
            .collect(),
    };
    let mut told = Told::default();
    for life in 0..KILLS {
        let begun = Instant::now();
        let mut process = rig.standalone();
        if life % CATCH_UP_EVERY == CATCH_UP_EVERY - 1 {
            writers.everything_is_saved(&rig, &mut process);
        }
        let still = Duration::from_millis(random.u64(..LIFE_MAX_MS));
        let age = begun.elapsed() + still;
        let mut pace = Pace::new(Duration::from_millis(5));
        while begun.elapsed() < age {
            writers.step(&mut random);
            pace.next();
        }
        // Asking a program that has just started would wait for its answer, and it would never be killed before.
        if still > ASKED_FROM {
            told.add(&process.metrics());
        }
        process.kill();
        process.assert_quiet(EXPECTED);
        // Down: the containers go on, and the kubelet too.
        for _ in 0..random.usize(..CONTAINERS * 2) {
            writers.step(&mut random);
        }
    }

    let mut process = rig.standalone();
    let address = process.ready();
    rig.caught_up(address);
    told.add(&process.metrics());
    let again = told.again;
    let verdict = rig.judge(address, "50 x kill -9", Some(again));
    println!("{} of {} lives told of {} records received", told.lives, KILLS + 1, told.records);
    verdict.assert_closed();
    assert!(again.bytes > 0, "nothing was sent again: the kills did not bite");
    assert!(again.duplicates > 0, "no duplicate was refused: the kills did not bite");
    assert!(process.terminate().success());
    process.assert_quiet(EXPECTED);
}

/// What a program may say that was killed the time before.
const EXPECTED: &[&str] = &[];
