//! Stories of deleted files that are held open.

use std::fs;
use std::time::Duration;

use super::node::{Node, Writer};
use crate::clock;
use crate::config::Hold;
use crate::identity::writers;

const SECOND: Duration = Duration::from_secs(1);
const ENOUGH: Hold =
    Hold { max_bytes: 1 << 30, max_age: Duration::from_secs(900), min_free_percent: 0 };

fn node(hold: Hold) -> Node {
    let mut node = Node::new(&[]);
    node.configure = Box::new(move |_, config| config.hold = hold);
    node.restart();
    node
}

/// What is missing is exactly what was declared.
#[track_caller]
fn check_exact(node: &Node, gaps: usize) {
    let missing: u64 = node.missing().iter().map(|line| line.len() as u64 + 1).sum();
    let declared = node.gaps.iter().map(|gap| gap.end_exclusive.unwrap() - gap.start);
    assert_eq!((node.gaps.len(), declared.sum::<u64>()), (gaps, missing));
    assert!(node.twice().is_empty());
}

#[test]
fn b6_what_the_budget_drops_is_declared_to_the_byte() {
    for hold in [
        Hold { max_bytes: 0, ..ENOUGH },
        Hold { max_age: Duration::ZERO, ..ENOUGH },
        Hold { min_free_percent: 100, ..ENOUGH },
    ] {
        let mut node = node(hold);
        let mut writer = Writer::new(&node, 0);
        writer.lines(&mut node, 60_000);
        node.round();
        fs::remove_file(writer.live()).unwrap();
        clock::moved::wait(SECOND);
        node.round();
        node.settle(3 * SECOND);
        assert!(!node.missing().is_empty(), "it must bite: {hold:?}");
        check_exact(&node, 1);
        assert_eq!(node.gaps[0].reason(), naru_proto::wire::GapReason::Budget);
        assert_eq!(node.metrics.deleted_bytes.get(), 0);
        node.settle(14 * SECOND);
        assert!(node.tailer().sources.is_empty(), "nothing is left of it");
        node.restart();
        node.settle(3 * SECOND);
        check_exact(&node, 1);
    }
}

#[test]
fn b6_within_the_budget_everything_is_read() {
    let mut node = node(ENOUGH);
    let mut writer = Writer::new(&node, 0);
    writer.lines(&mut node, 60_000);
    node.round();
    fs::remove_file(writer.live()).unwrap();
    node.settle(14 * SECOND);
    check_exact(&node, 0);
}

#[test]
fn b6_the_oldest_is_dropped_first_and_what_keeps_up_is_kept() {
    let mut node = node(Hold { max_bytes: 1_500_000, ..ENOUGH });
    let mut writers: Vec<Writer> = (0..3).map(|run| Writer::new(&node, run)).collect();
    for writer in &mut writers {
        writer.lines(&mut node, 9_000);
        node.pass(SECOND);
        fs::remove_file(writer.live()).unwrap();
        node.pass(SECOND);
    }
    // Read, and not acknowledged: 600 KB each.
    assert!(node.metrics.deleted_bytes.get() <= 1_500_000);
    let restarts = |node: &Node| {
        let open = node.tailer().sources.values().filter(|s| s.files.iter().any(|f| f.is_open()));
        let mut restarts: Vec<String> = open.map(|s| format!("{:?}", s.place)).collect();
        restarts.sort();
        restarts
    };
    let open = restarts(&node);
    assert!(open.len() == 2 && open.iter().all(|place| !place.contains("restart: 0")), "{open:?}");
    check_exact(&node, 0);
    // A writer that goes on in a deleted file is read as long as it is acknowledged.
    for _ in 0..200 {
        writers[2].lines(&mut node, 3);
        node.settle(Duration::from_secs(5));
    }
    check_exact(&node, 0);
    node.deaf = true;
    writers[2].lines(&mut node, 3);
    node.pass(ENOUGH.max_age + 2 * SECOND);
    assert_eq!((node.metrics.deleted_bytes.get(), restarts(&node).len()), (0, 0));
}

/// Somebody deletes a log to make room, and the container goes on writing to it, now and then.
#[test]
fn b6_a_deleted_log_is_read_for_as_long_as_somebody_may_write_to_it() {
    for known in [true, false] {
        writers::forced::unknown(!known);
        let mut node = node(ENOUGH);
        let mut writer = Writer::new(&node, 0);
        writer.lines(&mut node, 20);
        node.settle(SECOND);
        fs::remove_file(writer.live()).unwrap();
        for silence in [5, 60, 600, 850] {
            node.settle(Duration::from_secs(silence));
            writer.lines(&mut node, 3);
            node.settle(Duration::from_secs(31));
            assert_eq!(node.tailer().rows().len(), 1, "it is still held after {silence} s");
        }
        check_exact(&node, 0);
        let rounds = node.rounds;
        node.pass(Duration::from_secs(600));
        assert!(node.rounds - rounds < 400, "{} rounds in 10 minutes", node.rounds - rounds);
        // Its writer ends, and nobody can open it any more; or nothing says so.
        drop(writer);
        node.settle(Duration::from_secs(60));
        assert_eq!(node.tailer().sources.is_empty(), known);
        node.settle(ENOUGH.max_age);
        assert!(node.tailer().sources.is_empty(), "nothing is left of it");
        assert_eq!(node.metrics.deleted_bytes.get(), 0);
        check_exact(&node, 0);
    }
    writers::forced::unknown(false);
}

/// What it was silent for too long for is not read; what stood there by then is declared.
#[test]
fn b6_a_deleted_log_that_is_dropped_is_read_to_where_it_is() {
    let mut node = node(ENOUGH);
    let mut writer = Writer::new(&node, 0);
    writer.lines(&mut node, 20);
    node.settle(SECOND);
    fs::remove_file(writer.live()).unwrap();
    node.settle(ENOUGH.max_age - 10 * SECOND);
    // After the last look, before the moment at which it is dropped.
    writer.lines(&mut node, 3);
    node.settle(60 * SECOND);
    check_exact(&node, 0);
    node.settle(ENOUGH.max_age + 60 * SECOND);
    assert!(node.tailer().sources.is_empty(), "nothing is left of it");
}

/// Those that only wait for more go before those that have something.
#[test]
fn b6_what_only_waits_makes_room_for_what_is_behind() {
    let mut node = node(Hold { max_bytes: 1_500_000, ..ENOUGH });
    let mut writers: Vec<Writer> = (0..2).map(|run| Writer::new(&node, run)).collect();
    writers[0].lines(&mut node, 15_000);
    node.settle(5 * SECOND);
    fs::remove_file(writers[0].live()).unwrap();
    node.settle(60 * SECOND);
    assert!(node.metrics.deleted_bytes.get() > 800_000, "{}", node.metrics.deleted_bytes.get());
    writers[1].lines(&mut node, 15_000);
    node.pass(SECOND);
    fs::remove_file(writers[1].live()).unwrap();
    node.pass(2 * SECOND);
    node.settle(14 * SECOND);
    check_exact(&node, 0);
    assert!(node.metrics.deleted_bytes.get() < 1_100_000, "the first is let go");
}
