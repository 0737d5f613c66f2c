//! Lines of any bytes are kept and marked; what is no log file is reported once, and read when it becomes one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use naru_integration::export;
use naru_integration::rig::Rig;
use naru_integration::seed::seeded;
use naru_proto::frame::IoStream::{Stderr, Stdout};

#[test]
fn b10_lines_of_any_bytes_are_kept_and_marked() {
    let mut random = seeded("hostile lines");
    let mut rig = Rig::new();
    let mut container = rig.node.start("shop", "web-0", "web");
    let (mut malformed, mut undecodable) = (0, 0);
    for number in 0..2000_usize {
        let mut bytes: Vec<u8> = (0..random.usize(..200)).map(|_| random.u8(..)).collect();
        bytes.retain(|byte| *byte != b'\n');
        undecodable += u64::from(std::str::from_utf8(&bytes).is_err());
        match number % 4 {
            0 => container.torn(Stderr, random.usize(1..60), &bytes),
            1 => container.garbage(&bytes),
            _ => container.line(Stdout, &bytes),
        };
        malformed += u64::from(number % 4 < 2);
    }
    container.line(Stdout, vec![0; 20_000]);
    container.line(Stdout, b"\xc1\xd6\xb9\xae \x1b[31mEUC-KR and an escape\x1b[0m \xff".as_slice());
    undecodable += 1;
    let mut process = rig.standalone();
    let address = process.ready();
    rig.caught_up(address);
    rig.judge(address, "hostile lines", None).assert_closed();
    let documents = export::by_command(address, 20_000, "*");
    let marked = |pointer: &str| {
        documents.iter().filter(|d| d.source.pointer(pointer).is_some()).count() as u64
    };
    assert_eq!(marked("/naru/malformed"), malformed);
    assert_eq!(marked("/naru/encoding_errors"), undecodable);
    assert!(process.terminate().success());
    process.assert_quiet(&[]);
}

/// Makes something that cannot be read as a log file.
type Obstacle = fn(&Path);

#[test]
fn what_cannot_be_read_is_reported_once_and_read_when_it_can_be() {
    let obstacles: [(&str, Obstacle); 3] = [
        ("directory", |path| fs::create_dir(path).unwrap()),
        ("link", |path| symlink("/etc/passwd", path).unwrap()),
        ("closed", |path| {
            fs::write(path, "").unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(0o0)).unwrap();
        }),
    ];
    // Nothing is closed to root.
    let obstacles = &obstacles[..if rustix::process::geteuid().is_root() { 2 } else { 3 }];
    let mut rig = Rig::new();
    let mut containers = Vec::new();
    for (name, obstacle) in obstacles {
        let container = rig.node.start("shop", name, "app");
        let live = container.live_path();
        fs::remove_file(&live).unwrap();
        obstacle(&live);
        containers.push(container);
    }
    let mut good = rig.node.start("shop", "good", "app");
    good.line(Stdout, "others go on");
    let mut process = rig.standalone();
    let address = process.ready();
    rig.caught_up(address);

    // Every change in a directory makes the forwarder look again.
    for container in &containers {
        for number in 0..10 {
            fs::write(container.directory().join(format!("{number}.other")), "x").unwrap();
        }
    }
    good.line(Stdout, "and on");
    rig.caught_up(address);
    for container in &mut containers {
        let live = container.live_path();
        if fs::symlink_metadata(&live).unwrap().is_dir() {
            fs::remove_dir(&live).unwrap();
        } else {
            fs::remove_file(&live).unwrap();
        }
        container.reopen();
        container.line(Stdout, "now it can be read");
    }
    rig.caught_up(address);
    let log = process.log();
    for container in &containers {
        let live = container.live_path();
        let path = live.strip_prefix(rig.node.pods()).unwrap().to_str().unwrap();
        let complaints = log.lines().filter(|line| line.contains("WARN") && line.contains(path));
        assert_eq!(complaints.count(), 1, "one report of {path}:\n{log}");
    }
    rig.judge(address, "unreadable files", None).assert_closed();
    process.assert_quiet(&["a log file cannot be read"]);
    assert!(process.terminate().success());
}
