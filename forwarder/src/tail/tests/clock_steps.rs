//! Stories of a wall clock that is put back: rotated names say that what is newer is older.

use std::fs;
use std::time::Duration;

use super::node::{Node, Writer};

const SECOND: Duration = Duration::from_secs(1);

/// A day before every other.
fn named_by_yesterday(writer: &Writer, number: u32) -> std::path::PathBuf {
    writer.live().with_file_name(format!("0.log.20261121-{number:06}"))
}

/// A rotation by a kubelet whose clock was put back.
fn rotate_yesterday(writer: &mut Writer, number: u32) {
    fs::rename(writer.live(), named_by_yesterday(writer, number)).unwrap();
    writer.reopen();
}

/// A line of two pieces, the first of which was written last.
fn end_and_begin(writer: &mut Writer, node: &mut Node) {
    writer.line(node);
    writer.partial(node);
}

/// The pieces of each line are in one document, and no others.
#[track_caller]
fn joined(node: &Node, lines: &[[u64; 2]]) {
    node.check();
    let text = |n: &u64, tag| format!("2026-11-22T09:00:00.{n:09}Z stdout {tag} line {n} of run 0");
    for [first, second] in lines {
        let (first, second) = (text(first, 'P'), text(second, 'F'));
        assert!(node.together(&[&first, &second]), "apart: {first}, {second}");
    }
    assert!(node.gaps.is_empty(), "{:?}", node.gaps);
}

#[test]
fn b20_names_of_an_earlier_day_do_not_change_the_order_of_what_is_known() {
    for killed in [false, true] {
        let mut node = Node::new(&[]);
        let mut writer = Writer::new(&node, 0);
        writer.lines(&mut node, 3);
        node.settle(2 * SECOND);
        // All that follows is seen before any of it is read.
        writer.partial(&mut node);
        writer.rotate();
        node.look_into_containers();
        end_and_begin(&mut writer, &mut node);
        rotate_yesterday(&mut writer, 1);
        node.look_into_containers();
        end_and_begin(&mut writer, &mut node);
        rotate_yesterday(&mut writer, 2);
        node.look_into_containers();
        end_and_begin(&mut writer, &mut node);
        writer.line(&mut node);
        if killed {
            // Read and sent, and nothing of it acknowledged.
            node.pass(3 * SECOND);
            node.restart();
        }
        node.settle(20 * SECOND);
        joined(&node, &[[4, 5], [6, 7], [8, 9], [10, 11]]);
    }
}

#[test]
fn b20_files_found_later_come_later_whatever_their_names_say() {
    let mut node = Node::new(&[]);
    let mut writer = Writer::new(&node, 0);
    writer.lines(&mut node, 3);
    node.settle(2 * SECOND);
    // Two rotations between two looks, the second of them by a clock that was put back.
    writer.partial(&mut node);
    writer.rotate();
    end_and_begin(&mut writer, &mut node);
    rotate_yesterday(&mut writer, 1);
    writer.line(&mut node);
    node.settle(20 * SECOND);
    joined(&node, &[[4, 5], [6, 7]]);
}
