//! Containers that are silent for long: nothing is kept of them but the checkpoint's, and nothing is lost by it.

use std::fs;
use std::time::Duration;

use super::node::{Node, POD, Writer};
use crate::clock;

const SECOND: Duration = Duration::from_secs(1);
/// Longer than a container must be silent, and than two looks at all of them.
const SILENCE: Duration = Duration::from_secs(130);
const DONE: Duration = Duration::from_secs(14);

/// A container with some lines that has been silent, and sleeps.
fn asleep() -> (Node, Writer) {
    let mut node = Node::new(&[]);
    let mut writer = Writer::new(&node, 0);
    writer.lines(&mut node, 20);
    silence(&mut node);
    sleeps(&node);
    (node, writer)
}

/// By both clocks: a directory that changed a moment ago is looked into again.
fn silence(node: &mut Node) {
    clock::moved::wall(SILENCE);
    node.settle(SILENCE);
}

#[track_caller]
fn sleeps(node: &Node) {
    assert!(node.tailer().sources.is_empty(), "it is no source");
    // Each is open once, for its writer.
    let mut open = Node::open_beneath(&node.container());
    open.sort();
    assert!(open.is_sorted_by(|one, next| one < next), "open: {open:?}");
}

#[test]
fn b24_a_silent_container_costs_no_descriptor_and_goes_on_where_it_was() {
    let (mut node, mut writer) = asleep();
    for _ in 0..3 {
        writer.lines(&mut node, 3);
        node.settle(2 * SECOND);
        assert_eq!((node.missing().len(), node.tailer().sources.len()), (0, 1));
        silence(&mut node);
        sleeps(&node);
    }
    node.check();
    assert!(node.gaps.is_empty());
}

#[test]
fn b24_a_line_after_a_silence_is_read_at_once() {
    let (mut node, mut writer) = asleep();
    writer.line(&mut node);
    node.pass(Duration::from_millis(300));
    node.check();
}

#[test]
fn b24_it_is_still_told_of_in_rows_and_metrics() {
    let (mut node, _writer) = asleep();
    node.tailer_mut().measure(clock::now());
    let rows = node.tailer().rows();
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0].state.as_str(), rows[0].lag), ("closed", 0));
    let bytes = fs::metadata(node.container().join("0.log")).unwrap().len();
    assert_eq!((rows[0].read, rows[0].acknowledged), (bytes, bytes));
}

#[test]
fn b24_what_is_not_acknowledged_keeps_it_awake() {
    let mut node = Node::new(&[]);
    let mut writer = Writer::new(&node, 0);
    writer.lines(&mut node, 20);
    node.settle(2 * SECOND);
    writer.lines(&mut node, 3);
    node.pass(SILENCE);
    assert_eq!(node.tailer().sources.len(), 1, "three lines wait for their acknowledgement");
    silence(&mut node);
    sleeps(&node);
    writer.write(&mut node, "stdout F", "");
    silence(&mut node);
    assert_eq!(node.tailer().sources.len(), 1, "a line waits for its end");
    fs::remove_dir_all(node.container()).unwrap();
    node.settle(DONE);
    node.check();
}

#[test]
fn b24_deleted_in_its_silence_it_has_lost_nothing() {
    let (mut node, writer) = asleep();
    fs::remove_file(writer.live()).unwrap();
    node.settle(DONE);
    node.check();
    let pod = node.directory.path().join("pods").join(POD);
    fs::remove_dir_all(&pod).unwrap();
    node.settle(DONE);
    assert!(node.gaps.is_empty(), "{:?}", node.gaps);
    assert!(node.tailer().sources.is_empty() && node.tailer().rows().is_empty(), "it is forgotten");
}

#[test]
fn b24_written_to_and_deleted_at_once_is_declared() {
    let (mut node, mut writer) = asleep();
    let read = fs::metadata(writer.live()).unwrap().len();
    writer.lines(&mut node, 2);
    fs::remove_file(writer.live()).unwrap();
    node.settle(DONE);
    assert_eq!(node.missing().len(), 2, "nobody could have read them");
    assert_eq!(node.gaps.iter().map(|gap| gap.start).collect::<Vec<_>>(), [read]);
}

#[test]
fn b24_rotated_in_its_silence_with_late_writes() {
    for compressed in [false, true] {
        let (mut node, mut writer) = asleep();
        let rotated = writer.rename();
        writer.lines(&mut node, 3);
        node.round();
        writer.lines(&mut node, 3);
        writer.reopen();
        writer.lines(&mut node, 3);
        if compressed {
            node.settle(2 * SECOND);
            writer.gzip(&rotated, || ());
        }
        silence(&mut node);
        node.check();
        assert!(node.gaps.is_empty(), "{:?}", node.gaps);
        sleeps(&node);
        writer.lines(&mut node, 3);
        node.settle(DONE);
        node.check();
    }
}

#[test]
fn b24_truncated_in_its_silence() {
    let (mut node, mut writer) = asleep();
    fs::File::options().write(true).open(writer.live()).unwrap().set_len(0).unwrap();
    writer.lines(&mut node, 2);
    node.settle(DONE);
    node.check();
    assert_eq!(
        node.gaps.len(),
        1,
        "what stood between the last read and the truncation, if anything"
    );
}

#[test]
fn b24_a_restart_in_its_silence() {
    let (mut node, mut writer) = asleep();
    node.restart();
    writer.lines(&mut node, 2);
    silence(&mut node);
    node.check();
    sleeps(&node);
    let records = node.metrics.cut_records.get();
    assert_eq!(records, 22, "nothing was read again");
}

#[test]
fn b24_the_run_after_it_does_not_disturb_it_for_long() {
    let (mut node, _first) = asleep();
    let mut second = Writer::new(&node, 1);
    second.lines(&mut node, 5);
    silence(&mut node);
    sleeps(&node);
    second.lines(&mut node, 5);
    node.settle(DONE);
    node.check();
    assert!(node.gaps.is_empty());
}

#[test]
fn b24_without_events_nobody_sleeps() {
    let (mut node, mut writer) = asleep();
    node.tailer_mut().discovery.without_inotify();
    node.settle(2 * SECOND + Duration::from_secs(30));
    assert_eq!(node.tailer().sources.len(), 1, "nothing would wake it");
    writer.lines(&mut node, 2);
    node.settle(2 * SECOND);
    assert!(node.missing().is_empty());
    silence(&mut node);
    assert_eq!(node.tailer().sources.len(), 1);
    node.check();
}

#[test]
fn b24_a_write_without_an_event_is_found() {
    let (mut node, mut writer) = asleep();
    writer.lines(&mut node, 2);
    node.swallow_events();
    clock::moved::wall(SILENCE);
    // Each is looked at within twenty looks, of which there is one in 30 s.
    node.settle(Duration::from_secs(21 * 30));
    node.check();
}

#[test]
fn b24_events_that_were_lost_wake_everything() {
    let (mut node, mut writer) = asleep();
    writer.lines(&mut node, 2);
    fs::remove_file(writer.live()).unwrap();
    node.swallow_events();
    node.tailer_mut().discovery.overflow();
    node.settle(DONE);
    assert_eq!((node.missing().len(), node.gaps.len()), (2, 1), "it may have been written to");
}
