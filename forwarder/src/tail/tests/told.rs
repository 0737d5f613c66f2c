//! What is told of the files: each state by its name, and every file's last state to the aggregator.

use std::fs;
use std::time::Duration;

use super::node::{Node, Writer, append};
use crate::files::{FileRow, FileStateName as State};

const SECOND: Duration = Duration::from_secs(1);
const DONE: Duration = Duration::from_secs(14);

fn row(node: &Node, name: &str) -> FileRow {
    let rows = node.tailer().rows();
    let found = rows.iter().find(|row| row.name == name || row.source.ends_with(name));
    found.unwrap_or_else(|| panic!("{name} is not among {rows:?}")).clone()
}

#[test]
fn b28_every_state_of_a_file_is_shown() {
    let mut node = Node::new(&[]);
    let mut writer = Writer::new(&node, 0);
    drop(append(&node.container().join("1.log")));
    fs::write(node.container().join("1.log"), "2026-11-22T09").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", node.container().join("2.log")).unwrap();
    node.pass(SECOND);
    assert_eq!(row(&node, "1.log").state, State::NoLine);
    let unreadable = row(&node, "2.log");
    assert_eq!(unreadable.state, State::Unreadable);
    assert!(unreadable.error.is_some());

    // Nothing is acknowledged: what was read is sent, and what is behind it ages.
    writer.lines(&mut node, 10);
    node.pass(30 * SECOND);
    let live = row(&node, "0.log");
    assert_eq!((live.state, live.acknowledged), (State::Live, 0));
    assert!(live.lag == live.size && live.read == live.size && live.size > 0);
    assert!((20..=40).contains(&live.behind_seconds), "{}", live.behind_seconds);
    let rotated = writer.rotate();
    writer.partial(&mut node);
    node.pass(SECOND);
    let name = rotated.file_name().unwrap().to_str().unwrap();
    assert_eq!(row(&node, name).state, State::Sent);
    assert!(row(&node, "0.log").held > 0, "a fragment waits");
    node.settle(2 * SECOND);
    let read = row(&node, name);
    assert_eq!((read.state, read.lag, read.behind_seconds), (State::Read, 0, 0));
    writer.write(&mut node, "stdout F", "\n");
    node.settle(SECOND);
    node.check();
}

#[test]
fn b28_a_file_that_is_gone_is_told_of_as_it_was_last() {
    let mut node = Node::new(&[]);
    let mut writer = Writer::new(&node, 5);
    writer.lines(&mut node, 10);
    node.settle(DONE);
    writer.lines(&mut node, 7);
    let size = fs::metadata(writer.live()).unwrap().len();
    fs::remove_dir_all(node.container()).unwrap();
    drop(writer);
    // Everything is acknowledged at once; the next status is seconds away.
    node.settle(2 * DONE);
    assert_eq!(node.sizes.values().copied().collect::<Vec<_>>(), [size]);
    assert_eq!(node.tailer().rows(), [], "it is forgotten");
    node.check();
}
