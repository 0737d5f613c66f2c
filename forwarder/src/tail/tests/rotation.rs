//! Stories of container logs that are rotated, compressed and deleted at the worst moment.

use std::fs;
use std::time::Duration;

use super::node::{Node, Writer, append, compress, gzip_of};

const SECOND: Duration = Duration::from_secs(1);
const DONE: Duration = Duration::from_secs(14);

#[test]
fn b3_a_fragment_of_late_lines_survives_a_restart() {
    for acknowledged in [false, true] {
        let mut node = Node::new(&[]);
        let mut writer = Writer::new(&node, 0);
        writer.lines(&mut node, 3);
        node.settle(2 * SECOND);
        let old = append(&writer.live());
        writer.rotate();
        // A fragment of the new file, which late lines of the old one must not end.
        writer.write(&mut node, "stdout P", "\n");
        node.settle(2 * SECOND);
        let new = writer.swap(old);
        writer.write(&mut node, "stdout F", "\n");
        writer.write(&mut node, "stderr P", "\n");
        node.pass(SECOND);
        if acknowledged {
            node.settle(2 * SECOND);
        }
        node.restart();
        node.pass(SECOND);
        node.restart();
        node.settle(SECOND);
        writer.write(&mut node, "stderr F", "\n");
        writer.swap(new);
        writer.write(&mut node, "stdout F", "\n");
        node.settle(DONE);
        node.check();
        assert!(node.gaps.is_empty());
    }
}

#[test]
fn b4_a_damaged_compressed_file_is_declared_once() {
    for head in [false, true] {
        let mut node = Node::new(&[]);
        node.kill();
        let mut writer = Writer::new(&node, 0);
        let mut lost = Vec::new();
        for n in 0..60_000_u64 {
            let noise = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            lost.extend(format!("2026-11-22T08:00:00.{n:09}Z stdout F {noise:x}\n").into_bytes());
        }
        let rotated = writer.rotated(0);
        fs::write(&rotated, &lost).unwrap();
        compress(&rotated, &gzip_of(&rotated));
        fs::remove_file(&rotated).unwrap();
        let gz = append(&gzip_of(&rotated));
        let size = gz.metadata().unwrap().len();
        gz.set_len(if head { 5 } else { size / 2 }).unwrap();
        writer.lines(&mut node, 5);
        node.start();
        node.settle(DONE);
        assert_eq!(node.gaps.len(), 1, "{:?}", node.gaps);
        for _ in 0..3 {
            node.restart();
            writer.lines(&mut node, 5);
            node.settle(DONE);
        }
        assert_eq!(node.gaps.len(), 1, "not again at every restart: {:?}", node.gaps);
        assert!(node.missing().is_empty() && node.twice().is_empty());
        fs::remove_file(gzip_of(&rotated)).unwrap();
        node.settle(DONE);
        let files: usize = node.tailer().sources.values().map(|source| source.files.len()).sum();
        assert_eq!(files, 1);
    }
}

#[test]
fn b2_a_deleted_file_that_is_behind_comes_before_what_was_written_after_it() {
    let mut node = Node::new(&[]);
    let mut writer = Writer::new(&node, 0);
    writer.lines(&mut node, 20_000);
    writer.partial(&mut node);
    node.round();
    fs::remove_file(writer.live()).unwrap();
    writer.reopen();
    writer.write(&mut node, "stderr F", "\n");
    writer.rotate();
    writer.line(&mut node);
    node.settle(DONE);
    node.check();
    assert_eq!(node.metrics.incomplete_records.get(), 0, "joined in the order of writing");
}

#[test]
fn b1_a_salted_file_that_was_compressed_while_stopped() {
    let mut node = Node::new(&[]);
    let old = node.container().join("0.log.20260101-000000");
    let live = node.container().join("0.log");
    let lines = |node: &mut Node, path: &std::path::Path, name: &str, n: u32| {
        let line = format!("2026-11-22T10:00:{n:02}Z stdout F {name} {n}");
        node.note(&line);
        std::io::Write::write_all(&mut append(path), format!("{line}\n").as_bytes()).unwrap();
    };
    for path in [&old, &live] {
        fs::write(path, "no envelope\n").unwrap();
    }
    node.note("no envelope");
    lines(&mut node, &old, "old", 1);
    lines(&mut node, &live, "new", 1);
    node.settle(DONE);
    node.kill();
    lines(&mut node, &live, "new", 2);
    let rotated = node.container().join("0.log.20261122-000001");
    fs::rename(&live, &rotated).unwrap();
    for path in [&old, &rotated] {
        compress(path, &gzip_of(path));
        fs::remove_file(path).unwrap();
    }
    fs::write(&live, "2026-11-22T11:00:00Z stdout F newest\n").unwrap();
    node.note("2026-11-22T11:00:00Z stdout F newest");
    node.start();
    node.settle(DONE);
    assert_eq!(node.missing().len(), 0);
    assert_eq!(node.twice(), ["no envelope"]);
    assert!(node.gaps.is_empty());
}

#[test]
fn b24_what_is_no_log_file_is_not_looked_at_for_ever() {
    let mut node = Node::new(&[]);
    let mut writer = Writer::new(&node, 0);
    writer.lines(&mut node, 3);
    let fifo = writer.rotated(7);
    let kind = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, kind, 0o600.into(), 0).unwrap();
    node.settle(DONE);
    assert_eq!(node.metrics.unreadable_files.get(), 1);
    assert!(node.tailer().look_again.is_empty());
    let pod = node.directory.path().join("pods").join(super::node::POD);
    fs::remove_dir_all(pod).unwrap();
    node.settle(DONE);
    assert_eq!(node.metrics.unreadable_files.get(), 0, "what is gone is not unreadable");
    node.check();
    assert!(node.gaps.is_empty());
}

#[test]
fn b3_late_writes_between_rename_and_reopen_however_long_that_takes() {
    for seconds in [0, 1, 3, 10, 30] {
        let mut node = Node::new(&[]);
        let mut writer = Writer::new(&node, 0);
        writer.lines(&mut node, 5);
        node.settle(SECOND);
        writer.rename();
        for _ in 0..seconds {
            writer.lines(&mut node, 2);
            node.settle(SECOND);
        }
        // The runtime's old writer may flush after the new one has begun.
        let new = append(&writer.live());
        let old = writer.swap(new);
        writer.lines(&mut node, 2);
        let new = writer.swap(old);
        writer.lines(&mut node, 2);
        writer.swap(new);
        writer.lines(&mut node, 2);
        node.settle(DONE);
        node.check();
        assert!(node.gaps.is_empty(), "{seconds}");
    }
}

#[test]
fn b3_late_lines_long_after_a_file_was_closed() {
    let mut node = Node::new(&[]);
    let mut writer = Writer::new(&node, 0);
    writer.lines(&mut node, 3);
    let old = append(&writer.live());
    writer.rotate();
    writer.lines(&mut node, 3);
    node.settle(60 * SECOND);
    let new = writer.swap(old);
    writer.lines(&mut node, 3);
    node.settle(5 * SECOND);
    writer.swap(new);
    writer.lines(&mut node, 3);
    node.settle(DONE);
    node.check();
}

#[test]
fn b2_rotations_during_a_stall_of_the_sink_are_read_in_order() {
    let mut node = Node::new(&[]);
    let mut writer = Writer::new(&node, 0);
    writer.lines(&mut node, 3);
    node.settle(SECOND);
    node.deaf = true;
    for _ in 0..5 {
        writer.lines(&mut node, 3000);
        writer.partial(&mut node);
        writer.rotate();
        node.pass(12 * SECOND);
    }
    writer.lines(&mut node, 3);
    node.pass(SECOND);
    node.deaf = false;
    node.settle(DONE);
    node.check();
    assert!(node.gaps.is_empty());
}

#[test]
fn b12_what_was_sent_and_not_acknowledged_is_sent_again() {
    let mut node = Node::new(&["x.log"]);
    let mut writer = Writer::new(&node, 0);
    writer.lines(&mut node, 3);
    node.settle(2 * SECOND);
    // Whoever takes it dies with it, long after the forwarder has saved what it knows.
    node.forgetful = true;
    writer.lines(&mut node, 3);
    writer.rotate();
    writer.lines(&mut node, 3);
    node.pass(5 * SECOND);
    assert!(!node.unacknowledged.is_empty(), "nothing was sent");
    node.forgetful = false;
    node.restart();
    node.settle(DONE);
    node.check();
    assert!(node.gaps.is_empty());
}

/// The forwarder was frozen, or held up by whoever takes what it sends: nobody waits for late lines of files that are long quiet.
#[test]
fn b2_a_backlog_of_rotated_files_is_read_without_a_wait_for_each() {
    let mut node = Node::new(&[]);
    let mut writer = Writer::new(&node, 0);
    let old = std::time::SystemTime::now() - Duration::from_secs(60);
    node.round();
    for _ in 0..20 {
        // It is found before it has a line.
        node.look_into_containers();
        writer.lines(&mut node, 3);
        let rotated = writer.rotate();
        std::fs::File::open(rotated).unwrap().set_modified(old).unwrap();
    }
    writer.lines(&mut node, 3);
    node.settle(SECOND);
    node.check();
}
