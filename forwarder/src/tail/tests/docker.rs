//! Stories of docker: links in the kubelet's directory, files and their rotation in docker's own.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::node::{Node, append, compress, gzip_of};

const DONE: Duration = Duration::from_secs(40);
const SECOND: Duration = Duration::from_secs(1);

/// A container that docker runs, and docker's own rotation of its log.
struct Container {
    log: PathBuf,
    file: File,
    lines: u64,
}

fn id(number: u8) -> String {
    format!("{number:02x}").repeat(32)
}

fn log_of(node: &Node, id: &str) -> PathBuf {
    node.directory.path().join("docker").join(id).join(format!("{id}-json.log"))
}

/// A node with docker's directory, not yet with a container.
fn node() -> Node {
    let mut node = Node::new(&[]);
    node.configure = Box::new(|directory, config| {
        config.containers.as_mut().unwrap().docker = Some(directory.join("docker"));
    });
    node.restart();
    node
}

impl Container {
    fn start(node: &Node, number: u8, restart: u32) -> Self {
        let log = log_of(node, &id(number));
        fs::create_dir_all(log.parent().unwrap()).unwrap();
        let file = append(&log);
        symlink(&log, node.container().join(format!("{restart}.log"))).unwrap();
        Self { log, file, lines: 0 }
    }

    fn lines(&mut self, node: &mut Node, count: u64) {
        for _ in 0..count {
            self.lines += 1;
            let (n, of) = (self.lines, self.log.file_name().unwrap().to_str().unwrap());
            let line = format!(
                r#"{{"log":"line {n} of {of}\n","stream":"stdout","time":"2026-11-22T09:00:00.{n:09}Z"}}"#
            );
            node.note(&line);
            self.file.write_all(format!("{line}\n").as_bytes()).unwrap();
        }
    }

    fn rotated(&self, number: u32) -> PathBuf {
        PathBuf::from(format!("{}.{number}", self.log.display()))
    }

    /// `max-file: 3`: the second becomes the third and so on, by renaming.
    fn rotate(&mut self) {
        for number in [1, 0] {
            let from = if number == 0 { self.log.clone() } else { self.rotated(number) };
            if from.exists() {
                fs::rename(from, self.rotated(number + 1)).unwrap();
            }
        }
        self.file = append(&self.log);
    }
}

#[test]
fn b7_dockers_links_are_followed_through_its_own_rotation() {
    let mut node = node();
    let mut container = Container::start(&node, 7, 0);
    container.lines(&mut node, 5);
    node.settle(DONE);
    for _ in 0..5 {
        container.lines(&mut node, 5);
        container.rotate();
        container.lines(&mut node, 5);
        node.settle(SECOND);
    }
    // Two between looks, and while stopped.
    container.rotate();
    container.lines(&mut node, 5);
    container.rotate();
    container.lines(&mut node, 5);
    node.settle(DONE);
    container.lines(&mut node, 5);
    node.kill();
    container.rotate();
    container.lines(&mut node, 5);
    node.start();
    node.settle(DONE);
    container.lines(&mut node, 5);
    node.settle(SECOND);
    node.check();
    assert!(node.gaps.is_empty(), "{:?}", node.gaps);
    assert_eq!(node.container_ids, [id(7)].into());
}

#[test]
fn b7_dockers_compressed_files_are_read_once() {
    let mut node = node();
    let mut container = Container::start(&node, 7, 0);
    container.lines(&mut node, 5);
    node.settle(SECOND);
    node.kill();
    container.lines(&mut node, 5);
    container.rotate();
    container.lines(&mut node, 5);
    container.rotate();
    container.lines(&mut node, 5);
    let oldest = container.rotated(2);
    compress(&oldest, &gzip_of(&oldest));
    fs::remove_file(&oldest).unwrap();
    node.start();
    node.settle(DONE);
    node.restart();
    node.settle(DONE);
    node.check();
    assert!(node.gaps.is_empty(), "{:?}", node.gaps);
}

#[test]
fn b7_a_docker_container_ends_and_the_next_begins() {
    let mut node = node();
    let mut first = Container::start(&node, 1, 0);
    first.lines(&mut node, 5);
    node.settle(SECOND);
    let mut second = Container::start(&node, 2, 1);
    second.lines(&mut node, 5);
    first.lines(&mut node, 5);
    // Read, then all of it is removed: the link first, docker's directory later.
    node.pass(SECOND);
    fs::remove_file(node.container().join("0.log")).unwrap();
    node.settle(SECOND);
    fs::remove_dir_all(first.log.parent().unwrap()).unwrap();
    drop(first);
    second.lines(&mut node, 5);
    node.settle(DONE);
    node.check();
    assert!(node.gaps.is_empty(), "{:?}", node.gaps);
    assert_eq!(node.container_ids, [id(1), id(2)].into());
    assert_eq!(node.tailer().sources.len(), 1, "the first is forgotten");
}

#[test]
fn b7_no_other_link_is_followed() {
    let mut node = node();
    let mut container = Container::start(&node, 7, 0);
    container.lines(&mut node, 5);
    node.settle(SECOND);
    let secret = node.directory.path().join("secret");
    let line = "2026-11-22T09:00:00Z stdout F a secret\n";
    fs::write(&secret, line).unwrap();
    let pods = node.directory.path().join("pods");
    let pod = |name: &str| {
        let directory = pods.join(format!("shop_{name}_u")).join("c");
        fs::create_dir_all(&directory).unwrap();
        directory.join("0.log")
    };
    let docker = node.directory.path().join("docker");
    let link = |name: &str, target: &Path| symlink(target, pod(name)).unwrap();
    link("secret", &secret);
    link("up", &docker.join("../secret"));
    link("other", &container.log);
    link("relative", Path::new("../../../secret"));
    // Its text is right, and what stands there leads elsewhere.
    let forged = log_of(&node, &id(9));
    fs::create_dir_all(forged.parent().unwrap()).unwrap();
    symlink(&secret, &forged).unwrap();
    link("forged", &forged);
    let elsewhere = node.directory.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::write(elsewhere.join(format!("{}-json.log", id(8))), line).unwrap();
    symlink(&elsewhere, docker.join(id(8))).unwrap();
    link("directory", &log_of(&node, &id(8)));
    node.settle(DONE);
    node.restart();
    container.lines(&mut node, 5);
    node.settle(DONE);
    node.check();
    assert_eq!(node.tailer().unreadable.len(), 6, "{:?}", node.tailer().unreadable);
    assert_eq!(node.container_ids, [id(7)].into());
}

#[test]
fn b21_what_docker_rotates_away_during_a_hand_over_is_read() {
    let mut node = node();
    let mut first = Container::start(&node, 1, 0);
    first.lines(&mut node, 5);
    node.settle(SECOND);
    let mut holder = node.holder();
    // Written, and rotated away, while nobody reads; and a container that came and went.
    node.kill();
    first.lines(&mut node, 5);
    first.rotate();
    holder.look_now();
    first.lines(&mut node, 5);
    let mut second = Container::start(&node, 2, 1);
    second.lines(&mut node, 5);
    holder.look_now();
    second.lines(&mut node, 5);
    second.rotate();
    holder.look_now();
    fs::remove_file(first.rotated(1)).unwrap();
    fs::remove_file(node.container().join("1.log")).unwrap();
    fs::remove_dir_all(second.log.parent().unwrap()).unwrap();
    node.inherited = Some(holder);
    node.start();
    node.settle(DONE);
    node.check();
    assert!(node.gaps.is_empty(), "{:?}", node.gaps);
    assert_eq!(node.container_ids, [id(1), id(2)].into());
}
