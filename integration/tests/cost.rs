//! What the forwarder costs when there is little or too much to do, in things that can be counted: calls, descriptors, bytes.
//! Times are in `benches/forwarder.rs`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use naru_integration::cpu;
use naru_integration::eventually::{eventually, eventually_within};
use naru_integration::fault::damage::files_below;
use naru_integration::ledger::Again;
use naru_integration::metrics::Metrics;
use naru_integration::node::{Container, Kubelet};
use naru_integration::pace::lasts;
use naru_integration::ports::free_address;
use naru_integration::programs;
use naru_integration::rig::Rig;
use naru_integration::sink::{Keep, Sink};
use naru_proto::frame::IoStream::Stdout;

const PATIENCE: Duration = Duration::from_secs(120);

fn arrived(sink: &Sink, rig: &Rig) {
    let written = rig.node.ledger().written();
    eventually_within(PATIENCE, &format!("{written} lines have come"), || {
        let found = sink.document_count();
        if found >= written { Ok(()) } else { Err(format!("{found} of {written}")) }
    });
}

/// `read`, `pread` and the like of a process, and how many bytes they gave it.
fn reads(id: u32) -> (u64, u64) {
    let io = fs::read_to_string(format!("/proc/{id}/io")).unwrap();
    let field = |name: &str| -> u64 {
        let line = io.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().parse().unwrap()
    };
    (field("syscr:"), field("rchar:"))
}

/// A line in each of many files, and then nothing: nothing is read any more, not even to see that there is nothing.
#[test]
fn b24_idle_files_are_not_read() {
    const FILES: usize = 2000;
    let mut rig = Rig::new();
    let mut containers: Vec<Container> =
        (0..FILES).map(|i| rig.node.start("shop", &format!("web-{i}"), "web")).collect();
    for container in &mut containers {
        container.line(Stdout, "started, and silent from now on");
    }
    let sink = Sink::start(Keep::Documents);
    let mut forwarder = rig.forwarder(sink.address());
    arrived(&sink, &rig);
    let metric = |rig: &Rig, name: &str| {
        let (_, text) = rig.ask_forwarder("/metrics").unwrap();
        Metrics::of(text).count(name, "")
    };
    eventually("everything is acknowledged and saved", || {
        let lag = metric(&rig, "naru_forwarder_lag_bytes");
        if lag == 0 { Ok(()) } else { Err(format!("{lag} bytes behind")) }
    });
    let descriptors = fs::read_dir(format!("/proc/{}/fd", forwarder.id())).unwrap().count();
    let before = reads(forwarder.id());
    // Longer than one reconcile, which is every 30 s, and than three reports of state.
    lasts(Duration::from_secs(33));
    let after = reads(forwarder.id());
    let (calls, bytes) = (after.0 - before.0, after.1 - before.1);
    println!(
        "{FILES} idle files, 33 s: {calls} reads of {bytes} bytes, {descriptors} descriptors, {:.1} MiB",
        cpu::memory_of_process(forwarder.id()).0 as f64 / 1_048_576.0
    );
    // At each reconcile one file in twenty is looked into, in case an event got lost: two reads, where nothing is new.
    assert!(calls < FILES as u64 / 4, "{calls} reads while {FILES} files were idle");
    assert!(descriptors < FILES + 50, "more than one descriptor a file");
    let mut last = containers.pop().unwrap();
    last.line(Stdout, "and it is read as soon as it goes on");
    arrived(&sink, &rig);
    rig.node.ledger().judge(sink.documents()).assert_closed();
    assert!(forwarder.terminate().success());
    forwarder.assert_quiet(&[]);
}

/// Nobody takes anything while 100 MB are written: neither memory nor disk grow with it, and all of it arrives later.
#[test]
fn b15_a_backlog_costs_neither_memory_nor_disk() {
    const CONTAINERS: usize = 20;
    const BYTES: u64 = 100_000_000;
    let mut rig = Rig::new();
    let mut kubelet = Kubelet::new(1000);
    let mut containers: Vec<Container> =
        (0..CONTAINERS).map(|i| rig.node.start("shop", &format!("web-{i}"), "web")).collect();
    let nobody = free_address();
    let mut forwarder = rig.forwarder(nobody);
    while rig.node.ledger().bytes() < BYTES {
        for container in &mut containers {
            for number in 0..100 {
                container.line(Stdout, format!("{number:0>1000}"));
            }
            if rig.node.ledger().bytes().is_multiple_of(7) {
                kubelet.rotate(container, |_| ());
            }
        }
    }
    let mut before = 0;
    eventually("it has read as much as it will", || {
        let (_, text) = rig.ask_forwarder("/metrics")?;
        let read = Metrics::of(text).count("naru_forwarder_read_bytes_total", "");
        let same = std::mem::replace(&mut before, read) == read;
        if same && read > 0 { Ok(()) } else { Err(format!("{read} bytes read")) }
    });
    let waiting = cpu::memory_of_process(forwarder.id()).1;
    let disk: u64 = files_below(&rig.forwarder_data())
        .iter()
        .filter_map(|path| fs::metadata(path).ok())
        .map(|file| file.len())
        .sum();
    assert!(forwarder.terminate().success());

    let sink = Sink::start(Keep::Documents);
    let mut forwarder = rig.forwarder(sink.address());
    arrived(&sink, &rig);
    let draining = cpu::memory_of_process(forwarder.id()).1;
    let received = sink.received();
    let again = Again { bytes: received.bytes_again, duplicates: received.duplicates };
    let verdict = rig.node.ledger().judge(sink.documents());
    verdict.print("backlog of 100 MB", Some(again));
    println!(
        "RSS at most {:.1} MiB while nobody took it, {:.1} MiB while it was sent; {disk} bytes of its own",
        waiting as f64 / 1_048_576.0,
        draining as f64 / 1_048_576.0
    );
    verdict.assert_closed();
    // The budget is 20 MiB of what is shipped; this is a debug build, whose code alone is larger.
    assert!(waiting.max(draining) < 40 << 20, "the backlog is held in memory");
    assert!(disk < 4 << 20, "the backlog is held on the disk");
    assert!(forwarder.terminate().success());
}

const NOBODY: u32 = 65_534;

/// As nobody, with the group that most log files have: what is closed to that is told of once, with what would open it.
#[test]
fn b26_it_runs_as_nobody_and_says_which_capability_it_lacks() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: files of other users need root to be made");
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "CI runs as root");
        return;
    }
    let mut rig = Rig::new();
    let (mut open, mut closed) =
        (rig.node.start("shop", "open", "web"), rig.node.start("shop", "closed", "web"));
    for container in [&mut open, &mut closed] {
        container.line(Stdout, "of root");
    }
    let mode =
        |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    chown(open.live_path(), Some(0), Some(NOBODY)).unwrap();
    mode(&open.live_path(), 0o640);
    mode(&closed.live_path(), 0o600);
    mode(&rig.path(""), 0o755);
    fs::create_dir_all(rig.forwarder_data()).unwrap();
    chown(rig.forwarder_data(), Some(NOBODY), Some(NOBODY)).unwrap();
    let sink = Sink::start(Keep::Documents);
    let config = rig.configure_forwarder(&format!("address: {}", sink.address()));
    let program = rig.path("naru-forwarder");
    fs::copy(programs::forwarder(), &program).unwrap();
    let mut command = Command::new(program);
    command.args(["run", "--config"]).arg(config).uid(NOBODY).gid(NOBODY);
    let mut forwarder = rig.start(&mut command, "nobody");
    eventually("what its group may read has come", || {
        let found = sink.document_count();
        if found == 1 { Ok(()) } else { Err(found.to_string()) }
    });
    // Every change in its directory makes the forwarder look again, and say nothing new.
    for number in 0..5 {
        fs::write(closed.directory().join(format!("{number}.other")), "x").unwrap();
        closed.line(Stdout, "still closed");
    }
    open.line(Stdout, "and on");
    eventually("the other goes on", || {
        let found = sink.document_count();
        if found == 2 { Ok(()) } else { Err(found.to_string()) }
    });
    let (_, text) = rig.ask_forwarder("/metrics").unwrap();
    let metrics = Metrics::of(text);
    assert_eq!(metrics.count("naru_forwarder_unreadable_files", ""), 1);
    let log = forwarder.log();
    let told: Vec<&str> = log.lines().filter(|line| line.contains("WARN")).collect();
    assert_eq!(told.len(), 1, "one report:\n{log}");
    assert!(told[0].contains("CAP_DAC_READ_SEARCH") && told[0].contains("closed"), "{log}");

    chown(closed.live_path(), Some(0), Some(NOBODY)).unwrap();
    mode(&closed.live_path(), 0o640);
    fs::write(closed.directory().join("changed.other"), "x").unwrap();
    arrived(&sink, &rig);
    rig.node.ledger().judge(sink.documents()).assert_closed();
    assert!(forwarder.terminate().success());
    forwarder.assert_quiet(&["CAP_DAC_READ_SEARCH"]);
}
