//! The aggregator's policy: what it excludes is not read, without a restart and after one.

use std::fs;
use std::time::Duration;

use naru_proto::wire::{ExcludedPod, Policy};

use super::node::{Node, Writer};
use crate::files::FileStateName;

const SECOND: Duration = Duration::from_secs(1);

fn excluding(generation: u64, pods: &[(&str, &str)]) -> Policy {
    let pod = |(namespace, pod): &(&str, &str)| ExcludedPod {
        namespace: (*namespace).to_owned(),
        pod: (*pod).to_owned(),
        ..ExcludedPod::default()
    };
    Policy { generation, excluded: pods.iter().map(pod).collect(), ..Policy::default() }
}

#[test]
fn b19_a_policy_stops_reading_without_a_restart_and_holds_after_one() {
    for (namespace, pod) in [("shop", "web-0"), ("shop", "")] {
        let mut node = Node::new(&[]);
        let mut writer = Writer::new(&node, 0);
        writer.lines(&mut node, 10);
        node.settle(2 * SECOND);
        node.say_policy(excluding(1, &[("other", "web-0"), (namespace, pod)]));
        node.settle(SECOND);
        let read = node.metrics.read_bytes.get();
        writer.lines(&mut node, 10);
        node.settle(3 * SECOND);
        assert_eq!(node.metrics.read_bytes.get(), read, "it is not read");
        assert_eq!(node.tailer().rows()[0].state, FileStateName::Excluded);

        node.restart();
        node.settle(3 * SECOND);
        assert_eq!(node.metrics.read_bytes.get(), read, "no stream has said it yet");
        assert_eq!(node.missing().len(), 10);

        node.say_policy(excluding(2, &[]));
        node.settle(3 * SECOND);
        node.check();
    }
}

#[test]
fn b19_a_saved_policy_that_is_damaged_excludes_nothing() {
    let mut node = Node::new(&[]);
    let mut writer = Writer::new(&node, 0);
    node.say_policy(excluding(1, &[("shop", "web-0")]));
    node.settle(SECOND);
    fs::write(node.state.path().join("policy"), [0xff; 40]).unwrap();
    node.restart();
    writer.lines(&mut node, 10);
    node.settle(3 * SECOND);
    node.check();
}
