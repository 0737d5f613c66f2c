//! Stories of container logs.

use std::fs;
use std::time::Duration;

use crate::clock;

use super::node::{Node, Writer, append, compress, gzip_of};

const SECOND: Duration = Duration::from_secs(1);
const DONE: Duration = Duration::from_secs(14);

#[test]
fn the_kubelets_rotation_with_late_writes_to_the_renamed_file() {
    let mut node = Node::new(&[]);
    let mut writer = Writer::new(&node, 0);
    for _ in 0..4 {
        writer.lines(&mut node, 20);
        node.settle(SECOND);
        writer.rename();
        node.round();
        writer.lines(&mut node, 5);
        node.settle(2 * SECOND);
        writer.lines(&mut node, 5);
        writer.reopen();
        writer.lines(&mut node, 5);
        node.settle(SECOND);
    }
    node.settle(DONE);
    node.check();
    assert!(node.gaps.is_empty());
}

#[test]
fn several_rotations_between_looks() {
    let mut node = Node::new(&[]);
    let mut writer = Writer::new(&node, 0);
    writer.lines(&mut node, 3);
    node.round();
    for _ in 0..3 {
        writer.lines(&mut node, 20);
        writer.rotate();
    }
    writer.lines(&mut node, 3);
    node.settle(DONE);
    node.check();
}

#[test]
fn rotations_and_compression_while_stopped() {
    for acknowledged in [false, true] {
        let mut node = Node::new(&[]);
        let mut writer = Writer::new(&node, 0);
        writer.lines(&mut node, 100);
        node.pass(SECOND);
        if acknowledged {
            node.settle(2 * SECOND);
        }
        writer.lines(&mut node, 10);
        node.pass(SECOND);
        node.kill();
        writer.lines(&mut node, 10);
        let first = writer.rotate();
        writer.lines(&mut node, 10);
        let second = writer.rotate();
        writer.gzip(&first, || ());
        writer.lines(&mut node, 10);
        writer.rotate();
        writer.gzip(&second, || ());
        writer.lines(&mut node, 10);
        node.start();
        node.settle(DONE);
        node.check();
        assert!(node.gaps.is_empty());
    }
}

#[test]
fn compression_while_it_is_read_and_twins() {
    let mut node = Node::new(&[]);
    let mut writer = Writer::new(&node, 0);
    writer.lines(&mut node, 20_000);
    node.round();
    node.round();
    assert!(!node.missing().is_empty(), "it must not be read yet");
    let first = writer.rotate();
    writer.lines(&mut node, 10);
    node.round();
    compress(&first, &gzip_of(&first));
    node.settle(SECOND);
    node.restart();
    node.settle(SECOND);
    fs::remove_file(&first).unwrap();
    node.settle(DONE);
    writer.lines(&mut node, 10);
    node.settle(DONE);
    node.check();
    node.restart();
    node.settle(DONE);
    node.check();
    fs::remove_file(gzip_of(&first)).unwrap();
    node.settle(DONE);
    node.check();
    assert!(node.gaps.is_empty());
}

#[test]
fn a_failed_reopen_gives_the_old_name_back() {
    let mut node = Node::new(&[]);
    let mut writer = Writer::new(&node, 0);
    writer.lines(&mut node, 5);
    node.settle(SECOND);
    let renamed = writer.rename();
    writer.lines(&mut node, 5);
    node.settle(SECOND);
    fs::rename(renamed, writer.live()).unwrap();
    writer.lines(&mut node, 5);
    node.settle(DONE);
    writer.lines(&mut node, 5);
    node.settle(DONE);
    node.check();
}

#[test]
fn a_reopen_that_worked_and_was_reported_as_failed() {
    let mut node = Node::new(&[]);
    let mut writer = Writer::new(&node, 0);
    writer.lines(&mut node, 5);
    let renamed = writer.rotate();
    writer.lines(&mut node, 5);
    node.settle(3 * SECOND);
    // The kubelet puts the old file over the new one; the container writes to that, unlinked, until the next reopen.
    fs::rename(renamed, writer.live()).unwrap();
    writer.lines(&mut node, 5);
    node.settle(DONE);
    writer.reopen();
    writer.lines(&mut node, 5);
    node.settle(DONE);
    writer.lines(&mut node, 5);
    node.settle(DONE);
    node.check();
}

#[test]
fn a_record_over_a_rotation_is_one() {
    for restarts in [false, true] {
        let mut node = Node::new(&[]);
        let mut writer = Writer::new(&node, 0);
        writer.lines(&mut node, 2);
        node.settle(SECOND);
        writer.partial(&mut node);
        node.settle(SECOND);
        writer.rotate();
        writer.partial(&mut node);
        if restarts {
            node.settle(SECOND);
            node.restart();
        }
        node.settle(SECOND);
        writer.lines(&mut node, 2);
        node.pass(SECOND);
        if restarts {
            node.restart();
        }
        node.settle(DONE);
        node.check();
        assert_eq!(node.metrics.incomplete_records.get(), 0);
    }
}

#[test]
fn a_fragment_of_a_file_that_was_read_to_its_end_survives_a_restart() {
    for gzip in [false, true] {
        let mut node = Node::new(&[]);
        let mut writer = Writer::new(&node, 0);
        writer.lines(&mut node, 2);
        writer.partial(&mut node);
        let rotated = writer.rotate();
        writer.write(&mut node, "stderr F", "\n");
        node.settle(3 * SECOND);
        if gzip {
            writer.gzip(&rotated, || ());
        }
        node.restart();
        writer.lines(&mut node, 2);
        node.settle(DONE);
        node.check();
        assert_eq!((node.gaps.len(), node.metrics.incomplete_records.get()), (0, 0));
    }
}

#[test]
fn a_fragment_survives_a_restart_while_its_file_is_being_renamed_or_cannot_be_opened() {
    for link in [false, true] {
        let mut node = Node::new(&[]);
        let mut writer = Writer::new(&node, 0);
        writer.lines(&mut node, 2);
        writer.partial(&mut node);
        node.settle(3 * SECOND);
        node.kill();
        let rotated = writer.rotate();
        let aside = node.directory.path().join("aside");
        fs::rename(&rotated, &aside).unwrap();
        if link {
            std::os::unix::fs::symlink("/etc/passwd", &rotated).unwrap();
        }
        writer.write(&mut node, "stderr F", "\n");
        node.start();
        // Longer than a name may be missing, if what stands there cannot be opened.
        node.settle(if link { 10 * SECOND } else { SECOND });
        if link {
            fs::remove_file(&rotated).unwrap();
        }
        fs::rename(&aside, &rotated).unwrap();
        writer.lines(&mut node, 2);
        node.settle(DONE);
        node.check();
        assert_eq!((node.gaps.len(), node.metrics.incomplete_records.get()), (0, 0), "{link}");
    }
}

#[test]
fn an_idle_fragment_is_cut_and_its_end_comes_later() {
    let mut node = Node::new(&[]);
    let mut writer = Writer::new(&node, 0);
    writer.line(&mut node);
    writer.partial(&mut node);
    node.pass(9 * SECOND);
    assert_eq!(node.missing().len(), 1);
    node.pass(2 * SECOND);
    assert_eq!(node.missing().len(), 0, "it was cut");
    writer.line(&mut node);
    node.pass(SECOND);
    node.check();
    // Nothing was acknowledged: the same cut again.
    node.restart();
    node.settle(DONE);
    node.check();
    node.restart();
    node.settle(DONE);
    node.check();
}

#[test]
fn an_unterminated_last_line_at_deletion() {
    let mut node = Node::new(&[]);
    let mut writer = Writer::new(&node, 0);
    writer.lines(&mut node, 3);
    writer.write(&mut node, "stdout F", "");
    node.pass(SECOND);
    assert_eq!(node.missing().len(), 1);
    fs::remove_file(writer.live()).unwrap();
    node.pass(2 * SECOND);
    node.check();
    drop(writer);
    node.settle(DONE);
    node.check();
    assert!(node.tailer().sources.is_empty(), "nothing is left of it");
}

#[test]
fn a_pod_directory_that_is_removed_while_behind() {
    let mut node = Node::new(&[]);
    let mut writer = Writer::new(&node, 0);
    writer.lines(&mut node, 5);
    node.round();
    writer.lines(&mut node, 60_000);
    fs::remove_dir_all(node.directory.path().join("pods").join(super::node::POD)).unwrap();
    drop(writer);
    node.settle(DONE);
    node.check();
    node.settle(DONE);
    assert!(node.tailer().sources.is_empty());
}

#[test]
fn a_pod_directory_that_comes_again() {
    let mut node = Node::new(&[]);
    for run in 0..3 {
        fs::create_dir_all(node.container()).unwrap();
        let mut writer = Writer::new(&node, run);
        writer.lines(&mut node, 5);
        node.round();
        fs::remove_dir_all(node.directory.path().join("pods").join(super::node::POD)).unwrap();
        if run == 1 {
            node.round();
        }
    }
    node.settle(DONE);
    node.check();
}

#[test]
fn a_copy_is_not_read_and_the_original_is() {
    for early in [false, true] {
        let mut node = Node::new(&[]);
        let mut writer = Writer::new(&node, 0);
        writer.lines(&mut node, 5);
        if early {
            node.settle(SECOND);
        }
        fs::copy(writer.live(), node.container().join("0.log.20260101-000000")).unwrap();
        writer.lines(&mut node, 5);
        node.settle(3 * SECOND);
        writer.lines(&mut node, 5);
        node.settle(3 * SECOND);
        node.restart();
        node.settle(SECOND);
        writer.lines(&mut node, 5);
        node.settle(DONE);
        writer.rotate();
        writer.lines(&mut node, 5);
        node.settle(DONE);
        node.restart();
        writer.lines(&mut node, 5);
        node.settle(DONE);
        node.check();
    }
}

#[test]
fn two_files_with_one_first_line_stay_apart_over_restarts() {
    let mut node = Node::new(&[]);
    let old = node.container().join("0.log.20260101-000000");
    for path in [&old, &node.container().join("0.log")] {
        fs::write(path, "no envelope\n").unwrap();
    }
    node.note("no envelope");
    let lines = |node: &mut Node, n: u32| {
        for (path, which) in [(&old, "old"), (&node.container().join("0.log"), "new")] {
            let line = format!("2026-11-22T10:00:{n:02}Z stdout F {which} {n}");
            node.note(&line);
            std::io::Write::write_all(&mut append(path), format!("{line}\n").as_bytes()).unwrap();
        }
    };
    lines(&mut node, 1);
    for n in 2..5 {
        node.pass(2 * SECOND);
        node.settle(SECOND);
        node.restart();
        lines(&mut node, n);
        node.settle(DONE);
    }
    assert_eq!(node.missing().len(), 0);
    // The line that both have is in two documents, and no other is.
    assert_eq!(node.documents_of("no envelope"), 2);
    assert_eq!(node.twice(), ["no envelope"]);
}

#[test]
fn an_empty_file_that_fills_later_and_a_restarted_container() {
    let mut node = Node::new(&[]);
    let mut writer = Writer::new(&node, 0);
    node.settle(DONE);
    writer.lines(&mut node, 3);
    node.settle(SECOND);
    let mut again = Writer::new(&node, 1);
    node.settle(SECOND);
    again.lines(&mut node, 3);
    writer.line(&mut node);
    node.settle(DONE);
    node.restart();
    again.lines(&mut node, 3);
    node.settle(DONE);
    node.check();
}

#[test]
fn what_is_not_a_file_is_replaced_by_one() {
    let mut node = Node::new(&[]);
    let path = node.container().join("0.log");
    let make: [&dyn Fn(); 3] = [
        &|| fs::create_dir(&path).unwrap(),
        &|| std::os::unix::fs::symlink("/etc/passwd", &path).unwrap(),
        &|| {
            let fifo = rustix::fs::FileType::Fifo;
            rustix::fs::mknodat(rustix::fs::CWD, &path, fifo, 0o600.into(), 0).unwrap();
        },
    ];
    for make in make {
        make();
        node.settle(SECOND);
        assert_eq!(node.metrics.unreadable_files.get(), 1);
        fs::remove_dir(&path).or_else(|_| fs::remove_file(&path)).unwrap();
        node.settle(SECOND);
    }
    let mut writer = Writer::new(&node, 0);
    writer.lines(&mut node, 3);
    node.settle(DONE);
    node.check();
    assert_eq!(node.metrics.unreadable_files.get(), 0);
}

#[test]
fn what_could_not_be_opened_is_tried_again_without_an_event() {
    let mut node = Node::new(&[]);
    let path = node.container().join("0.log");
    std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
    node.settle(SECOND);
    fs::remove_file(&path).unwrap();
    let mut writer = Writer::new(&node, 0);
    writer.lines(&mut node, 3);
    // As if its permissions had changed: the directory did not, and not lately.
    node.swallow_events();
    clock::moved::wall(5 * SECOND);
    node.settle(40 * SECOND);
    node.check();
}

#[test]
fn many_compressed_files_without_successors_do_not_block_each_other() {
    let mut node = Node::new(&[]);
    for run in 0..12 {
        let mut writer = Writer::new(&node, run);
        writer.lines(&mut node, 3);
        let rotated = writer.rename();
        writer.gzip(&rotated, || ());
    }
    node.settle(DONE);
    node.check();
}

#[test]
fn idle_files_cost_no_rounds() {
    let mut node = Node::new(&[]);
    for run in 0..50 {
        let mut writer = Writer::new(&node, run);
        writer.lines(&mut node, usize::from(run % 2 == 0));
    }
    node.settle(DONE);
    node.check();
    let (rounds, reads) = (node.rounds, node.tailer().attention.len());
    assert_eq!(reads, 0, "nothing needs to be looked after");
    node.pass(Duration::from_secs(60));
    assert!(node.rounds - rounds <= 12, "{} rounds in a minute", node.rounds - rounds);
}
