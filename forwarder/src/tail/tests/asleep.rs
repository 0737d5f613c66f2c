//! Containers that are silent for long: nothing is kept of them but the checkpoint's, and nothing is lost by it.

use std::fs;
use std::time::Duration;

use super::node::{Node, POD, Writer};
use crate::clock;
use crate::files::FileStateName;

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
    assert_eq!(node.tailer().rows().len(), 1, "somebody may still write to it");
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

#[test]
fn b24_written_to_after_it_was_deleted_in_its_silence_is_declared() {
    let (mut node, mut writer) = asleep();
    let read = fs::metadata(writer.live()).unwrap().len();
    fs::remove_file(writer.live()).unwrap();
    silence(&mut node);
    assert!(node.gaps.is_empty(), "{:?}", node.gaps);
    for _ in 0..2 {
        writer.lines(&mut node, 2);
        node.settle(DONE);
        declared(&node, &[Some(read)]);
    }
    assert_eq!(node.missing().len(), 4, "nobody could open it");
    // The runtime makes another, and all goes on.
    writer.reopen();
    writer.lines(&mut node, 2);
    node.settle(DONE);
    assert_eq!(node.missing().len(), 4);
    declared(&node, &[Some(read)]);
}

#[test]
fn b24_events_that_were_lost_declare_what_was_deleted_in_its_silence() {
    let (mut node, writer) = asleep();
    let read = fs::metadata(writer.live()).unwrap().len();
    fs::remove_file(writer.live()).unwrap();
    node.settle(DONE);
    node.tailer_mut().discovery.overflow();
    node.settle(DONE);
    declared(&node, &[Some(read)]);
    assert!(node.tailer().sources.is_empty());
}

#[test]
fn b24_nothing_is_kept_of_what_was_deleted_when_nobody_writes_to_it() {
    for next_run in [false, true] {
        let (mut node, mut writer) = asleep();
        fs::remove_file(writer.live()).unwrap();
        node.settle(DONE);
        let mut next = if next_run {
            Writer::new(&node, 1)
        } else {
            writer.reopen();
            writer
        };
        node.settle(DONE);
        next.lines(&mut node, 3);
        node.settle(DONE);
        assert_eq!(node.tailer().rows().len(), 1, "the deleted file is forgotten");
        node.check();
        assert!(node.gaps.is_empty(), "{:?}", node.gaps);
    }
}

#[test]
fn b24_its_inode_is_given_to_the_next_file() {
    for lines in [1, 40] {
        let (mut node, mut writer) = asleep();
        let read = fs::metadata(writer.live()).unwrap().len();
        drop(writer.swap(fs::File::open("/dev/null").unwrap()));
        fs::remove_file(writer.live()).unwrap();
        // Shorter than the one before, and longer.
        writer.reopen();
        writer.lines(&mut node, lines);
        node.settle(DONE);
        node.check();
        // Who wrote before it was deleted, and to which, no event says.
        declared(&node, &[Some(read)]);
    }
}

#[test]
fn b24_renamed_in_its_silence_and_back() {
    for between in [Duration::ZERO, SECOND / 10, 30 * SECOND] {
        let (mut node, mut writer) = asleep();
        let rotated = writer.rename();
        if !between.is_zero() {
            node.settle(between);
        }
        fs::rename(rotated, writer.live()).unwrap();
        writer.lines(&mut node, 3);
        node.settle(DONE);
        node.check();
        assert!(node.gaps.is_empty(), "{:?}", node.gaps);
        silence(&mut node);
        sleeps(&node);
    }
}

#[test]
fn b24_what_is_rotated_and_deleted_between_two_looks_is_declared() {
    for (first_deleted, second_deleted) in [(true, false), (false, true), (true, true)] {
        let (mut node, mut writer) = asleep();
        let read = fs::metadata(writer.live()).unwrap().len();
        writer.lines(&mut node, 2);
        let first = writer.rotate();
        writer.lines(&mut node, 4);
        let second = writer.rotate();
        writer.lines(&mut node, 3);
        let mut expected = Vec::new();
        if second_deleted {
            fs::remove_file(second).unwrap();
            expected.push(None);
        }
        if first_deleted {
            fs::remove_file(first).unwrap();
            expected.push(Some(read));
        }
        node.settle(DONE);
        let lost = 2 * usize::from(first_deleted) + 4 * usize::from(second_deleted);
        assert_eq!(node.missing().len(), lost, "{:?}", node.gaps);
        declared(&node, &expected);
        writer.lines(&mut node, 3);
        silence(&mut node);
        assert_eq!(node.missing().len(), lost);
        declared(&node, &expected);
    }
}

#[test]
fn b24_deleted_before_it_sleeps_it_stays_open() {
    let mut node = Node::new(&[]);
    let mut writer = Writer::new(&node, 0);
    writer.lines(&mut node, 20);
    node.settle(50 * SECOND);
    fs::remove_file(writer.live()).unwrap();
    // Nobody was told.
    node.swallow_events();
    silence(&mut node);
    writer.lines(&mut node, 2);
    node.settle(DONE);
    node.check();
    assert!(node.gaps.is_empty(), "{:?}", node.gaps);
}

#[test]
fn b24_killed_in_its_silence() {
    for rotated in [false, true] {
        let (mut node, mut writer) = asleep();
        node.kill();
        writer.lines(&mut node, 2);
        if rotated {
            let file = writer.rotate();
            writer.gzip(&file, || ());
            writer.lines(&mut node, 2);
        }
        node.start();
        silence(&mut node);
        node.check();
        sleeps(&node);
        assert!(node.gaps.is_empty(), "{:?}", node.gaps);
    }
}

#[test]
fn b24_what_is_no_log_is_remembered_in_its_silence() {
    let mut node = Node::new(&[]);
    let mut writer = Writer::new(&node, 0);
    writer.lines(&mut node, 3);
    let directory = writer.rotated(7);
    fs::create_dir(&directory).unwrap();
    silence(&mut node);
    sleeps(&node);
    fs::remove_dir(&directory).unwrap();
    writer.lines(&mut node, 3);
    node.settle(DONE);
    node.check();
    assert!(node.gaps.is_empty(), "{:?}", node.gaps);
}

#[test]
fn b24_files_are_counted_in_its_silence_and_after_it() {
    let count = |node: &mut Node, state| {
        node.tailer_mut().measure(clock::now());
        node.metrics.files_in(state)
    };
    let (mut node, mut writer) = asleep();
    for _ in 0..2 {
        assert_eq!(count(&mut node, FileStateName::Closed), 1);
        writer.lines(&mut node, 1);
        node.settle(DONE);
        assert_eq!(count(&mut node, FileStateName::Closed), 0);
        assert_eq!(count(&mut node, FileStateName::Live), 1);
        silence(&mut node);
    }
}

/// These losses, each from there on; None: of a file that nobody saw.
#[track_caller]
fn declared(node: &Node, starts: &[Option<u64>]) {
    let mut told: Vec<_> =
        node.gaps.iter().map(|gap| (!gap.file_id.is_empty()).then_some(gap.start)).collect();
    told.sort_unstable();
    assert_eq!(told, starts, "{:?}", node.gaps);
    assert!(node.gaps.iter().all(|gap| gap.end_exclusive.is_none()));
    assert!(node.twice().is_empty());
}
