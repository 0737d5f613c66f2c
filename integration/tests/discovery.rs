//! Finding files at a node's worst: pods that are gone at once, and hardly any descriptors.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use naru_integration::eventually::{eventually, eventually_within};
use naru_integration::ledger::Again;
use naru_integration::metrics::Metrics;
use naru_integration::node::Container;
use naru_integration::pace::Pace;
use naru_integration::rig::Rig;
use naru_integration::sink::{Keep, Sink};
use naru_proto::frame::IoStream::Stdout;

const PODS: usize = 1000;
const LINES: usize = 100;
/// Each lives as long as it takes to start the next ten, one every 5 ms.
const ALIVE: usize = 10;
const EVERY: Duration = Duration::from_millis(5);

const FILES: usize = 500;
/// The forwarder looks again that often for what no event tells of, in a machine that is busy.
const LOOKS_AGAIN: Duration = Duration::from_secs(55);

fn again(sink: &Sink) -> Again {
    let received = sink.received();
    Again { bytes: received.bytes_again, duplicates: received.duplicates }
}

/// Of the running forwarder.
fn metrics(rig: &Rig) -> Metrics {
    Metrics::of(rig.ask_forwarder("/metrics").expect("it answers").1)
}

fn caught_up(rig: &Rig, sink: &Sink) {
    let written = rig.node.ledger().written();
    eventually_within(LOOKS_AGAIN, "every line has arrived", || match sink.document_count() {
        count if count >= written => Ok(()),
        count => Err(format!("{count} of {written}")),
    });
}

#[test]
fn b7_a_thousand_pods_that_live_for_50_ms() {
    let mut rig = Rig::new();
    let sink = Sink::start(Keep::Documents);
    let mut first = rig.node.start("batch", "first", "main");
    first.line(Stdout, "whoever has this looks");
    let mut forwarder = rig.forwarder(sink.address());
    caught_up(&rig, &sink);
    first.delete_pod();
    let mut alive = VecDeque::new();
    let mut pace = Pace::new(EVERY);
    for pod in 0..PODS {
        let mut container = rig.node.start("batch", &format!("job-{pod}"), "main");
        for _ in 0..LINES {
            container.line(Stdout, "of a short life");
        }
        alive.push_back(container);
        if alive.len() > ALIVE {
            alive.pop_front().unwrap().delete_pod();
        }
        pace.next();
    }
    let mut last = rig.node.start("batch", "last", "main");
    let key = last.line(Stdout, "whoever has this has had all before");
    alive.into_iter().for_each(Container::delete_pod);
    // Everything that was opened is read, acknowledged and let go: only the last one is left.
    eventually("nothing but the last file is open", || {
        let metrics = metrics(&rig);
        let open = metrics.count("naru_forwarder_open_files", "");
        let lag = metrics.count("naru_forwarder_lag_bytes", "");
        let arrived = sink.documents().iter().any(|d| d.text.starts_with(&key.to_string()));
        (open == 1 && lag == 0 && arrived).then_some(()).ok_or(format!("{open} open, {lag} bytes"))
    });
    let missed = metrics(&rig).count("naru_forwarder_missed_files_total", "");
    let verdict = rig.node.ledger().judge(sink.documents());
    verdict.print("1000 pods of 50 ms", Some(again(&sink)));
    let mut by_pod = BTreeMap::<u32, usize>::new();
    verdict.missing.iter().for_each(|key| *by_pod.entry(key.container).or_default() += 1);
    println!("pods missed: {}; counted by the forwarder: {missed}", by_pod.len());
    assert!(verdict.twice.is_empty() && verdict.unknown.is_empty() && verdict.wrong.is_empty());
    assert!(by_pod.values().all(|lines| *lines == LINES), "what is opened is read whole");
    assert!(by_pod.len() as u64 <= missed, "a pod was missed that nobody counted");
    // None or one where nothing else runs; a starved reader comes too late for some more.
    assert!(verdict.missing.len() * 100 <= verdict.written, "less than 99 %");
    assert!(forwarder.terminate().success());
    forwarder.assert_quiet(&[]);
}

#[test]
fn b7_few_descriptors() {
    let mut rig = Rig::new();
    let sink = Sink::start(Keep::Documents);
    let mut containers: Vec<Container> =
        (0..FILES).map(|i| rig.node.start("shop", &format!("web-{i}"), "web")).collect();
    let mut write = |lines: usize| {
        for container in &mut containers {
            for _ in 0..lines {
                container.line(Stdout, "one of many");
            }
        }
    };
    write(20);
    let mut forwarder = rig.forwarder_by(&["prlimit", "--nofile=64:64"], sink.address());
    for _ in 0..2 {
        caught_up(&rig, &sink);
        write(1);
    }
    caught_up(&rig, &sink);
    let metrics = metrics(&rig);
    let open = metrics.count("naru_forwarder_open_files", "");
    println!("open: {open} of {FILES}");
    assert!(open < 64);
    let verdict = rig.node.ledger().judge(sink.documents());
    verdict.print("64 descriptors, 500 files", Some(again(&sink)));
    verdict.assert_closed();
    assert_eq!(again(&sink), Again::default(), "sent again");
    assert_eq!(metrics.count("naru_forwarder_gaps_total", ""), 0, "nothing was taken for deleted");
    assert!(forwarder.terminate().success());
    forwarder.assert_quiet(&[]);
}
