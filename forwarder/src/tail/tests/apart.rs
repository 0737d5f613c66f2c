//! Stories of records that an aggregator will never take.

use std::time::Duration;

use super::node::{Node, Writer};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn b12_a_poisoned_source_stays_where_it_is_and_the_others_are_saved() {
    let mut node = Node::new(&[]);
    let mut poisoned = Writer::new(&node, 0);
    let mut other = Writer::new(&node, 1);
    poisoned.lines(&mut node, 20);
    other.lines(&mut node, 20);
    node.pass(SECOND);
    let number = *node.unacknowledged.keys().next().unwrap();
    assert_eq!(node.unacknowledged.len(), 1, "both are in one batch");
    node.unacknowledged.clear();
    node.refuse_for_ever(number, 0, 70);
    poisoned.lines(&mut node, 20);
    other.lines(&mut node, 20);
    node.settle(3 * SECOND);
    let rows = node.tailer().rows();
    let refused: Vec<_> = rows.iter().map(|row| (row.acknowledged, row.refused_at)).collect();
    assert_eq!(refused, [(0, Some(70)), (rows[1].size, None)]);
    assert_eq!(rows[0].error.as_deref(), Some("the record at 70 will never be taken: no"));

    node.restart();
    let read = node.metrics.read_bytes.get();
    node.settle(3 * SECOND);
    assert_eq!(node.metrics.read_bytes.get() - read, rows[0].size, "the other is not sent again");
    node.check();
}
