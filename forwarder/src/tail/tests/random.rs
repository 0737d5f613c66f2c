//! Random orders of what a writer, the kubelet or logrotate, the aggregator and the process do.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use super::node::{Node, Writer, append, compress};
use crate::clock;
use crate::config::Hold;

struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// Whatever happens in whatever order: once, and nothing lost, while the kubelet keeps what is not read.
fn story(seed: u64) {
    let chance = &mut Chance(seed);
    let mut node = Node::new(&[]);
    let mut writer = Writer::new(&node, 0);
    let mut plain: Vec<PathBuf> = Vec::new();
    let mut renamed = false;
    for _ in 0..40 {
        match chance.below(15) {
            0..=2 => writer.lines(&mut node, chance.below(20) as usize),
            3 => writer.partial(&mut node),
            4 => writer.write(&mut node, "stderr P", "\n"),
            5 => writer.write(&mut node, "stderr F", "\n"),
            6 if !renamed => {
                plain.push(writer.rename());
                renamed = true;
            }
            6 | 7 if renamed => {
                writer.reopen();
                renamed = false;
            }
            8 if plain.len() > usize::from(renamed) => {
                writer.gzip(&plain.remove(0), || ());
            }
            9 => {
                node.restart();
            }
            10 => {
                let numbers: Vec<u64> = node.unacknowledged.keys().copied().collect();
                let some: Vec<u64> = numbers.into_iter().filter(|_| chance.below(2) == 0).collect();
                node.acknowledge(&some);
            }
            11 => node.pass(Duration::from_secs(1 + chance.below(12))),
            // Long enough to fall asleep, where everything is acknowledged.
            12 => {
                clock::moved::wall(Duration::from_secs(100));
                for _ in 0..4 {
                    node.pass(Duration::from_secs(25));
                    node.acknowledge_all();
                }
            }
            _ => drop(node.round()),
        }
    }
    if renamed {
        writer.reopen();
    }
    node.settle(Duration::from_secs(14));
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| node.check()));
    assert!(result.is_ok(), "seed {seed}");
}

/// A daemon's log, as logrotate numbers and compresses it.
struct Rotated {
    file: fs::File,
    /// Of the numbered files, newest first: whether it is compressed.
    numbered: Vec<bool>,
    lines: u64,
}

impl Rotated {
    fn name(number: usize, gzip: bool) -> String {
        format!("x.log.{number}{}", if gzip { ".gz" } else { "" })
    }

    fn lines(&mut self, node: &mut Node, count: u64) {
        for _ in 0..count {
            self.lines += 1;
            let line = format!("line {} of a daemon", self.lines);
            node.note(&line);
            self.file.write_all(format!("{line}\n").as_bytes()).unwrap();
        }
    }

    /// Each numbered file gets the next number.
    fn shift(&mut self, node: &Node) {
        for (at, gzip) in self.numbered.iter().enumerate().rev() {
            let (from, to) = (Self::name(at + 1, *gzip), Self::name(at + 2, *gzip));
            fs::rename(node.host(&from), node.host(&to)).unwrap();
        }
        self.numbered.insert(0, false);
    }

    fn rotate(&mut self, node: &mut Node, late: u64) {
        self.shift(node);
        fs::rename(node.host("x.log"), node.host("x.log.1")).unwrap();
        self.lines(node, late);
        self.file = append(&node.host("x.log"));
    }

    fn copytruncate(&mut self, node: &Node) {
        self.shift(node);
        fs::copy(node.host("x.log"), node.host("x.log.1")).unwrap();
        self.file.set_len(0).unwrap();
    }

    /// As `delaycompress`: the newest stays plain.
    fn compress(&mut self, node: &Node) {
        for (at, gzip) in self.numbered.iter_mut().enumerate().skip(1).filter(|(_, gzip)| !**gzip) {
            let (plain, packed) =
                (node.host(&Self::name(at + 1, false)), node.host(&Self::name(at + 1, true)));
            let modified = fs::metadata(&plain).unwrap().modified().unwrap();
            compress(&plain, &packed);
            fs::File::options().write(true).open(&packed).unwrap().set_modified(modified).unwrap();
            fs::remove_file(plain).unwrap();
            *gzip = true;
        }
    }
}

/// The same of a host's log. Copies lose nothing here: nobody writes between copying and truncating.
fn host_story(seed: u64, copies: bool) {
    let chance = &mut Chance(seed);
    let mut node = Node::in_memory(&["x.log"]);
    let file = append(&node.host("x.log"));
    let mut daemon = Rotated { file, numbered: Vec::new(), lines: 0 };
    daemon.lines(&mut node, 1 + chance.below(3));
    node.settle(Duration::from_secs(1));
    let mut stopped = false;
    for _ in 0..30 {
        match chance.below(12) {
            0..=3 => {
                let count = chance.below(9);
                daemon.lines(&mut node, count);
            }
            4 | 5 if copies => daemon.copytruncate(&node),
            4 | 5 => {
                let late = if stopped { 0 } else { chance.below(3) };
                daemon.rotate(&mut node, late);
            }
            6 => daemon.compress(&node),
            7 if stopped => node.start(),
            7 => node.kill(),
            8 if !stopped => node.acknowledge_all(),
            9 if !stopped => node.pass(Duration::from_secs(1 + chance.below(12))),
            _ if !stopped => drop(node.round()),
            _ => {}
        }
        stopped = node.is_stopped();
        // What is written is seen before the next copy of it is made, or there is no telling what it is a copy of.
        if copies && !stopped {
            node.round();
        }
    }
    if stopped {
        node.start();
    }
    node.settle(Duration::from_secs(5));
    daemon.lines(&mut node, 2);
    node.settle(Duration::from_secs(5));
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| node.check()));
    assert!(result.is_ok(), "seed {seed}, copies {copies}");
    assert!(copies || node.gaps.is_empty(), "seed {seed}: {:?}", node.gaps);
}

/// How many histories of host files are tried; more on demand.
fn seeds() -> u64 {
    std::env::var("SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(60)
}

#[test]
fn b4_whatever_happens_to_a_host_file_every_line_is_indexed_once() {
    for seed in 0..seeds() {
        host_story(seed, false);
    }
}

#[test]
fn b5_whatever_is_copied_and_truncated_every_line_is_indexed_once() {
    for seed in 0..seeds() {
        host_story(seed, true);
    }
}

/// Deleted files over the budget: every byte is sent once, or declared.
fn budget_story(seed: u64) {
    let chance = &mut Chance(seed);
    let mut node = Node::in_memory(&[]);
    node.configure = Box::new(|_, config| {
        let max_age = Duration::from_secs(20);
        config.hold = Hold { max_bytes: 700_000, max_age, min_free_percent: 0 };
    });
    node.restart();
    node.round();
    for run in 0..4 {
        let mut writer = Writer::new(&node, run);
        writer.lines(&mut node, 100 + chance.below(9000) as usize);
        for _ in 0..chance.below(4) {
            node.round();
        }
        node.deaf = chance.below(3) == 0;
        node.look_into_containers();
        fs::remove_file(writer.live()).unwrap();
        node.pass(Duration::from_millis(300 + chance.below(9000)));
        node.deaf = false;
        if chance.below(2) == 0 {
            node.settle(Duration::from_secs(2));
        }
    }
    node.settle(Duration::from_secs(40));
    let missing: u64 = node.missing().iter().map(|line| line.len() as u64 + 1).sum();
    let ends = node.gaps.iter().map(|gap| gap.end_exclusive.unwrap() - gap.start);
    assert_eq!(missing, ends.sum::<u64>(), "seed {seed}: {:?}", node.gaps);
    assert!(node.twice().is_empty());
}

#[test]
fn b6_whatever_the_budget_drops_every_byte_is_sent_once_or_declared() {
    for seed in 0..40 {
        budget_story(seed);
    }
}

#[test]
fn whatever_happens_every_line_is_indexed_once() {
    for seed in 0..300 {
        story(seed);
    }
}
