//! Every acknowledgement is lost once: everything is sent twice, and nothing is indexed twice.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

use std::fs;

use naru_integration::eventually::eventually;
use naru_integration::fault::relay::Relay;
use naru_integration::ledger::Again;
use naru_integration::node::{Container, Kubelet};
use naru_integration::rig::Rig;
use naru_integration::seed::seeded;
use naru_proto::frame::IoStream::{Stderr, Stdout};

const CONTAINERS: usize = 5;
const LINES: usize = 4_000;

/// Acknowledgements that are lost before the relay cuts the stream.
const LOSSES_PER_STREAM: u64 = 3;

#[test]
fn all_acknowledgements_lost_once() {
    let mut random = seeded("acks");
    let mut rig = Rig::new();
    let mut kubelet = Kubelet::default();
    // The forwarder under test is a process of its own; the one inside standalone has nothing to read.
    let nothing = rig.path("no-pods");
    fs::create_dir(&nothing).unwrap();
    let mut standalone = rig.standalone_on(&nothing, &[]);
    let address = standalone.ready();
    let relay = Relay::lose_each_once(standalone.address_after("receiving on"), LOSSES_PER_STREAM);
    let mut containers: Vec<Container> =
        (0..CONTAINERS).map(|i| rig.node.start("shop", &format!("web-{i}"), "web")).collect();
    let mut forwarder = rig.forwarder(relay.address());

    for container in &mut containers {
        for number in 0..LINES {
            let iostream = if random.bool() { Stdout } else { Stderr };
            container.line(iostream, "x".repeat(random.usize(..400)));
            if number == LINES / 2 {
                kubelet.rotate(container, |_| ());
            }
        }
    }
    rig.caught_up(address);
    // What was sent last is acknowledged too, at the second try.
    let bytes = rig.node.ledger().bytes();
    let done = eventually("every byte was sent again", || {
        let done = relay.done();
        if done.bytes_again >= bytes { Ok(done) } else { Err(format!("{done:?} of {bytes}")) }
    });
    assert!(forwarder.terminate().success());

    let duplicates =
        standalone.metrics().count("naru_aggregator_documents_total", "outcome=\"duplicate\"");
    let again = Again { bytes: done.bytes_again, duplicates };
    let verdict = rig.judge(address, "every ack lost once", Some(again));
    println!("{done:?}");
    verdict.assert_closed();
    assert!(done.acks_lost > 0 && done.cuts > 0, "the relay did not bite: {done:?}");
    assert!(duplicates as usize >= verdict.written, "{duplicates} duplicates refused");
    assert!(standalone.terminate().success());
    standalone.assert_quiet(&[]);
}
