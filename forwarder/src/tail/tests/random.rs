//! Random orders of what a writer, the kubelet or logrotate, the aggregator and the process do.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use super::node::{Node, Writer};
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
        match chance.below(14) {
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
