//! A state directory that cannot be written: container logs ship on, host files wait, and somebody hears of it.

use std::io::Write;
use std::time::Duration;

use super::node::{Node, Writer, append};
use crate::checkpoint::tests::disk::Tmpfs;

fn not_ready(node: &Node) -> String {
    node.tailer().health.not_ready().unwrap_or_default()
}

#[test]
fn b14_container_logs_ship_on_and_host_files_wait_while_the_checkpoint_is_read_only() {
    let state = tempfile::tempdir().unwrap();
    let path = state.path().to_path_buf();
    let Some(mount) = Tmpfs::mount(&path, "size=8m") else { return };
    let mut node = Node::keeping(&["x.log"], state);
    let mut writer = Writer::new(&node, 0);
    writer.lines(&mut node, 3);
    node.settle(Duration::from_secs(2));
    node.check();
    node.kill();
    assert!(mount.remount("ro"));
    node.start();
    writer.lines(&mut node, 3);
    let mut daemon = append(&node.host("x.log"));
    node.note("a line of a daemon");
    daemon.write_all(b"a line of a daemon\n").unwrap();
    node.settle(Duration::from_secs(70));
    assert_eq!(node.missing(), [b"a line of a daemon".to_vec()], "the host file waits, alone");
    assert_eq!(node.metrics.checkpoint_saved.get(), 0);
    let reason = not_ready(&node);
    assert!(reason.starts_with("the checkpoint is not saved: "), "{reason}");
    writer.lines(&mut node, 2);
    node.settle(Duration::from_secs(2));
    assert_eq!(node.missing().len(), 1);
    assert!(mount.remount("rw"));
    node.settle(Duration::from_secs(70));
    node.check();
    assert_eq!(node.metrics.checkpoint_saved.get(), 1);
    let reason = not_ready(&node);
    assert!(!reason.contains("checkpoint"), "{reason}");
    node.restart();
    node.settle(Duration::from_secs(5));
    node.check();
    assert!(node.gaps.is_empty());
    drop(mount);
}
