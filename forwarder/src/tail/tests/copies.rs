//! Stories of `copytruncate`, and of names that say less than what a file holds.

use std::fs;
use std::io::Write;
use std::time::Duration;

use super::hosts::{Daemon, rename};
use super::node::{Node, append};

const SECOND: Duration = Duration::from_secs(1);
const DONE: Duration = Duration::from_secs(5);

/// The copy's name is another pattern's as well: it is no source of its own.
#[test]
fn b5_a_copy_whose_name_matches_a_pattern_is_read_once() {
    for stopped in [false, true] {
        let mut node = Node::new(&["x*"]);
        let mut daemon = Daemon::new(&node);
        for rotation in 0..4 {
            daemon.lines(&mut node, 50);
            node.settle(2 * SECOND);
            if stopped {
                node.kill();
            }
            // Not read before the copy is made.
            daemon.lines(&mut node, 5);
            if node.host("x.log.1").exists() {
                rename(&node, "x.log.1", &format!("x.log.{}", 9 - rotation));
            }
            let whole = fs::read(node.host("x.log")).unwrap();
            if stopped {
                fs::write(node.host("x.log.1"), &whole).unwrap();
            } else {
                // It is looked at while it is empty, and while it is made.
                let mut copy = append(&node.host("x.log.1"));
                node.settle(SECOND);
                let (one, two) = whole.split_at(whole.len() / 2);
                copy.write_all(one).unwrap();
                node.settle(SECOND);
                copy.write_all(two).unwrap();
                node.settle(SECOND);
            }
            daemon.truncate();
            if stopped {
                daemon.lines(&mut node, 5);
                node.start();
            }
            node.settle(DONE);
        }
        node.restart();
        daemon.lines(&mut node, 5);
        node.settle(DONE);
        node.check();
    }
}

/// Its name looks like that of a rotated file, and it begins alike; it is the log of another daemon.
#[test]
fn b5_a_log_that_begins_like_another_is_no_copy_of_it() {
    let mut node = Node::new(&["x*"]);
    let banner = "a daemon that says the same at every start, and a lot of it\n".repeat(100);
    fs::write(node.host("x.log"), &banner).unwrap();
    node.settle(SECOND);
    let mut other = append(&node.host("x-1.log"));
    other.write_all(banner.as_bytes()).unwrap();
    node.settle(DONE);
    other.write_all(b"and then something else\n").unwrap();
    node.settle(Duration::from_secs(60));
    assert_eq!(node.documents_of("and then something else"), 1);
    assert_eq!(node.documents_of(banner.lines().next().unwrap()), 200);
}

/// The newest rotated file that is known is not older than the copy by its name.
#[test]
fn b5_a_copy_that_is_older_by_its_name_is_read_where_it_is_one_for_certain() {
    for stopped in [false, true] {
        let mut node = Node::new(&["x.log"]);
        let mut daemon = Daemon::new(&node);
        daemon.lines(&mut node, 50);
        node.settle(2 * SECOND);
        rename(&node, "x.log", "x.log.1");
        daemon.reopen(&node);
        daemon.lines(&mut node, 50);
        node.settle(Duration::from_secs(31));
        if stopped {
            node.kill();
        }
        daemon.lines(&mut node, 5);
        fs::copy(node.host("x.log"), node.host("x.log.2")).unwrap();
        daemon.truncate();
        daemon.lines(&mut node, 3);
        if stopped {
            node.start();
        }
        node.settle(DONE);
        node.check();
        // From the copy's end on: what was written between copying and truncating.
        let copied = fs::metadata(node.host("x.log.2")).unwrap().len();
        assert_eq!(node.gaps.iter().map(|gap| gap.start).collect::<Vec<_>>(), [copied]);
    }
}
