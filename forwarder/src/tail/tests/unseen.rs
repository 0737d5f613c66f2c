//! Stories of files that came and went without being seen: what the kubelet deletes meanwhile is declared lost.

use std::fs;
use std::time::{Duration, SystemTime};

use naru_proto::wire::GapReason;

use super::node::{Node, Writer};

const SECOND: Duration = Duration::from_secs(1);

/// Lines are missing, as many as that, and one loss without an end says so.
#[track_caller]
fn declared(node: &Node, lines: usize) {
    assert_eq!(node.missing().len(), lines, "gaps {:?}", node.gaps);
    assert!(node.twice().is_empty());
    let told: Vec<_> = node.gaps.iter().map(|gap| (gap.end_exclusive, gap.reason())).collect();
    assert_eq!(told, [(None, GapReason::Deleted)], "{:?}", node.gaps);
}

/// A file of four lines comes and goes between two looks, and is declared lost.
#[track_caller]
fn lose_four(node: &mut Node, writer: &mut Writer) {
    writer.rotate();
    writer.lines(node, 4);
    fs::remove_file(writer.rotate()).unwrap();
    writer.lines(node, 5);
    node.settle(5 * SECOND);
    declared(node, 4);
}

#[test]
fn b16_what_came_after_an_empty_file_while_nobody_ran_is_declared() {
    for acknowledged_late in [false, true] {
        let mut node = Node::new(&[]);
        let mut writer = Writer::new(&node, 0);
        writer.lines(&mut node, 3);
        node.settle(2 * SECOND);
        writer.lines(&mut node, 1);
        let first = writer.rotate();
        // It is read to its end, and the next has no line that would name it yet.
        if acknowledged_late {
            node.pass(2 * SECOND);
        }
        node.settle(5 * SECOND);
        node.kill();
        writer.lines(&mut node, 4);
        fs::remove_file(first).unwrap();
        fs::remove_file(writer.rotate()).unwrap();
        writer.lines(&mut node, 5);
        node.start();
        node.settle(5 * SECOND);
        declared(&node, 4);
        // Once, over restarts.
        node.restart();
        node.settle(5 * SECOND);
        declared(&node, 4);
    }
}

#[test]
fn b16_nothing_is_declared_of_an_empty_file_that_was_not_deleted() {
    let mut node = Node::new(&[]);
    let mut writer = Writer::new(&node, 0);
    writer.lines(&mut node, 3);
    node.settle(2 * SECOND);
    let first = writer.rotate();
    node.settle(5 * SECOND);
    node.kill();
    writer.lines(&mut node, 4);
    writer.gzip(&first, || ());
    node.start();
    node.settle(20 * SECOND);
    node.check();
    assert!(node.gaps.is_empty(), "{:?}", node.gaps);
    // A pod that is deleted when all is read, and a forwarder that ends before it has forgotten it.
    fs::remove_dir_all(node.container().parent().unwrap()).unwrap();
    node.settle(3 * SECOND);
    node.restart();
    node.settle(5 * SECOND);
    node.check();
    assert!(node.gaps.is_empty(), "{:?}", node.gaps);
}

#[test]
fn b16_what_was_rotated_and_deleted_between_two_looks_is_declared() {
    for first_is_deleted in [false, true] {
        let mut node = Node::new(&[]);
        let mut writer = Writer::new(&node, 0);
        writer.lines(&mut node, 3);
        node.settle(2 * SECOND);
        let first = writer.rotate();
        writer.lines(&mut node, 4);
        let unseen = writer.rotate();
        if first_is_deleted {
            fs::remove_file(first).unwrap();
        } else {
            writer.gzip(&first, || ());
        }
        fs::remove_file(&unseen).unwrap();
        writer.lines(&mut node, 5);
        writer.rotate();
        writer.lines(&mut node, 6);
        node.settle(5 * SECOND);
        declared(&node, 4);
        node.settle(20 * SECOND);
        writer.lines(&mut node, 1);
        node.settle(5 * SECOND);
        declared(&node, 4);
    }
}

#[test]
fn b16_nothing_is_declared_of_files_that_were_seen() {
    let mut node = Node::new(&[]);
    let mut writer = Writer::new(&node, 0);
    let mut rotated = Vec::new();
    // Deleted soon, late, with its twin, and when it has long been forgotten.
    for round in 0..12 {
        writer.lines(&mut node, 3);
        node.settle(if round % 3 == 0 { 20 * SECOND } else { SECOND / 4 });
        rotated.push(writer.rotate());
        writer.lines(&mut node, 3);
        if round % 2 == 0 {
            node.settle(SECOND / 4);
        }
        if round == 8 {
            // What is not saved yet would be declared.
            node.settle(3 * SECOND);
            node.restart();
            node.settle(3 * SECOND);
        }
        if rotated.len() > 2 {
            fs::remove_file(rotated.remove(0)).unwrap();
        }
        if round == 5 {
            node.settle(SECOND);
            let compressed = rotated.remove(0);
            writer.gzip(&compressed, || ());
            node.settle(SECOND);
            fs::remove_file(super::node::gzip_of(&compressed)).unwrap();
        }
    }
    node.settle(20 * SECOND);
    node.check();
    assert!(node.gaps.is_empty(), "{:?}", node.gaps);
}

#[test]
fn b16_a_compressed_file_without_a_line_hides_no_later_loss() {
    let mut node = Node::new(&[]);
    let mut writer = Writer::new(&node, 0);
    writer.lines(&mut node, 3);
    node.settle(2 * SECOND);
    writer.rotate();
    node.settle(5 * SECOND);
    // Between two looks: what was live and empty is rotated and compressed.
    let empty = writer.rotate();
    writer.gzip(&empty, || ());
    writer.lines(&mut node, 4);
    node.settle(5 * SECOND);
    node.check();
    assert!(node.gaps.is_empty(), "{:?}", node.gaps);
    lose_four(&mut node, &mut writer);
}

#[test]
fn b6_a_compressed_file_that_is_larger_than_its_lines_is_read_and_forgotten() {
    for lines in [0, 1] {
        let mut node = Node::new(&[]);
        let mut writer = Writer::new(&node, 0);
        writer.lines(&mut node, lines);
        let rotated = writer.rotate();
        writer.gzip(&rotated, || ());
        // The node starts with it: nobody knew the plain file.
        node.restart();
        node.settle(20 * SECOND);
        let behind: Vec<_> =
            node.tailer().rows().iter().map(|row| (row.lag, row.behind_seconds)).collect();
        assert_eq!(behind, [(0, 0), (0, 0)]);
        assert_eq!(node.tailer().open_files, 1, "only the live file stays open");
        fs::remove_file(super::node::gzip_of(&rotated)).unwrap();
        node.settle(20 * SECOND);
        assert_eq!(node.tailer().rows().len(), 1);
        node.check();
    }
}

#[test]
fn b16_a_loss_begins_before_it_also_when_its_deletion_is_told_late() {
    let mut node = Node::new(&[]);
    let mut writer = Writer::new(&node, 0);
    writer.lines(&mut node, 3);
    node.settle(2 * SECOND);
    let known_ns = modified_ns(&writer.live());
    // The forwarder hangs after it was told that something happened, and before it looks what.
    writer.rotate();
    let tailer = node.tailer_mut();
    let changes = tailer.discovery.changes();
    writer.lines(&mut node, 4);
    let unseen = writer.rotate();
    fs::remove_file(unseen).unwrap();
    writer.lines(&mut node, 5);
    let later = SystemTime::now() + Duration::from_secs(3600);
    fs::File::open(writer.live()).unwrap().set_modified(later).unwrap();
    node.tailer_mut().apply(changes, crate::clock::now());
    node.settle(5 * SECOND);
    declared(&node, 4);
    assert_eq!(node.gaps[0].from_time_ns, known_ns);
}

#[test]
fn b16_a_file_that_a_look_did_not_see_for_once_hides_no_later_loss() {
    for rotated in [false, true] {
        let mut node = Node::new(&[]);
        let mut writer = Writer::new(&node, 0);
        writer.lines(&mut node, 3);
        node.settle(2 * SECOND);
        // A directory that is read while a file in it is renamed may show neither of its names.
        let hidden = node.container().join("renamed");
        fs::rename(writer.live(), &hidden).unwrap();
        fs::write(writer.rotated(0), b"").unwrap();
        node.settle(SECOND / 4);
        match rotated {
            true => {
                fs::rename(&hidden, writer.rotated(1)).unwrap();
                writer.reopen();
            }
            false => fs::rename(&hidden, writer.live()).unwrap(),
        }
        writer.lines(&mut node, 3);
        node.settle(5 * SECOND);
        node.check();
        lose_four(&mut node, &mut writer);
    }
}

fn modified_ns(path: &std::path::Path) -> i64 {
    let modified = fs::metadata(path).unwrap().modified().unwrap();
    modified.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos() as i64
}
