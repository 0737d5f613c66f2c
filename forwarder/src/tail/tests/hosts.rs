//! Stories of host files.

use std::fs;
use std::io::Write;
use std::time::Duration;

use super::node::{Node, append};
use crate::clock;

const SECOND: Duration = Duration::from_secs(1);
const DONE: Duration = Duration::from_secs(5);

/// Lines of a daemon, and what names them.
struct Daemon {
    file: fs::File,
    lines: u64,
}

impl Daemon {
    fn new(node: &Node) -> Self {
        Self { file: append(&node.host("x.log")), lines: 0 }
    }

    fn lines(&mut self, node: &mut Node, count: u64) {
        for _ in 0..count {
            self.lines += 1;
            let line = format!("line {}", self.lines);
            node.note(&line);
            self.file.write_all(format!("{line}\n").as_bytes()).unwrap();
        }
    }

    fn reopen(&mut self, node: &Node) {
        self.file = append(&node.host("x.log"));
    }
}

fn rename(node: &Node, from: &str, to: &str) {
    fs::rename(node.host(from), node.host(to)).unwrap();
}

#[test]
fn rename_and_create_with_late_lines() {
    let mut node = Node::new(&["x.log"]);
    let mut daemon = Daemon::new(&node);
    daemon.lines(&mut node, 5);
    node.settle(SECOND);
    rename(&node, "x.log", "x.log.1");
    daemon.lines(&mut node, 5);
    append(&node.host("x.log"));
    node.settle(2 * SECOND);
    daemon.lines(&mut node, 5);
    node.settle(Duration::from_secs(60));
    daemon.lines(&mut node, 5);
    node.settle(SECOND);
    daemon.reopen(&node);
    daemon.lines(&mut node, 5);
    node.settle(DONE);
    node.check();
    assert!(node.gaps.is_empty());
}

#[test]
fn an_empty_file_that_is_rotated_before_its_first_line() {
    let mut node = Node::new(&["x.log"]);
    let mut daemon = Daemon::new(&node);
    node.settle(SECOND);
    rename(&node, "x.log", "x.log.1");
    append(&node.host("x.log"));
    node.settle(3 * SECOND);
    daemon.lines(&mut node, 5);
    node.settle(DONE);
    daemon.reopen(&node);
    daemon.lines(&mut node, 5);
    node.settle(DONE);
    node.check();
}

#[test]
fn renamed_while_stopped() {
    let mut node = Node::new(&["x.log"]);
    let mut daemon = Daemon::new(&node);
    daemon.lines(&mut node, 5);
    node.settle(2 * SECOND);
    daemon.lines(&mut node, 5);
    node.pass(SECOND);
    node.kill();
    daemon.lines(&mut node, 5);
    rename(&node, "x.log", "x.log.1");
    daemon.reopen(&node);
    daemon.lines(&mut node, 5);
    node.start();
    node.settle(DONE);
    node.check();
    node.restart();
    daemon.lines(&mut node, 5);
    node.settle(DONE);
    node.check();
}

#[test]
fn an_unterminated_last_line_waits_for_its_end() {
    let mut node = Node::new(&["x.log"]);
    let mut daemon = Daemon::new(&node);
    daemon.lines(&mut node, 1);
    daemon.file.write_all(b"begun").unwrap();
    node.settle(DONE);
    rename(&node, "x.log", "x.log.1");
    append(&node.host("x.log"));
    node.settle(DONE);
    daemon.file.write_all(b" and ended\n").unwrap();
    node.note("begun and ended");
    node.settle(DONE);
    daemon.file.write_all(b"begun again").unwrap();
    node.note("begun again");
    node.settle(DONE);
    assert_eq!(node.missing().len(), 1);
    node.pass(Duration::from_secs(620));
    node.check();
    node.restart();
    node.settle(DONE);
    node.check();
}

#[test]
fn a_truncated_file_is_read_from_its_start_once() {
    for acknowledged in [true, false] {
        let mut node = Node::new(&["x.log"]);
        let mut daemon = Daemon::new(&node);
        daemon.lines(&mut node, 5);
        node.settle(2 * SECOND);
        daemon.lines(&mut node, 5);
        node.pass(SECOND);
        daemon.file.set_len(0).unwrap();
        daemon.lines(&mut node, 3);
        node.pass(SECOND);
        if acknowledged {
            node.settle(2 * SECOND);
        }
        node.restart();
        daemon.lines(&mut node, 3);
        node.settle(DONE);
        node.restart();
        daemon.lines(&mut node, 3);
        node.settle(DONE);
        node.check();
        assert!(!node.gaps.is_empty(), "it may have held more");
    }
}

#[test]
fn truncated_and_filled_again_while_stopped() {
    let mut node = Node::new(&["x.log"]);
    let mut daemon = Daemon::new(&node);
    daemon.lines(&mut node, 5);
    node.settle(2 * SECOND);
    // A run that sends, and journals a time step, and has nothing acknowledged.
    node.kill();
    daemon.lines(&mut node, 1);
    clock::moved::wall(61 * SECOND);
    node.start();
    node.pass(SECOND);
    node.kill();
    daemon.file.set_len(0).unwrap();
    daemon.lines(&mut node, 50);
    node.start();
    node.settle(DONE);
    node.check();
}

#[test]
fn a_re_read_keeps_its_time() {
    let mut node = Node::new(&["x.log"]);
    let mut daemon = Daemon::new(&node);
    daemon.lines(&mut node, 5);
    node.settle(2 * SECOND);
    daemon.lines(&mut node, 5);
    node.pass(SECOND);
    node.kill();
    clock::moved::wall(Duration::from_secs(600));
    daemon.lines(&mut node, 5);
    node.start();
    node.pass(SECOND);
    daemon.lines(&mut node, 5);
    node.pass(SECOND);
    node.kill();
    clock::moved::wall(Duration::from_secs(600));
    node.start();
    daemon.lines(&mut node, 5);
    node.settle(DONE);
    node.check();
}

#[test]
fn a_rotated_name_that_matches_the_pattern_is_not_read_again() {
    let mut node = Node::new(&["*.log"]);
    let mut daemon = Daemon::new(&node);
    for rotation in 0..40 {
        daemon.lines(&mut node, 5);
        node.settle(SECOND);
        rename(&node, "x.log", &format!("x-{rotation}.log"));
        daemon.reopen(&node);
        node.settle(2 * SECOND);
        if rotation == 20 {
            node.restart();
        }
    }
    node.settle(Duration::from_secs(700));
    node.restart();
    node.settle(DONE);
    node.check();
    for rotation in 0..40 {
        fs::remove_file(node.host(&format!("x-{rotation}.log"))).unwrap();
    }
    node.settle(Duration::from_secs(700));
    let files: usize = node.tailer().sources.values().map(|source| source.files.len()).sum();
    assert_eq!(files, 1, "what is gone is forgotten");
}

#[test]
fn what_changed_while_nobody_listened_is_told_when_somebody_does() {
    let mut node = Node::new(&["*.log"]);
    let mut files = ["a.log", "b.log"].map(|name| append(&node.host(name)));
    let mut grow = |at: usize| files[at].write_all(b"a line\n").unwrap();
    (0..2).for_each(&mut grow);
    node.settle(21 * SECOND);
    assert_eq!(node.sizes.values().collect::<Vec<_>>(), [&7, &7]);
    // Batches fill the channel, so what there is to tell waits: of the one file first, then of the other.
    node.deaf = true;
    for _ in 0..4 {
        grow(0);
        node.pass(SECOND);
    }
    node.pass(15 * SECOND);
    grow(1);
    node.pass(25 * SECOND);
    node.deaf = false;
    node.pass(25 * SECOND);
    let mut sizes: Vec<_> = node.sizes.values().copied().collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [14, 35]);
}
