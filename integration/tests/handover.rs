//! One forwarder a node, and the next one waits for it: SIGTERM under load, a hundred times, with a successor standing by;
//! and the same with kill -9. Judged by what a healthy aggregator got: nothing lost, and after SIGTERM nothing sent twice.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

use std::time::Duration;

use naru_integration::eventually::eventually;
use naru_integration::ledger::Again;
use naru_integration::node::{Container, Kubelet};
use naru_integration::pace::Pace;
use naru_integration::process::Process;
use naru_integration::rig::Rig;
use naru_integration::seed::seeded;
use naru_integration::sink::{Keep, Sink};
use naru_proto::frame::IoStream::{Stderr, Stdout};

const TERMINATIONS: usize = 100;
const KILLS: usize = 20;
const CONTAINERS: usize = 8;
/// The kubelet keeps so many rotated files: the oldest is deleted while the successor waits.
const ROTATE_EVERY: u32 = 40;
const STANDING_BY: &str = "standing by";

struct Load {
    kubelet: Kubelet,
    containers: Vec<Container>,
    random: fastrand::Rng,
}

impl Load {
    fn new(rig: &mut Rig, name: &str) -> Self {
        let containers =
            (0..CONTAINERS).map(|i| rig.node.start("shop", &format!("web-{i}"), "web")).collect();
        Self { kubelet: Kubelet::default(), containers, random: seeded(name) }
    }

    /// Some lines of every container and now and then a rotation, again and again, until it is done.
    fn until(&mut self, what: &str, mut done: impl FnMut() -> Option<()>) {
        let mut pace = Pace::new(Duration::from_millis(10));
        eventually(what, || {
            for container in &mut self.containers {
                for _ in 0..self.random.usize(1..8) {
                    container.line(Stdout, "x".repeat(self.random.usize(..300)));
                }
                if self.random.u32(..ROTATE_EVERY) == 0 {
                    self.kubelet.rotate(container, |container| {
                        container.line(Stderr, "into the renamed file");
                    });
                }
            }
            pace.next();
            done().ok_or_else(String::new)
        });
    }
}

/// The successor has found the data directory taken, and holds the log files.
fn stands_by(process: &Process) -> Option<()> {
    process.log().contains(STANDING_BY).then_some(())
}

fn again(sink: &Sink) -> Again {
    let received = sink.received();
    Again { bytes: received.bytes_again, duplicates: received.duplicates }
}

fn caught_up(rig: &Rig, sink: &Sink) {
    let written = rig.node.ledger().written();
    eventually("every line has arrived", || match sink.document_count() {
        count if count >= written => Ok(()),
        count => Err(format!("{count} of {written}")),
    });
}

#[test]
fn b21_a_hundred_hand_overs_under_load_lose_nothing_and_send_nothing_again() {
    let mut rig = Rig::new();
    let sink = Sink::start(Keep::Documents);
    let mut load = Load::new(&mut rig, "hand-over");
    let mut running = rig.forwarder(sink.address());
    load.until("the first lines arrive", || (sink.document_count() > 0).then_some(()));
    for _ in 0..TERMINATIONS {
        let next = rig.forwarder(sink.address());
        load.until("the successor stands by", || stands_by(&next));
        let before = sink.document_count();
        running.ask_to_end();
        load.until("the old one ends", || running.ended().map(|status| assert!(status.success())));
        load.until("the new one sends", || (sink.document_count() > before).then_some(()));
        running.assert_quiet(&[]);
        running = next;
    }
    caught_up(&rig, &sink);
    let again = again(&sink);
    let verdict = rig.node.ledger().judge(sink.documents());
    verdict.print("100 x SIGTERM, a successor", Some(again));
    verdict.assert_closed();
    assert_eq!((again.duplicates, again.bytes), (0, 0), "sent again");
    assert!(running.terminate().success());
    running.assert_quiet(&[]);
}

#[test]
fn b21_a_successor_takes_over_from_one_that_is_killed() {
    let mut rig = Rig::new();
    let sink = Sink::start(Keep::Documents);
    let mut load = Load::new(&mut rig, "hand-over by kill -9");
    let mut running = rig.forwarder(sink.address());
    load.until("the first lines arrive", || (sink.document_count() > 0).then_some(()));
    for _ in 0..KILLS {
        let next = rig.forwarder(sink.address());
        load.until("the successor stands by", || stands_by(&next));
        let before = sink.document_count();
        running.kill();
        load.until("the new one sends", || (sink.document_count() > before).then_some(()));
        running = next;
    }
    caught_up(&rig, &sink);
    let again = again(&sink);
    let verdict = rig.node.ledger().judge(sink.documents());
    verdict.print("20 x kill -9, a successor", Some(again));
    verdict.assert_closed();
    assert!(running.terminate().success());
}
