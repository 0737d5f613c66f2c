//! The forwarder's checkpoint cut or flipped at 500 random bytes: it always starts, loses nothing, and what it sends again
//! has the ids that it had before.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

use std::panic::resume_unwind;
use std::path::PathBuf;
use std::thread;

use naru_integration::eventually::eventually;
use naru_integration::fault::damage::{Damage, files_below, used_bytes};
use naru_integration::ledger::{Again, Verdict};
use naru_integration::node::{Container, Kubelet};
use naru_integration::process::Process;
use naru_integration::rig::Rig;
use naru_integration::seed::seeded;
use naru_integration::sink::{Keep, Sink};
use naru_proto::frame::IoStream::{Stderr, Stdout};

const TRIALS: usize = 500;

/// Nodes that are tried side by side: most of a trial is waiting for a part-filled batch to be sent.
const NODES: usize = 4;

const CONTAINERS: usize = 4;

/// Lines before the first trial, of each container.
const FIRST_LINES: usize = 50;

/// What the trials of one node came to.
struct Outcome {
    verdict: Verdict,
    again: Again,
    /// Trials after which something was sent again.
    resent: usize,
    /// Trials after which the program said something of it.
    told: usize,
}

#[test]
fn b14_five_hundred_damaged_checkpoints() {
    let mut random = seeded("checkpoint");
    let nodes: Vec<_> = (0..NODES)
        .map(|node| {
            let mut random = random.fork();
            let deletes = node % 2 == 0;
            thread::spawn(move || Trials::new(deletes).run(TRIALS / NODES, &mut random))
        })
        .collect();
    let ended = nodes.into_iter().map(|node| node.join());
    let outcomes: Vec<Outcome> =
        ended.map(|ended| ended.unwrap_or_else(|panic| resume_unwind(panic))).collect();
    for outcome in &outcomes {
        outcome.verdict.print("checkpoint, one of 4 nodes", Some(outcome.again));
    }
    let sum = |count: fn(&Outcome) -> usize| outcomes.iter().map(count).sum::<usize>();
    let (resent, told) = (sum(|o| o.resent), sum(|o| o.told));
    println!("{TRIALS} damages: {resent} made it send again, {told} were logged");
    assert!(resent > 0, "no damage made the forwarder send anything again: they did not bite");
    assert!(told > 0, "no damage was logged");
}

/// One node and its forwarder, whose checkpoint is damaged again and again.
struct Trials {
    rig: Rig,
    sink: Sink,
    kubelet: Kubelet,
    containers: Vec<Container>,
    /// The kubelet deletes old files. Then no line straddles a rotation: without its head, which only the checkpoint
    /// knew to be sent, the rest of it is another record (`docs/delivery.md`).
    deletes: bool,
}

impl Trials {
    fn new(deletes: bool) -> Self {
        let mut rig = Rig::new();
        let containers =
            (0..CONTAINERS).map(|i| rig.node.start("shop", &format!("web-{i}"), "web")).collect();
        let kubelet = if deletes { Kubelet::default() } else { Kubelet::new(TRIALS) };
        Self { rig, sink: Sink::start(Keep::Documents), kubelet, containers, deletes }
    }

    fn run(mut self, trials: usize, random: &mut fastrand::Rng) -> Outcome {
        for container in &mut self.containers {
            for _ in 0..FIRST_LINES {
                container.line(Stdout, "before every damage");
            }
        }
        let mut forwarder = self.start();
        self.caught_up();
        let (mut resent, mut told) = (0, 0);
        for trial in 0..trials {
            // There is a checkpoint from the first orderly stop on.
            stop(&mut forwarder, trial > 0 && random.bool());
            let harm = self.harm(random);
            if random.u8(..8) == 0 {
                self.write(random);
            }
            let before = self.sink.received().duplicates;
            forwarder = self.start();
            self.write(random);
            self.caught_up();
            let verdict = self.rig.node.ledger().judge(self.sink.documents());
            let offences = verdict.offences();
            assert!(offences.is_empty(), "trial {trial}, {harm}:\n{offences}");
            resent += usize::from(self.sink.received().duplicates > before);
            told += usize::from(forwarder.log().contains("checkpoint"));
            forwarder.assert_quiet(&["checkpoint"]);
        }
        assert!(forwarder.terminate().success());
        let received = self.sink.received();
        Outcome {
            verdict: self.rig.node.ledger().judge(self.sink.documents()),
            again: Again { bytes: received.bytes_again, duplicates: received.duplicates },
            resent,
            told,
        }
    }

    fn start(&mut self) -> Process {
        self.rig.forwarder(self.sink.address())
    }

    /// Everything that was written is there, so a rotation may take the oldest away.
    fn caught_up(&self) {
        let written = self.rig.node.ledger().written();
        eventually(&format!("{written} lines have come"), || {
            let found = self.sink.document_count();
            if found >= written { Ok(()) } else { Err(found.to_string()) }
        });
    }

    /// Some lines, and at times a rotation between them.
    fn write(&mut self, random: &mut fastrand::Rng) {
        let index = random.usize(..CONTAINERS);
        let container = &mut self.containers[index];
        container.line(Stdout, "x".repeat(random.usize(..200)));
        if !self.deletes {
            container.begin(Stderr, "begun, ");
        }
        if random.u8(..4) == 0 {
            self.kubelet.rotate(container, |container| {
                container.line(Stdout, "into the renamed file");
            });
        }
        if self.deletes {
            container.line(Stderr, "the next");
        } else {
            container.finish(Stderr, "and finished");
        }
    }

    /// Damages one of the checkpoint's files somewhere in what it uses.
    fn harm(&self, random: &mut fastrand::Rng) -> String {
        let mut files: Vec<(PathBuf, u64)> = files_below(&self.rig.forwarder_data())
            .into_iter()
            .filter(|path| path.file_name().unwrap().to_str().unwrap().contains("checkpoint"))
            .map(|path| (path.clone(), used_bytes(&path)))
            .collect();
        files.retain(|(_, used)| *used > 0);
        assert!(!files.is_empty(), "the forwarder keeps no checkpoint");
        let (path, used) = &files[random.usize(..files.len())];
        let damage = Damage::random(random, *used);
        damage.inflict(path);
        format!("{damage:?} of {} of {used} bytes", path.display())
    }
}

fn stop(forwarder: &mut Process, by_force: bool) {
    if by_force {
        forwarder.kill();
    } else {
        assert!(forwarder.terminate().success());
    }
}
