//! Stories of first starts: where Fluentd was, and what is too old.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::node::{Node, append, compress, gzip_of};
use crate::config::Since;
use crate::discover::host::HostPattern;

const DONE: Duration = Duration::from_secs(40);
const DAY: u64 = 86_400;

fn line(n: u32) -> String {
    format!("2026-11-22T09:00:{n:02}Z stdout F line {n}")
}

/// Appends lines; those that the forwarder has to send are noted.
fn write(node: &mut Node, path: &Path, numbers: std::ops::RangeInclusive<u32>, noted: bool) {
    use std::io::Write;
    for line in numbers.map(line) {
        append(path).write_all(format!("{line}\n").as_bytes()).unwrap();
        if noted {
            node.note(&line);
        }
    }
}

fn entry(path: &str, offset: u64, file: &Path) -> String {
    format!("{path}\t{offset:016x}\t{:016x}\n", fs::metadata(file).unwrap().ino())
}

fn size(path: &Path) -> u64 {
    fs::metadata(path).unwrap().len()
}

/// From the next start on the node has taken over from a Fluentd, which has written this down.
fn take_over(node: &mut Node, text: &str) {
    fs::write(node.directory.path().join("fluentd.pos"), text).unwrap();
    node.configure = Box::new(|directory, config| {
        let path = directory.join("*.pos");
        let pattern = HostPattern::new(path.to_str().unwrap()).unwrap();
        config.containers.as_mut().unwrap().pos_file = Some(pattern.clone());
        config.files.iter_mut().for_each(|input| input.pos_file = Some(pattern.clone()));
    });
}

const LINK: &str = "/var/log/containers/web-0_shop_web-0ff1ce.log";

#[test]
fn b20_a_container_log_goes_on_where_fluentd_was_over_a_rotation() {
    let mut node = Node::new(&[]);
    node.kill();
    let live = node.container().join("3.log");
    // Read by Fluentd, and rotated before; one of them is compressed.
    write(&mut node, &live, 1..=3, false);
    let oldest = node.container().join("3.log.20261122-000001");
    fs::rename(&live, &oldest).unwrap();
    compress(&oldest, &gzip_of(&oldest));
    fs::remove_file(&oldest).unwrap();
    write(&mut node, &live, 4..=6, false);
    fs::rename(&live, node.container().join("3.log.20261122-000002")).unwrap();
    write(&mut node, &live, 7..=9, false);
    let text = entry(LINK, size(&live), &live);
    // It has stopped: the container writes on, and the kubelet rotates.
    write(&mut node, &live, 10..=12, true);
    fs::rename(&live, node.container().join("3.log.20261122-000003")).unwrap();
    write(&mut node, &live, 13..=15, true);
    take_over(&mut node, &format!("/var/log/broken\n{text}"));
    node.start();
    node.settle(DONE);
    write(&mut node, &live, 16..=18, true);
    node.settle(DONE);
    node.restart();
    write(&mut node, &live, 19..=20, true);
    node.settle(DONE);
    node.check();
    assert!(node.gaps.is_empty(), "{:?}", node.gaps);
}

#[test]
fn b20_a_host_file_goes_on_where_fluentd_was_over_a_rotation() {
    let mut node = Node::new(&["x.log"]);
    node.kill();
    let live = node.host("x.log");
    write(&mut node, &live, 1..=5, false);
    // The sixth line was not whole when it was read.
    let text = entry(live.to_str().unwrap(), size(&live) + 7, &live);
    write(&mut node, &live, 6..=8, true);
    fs::rename(&live, node.host("x.log.1")).unwrap();
    write(&mut node, &live, 9..=10, true);
    take_over(&mut node, &text);
    node.start();
    node.settle(DONE);
    node.restart();
    write(&mut node, &live, 11..=12, true);
    node.settle(DONE);
    node.check();
    assert!(node.gaps.is_empty(), "{:?}", node.gaps);
}

#[test]
fn b20_a_position_of_another_file_is_not_taken() {
    let mut node = Node::new(&["x.log"]);
    node.kill();
    let (live, host) = (node.container().join("0.log"), node.host("x.log"));
    write(&mut node, &live, 1..=5, true);
    write(&mut node, &host, 11..=15, true);
    let other = "/var/log/containers/db-0_shop_web-0ff1ce.log";
    let mut text = entry(other, size(&live), &live);
    // It does not watch the one any more, and has read more of the other than there is.
    text += &entry(LINK, u64::MAX, &live);
    text += &entry(host.to_str().unwrap(), size(&host) + 1, &host);
    take_over(&mut node, &text);
    node.start();
    node.settle(DONE);
    node.check();
}

#[test]
fn b20_files_that_were_last_written_too_long_ago_begin_at_their_end() {
    let mut node = Node::new(&["x.log"]);
    node.kill();
    let (old, young, host) =
        (node.container().join("0.log"), node.container().join("1.log"), node.host("x.log"));
    write(&mut node, &old, 1..=5, false);
    write(&mut node, &host, 11..=15, false);
    for path in [&old, &host] {
        let days_ago = SystemTime::now() - Duration::from_secs(3 * DAY);
        File::options().append(true).open(path).unwrap().set_modified(days_ago).unwrap();
    }
    write(&mut node, &young, 6..=10, true);
    node.configure = Box::new(|_, config| {
        config.since = Some(Since::Age(Duration::from_secs(DAY)));
    });
    node.start();
    node.settle(DONE);
    // What is written to them from now on is read.
    write(&mut node, &old, 21..=25, true);
    write(&mut node, &host, 31..=35, true);
    node.settle(DONE);
    node.restart();
    write(&mut node, &host, 36..=37, true);
    node.settle(DONE);
    node.check();
    assert!(node.gaps.is_empty(), "{:?}", node.gaps);
}

#[test]
fn b20_times_of_files_do_not_decide_what_is_read_or_in_which_order() {
    let mut node = Node::new(&["x.log"]);
    node.kill();
    let live = node.container().join("0.log");
    let host = node.host("x.log");
    for (rotation, (first, last)) in [(1, 3), (4, 6), (7, 9)].into_iter().enumerate() {
        write(&mut node, &live, first..=last, true);
        let rotated = node.container().join(format!("0.log.20261122-00000{rotation}"));
        fs::rename(&live, &rotated).unwrap();
        // The first is of tomorrow, the last of yesterday.
        let time = SystemTime::now() + Duration::from_secs(DAY) * (3 - rotation as u32);
        let time = time - Duration::from_secs(2 * DAY);
        File::options().append(true).open(&rotated).unwrap().set_modified(time).unwrap();
    }
    write(&mut node, &live, 10..=12, true);
    write(&mut node, &host, 21..=25, true);
    let tomorrow = SystemTime::now() + Duration::from_secs(DAY);
    for path in [&live, &host] {
        File::options().append(true).open(path).unwrap().set_modified(tomorrow).unwrap();
    }
    node.start();
    node.settle(DONE);
    write(&mut node, &live, 13..=15, true);
    write(&mut node, &host, 26..=30, true);
    node.restart();
    node.settle(DONE);
    node.check();
    assert!(node.gaps.is_empty(), "{:?}", node.gaps);
}
