//! Stories of finding: events that do not come, answers that are not to be had, pods that are gone before long.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::time::Duration;

use rustix::io::Errno;

use super::node::{Node, Writer, append};
use crate::discover::Discovery;
use crate::identity::refused;

const DONE: Duration = Duration::from_secs(40);
const SECOND: Duration = Duration::from_secs(1);

fn works_by_scan(cripple: fn(&mut Discovery)) {
    let mut node = Node::new(&["x.log"]);
    cripple(&mut node.tailer_mut().discovery);
    let mut first = Writer::new(&node, 0);
    first.lines(&mut node, 5);
    node.settle(DONE);
    for _ in 0..5 {
        first.lines(&mut node, 5);
        first.rotate();
        node.settle(3 * SECOND);
    }
    let mut second = Writer::new(&node, 1);
    second.lines(&mut node, 5);
    node.note("a host line");
    append(&node.host("x.log")).write_all(b"a host line\n").unwrap();
    node.settle(3 * SECOND);
    assert_eq!(node.missing().len(), 0, "within seconds");
    node.settle(DONE);
    node.check();
    assert!(node.gaps.is_empty(), "{:?}", node.gaps);
}

#[test]
fn b7_without_inotify_everything_is_found_by_scanning() {
    works_by_scan(Discovery::without_inotify);
}

#[test]
fn b7_without_a_watch_left_everything_is_found_by_scanning() {
    works_by_scan(Discovery::without_watches);
}

#[test]
fn b7_an_answer_that_is_not_to_be_had_is_not_absence() {
    for errno in [Errno::MFILE, Errno::NFILE, Errno::IO, Errno::ACCESS, Errno::NOMEM] {
        let mut node = Node::new(&["x.log"]);
        let mut writer = Writer::new(&node, 0);
        writer.lines(&mut node, 5);
        let mut host = append(&node.host("x.log"));
        node.note("1");
        host.write_all(b"1\n").unwrap();
        node.settle(DONE);
        refused::with(Some(errno));
        writer.lines(&mut node, 5);
        writer.rotate();
        writer.lines(&mut node, 5);
        Writer::new(&node, 1).lines(&mut node, 5);
        node.note("2");
        host.write_all(b"2\n").unwrap();
        node.settle(DONE);
        // What is open is read on in any case; after a restart nothing is.
        node.restart();
        node.settle(2 * DONE);
        assert!(node.gaps.is_empty(), "{errno}: {:?}", node.gaps);
        assert!(!node.tailer().sources.is_empty(), "{errno}");
        refused::with(None);
        node.settle(DONE);
        writer.lines(&mut node, 5);
        node.settle(DONE);
        node.check();
        assert!(node.gaps.is_empty(), "{errno}: {:?}", node.gaps);
        assert!(node.tailer().unreadable.is_empty(), "{errno}");
    }
}

#[test]
fn b7_a_log_directory_that_vanishes_is_waited_for() {
    let mut node = Node::new(&[]);
    let mut writer = Writer::new(&node, 0);
    writer.lines(&mut node, 5);
    node.settle(DONE);
    let (pods, away) = (node.directory.path().join("pods"), node.directory.path().join("away"));
    fs::rename(&pods, &away).unwrap();
    node.settle(2 * DONE);
    fs::rename(&away, &pods).unwrap();
    writer.lines(&mut node, 5);
    node.settle(DONE);
    node.check();
    fs::remove_dir_all(&pods).unwrap();
    node.settle(2 * DONE);
    fs::create_dir_all(node.container()).unwrap();
    Writer::new(&node, 1).lines(&mut node, 5);
    node.settle(DONE);
    node.check();
    assert!(node.gaps.is_empty(), "{:?}", node.gaps);
}

#[test]
fn b8_pods_that_live_for_one_look_are_complete() {
    let mut node = Node::new(&[]);
    let pods = node.directory.path().join("pods");
    for pod in 0..200 {
        let directory = pods.join(format!("batch_job-{pod}_{pod:x}/main"));
        fs::create_dir_all(&directory).unwrap();
        let mut log = append(&directory.join("0.log"));
        for n in 0..100 {
            let line = format!("2026-11-22T09:00:00.{n:09}Z stdout F line {n} of pod {pod}");
            node.note(&line);
            log.write_all(format!("{line}\n").as_bytes()).unwrap();
        }
        node.round();
        fs::remove_dir_all(directory.parent().unwrap()).unwrap();
        node.acknowledge_all();
    }
    node.settle(DONE);
    node.check();
    assert!(node.gaps.is_empty(), "{:?}", node.gaps);
    assert!(node.tailer().sources.is_empty(), "nothing is left of them");
}

#[test]
fn b8_what_stands_where_a_log_should_neither_hangs_nor_leads_elsewhere() {
    let mut node = Node::new(&[]);
    let secret = node.directory.path().join("secret");
    fs::create_dir(&secret).unwrap();
    fs::write(secret.join("0.log"), "2026-11-22T09:00:00Z stdout F a secret\n").unwrap();
    let mut writer = Writer::new(&node, 0);
    writer.lines(&mut node, 5);
    node.settle(SECOND);
    let container = node.container();
    let fifo = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, container.join("1.log"), fifo, 0o600.into(), 0).unwrap();
    symlink("/dev/zero", container.join("2.log")).unwrap();
    symlink(secret.join("0.log"), container.join("3.log")).unwrap();
    fs::create_dir(container.join("4.log")).unwrap();
    symlink("5.log", container.join("5.log")).unwrap();
    node.settle(DONE);
    assert_eq!(node.tailer().unreadable.len(), 5, "{:?}", node.tailer().unreadable);
    // The directory is swapped for a link after it was found.
    let away = node.directory.path().join("away");
    fs::rename(&container, &away).unwrap();
    symlink(&secret, &container).unwrap();
    node.settle(DONE);
    fs::remove_file(&container).unwrap();
    fs::rename(&away, &container).unwrap();
    writer.lines(&mut node, 5);
    node.settle(DONE);
    node.check();
}

#[test]
fn b7_a_file_that_was_gone_before_it_was_opened_is_counted() {
    let mut node = Node::new(&[]);
    let mut writer = Writer::new(&node, 0);
    writer.lines(&mut node, 5);
    node.settle(DONE);
    fs::write(node.container().join("1.log"), "2026-11-22T09:00:00Z stdout F unseen\n").unwrap();
    fs::write(node.container().join("1.txt"), "no log").unwrap();
    fs::remove_file(node.container().join("1.log")).unwrap();
    fs::remove_file(node.container().join("1.txt")).unwrap();
    node.settle(DONE);
    assert_eq!(node.metrics.missed_files.get(), 1);
    // What was read, or is still open, was not missed; neither was what rotates.
    writer.lines(&mut node, 5);
    writer.rotate();
    writer.lines(&mut node, 5);
    node.settle(DONE);
    writer.lines(&mut node, 5);
    node.round();
    fs::remove_dir_all(node.container()).unwrap();
    node.settle(2 * DONE);
    node.check();
    assert_eq!(node.metrics.missed_files.get(), 1);
}

#[test]
fn b7_with_few_descriptors_all_files_are_read_in_the_end() {
    let mut node = Node::new(&[]);
    node.tailer_mut().open_files_max = 4;
    let mut writers: Vec<_> = (0..1).map(|run| Writer::new(&node, run)).collect();
    writers[0].lines(&mut node, 3);
    let pods = node.directory.path().join("pods");
    let mut logs: Vec<_> = (0..40)
        .map(|pod| {
            let directory = pods.join(format!("batch_job-{pod}_{pod:x}/main"));
            fs::create_dir_all(&directory).unwrap();
            append(&directory.join("0.log"))
        })
        .collect();
    for round in 0..6 {
        for (pod, log) in logs.iter_mut().enumerate() {
            let line = format!("2026-11-22T09:00:0{round}.{pod:09}Z stdout F line of pod {pod}");
            node.note(&line);
            log.write_all(format!("{line}\n").as_bytes()).unwrap();
        }
        node.settle(DONE);
        // A directory is looked into whole: with one descriptor left, that of the container that was rotated.
        let most = 3 + round + 1;
        assert!(node.tailer().open_files <= most, "{} in {round}", node.tailer().open_files);
        assert_eq!(node.missing().len(), 0, "in round {round}");
        writers[0].lines(&mut node, 3);
        writers[0].rotate();
    }
    node.settle(DONE);
    node.check();
    node.restart();
    node.tailer_mut().open_files_max = 4;
    for pod in 0..40 {
        fs::remove_dir_all(pods.join(format!("batch_job-{pod}_{pod:x}"))).unwrap();
    }
    node.settle(2 * DONE);
    node.check();
    assert!(node.gaps.is_empty(), "{:?}", node.gaps);
    assert_eq!(node.metrics.missed_files.get(), 0);
}

/// The id of a container is in the name of a link that the kubelet makes beside the pods' directories, after the log.
#[test]
fn b7_the_kubelets_links_name_the_containers_and_are_not_followed() {
    let mut node = Node::new(&[]);
    let links = node.directory.path().join("containers");
    let id = |digit: &str| digit.repeat(64);
    let link = |pod: &str, target: &std::path::Path, digit: &str| {
        let name = links.join(format!("{pod}_shop_web-{}.log", id(digit)));
        std::os::unix::fs::symlink(target, name).unwrap();
    };
    let mut first = Writer::new(&node, 0);
    first.lines(&mut node, 5);
    node.settle(SECOND);
    assert_eq!(node.container_ids, [String::new()].into(), "nothing says it");
    node.container_ids.clear();
    fs::create_dir(&links).unwrap();
    let secret = node.directory.path().join("secret");
    fs::write(&secret, "2026-11-22T09:00:00Z stdout F a secret\n").unwrap();
    link("web-0", &first.live(), "a");
    link("web-1", &secret, "b");
    node.settle(Duration::from_secs(31));
    first.lines(&mut node, 5);
    let mut second = Writer::new(&node, 1);
    link("web-0", &second.live(), "c");
    second.lines(&mut node, 5);
    node.settle(SECOND);
    assert_eq!(node.container_ids, [id("a"), id("c")].into());
    node.container_ids.clear();
    node.restart();
    first.lines(&mut node, 5);
    node.settle(SECOND);
    assert_eq!(node.container_ids, [id("a")].into());
    node.check();
    assert!(node.tailer().unreadable.is_empty());
}
