//! Stories of host files.

use std::fs;
use std::io::Write;
use std::time::Duration;

use super::node::{Node, append, compress};
use crate::clock;

const SECOND: Duration = Duration::from_secs(1);
const DONE: Duration = Duration::from_secs(5);

/// Lines of a daemon, and what names them.
pub(super) struct Daemon {
    file: fs::File,
    lines: u64,
}

impl Daemon {
    pub(super) fn new(node: &Node) -> Self {
        Self { file: append(&node.host("x.log")), lines: 0 }
    }

    pub(super) fn lines(&mut self, node: &mut Node, count: u64) {
        for _ in 0..count {
            self.lines += 1;
            let line = format!("line {}", self.lines);
            node.note(&line);
            self.file.write_all(format!("{line}\n").as_bytes()).unwrap();
        }
    }

    pub(super) fn truncate(&mut self) {
        self.file.set_len(0).unwrap();
    }

    pub(super) fn reopen(&mut self, node: &Node) {
        self.file = append(&node.host("x.log"));
    }
}

pub(super) fn rename(node: &Node, from: &str, to: &str) {
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

fn gzip(node: &Node, from: &str, to: &str) {
    let modified = fs::metadata(node.host(from)).unwrap().modified().unwrap();
    compress(&node.host(from), &node.host(to));
    // As gzip and logrotate do.
    fs::File::options().write(true).open(node.host(to)).unwrap().set_modified(modified).unwrap();
    fs::remove_file(node.host(from)).unwrap();
}

#[test]
fn b4_rotated_more_than_once_and_compressed_while_stopped() {
    for (dated, acknowledged, tail) in
        [(false, true, 5), (false, false, 5), (true, true, 5), (true, false, 0), (false, true, 0)]
    {
        let mut node = Node::new(&["x.log"]);
        // History: tailing begins with the live file.
        fs::write(node.host("x.log.1"), "long ago\n").unwrap();
        fs::write(node.host("x.log-20200101"), "long ago\n").unwrap();
        let mut daemon = Daemon::new(&node);
        daemon.lines(&mut node, 5);
        node.pass(2 * SECOND);
        if acknowledged {
            node.settle(2 * SECOND);
        }
        node.kill();
        fs::remove_file(node.host("x.log.1")).unwrap();
        daemon.lines(&mut node, tail);
        let names = match dated {
            false => ["x.log.3", "x.log.2", "x.log.1"],
            true => ["x.log-20261120", "x.log-20261121", "x.log-20261122"],
        };
        for name in names {
            rename(&node, "x.log", name);
            daemon.reopen(&node);
            daemon.lines(&mut node, 7);
        }
        gzip(&node, names[0], &format!("{}.gz", names[0]));
        gzip(&node, names[1], &format!("{}.gz", names[1]));
        fs::write(node.host("x.log.9.gz.tmp"), "half").unwrap();
        node.start();
        node.settle(DONE);
        node.check();
        assert!(node.gaps.is_empty(), "{:?}", node.gaps);
        node.restart();
        daemon.lines(&mut node, 5);
        node.settle(DONE);
        node.check();
    }
}

#[test]
fn b4_two_rotations_between_looks() {
    let mut node = Node::new(&["x.log"]);
    let mut daemon = Daemon::new(&node);
    daemon.lines(&mut node, 5);
    node.settle(SECOND);
    for _ in 0..5 {
        for n in (1..9).rev() {
            let older = node.host(&format!("x.log.{n}"));
            if older.exists() {
                fs::rename(older, node.host(&format!("x.log.{}", n + 1))).unwrap();
            }
        }
        rename(&node, "x.log", "x.log.1");
        daemon.reopen(&node);
        daemon.lines(&mut node, 5);
    }
    node.settle(DONE);
    node.check();
    assert!(node.gaps.is_empty());
}

#[test]
fn b4_a_damaged_compressed_host_file_is_declared_once() {
    let mut node = Node::new(&["x.log"]);
    let mut daemon = Daemon::new(&node);
    daemon.lines(&mut node, 5);
    node.settle(2 * SECOND);
    node.kill();
    rename(&node, "x.log", "x.log.2");
    daemon.reopen(&node);
    daemon.file.write_all(b"never seen\n").unwrap();
    rename(&node, "x.log", "x.log.1");
    daemon.reopen(&node);
    daemon.lines(&mut node, 5);
    fs::write(node.host("x.log.1.gz"), "not what a compressor writes").unwrap();
    fs::remove_file(node.host("x.log.1")).unwrap();
    node.start();
    node.settle(DONE);
    node.check();
    assert_eq!(node.gaps.len(), 1, "{:?}", node.gaps);
    for _ in 0..2 {
        node.restart();
        daemon.lines(&mut node, 2);
        node.settle(DONE);
    }
    node.check();
    assert_eq!(node.gaps.len(), 1, "{:?}", node.gaps);
}

#[test]
fn b5_a_copy_that_was_made_before_a_truncation_has_what_was_not_read() {
    for (stopped, compressed, twice) in [
        (false, false, false),
        (true, false, false),
        (true, true, false),
        (true, false, true),
        (true, true, true),
    ] {
        let mut node = Node::new(&["x.log"]);
        let mut daemon = Daemon::new(&node);
        daemon.lines(&mut node, 5);
        node.settle(2 * SECOND);
        if stopped {
            node.kill();
        }
        daemon.lines(&mut node, 5);
        fs::copy(node.host("x.log"), node.host("x.log.1")).unwrap();
        daemon.file.set_len(0).unwrap();
        daemon.lines(&mut node, 20);
        if twice {
            rename(&node, "x.log.1", "x.log.2");
            fs::copy(node.host("x.log"), node.host("x.log.1")).unwrap();
            daemon.file.set_len(0).unwrap();
            daemon.lines(&mut node, 3);
        }
        if compressed {
            gzip(&node, "x.log.1", "x.log.1.gz");
        }
        if stopped {
            node.start();
        }
        node.settle(DONE);
        node.check();
        assert_eq!(node.gaps.len(), 1, "{:?}", node.gaps);
        node.restart();
        daemon.lines(&mut node, 3);
        rename(&node, "x.log", "x.log.0");
        daemon.reopen(&node);
        daemon.lines(&mut node, 3);
        node.settle(DONE);
        node.check();
    }
}

#[test]
fn b5_truncated_before_it_was_read_is_declared() {
    let mut node = Node::new(&["x.log"]);
    let mut daemon = Daemon::new(&node);
    daemon.file.write_all(&[b"never seen\n".as_slice(); 9].concat()).unwrap();
    node.look();
    daemon.file.set_len(0).unwrap();
    daemon.lines(&mut node, 2);
    node.settle(DONE);
    node.check();
    assert_eq!((node.gaps.len(), node.gaps[0].last_known_size), (1, 99));
}

#[test]
fn b5_truncated_to_the_position_is_declared_exactly() {
    let mut node = Node::new(&["x.log"]);
    let mut daemon = Daemon::new(&node);
    daemon.lines(&mut node, 5);
    node.settle(2 * SECOND);
    let read = fs::metadata(node.host("x.log")).unwrap().len();
    daemon.file.write_all(b"begun").unwrap();
    node.settle(2 * SECOND);
    daemon.file.set_len(read).unwrap();
    node.settle(SECOND);
    daemon.lines(&mut node, 5);
    node.settle(DONE);
    node.check();
    let gap = &node.gaps[0];
    assert_eq!((gap.start, gap.end_exclusive, node.gaps.len()), (read, Some(read + 5), 1));
}

#[test]
fn b16_a_declared_loss_survives_a_kill_until_an_aggregator_has_it() {
    let mut node = Node::new(&["x.log"]);
    let mut daemon = Daemon::new(&node);
    daemon.lines(&mut node, 5);
    node.settle(2 * SECOND);
    daemon.file.set_len(0).unwrap();
    node.deaf = true;
    node.pass(3 * SECOND);
    assert!(node.gaps.is_empty());
    for times in 1..4 {
        node.restart();
        node.deaf = false;
        // Told, and nobody says that it arrived.
        node.pass(3 * SECOND);
        assert_eq!(node.gaps.len(), times, "again until it is known to be there");
    }
    let gap = node.gaps[0].clone();
    assert!(node.gaps.iter().all(|again| *again == gap));
    node.settle(3 * SECOND);
    node.restart();
    node.settle(3 * SECOND);
    assert_eq!(node.gaps.len(), 3, "and not after that");
}

#[test]
fn b5_what_was_rotated_before_the_first_look_is_not_read_when_a_file_is_emptied_after_a_restart() {
    let mut node = Node::new(&["x.log"]);
    fs::write(node.host("x.log.1"), "before the first look\n").unwrap();
    let mut daemon = Daemon::new(&node);
    daemon.lines(&mut node, 1);
    node.settle(2 * SECOND);
    node.restart();
    node.settle(2 * SECOND);
    // Nothing is copied.
    daemon.file.set_len(0).unwrap();
    node.settle(2 * SECOND);
    daemon.lines(&mut node, 1);
    node.settle(DONE);
    node.check();
}
