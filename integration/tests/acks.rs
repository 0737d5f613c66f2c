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
const ROUNDS: usize = 20;
const LINES_PER_ROUND: usize = 200;

/// Acknowledgements that are lost before the relay cuts the stream.
const LOSSES_PER_STREAM: u64 = 2;

#[test]
fn b13_all_acknowledgements_lost_once() {
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

    for round in 0..ROUNDS {
        for container in &mut containers {
            for _ in 0..LINES_PER_ROUND {
                let iostream = if random.bool() { Stdout } else { Stderr };
                container.line(iostream, "x".repeat(random.usize(..400)));
            }
            if round % 7 == 6 {
                kubelet.rotate(container, |_| ());
            }
        }
        // What was indexed was acknowledged, and the relay lost that: the next round is in other batches.
        rig.caught_up(address);
    }
    // What was sent last is acknowledged too, at the second try.
    let bytes = rig.node.ledger().bytes();
    let written = rig.node.ledger().written() as u64;
    relay.cut();
    let done = eventually("every byte was sent again", || {
        let done = relay.done();
        if done.bytes_again >= bytes { Ok(done) } else { Err(format!("{done:?} of {bytes}")) }
    });
    let duplicates = eventually("every document was refused once", || {
        let metrics = standalone.metrics();
        let duplicates = metrics.count("naru_aggregator_documents_total", "outcome=\"duplicate\"");
        if duplicates >= written { Ok(duplicates) } else { Err(duplicates.to_string()) }
    });
    assert!(forwarder.terminate().success());

    let again = Again { bytes: done.bytes_again, duplicates };
    let verdict = rig.judge(address, "every ack lost once", Some(again));
    println!("{done:?}");
    verdict.assert_closed();
    assert!(done.acks_lost > 0 && done.cuts > 0, "the relay did not bite: {done:?}");
    assert_eq!(verdict.written, CONTAINERS * ROUNDS * LINES_PER_ROUND);
    assert!(standalone.terminate().success());
    standalone.assert_quiet(&[]);
}
