//! Where records end, with files, time and restarts: pieces of lines, multi-line rules, odd lines and long ones.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::node::Node;
use crate::config::Config;
use crate::cut::Rule;

const SECOND: Duration = Duration::from_secs(1);

/// A container's line.
fn line(second: u8, tag: &str, text: &str) -> String {
    format!("2026-11-22T00:30:{second:02}Z {tag} {text}")
}

/// Writes a line, and notes it.
fn write(node: &mut Node, path: &PathBuf, line: &str) {
    node.note(line);
    let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
    file.write_all(format!("{line}\n").as_bytes()).unwrap();
}

/// A node whose containers have a multi-line rule.
fn with_rule(files: &[&str], name: &'static str) -> Node {
    let mut node = Node::new(files);
    node.configure = Box::new(move |_, config: &mut Config| {
        let rule = Rule::preset(name).unwrap();
        let containers = config.containers.as_mut().unwrap();
        containers.multiline = crate::config::ContainerRules::everywhere(Arc::clone(&rule));
        config.files.iter_mut().for_each(|input| input.multiline = Some(Arc::clone(&rule)));
    });
    node.restart();
    node
}

#[test]
fn b9_four_interleaved_fragments_are_two_records() {
    let mut node = Node::new(&[]);
    let path = node.container().join("0.log");
    let lines = [("stdout P", "a"), ("stderr P", "x"), ("stdout F", "b"), ("stderr F", "y")];
    let lines = lines.map(|(tag, text)| line(1, tag, text));
    lines.iter().for_each(|line| write(&mut node, &path, line));
    node.settle(SECOND);
    node.check();
    assert!(node.together(&[&lines[0], &lines[2]]) && node.together(&[&lines[1], &lines[3]]));
    assert!(!node.together(&[&lines[0], &lines[1]]));
}

#[test]
fn b9_fragments_go_on_in_the_next_file_and_after_a_kill_between_them() {
    for kill in [false, true] {
        let mut node = Node::new(&[]);
        let path = node.container().join("0.log");
        let (head, tail) = (line(1, "stdout P", "a"), line(2, "stdout F", "b"));
        write(&mut node, &path, &line(0, "stdout F", "first"));
        write(&mut node, &path, &head);
        node.settle(SECOND);
        fs::rename(&path, path.with_file_name("0.log.20261122-093000")).unwrap();
        if kill {
            node.restart();
        }
        write(&mut node, &path, &tail);
        node.settle(5 * SECOND);
        node.check();
        assert!(node.together(&[&head, &tail]), "kill {kill}");
        assert_eq!(node.metrics.incomplete_records.get(), 0);
    }
}

#[test]
fn b9_a_fragment_without_an_end_is_cut_and_stays_cut() {
    let mut node = Node::new(&[]);
    let path = node.container().join("0.log");
    write(&mut node, &path, &line(1, "stdout P", "panicked"));
    node.pass(12 * SECOND);
    assert_eq!(node.metrics.incomplete_records.get(), 1);
    // Sent and not acknowledged: cut at the same place again.
    node.restart();
    write(&mut node, &path, &line(2, "stdout F", "after all"));
    node.settle(SECOND);
    node.check();
}

#[test]
fn a_multi_line_record_ends_with_the_next_or_with_silence() {
    let mut node = with_rule(&[], "java");
    let path = node.container().join("0.log");
    let boom = ["ERROR boom", "java.lang.XError: y", "\tat a.B"];
    let boom = boom.map(|text| line(1, "stdout F", text));
    boom.iter().for_each(|line| write(&mut node, &path, line));
    node.settle(2 * SECOND);
    assert_eq!(node.documents_of(&boom[0]), 0, "more may come");
    node.settle(2 * SECOND);
    node.check();
    assert!(node.together(&[&boom[0], &boom[1], &boom[2]]));
    assert_eq!(node.metrics.incomplete_records.get(), 0, "every line of it is whole");
    let next = line(20, "stdout F", "\tat late.One");
    write(&mut node, &path, &next);
    node.settle(5 * SECOND);
    node.check();
    assert!(!node.together(&[&boom[0], &next]));
}

#[test]
fn a_multi_line_record_is_whole_after_a_kill_in_the_middle() {
    let mut node = with_rule(&["app.log"], "java");
    let container = node.container().join("0.log");
    let host = node.host("app.log");
    let first = [line(1, "stdout F", "one"), line(1, "stdout F", "java.lang.Error")];
    first.iter().for_each(|line| write(&mut node, &container, line));
    ["h1", "h2", "java.io.IOException: h"].iter().for_each(|line| write(&mut node, &host, line));
    // All that can be is acknowledged; the restart reads what waits again.
    node.settle(SECOND);
    assert!(node.documents_of("h1") == 1 && node.documents_of("h2") == 0);
    node.restart();
    let rest = [line(2, "stdout F", "\tat x"), line(9, "stdout F", "two")];
    rest.iter().for_each(|line| write(&mut node, &container, line));
    ["\tat y", "h3"].iter().for_each(|line| write(&mut node, &host, line));
    node.settle(10 * SECOND);
    node.check();
    assert!(node.together(&[&first[0], &first[1], &rest[0]]));
    assert!(node.together(&["h2", "java.io.IOException: h", "\tat y"]));
    assert!(!node.together(&[&rest[0], &rest[1]]) && !node.together(&["h2", "h3"]));
}

#[test]
fn a_cut_by_silence_is_repeated_after_a_kill() {
    let mut node = with_rule(&["app.log"], "java");
    let container = node.container().join("0.log");
    let host = node.host("app.log");
    let one = line(1, "stdout F", "one");
    write(&mut node, &container, &one);
    write(&mut node, &host, "h1");
    // Sent, and nothing is acknowledged.
    node.pass(7 * SECOND);
    assert!(node.documents_of(&one) == 1 && node.documents_of("h1") == 1);
    node.restart();
    // By their times and the rule they would belong to it.
    let late = line(2, "stdout F", "\tat late");
    write(&mut node, &container, &late);
    write(&mut node, &host, "\tat h");
    node.settle(10 * SECOND);
    node.check();
    assert!(!node.together(&[&one, &late]) && !node.together(&["h1", "\tat h"]));
}

#[test]
fn a_host_record_is_dated_by_its_first_byte() {
    let mut node = with_rule(&["app.log"], "java");
    let host = node.host("app.log");
    write(&mut node, &host, "h1");
    node.settle(SECOND);
    // Another minute's step begins while it waits.
    crate::clock::moved::wall(61 * SECOND);
    write(&mut node, &host, "\tat x");
    node.settle(SECOND);
    node.restart();
    write(&mut node, &host, "h2");
    node.pass(8 * SECOND);
    node.restart();
    node.settle(8 * SECOND);
    node.check();
    assert!(node.together(&["h1", "\tat x"]));
}

#[test]
fn b10_odd_lines_arrive_as_they_are() {
    let mut node = Node::new(&[]);
    let path = node.container().join("0.log");
    let torn = "2026-03-10T15:48:15.2+08:00 stdout 2026-03-10T16:03:15.2+08:00 stdout F + true";
    write(&mut node, &path, torn);
    write(&mut node, &path, &"\0".repeat(4096));
    for digits in 0..=9 {
        let fraction = ".123456789".get(..digits + usize::from(digits > 0)).unwrap_or_default();
        let good = format!("2026-03-10T15:48:15{fraction}+08:00 stdout F {digits}");
        write(&mut node, &path, &good);
        write(&mut node, &path, &format!("{} x", good.replace("15:48", "15:99")));
    }
    node.settle(SECOND);
    node.check();
    assert_eq!(node.metrics.malformed_records.get(), 12);
}

#[test]
fn b11_lines_of_every_length_arrive_and_the_next_is_intact() {
    let mut node = Node::new(&["app.log"]);
    let (container, host) = (node.container().join("0.log"), node.host("app.log"));
    const KIB: usize = 1 << 10;
    let lengths = [1, 16 * KIB - 1, 16 * KIB, 16 * KIB + 1, 77_000, 900 * KIB];
    for (number, length) in lengths.into_iter().enumerate() {
        let text = format!("{number}{}", "x".repeat(length - 1));
        write(&mut node, &container, &line(number as u8, "stdout F", &text));
        write(&mut node, &host, &text);
        write(&mut node, &container, &line(number as u8, "stderr F", "next"));
    }
    node.settle(5 * SECOND);
    node.check();
}

/// Bytes that this process has ever had resident at once.
fn peak_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim_end_matches("kB").trim().parse::<u64>().unwrap() << 10
}

#[test]
fn b11_a_line_of_one_gib_needs_no_memory_and_the_next_is_intact() {
    const GIB: u64 = 1 << 30;
    let mut node = Node::new(&["app.log"]);
    let host = node.host("app.log");
    // Sparse: NUL bytes that need no disk.
    let mut file = OpenOptions::new().create(true).append(true).open(&host).unwrap();
    file.set_len(GIB).unwrap();
    let before = peak_bytes();
    node.forgetful = true;
    let cap = 960 << 10;
    while node.metrics.read_bytes.get() < GIB / cap * cap {
        node.settle(Duration::from_millis(250));
    }
    file.write_all(b"\n").unwrap();
    node.settle(SECOND);
    node.forgetful = false;
    let next = "the next line";
    write(&mut node, &host, next);
    node.settle(SECOND);
    // The kernel sums it up roughly.
    let grown = peak_bytes().saturating_sub(before);
    println!("a line of 1 GiB: peak grew by {:.1} MiB", grown as f64 / 1_048_576.0);
    assert_eq!(node.documents_of(next), 1);
    assert_eq!(node.metrics.read_bytes.get(), GIB + 1 + next.len() as u64 + 1);
    assert_eq!(node.metrics.cut_records.get(), GIB.div_ceil(cap) + 1);
}
