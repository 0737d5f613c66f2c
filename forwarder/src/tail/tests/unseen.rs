//! Stories of files that came and went without being seen: what the kubelet deletes meanwhile is declared lost.

use std::fs;
use std::time::Duration;

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
