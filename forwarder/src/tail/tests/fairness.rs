//! One loud container beside quiet ones: how much of the loud one's goes out between a quiet line's write and its sending.

use std::fs;
use std::time::Duration;

use super::node::{Node, Writer, append};
use crate::clock;

const MIB: usize = 1 << 20;
/// More than goes out while a test lasts.
const LOUD: usize = 120 * MIB;
/// The aggregator takes a batch in that time, one after the other.
const STEP: Duration = Duration::from_millis(250);

/// Text that does not compress, a line of a log each.
fn noise(bytes: usize, seed: u64) -> String {
    let mut state = seed;
    let mut text = String::with_capacity(bytes + 128);
    let mut n = 0;
    while text.len() < bytes {
        n += 1;
        text.push_str(&format!("2026-11-22T09:00:00.{n:09}Z stdout F "));
        for _ in 0..12 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            text.push_str(&format!("{:08x}", state >> 32));
        }
        text.push('\n');
    }
    text
}

/// A slow aggregator: each step the oldest batch is acknowledged.
fn step(node: &mut Node) {
    node.pass(STEP);
    let oldest = node.unacknowledged.keys().next().copied();
    node.acknowledge(oldest.as_slice());
}

#[test]
fn b17_a_quiet_line_does_not_wait_behind_a_window_of_a_loud_one() {
    let mut node = Node::new(&[]);
    node.judge_nothing = true;
    fs::write(node.container().join("9.log"), noise(LOUD, 1)).unwrap();
    let mut quiet = Writer::new(&node, 0);
    // The window finds how much fits.
    (0..20).for_each(|_| step(&mut node));
    let mut most = 0;
    for _ in 0..8 {
        quiet.line(&mut node);
        let (line, before) = (quiet.lines_written(), node.sent_bytes);
        let mut steps = 0;
        while node.sent_after(&format!("line {line} of run 0")).is_none() {
            step(&mut node);
            steps += 1;
            assert!(steps < 1000, "the quiet line is not sent");
        }
        let behind = node.sent_after(&format!("line {line} of run 0")).unwrap() - before;
        most = most.max(behind + node.unacknowledged_bytes());
        step(&mut node);
    }
    println!("a quiet line waits behind {} KiB at most", most >> 10);
    assert!(node.read_of(9) + 5 * (MIB as u64) < LOUD as u64, "the loud one was not throttled");
    assert!(most <= 5 * MIB, "{most} bytes");
}

#[test]
fn b17_files_at_risk_get_half_and_nobody_stops() {
    let mut node = Node::new(&[]);
    node.judge_nothing = true;
    let at = node.container();
    for run in 0..8 {
        fs::write(at.join(format!("{run}.log")), noise(8 * MIB, run)).unwrap();
    }
    // One of them is rotated, and will be deleted next.
    fs::rename(at.join("7.log"), at.join("7.log.20261122-000001")).unwrap();
    drop(append(&at.join("7.log")));
    node.pass(Duration::from_millis(100));
    for _ in 0..400 {
        step(&mut node);
        if node.read_of(7) >= 6 * MIB as u64 {
            break;
        }
    }
    let at_risk = node.read_of(7);
    let others: u64 = (0..7).map(|run| node.read_of(run)).sum();
    let least = (0..7).map(|run| node.read_of(run)).min().unwrap();
    let share = at_risk as f64 / (at_risk + others) as f64;
    println!("at risk: {share:.2} of the bytes; the slowest other has {least}");
    assert!((0.4..=0.6).contains(&share), "{share}");
    assert!(least * 14 >= others, "one of the others has {least} of {others}");
}

#[test]
fn b17_the_loud_one_goes_on_beside_many_that_are_always_new() {
    let mut node = Node::new(&[]);
    node.judge_nothing = true;
    fs::write(node.container().join("9.log"), noise(8 * MIB, 1)).unwrap();
    let mut rounds = 0;
    // Each of these is read to its end in a turn, and written to again before the next round.
    while node.read_of(9) < 8 * MIB as u64 {
        for run in 0..8 {
            use std::io::Write;
            let mut file = append(&node.container().join(format!("{run}.log")));
            file.write_all(noise(200 << 10, run).as_bytes()).unwrap();
        }
        step(&mut node);
        clock::moved::wait(STEP);
        rounds += 1;
        assert!(rounds < 1000, "the loud one has read {}", node.read_of(9));
    }
}
