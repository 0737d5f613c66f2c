//! A kubelet that deletes files before anybody has read them, while the forwarder is killed or frozen: more rotations than
//! it keeps files, between two looks and between two writings of the checkpoint. Lines are lost by right; each of them
//! must be in a declared loss.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

use std::time::Duration;

use naru_integration::eventually::eventually;
use naru_integration::ledger::Again;
use naru_integration::metrics::Metrics;
use naru_integration::node::{Container, Kubelet};
use naru_integration::pace::Pace;
use naru_integration::process::Process;
use naru_integration::rig::Rig;
use naru_integration::scale::scaled;
use naru_integration::seed::seeded;
use naru_integration::sink::{Keep, Sink};
use naru_proto::frame::IoStream::{Stderr, Stdout};

const CONTAINERS: usize = 6;
/// Between two of a node's troubles: some fall before the first checkpoint after the last, some long after it.
const STEPS_MAX: usize = 500;
const STEP: Duration = Duration::from_millis(10);

struct Load {
    kubelet: Kubelet,
    containers: Vec<Container>,
    random: fastrand::Rng,
    rotations: usize,
}

impl Load {
    /// A few lines of one container, and in one of four cases a rotation.
    fn step(&mut self, index: usize) {
        let container = &mut self.containers[index];
        for _ in 0..self.random.usize(..12) {
            let iostream = if self.random.bool() { Stdout } else { Stderr };
            container.line(iostream, "x".repeat(self.random.usize(..300)));
        }
        if self.random.u8(..4) == 0 {
            self.rotations += 1;
            let late = self.random.bool();
            self.kubelet.rotate(container, |container| {
                if late {
                    container.line(Stderr, "into the renamed file");
                }
            });
        }
    }

    fn go_on(&mut self) {
        // One is rotated, and silent from then on: its new file is empty when the trouble comes.
        let silent = self.random.usize(..CONTAINERS);
        self.kubelet.rotate(&mut self.containers[silent], |_| ());
        let mut pace = Pace::new(STEP);
        for _ in 0..self.random.usize(..STEPS_MAX) {
            let index = self.random.usize(1..CONTAINERS);
            self.step((silent + index) % CONTAINERS);
            pace.next();
        }
    }

    /// As much at once as happens while a node is down for minutes.
    fn burst(&mut self) {
        for _ in 0..self.random.usize(..120) {
            let index = self.random.usize(..CONTAINERS);
            self.step(index);
        }
    }
}

/// Every container writes a last line, which is there when everything is that ever comes.
fn settled(load: &mut Load, sink: &Sink) {
    let last: Vec<String> = load
        .containers
        .iter_mut()
        .map(|container| container.line(Stdout, "the last").to_string())
        .collect();
    eventually("the last lines arrive", || {
        let documents = sink.documents();
        let missing = last.iter().filter(|key| !documents.iter().any(|d| d.text.contains(*key)));
        match missing.count() {
            0 => Ok(()),
            missing => Err(format!("{missing} containers' last lines are missing")),
        }
    });
}

/// What is missing at last is in gaps, all of it, and something was missing.
fn judge(story: &str, rig: &Rig, sink: &Sink, troubles: usize, load: &Load) {
    let ledger = rig.node.ledger();
    let mut said = String::new();
    eventually("every loss is declared", || {
        let mut verdict = ledger.judge(sink.documents());
        let declared = ledger.excuse_unseen(&mut verdict, &sink.gaps());
        said = format!("{declared} lines are lost as declared in {} gaps", sink.gaps().len());
        if verdict.missing.is_empty() { Ok(()) } else { Err(verdict.offences()) }
    });
    let received = sink.received();
    let again = Again { bytes: received.bytes_again, duplicates: received.duplicates };
    let mut verdict = ledger.judge(sink.documents());
    verdict.print(story, Some(again));
    let missing = verdict.missing.len();
    let declared = ledger.excuse_unseen(&mut verdict, &sink.gaps());
    println!("{said}; {troubles} troubles, {} rotations", load.rotations);
    verdict.assert_closed();
    assert_eq!(declared, missing);
    assert!(missing > 0, "nothing was lost: the kubelet was too slow");
}

fn begin(name: &str) -> (Rig, Sink, Load, Process) {
    let random = seeded(name);
    let mut rig = Rig::new();
    let sink = Sink::start(Keep::Documents);
    let containers =
        (0..CONTAINERS).map(|i| rig.node.start("shop", &format!("web-{i}"), "web")).collect();
    let mut load = Load { kubelet: Kubelet::default(), containers, random, rotations: 0 };
    let forwarder = rig.forwarder(sink.address());
    settled(&mut load, &sink);
    // A container that was never saved leaves no trace.
    let syncs = || {
        let metrics = Metrics::of(rig.ask_forwarder("/metrics")?.1);
        Ok::<_, String>(metrics.count("naru_forwarder_checkpoint_syncs_total", ""))
    };
    let before = eventually("it tells its metrics", syncs);
    eventually("every container is saved", || {
        load.containers.iter_mut().for_each(|container| {
            container.line(Stdout, "one more");
        });
        let syncs = syncs()?;
        if syncs >= before + 2 { Ok(()) } else { Err(format!("{syncs} after {before}")) }
    });
    (rig, sink, load, forwarder)
}

#[test]
fn b16_what_a_kubelet_deletes_while_nobody_runs_is_declared() {
    let (mut rig, sink, mut load, mut forwarder) = begin("unseen, killed");
    let kills = scaled(10, 200);
    for _ in 0..kills {
        load.go_on();
        forwarder.kill();
        load.burst();
        forwarder = rig.forwarder(sink.address());
    }
    settled(&mut load, &sink);
    judge("deleted while killed", &rig, &sink, kills, &load);
    assert!(forwarder.terminate().success());
}

#[test]
fn b16_what_a_kubelet_deletes_while_the_forwarder_hangs_is_declared() {
    let (rig, sink, mut load, mut forwarder) = begin("unseen, frozen");
    let freezes = scaled(10, 200);
    for _ in 0..freezes {
        load.go_on();
        forwarder.freeze();
        load.burst();
        forwarder.thaw();
    }
    settled(&mut load, &sink);
    judge("deleted while frozen", &rig, &sink, freezes, &load);
    assert!(forwarder.terminate().success());
}
