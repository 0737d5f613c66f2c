//! kill -9 of either side at random moments, 40 times in the gate and 500 by `NARU_LONG=1`: forwarder and aggregator are
//! a process each, with the checkpoint on one side, the queue on the other and TLS between them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

use std::time::{Duration, Instant};

use naru_integration::bulk_sink::BulkSink;
use naru_integration::cluster::{Cluster, Plan};
use naru_integration::node::{Container, Kubelet};
use naru_integration::pace::Pace;
use naru_integration::scale::scaled;
use naru_integration::seed::seeded;
use naru_proto::frame::IoStream::{Stderr, Stdout};

const CONTAINERS: usize = 8;
/// The longest time between two kills.
const LIFE_MAX_MS: u64 = 1200;
/// Everything may arrive after so many kills.
const SAVED_EVERY: usize = 8;
const PATIENCE: Duration = Duration::from_secs(120);

/// What the kubelet keeps: a container that is rotated more often before its lines are read, and that is saved, loses the
/// oldest by right.
const ROTATIONS_MAX: u32 = 3;

/// The writers, and how often each was rotated since everything was saved.
struct Writing {
    kubelet: Kubelet,
    containers: Vec<(Container, u32)>,
}

impl Writing {
    fn step(&mut self, index: usize, random: &mut fastrand::Rng) {
        let (container, rotations) = &mut self.containers[index];
        for _ in 0..random.usize(1..30) {
            let iostream = if random.bool() { Stdout } else { Stderr };
            container.line(iostream, "x".repeat(random.usize(..300)));
        }
        if random.u8(..16) == 0 {
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

    /// Everything that was written is there, and the forwarder's checkpoint says so: two more lines are saved one after
    /// the other, and all that came before is saved with the second.
    fn everything_is_saved(&mut self, cluster: &mut Cluster, sink: &BulkSink) {
        cluster.start();
        cluster.caught_up_in(sink, PATIENCE);
        let syncs = || {
            let metrics = cluster.forwarder_metrics(0).expect("it has sent what is there");
            metrics.count("naru_forwarder_checkpoint_syncs_total", "")
        };
        let before = syncs();
        while syncs() < before + 2 {
            self.containers[0].0.line(Stdout, "one more");
            cluster.caught_up_in(sink, PATIENCE);
        }
        self.containers.iter_mut().for_each(|(_, rotations)| *rotations = 0);
    }
}

#[test]
fn b12_kills_of_either_side_lose_nothing_and_index_nothing_twice() {
    let kills = scaled(40, 500);
    let mut random = seeded("kills");
    let sink = BulkSink::keeping();
    let plan = Plan {
        nodes: 1,
        aggregators: 1,
        tls: true,
        elasticsearch: sink.url(),
        settings: String::new(),
    };
    let mut cluster = Cluster::new(&plan);
    let mut start = |i| (cluster.nodes[0].node.start("shop", &format!("web-{i}"), "web"), 0);
    let containers = (0..CONTAINERS).map(&mut start).collect();
    let mut writing = Writing { kubelet: Kubelet::default(), containers };
    cluster.start();
    let mut killed = [0, 0];
    for kill in 0..kills {
        let until = Instant::now() + Duration::from_millis(random.u64(..LIFE_MAX_MS));
        let mut pace = Pace::new(Duration::from_millis(10));
        while Instant::now() < until {
            writing.step(random.usize(..CONTAINERS), &mut random);
            pace.next();
        }
        if kill % SAVED_EVERY == SAVED_EVERY - 1 {
            writing.everything_is_saved(&mut cluster, &sink);
        }
        match random.u8(..4) {
            0 => {
                cluster.kill_forwarder(0);
                cluster.kill_aggregator(0);
                killed = killed.map(|count| count + 1);
            }
            1 => {
                cluster.kill_aggregator(0);
                killed[1] += 1;
            }
            _ => {
                cluster.kill_forwarder(0);
                killed[0] += 1;
            }
        }
        if random.bool() {
            writing.step(random.usize(..CONTAINERS), &mut random);
        }
        cluster.start();
    }
    cluster.caught_up_in(&sink, PATIENCE);
    let again = cluster.again();
    let verdict = sink.judged_by(cluster.ledger());
    verdict.print(&format!("{kills} x kill -9, either side"), Some(again));
    println!("forwarder killed {} times, aggregator {}", killed[0], killed[1]);
    verdict.assert_closed();
    assert!(again.bytes > 0 && again.duplicates > 0, "nothing was sent again: no kill bit");
    cluster.stop();
}
