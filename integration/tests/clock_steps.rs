//! The wall clock is put back and forward by a day, again and again, while the forwarder runs and is started again: the
//! node's, so that the lines' times, the files' and the rotated names jump, and the forwarder's own where libfaketime can be
//! loaded into it. Nothing is lost, nothing comes twice, and every container's lines come in their order.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use naru_integration::eventually::eventually;
use naru_integration::ledger::Again;
use naru_integration::line::LineKey;
use naru_integration::node::{Container, HostLog, Kubelet};
use naru_integration::pace::Pace;
use naru_integration::process::Process;
use naru_integration::rig::Rig;
use naru_integration::scale::scaled;
use naru_integration::seed::seeded;
use naru_integration::sink::{Keep, Sink};
use naru_proto::frame::IoStream::{Stderr, Stdout};

const DAY_S: i64 = 86_400;
/// Days ahead of the machine's clock, one after the other.
const DAYS: [i64; 6] = [-1, 1, 0, 1, -1, 0];
const CONTAINERS: usize = 4;
const WRITES: usize = 60;
const STEP: Duration = Duration::from_millis(10);
/// A kubelet deletes what is oldest by its name, which a clock that was put back gives to the newest: here it deletes nothing.
const FILES_MAX: usize = 10_000;

/// libfaketime, which puts a process's clock where a file says.
fn libfaketime() -> Option<PathBuf> {
    let name = "faketime/libfaketime.so.1";
    let libraries = fs::read_dir("/usr/lib").ok()?.filter_map(Result::ok).map(|entry| entry.path());
    let found = libraries.map(|path| path.join(name)).find(|path| path.exists());
    if found.is_none() {
        println!(
            "skipped: the forwarder's own clock is not put anywhere: no libfaketime (faketime)"
        );
        assert!(std::env::var_os("CI").is_none(), "libfaketime is missing");
    }
    found
}

struct Story {
    rig: Rig,
    sink: Sink,
    library: Option<PathBuf>,
    kubelet: Kubelet,
    containers: Vec<Container>,
    daemon: HostLog,
    random: fastrand::Rng,
}

impl Story {
    fn new() -> Self {
        let mut rig = Rig::new();
        let host = rig.path("host");
        fs::create_dir(&host).unwrap();
        let pattern = host.join("*.log");
        rig.settings = format!("files:\n  - {{name: daemons, path: \"{}\"}}\n", pattern.display());
        let daemon = HostLog::open(&host.join("daemon.log"), rig.node.ledger());
        let containers =
            (0..CONTAINERS).map(|i| rig.node.start("shop", &format!("web-{i}"), "web")).collect();
        let (sink, library) = (Sink::start(Keep::Documents), libfaketime());
        let (kubelet, random) = (Kubelet::new(FILES_MAX), seeded("clock"));
        Self { rig, sink, library, kubelet, containers, daemon, random }
    }

    fn offset_file(&self) -> PathBuf {
        self.rig.path("offset")
    }

    fn put_clocks(&self, days: i64) {
        self.rig.node.put_clock(days * DAY_S);
        fs::write(self.offset_file(), format!("{:+}\n", days * DAY_S)).unwrap();
    }

    fn start(&mut self) -> Process {
        let Some(library) = self.library.clone() else {
            return self.rig.forwarder(self.sink.address());
        };
        let preload = format!("LD_PRELOAD={}", library.display());
        let offset = format!("FAKETIME_TIMESTAMP_FILE={}", self.offset_file().display());
        // Only the wall's clock, and read anew at every look at it.
        let by = ["env", &preload, &offset, "FAKETIME_NO_CACHE=1", "DONT_FAKE_MONOTONIC=1"];
        self.rig.forwarder_by(&[&by[..], &["NO_FAKE_STAT=1"]].concat(), self.sink.address())
    }

    /// Lines of everybody, rotations, and times of files that lie a day before or ahead.
    fn write(&mut self) {
        let mut pace = Pace::new(STEP);
        for _ in 0..WRITES {
            let index = self.random.usize(..CONTAINERS);
            let container = &mut self.containers[index];
            for _ in 0..self.random.usize(1..6) {
                let iostream = if self.random.bool() { Stdout } else { Stderr };
                container.line(iostream, "x".repeat(self.random.usize(..200)));
            }
            self.daemon.line("of the daemon");
            if self.random.u8(..8) == 0 {
                container.begin(Stdout, "begun before the rotation, ");
                self.kubelet.rotate(container, |_| ());
                container.finish(Stdout, "finished after it");
            }
            if self.random.u8(..8) == 0 {
                let days = self.random.i64(-1..=1);
                date(&self.containers[index].live_path(), days);
            }
            pace.next();
        }
    }

    fn caught_up(&self) {
        let written = self.rig.node.ledger().written();
        eventually("every line has arrived", || match self.sink.document_count() {
            count if count >= written => Ok(()),
            count => Err(format!("{count} of {written}")),
        });
    }
}

/// The file was last written so many days from now, it says.
fn date(path: &Path, days: i64) {
    let day = Duration::from_secs(DAY_S as u64);
    let now = SystemTime::now();
    let time = match days {
        0 => now,
        1.. => now + day,
        _ => now - day,
    };
    OpenOptions::new().append(true).open(path).unwrap().set_modified(time).unwrap();
}

/// Lines of one iostream that came before an earlier one.
fn out_of_order(sink: &Sink) -> Vec<LineKey> {
    let mut arrivals: HashMap<_, Vec<(u64, i64)>> = HashMap::new();
    for (indexed, arrived_ns) in sink.arrivals() {
        let key = LineKey::find(&indexed.text).unwrap();
        arrivals.entry((key.container, key.iostream)).or_default().push((key.number, arrived_ns));
    }
    let mut found = Vec::new();
    for ((container, iostream), mut lines) in arrivals {
        lines.sort();
        let early = lines.windows(2).filter(|pair| pair[1].1 < pair[0].1);
        found.extend(early.map(|pair| LineKey { container, iostream, number: pair[1].0 }));
    }
    found
}

#[test]
fn b20_a_clock_that_is_put_back_and_forward_by_a_day_changes_nothing() {
    let mut story = Story::new();
    story.put_clocks(0);
    let mut forwarder = story.start();
    let rounds = scaled(1, 20);
    for (number, days) in DAYS.repeat(rounds).into_iter().enumerate() {
        story.put_clocks(days);
        // Some of it waits in rotated files, whose names are of another day than those before.
        if number % 2 == 0 {
            story.sink.hang();
        }
        story.write();
        story.sink.go_on();
        // A start goes by names where the checkpoint does not say more, and these names are wrong: see docs/gaps.md. So all
        // is saved before it.
        story.caught_up();
        if story.random.u8(..2) == 0 {
            assert!(forwarder.terminate().success());
            forwarder = story.start();
        }
        // Before that SIGTERM would be the end of it.
        eventually("it runs", || match forwarder.log().is_empty() {
            true => Err("it has said nothing yet".to_owned()),
            false => Ok(()),
        });
    }
    story.caught_up();
    let received = story.sink.received();
    let again = Again { bytes: received.bytes_again, duplicates: received.duplicates };
    let verdict = story.rig.node.ledger().judge(story.sink.documents());
    verdict.print(&format!("the clock put {} times", DAYS.len() * rounds), Some(again));
    verdict.assert_closed();
    assert_eq!(out_of_order(&story.sink), [], "the order is another");
    assert_eq!(story.sink.gaps(), [], "nothing was lost");
    assert!(forwarder.terminate().success());
}
