//! One record that an aggregator will never take, among thousands of several pods in the same batches: what stands beside
//! it arrives, it is named, a restart sends no other pod again, and when somebody takes it, it arrives as well.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

use naru_integration::eventually::eventually;
use naru_integration::metrics::Metrics;
use naru_integration::node::Container;
use naru_integration::rig::Rig;
use naru_integration::sink::{Keep, Sink};
use naru_proto::frame::IoStream::Stdout;
use serde_json::Value;

const PODS: usize = 8;
const LINES: usize = 2000;
/// A batch of all of that: 3 divisions of its frames and 11 of a frame's lines, two halves each, and itself.
const REQUESTS_MAX: u64 = 1 + 2 * (3 + 11);

#[test]
fn b12_one_record_that_is_never_taken_holds_up_no_other() {
    let mut rig = Rig::new();
    let sink = Sink::start(Keep::Documents);
    sink.refuse(Some("poison"));
    let mut pods: Vec<Container> =
        (0..PODS).map(|pod| rig.node.start("shop", &format!("web-{pod}"), "web")).collect();
    for line in 0..LINES {
        for (pod, container) in pods.iter_mut().enumerate() {
            let word = if (pod, line) == (3, 1234) { "poison" } else { "fine" };
            container.line(Stdout, word);
        }
    }
    let mut forwarder = rig.forwarder(sink.address());
    let all = PODS * LINES;
    let arrived = |count: usize| {
        eventually("all but one have arrived", || match sink.document_count() {
            found if found >= count => Ok(()),
            found => Err(format!("{found} of {count}, {} refused", sink.refusals())),
        });
    };
    arrived(all - 1);
    let refusals = sink.refusals();
    println!("{all} lines, 1 of them poison: {refusals} batches were refused");
    assert!((12..=REQUESTS_MAX).contains(&refusals), "{refusals}");

    let (offset, row) = eventually("the record is named", || {
        let rows: Vec<Value> =
            serde_json::from_str(&rig.ask_forwarder("/files")?.1).map_err(|e| e.to_string())?;
        let named = rows.iter().find_map(|row| Some((row["refused_at"].as_u64()?, row.clone())));
        named.ok_or_else(|| format!("{rows:?}"))
    });
    let file = std::fs::read(pods[3].live_path()).unwrap();
    let line = file[offset as usize..].split(|byte| *byte == b'\n').next().unwrap();
    assert!(memchr::memmem::find(line, b"poison").is_some(), "{row}");
    assert!(row["source"].as_str().unwrap().starts_with("shop/web-3/"), "{row}");
    let (status, ready) = rig.ask_forwarder("/readyz").unwrap();
    assert!(status == 200 && ready.contains("never take 1 of the records"), "{status} {ready}");
    let metrics = Metrics::of(rig.ask_forwarder("/metrics").unwrap().1);
    assert_eq!(metrics.count("naru_forwarder_refused_for_ever_records", ""), 1);
    // What comes now comes too, and a stop does not wait for what never will.
    pods[3].line(Stdout, "fine");
    pods[4].line(Stdout, "fine");
    arrived(all + 1);
    assert!(forwarder.terminate().success());
    let said = ["never take a batch", "will not take this", "batches in flight"];
    forwarder.assert_quiet(&said);

    let before = sink.received();
    sink.refuse(None);
    let mut forwarder = rig.forwarder(sink.address());
    arrived(all + 2);
    let again = sink.received().duplicates - before.duplicates;
    println!("after a restart {again} lines were sent again, all of one pod");
    assert!(again <= LINES as u64, "{again}");
    rig.node.ledger().judge(sink.documents()).assert_closed();
    assert!(forwarder.terminate().success());
    forwarder.assert_quiet(&[]);
}
