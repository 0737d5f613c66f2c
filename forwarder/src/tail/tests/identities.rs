//! Stories of host files that only their identity tells apart.

use std::fs;
use std::io::Write;
use std::time::Duration;

use super::hosts::Daemon;
use super::node::{Node, append};
use crate::clock;
use crate::identity::{Evidence, forced};

const SECOND: Duration = Duration::from_secs(1);
const DONE: Duration = Duration::from_secs(5);

#[test]
fn b1_ten_thousand_files_with_one_first_line_come_and_go() {
    let mut node = Node::in_memory(&["x.log"]);
    let mut reused = 0;
    let mut before = 0;
    for n in 0..10_000 {
        let mut file = append(&node.host("x.log"));
        let inode = std::os::unix::fs::MetadataExt::ino(&file.metadata().unwrap());
        reused += usize::from(std::mem::replace(&mut before, inode) == inode);
        let line = format!("line {n}");
        node.note(&line);
        file.write_all(format!("the same first line\n{line}\n").as_bytes()).unwrap();
        node.round();
        node.acknowledge_all();
        fs::remove_file(node.host("x.log")).unwrap();
        // Closed before the next one is made, which gets its number.
        for _ in 0..3 {
            clock::moved::wait(Duration::from_secs(700));
            node.round();
            node.acknowledge_all();
        }
    }
    node.settle(DONE);
    assert_eq!(node.missing().len(), 0);
    assert_eq!(node.documents_of("the same first line"), 10_000);
    assert_eq!(node.twice(), ["the same first line"]);
    assert!(node.gaps.is_empty());
    println!("inode reused {reused} of 9999 times");
    assert!(reused > 5000 || node.directory.path().starts_with("/dev/shm"), "it must bite");
    node.settle(Duration::from_secs(700));
    let files: usize = node.tailer().sources.values().map(|source| source.files.len()).sum();
    assert_eq!(files, 0, "what is gone is forgotten");
}

#[test]
fn b1_every_evidence_survives_restarts_reboots_and_a_reused_inode() {
    for best in [Evidence::Handle, Evidence::Birth, Evidence::Inode] {
        forced::best(best);
        let mut node = Node::new(&["x.log"]);
        let mut daemon = Daemon::new(&node);
        daemon.lines(&mut node, 5);
        node.settle(2 * SECOND);
        daemon.lines(&mut node, 5);
        node.pass(SECOND);
        if best != Evidence::Inode {
            forced::reboot();
        }
        node.restart();
        daemon.lines(&mut node, 5);
        node.settle(2 * SECOND);
        node.check();
        assert!(node.gaps.is_empty());
        // Deleted, read to its end, and its number is another file's with the same beginning.
        fs::remove_file(node.host("x.log")).unwrap();
        node.settle(700 * SECOND);
        daemon.reopen(&node);
        let again = fs::read_to_string(node.host("x.log")).unwrap();
        assert!(again.is_empty());
        daemon.lines(&mut node, 2);
        node.settle(DONE);
        node.check();
        node.restart();
        daemon.lines(&mut node, 40);
        node.settle(DONE);
        node.check();
        assert!(node.gaps.is_empty(), "{best:?} {:?}", node.gaps);
    }
}
