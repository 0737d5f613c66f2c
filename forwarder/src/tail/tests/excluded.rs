//! Stories of containers and files that are not read.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use glob::Pattern;

use super::node::{Node, Writer};
use crate::discover::exclude::{ExcludedContainer, ExclusionRule, Exclusions};
use crate::discover::host::HostPattern;

const DONE: Duration = Duration::from_secs(40);

fn noise(node: &Node) -> PathBuf {
    let directory = node.directory.path().join("pods/noise_x_u1/c");
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("0.log"), "2026-11-22T09:00:00Z stdout F noise\n").unwrap();
    directory
}

fn the_noise() -> ExcludedContainer {
    ExcludedContainer {
        namespace: "noise".into(),
        pod: "x".into(),
        pod_uid: "u1".into(),
        container: String::new(),
    }
}

fn without_noise(node: &mut Node) {
    node.configure = Box::new(|_, config| {
        let namespace = Some(Pattern::new("noi*").unwrap());
        let rule = ExclusionRule { namespace, ..ExclusionRule::default() };
        config.containers.as_mut().unwrap().exclude = Exclusions::new(vec![rule]);
    });
    node.restart();
}

#[test]
fn b19_excluded_containers_are_never_opened() {
    let mut node = Node::new(&[]);
    without_noise(&mut node);
    let noise = noise(&node);
    let mut web = Writer::new(&node, 0);
    web.lines(&mut node, 5);
    node.settle(DONE);
    assert_eq!(Node::open_beneath(&noise), [] as [PathBuf; 0]);
    assert_eq!(node.tailer().sources.len(), 1, "the other is no source");
    fs::write(noise.join("1.log"), "2026-11-22T09:00:01Z stdout F more noise\n").unwrap();
    let standing_by = node.holder();
    assert_eq!(standing_by.count(), 1, "nor held for the next");
    node.restart();
    web.lines(&mut node, 5);
    node.settle(DONE);
    assert_eq!(Node::open_beneath(&noise), [] as [PathBuf; 0]);
    node.check();
    assert!(node.gaps.is_empty(), "{:?}", node.gaps);
}

#[test]
fn b19_what_was_read_and_is_excluded_now_is_neither_read_on_nor_a_loss() {
    let mut node = Node::new(&[]);
    let noise = noise(&node);
    node.note("2026-11-22T09:00:00Z stdout F noise");
    node.settle(DONE);
    without_noise(&mut node);
    fs::write(noise.join("1.log"), "2026-11-22T09:00:01Z stdout F more noise\n").unwrap();
    node.settle(DONE);
    assert_eq!(Node::open_beneath(&noise), [] as [PathBuf; 0]);
    fs::remove_dir_all(noise.parent().unwrap()).unwrap();
    node.settle(DONE);
    node.check();
    assert!(node.gaps.is_empty(), "{:?}", node.gaps);
    assert!(node.tailer().sources.is_empty(), "it is forgotten");
}

#[test]
fn b19_a_policy_stops_the_reading_and_lifting_it_reads_on() {
    let mut node = Node::new(&[]);
    let noise = noise(&node);
    node.note("2026-11-22T09:00:00Z stdout F noise");
    let mut web = Writer::new(&node, 0);
    web.lines(&mut node, 5);
    node.settle(DONE);
    node.tailer_mut().set_policy([the_noise()]);
    let later: Vec<String> =
        (10..20).map(|n| format!("2026-11-22T09:00:{n}Z stdout F noise {n}")).collect();
    let log = noise.join("0.log");
    for (n, line) in later.iter().enumerate() {
        node.note(line);
        fs::write(&log, [fs::read(&log).unwrap(), format!("{line}\n").into_bytes()].concat())
            .unwrap();
        if n == 4 {
            fs::rename(&log, noise.join("0.log.20261122-090015")).unwrap();
            fs::write(&log, "").unwrap();
        }
    }
    web.lines(&mut node, 5);
    node.settle(DONE);
    assert_eq!(Node::open_beneath(&noise), [] as [PathBuf; 0]);
    assert_eq!(node.missing().len(), later.len(), "only what is excluded waits");
    node.tailer_mut().set_policy([]);
    node.settle(DONE);
    node.check();
    assert!(node.gaps.is_empty(), "{:?}", node.gaps);
}

#[test]
fn b19_a_path_that_the_configuration_leaves_out_is_not_read_any_more() {
    let mut node = Node::new(&["*.log"]);
    for name in ["a.log", "b.log"] {
        node.note(name);
        fs::write(node.host(name), format!("{name}\n")).unwrap();
    }
    node.settle(DONE);
    node.configure = Box::new(|directory, config| {
        let host = directory.join("host");
        let exclude = Pattern::new(host.join("b.*").to_str().unwrap()).unwrap();
        let pattern = HostPattern::new(host.join("*.log").to_str().unwrap()).unwrap();
        config.files = vec![pattern.without(vec![exclude]).into()];
    });
    node.restart();
    fs::write(node.host("b.log"), "b.log\nmore\n").unwrap();
    node.note("a more");
    fs::write(node.host("a.log"), "a.log\na more\n").unwrap();
    node.settle(DONE);
    assert_eq!(Node::open_beneath(&node.host("b.log")), [] as [PathBuf; 0]);
    node.check();
    assert!(node.gaps.is_empty(), "{:?}", node.gaps);
}
