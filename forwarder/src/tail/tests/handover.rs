//! One forwarder takes over from another: what it held open while it stood by is not lost to deletion.

use std::fs;
use std::time::Duration;

use super::node::{Node, Writer, gzip_of};

const SECOND: Duration = Duration::from_secs(1);
const DONE: Duration = Duration::from_secs(14);

#[test]
fn b21_files_deleted_during_the_hand_over_are_read_to_their_end() {
    let mut node = Node::new(&["x.log"]);
    let mut writer = Writer::new(&node, 0);
    fs::write(node.host("x.log"), "host 1\n").unwrap();
    node.note("host 1");
    writer.lines(&mut node, 20);
    node.settle(3 * SECOND);
    let holder = node.holder();
    node.kill();
    // The old one has ended; nobody reads.
    writer.lines(&mut node, 10);
    fs::write(node.host("x.log"), "host 1\nhost 2\n").unwrap();
    node.note("host 2");
    let first = writer.rotate();
    writer.lines(&mut node, 10);
    fs::remove_file(first).unwrap();
    fs::remove_file(node.host("x.log")).unwrap();
    node.inherited = Some(holder);
    node.start();
    node.settle(DONE);
    node.check();
    assert!(node.gaps.is_empty(), "{:?}", node.gaps);
}

#[test]
fn b21_a_pod_that_came_and_went_during_the_hand_over_is_read() {
    let mut node = Node::new(&[]);
    let mut holder = node.holder();
    node.kill();
    let mut writer = Writer::new(&node, 3);
    writer.lines(&mut node, 30);
    holder.look();
    let rotated = writer.rotate();
    holder.look();
    writer.lines(&mut node, 30);
    writer.gzip(&rotated, || ());
    holder.look();
    fs::remove_file(gzip_of(&rotated)).unwrap();
    fs::remove_dir_all(node.container()).unwrap();
    node.inherited = Some(holder);
    node.start();
    node.settle(DONE);
    node.check();
    assert!(node.gaps.is_empty(), "{:?}", node.gaps);
}

#[test]
fn b21_what_the_old_one_read_and_forgot_is_not_read_again() {
    let mut node = Node::new(&[]);
    let mut writer = Writer::new(&node, 0);
    writer.lines(&mut node, 20);
    let mut holder = node.holder();
    let rotated = writer.rotate();
    writer.lines(&mut node, 1);
    node.settle(DONE);
    fs::remove_file(rotated).unwrap();
    // The old one has read it and not forgotten it yet.
    holder.look_now();
    node.settle(DONE);
    node.kill();
    let read = node.metrics.read_bytes.get();
    node.inherited = Some(holder);
    node.start();
    node.settle(DONE);
    node.check();
    assert_eq!(node.metrics.read_bytes.get(), read, "nothing was written since");
}
