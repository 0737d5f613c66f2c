//! Power cuts: a loop device with ext4 is copied while the writer is stopped, so that the copy has
//! what reached the device and nothing else; its journal is replayed and the queue opened there.
//!
//! Every batch that was acknowledged before the cut, and not completed, must be in the copy. The
//! same harness sees batches lost by the mutant that acknowledges without `fdatasync`.
//!
//! Not modelled: a device that loses what it confirmed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use naru_aggregator::queue::{Queue, QueueConfig, StoredBatch, SyncMode, Tuning};
use naru_integration::eventually::eventually;
use naru_integration::pace::Pace;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

const CUTS: u32 = 20;
const MUTANT_CUTS: u32 = 5;
/// Tells this binary, started again, to be the writer.
const WRITER_HOME: &str = "NARU_POWER_CUT_WRITER";
const WRITER_SYNC: &str = "NARU_POWER_CUT_SYNC";
/// Entries that the writer leaves in the queue, so that there is something to lose.
const BACKLOG: u64 = 40;

#[test]
fn no_acknowledged_batch_is_lost() {
    let Some(lost) = lost_in_cuts("no_acknowledged_batch_is_lost", "data", CUTS) else { return };
    let cuts = lost.len();
    assert!(lost.iter().all(|missing| *missing == 0), "lost in {cuts} cuts: {lost:?}");
}

#[test]
fn without_fdatasync_batches_are_lost() {
    let name = "without_fdatasync_batches_are_lost";
    let Some(lost) = lost_in_cuts(name, "never", MUTANT_CUTS) else { return };
    println!("the mutant lost {lost:?} batches");
    assert!(lost.iter().any(|missing| *missing > 0), "the harness does not bite: {lost:?}");
}

/// How many acknowledged batches were missing after each cut; `None` if it was skipped.
fn lost_in_cuts(name: &str, sync: &str, cuts: u32) -> Option<Vec<usize>> {
    let Some(disk) = Disk::new() else {
        println!("skipped: {name}: power_cut needs root and loop devices");
        return None;
    };
    let writer = Writer::start(&disk, sync);
    let mut lost = Vec::new();
    for cut in 0..cuts {
        // From the middle of a segment to a segment or two later.
        writer.append_some(30 + u64::from(cut) * 17 % 70);
        writer.signal(Signal::STOP);
        let expected = writer.expected();
        let delivered = disk.after_power_cut();
        writer.signal(Signal::CONT);
        let missing = expected.difference(&delivered).count();
        println!(
            "cut {cut}: {} expected, {} found, {missing} missing",
            expected.len(),
            delivered.len()
        );
        assert!(!expected.is_empty(), "nothing was at stake");
        lost.push(missing);
    }
    Some(lost)
}

/// An ext4 file system in a file, mounted through a loop device.
struct Disk {
    home: TempDir,
    /// Unmounted before the directory goes.
    _mount: Mount,
}

impl Disk {
    fn new() -> Option<Self> {
        let is_root = rustix::process::geteuid().is_root();
        let made = if is_root { Self::make() } else { Err("not root".to_owned()) };
        match made {
            Ok(disk) => Some(disk),
            Err(why) => {
                let must = is_root && std::env::var_os("CI").is_some();
                assert!(!must, "CI as root, and no loop device: {why}");
                println!("{why}");
                None
            }
        }
    }

    fn make() -> Result<Self, String> {
        let home = tempfile::tempdir().map_err(|error| error.to_string())?;
        let image = home.path().join("image");
        File::create(&image).and_then(|file| file.set_len(512 << 20)).map_err(|e| e.to_string())?;
        run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image))?;
        // Nothing but an fsync commits the journal while the image is copied.
        let mount = Mount::new(&image, &home.path().join("mounted"), "loop,commit=600")?;
        Ok(Self { home, _mount: mount })
    }

    /// The ids that a start finds on what the device has by now.
    fn after_power_cut(&self) -> BTreeSet<u64> {
        let copy = self.home.path().join("copy");
        run(Command::new("cp")
            .arg("--sparse=always")
            .arg(self.home.path().join("image"))
            .arg(&copy))
        .unwrap();
        let mounted = self.home.path().join("copy-mounted");
        let mount = Mount::new(&copy, &mounted, "loop").unwrap();
        let (queue, opened) = Queue::open(config(mounted.join("queue"), SyncMode::Data)).unwrap();
        assert!(opened.quarantined.is_empty(), "{opened:?}");
        let mut reader = queue.reader().unwrap();
        let mut found = BTreeSet::new();
        while let Some(lease) = reader.next(Duration::ZERO) {
            found.extend(lease.batches().iter().map(id));
            lease.complete();
        }
        assert_eq!(queue.quarantined(), []);
        drop((reader, queue));
        drop(mount);
        found
    }
}

struct Mount {
    at: PathBuf,
}

impl Mount {
    fn new(image: &Path, at: &Path, options: &str) -> Result<Self, String> {
        fs::create_dir_all(at).map_err(|error| error.to_string())?;
        run(Command::new("mount").args(["-t", "ext4", "-o", options]).arg(image).arg(at))?;
        Ok(Self { at: at.to_owned() })
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily if somebody is still in there: the loop device goes with the last one.
        if run(Command::new("umount").arg(&self.at)).is_err() {
            run(Command::new("umount").arg("-l").arg(&self.at)).ok();
        }
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)))
}

/// The process that loses its power: this test binary, started again.
struct Writer {
    child: Child,
    log: PathBuf,
}

impl Writer {
    fn start(disk: &Disk, sync: &str) -> Self {
        // The log is on another file system: it is what the outside world saw.
        let log = disk.home.path().join("log");
        File::create(&log).unwrap();
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "writer", "--nocapture"])
            .env(WRITER_HOME, disk.home.path())
            .env(WRITER_SYNC, sync)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, log }
    }

    /// Lets it run for so many acknowledgements more.
    fn append_some(&self, more: u64) {
        let count = || self.log().lines().filter(|line| line.starts_with('a')).count() as u64;
        let enough = count() + more;
        eventually("acknowledgements", || match count() {
            now if now >= enough => Ok(()),
            now => Err(format!("{now} of {enough}")),
        });
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Acknowledged, and not about to be completed.
    fn expected(&self) -> BTreeSet<u64> {
        let mut acknowledged = BTreeSet::new();
        let mut completed = BTreeSet::new();
        for line in self.log().lines() {
            let (what, id) = line.split_at(1);
            let set = if what == "a" { &mut acknowledged } else { &mut completed };
            set.insert(id.parse().unwrap());
        }
        &acknowledged - &completed
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn config(dir: PathBuf, sync: SyncMode) -> QueueConfig {
    QueueConfig {
        // A new segment several times between two cuts.
        segment_max_bytes: 4 << 20,
        reserve_percent: 0,
        ballast_bytes: 1 << 20,
        tuning: Tuning { sync, ..Tuning::default() },
        ..QueueConfig::new(dir)
    }
}

fn id(batch: &StoredBatch) -> u64 {
    assert_eq!(crc32c::crc32c(&batch.body), batch.crc32c, "not what was appended");
    u64::from_le_bytes(batch.body[..8].try_into().unwrap())
}

fn batch(id: u64) -> StoredBatch {
    let mut state = id.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut body = id.to_le_bytes().to_vec();
    while body.len() < 100 + (id as usize * 7919) % 150_000 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        body.extend_from_slice(&state.to_le_bytes());
    }
    StoredBatch {
        node: "node-1".into(),
        received_ms: 0,
        records: 1,
        raw_bytes: body.len() as u32,
        crc32c: crc32c::crc32c(&body),
        body: Bytes::from(body),
    }
}

/// Not a test of its own: the process that the others stop. It appends from eight tasks, and a
/// thread completes what is older than the backlog, so that cuts meet segments being deleted.
#[test]
fn writer() {
    let Some(home) = std::env::var_os(WRITER_HOME).map(PathBuf::from) else { return };
    let never = std::env::var(WRITER_SYNC).is_ok_and(|sync| sync == "never");
    let sync = if never { SyncMode::Never } else { SyncMode::Data };
    let (queue, _) = Queue::open(config(home.join("mounted/queue"), sync)).unwrap();
    let queue = Arc::new(queue);
    let log = OpenOptions::new().append(true).open(home.join("log")).unwrap();
    let log = Arc::new(Mutex::new(log));
    std::thread::spawn({
        let (queue, log) = (Arc::clone(&queue), Arc::clone(&log));
        move || complete(&queue, &log)
    });
    let next = Arc::new(AtomicU64::new(1));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let (queue, log, next) = (Arc::clone(&queue), Arc::clone(&log), Arc::clone(&next));
            let mut pace = tokio::time::interval(Duration::from_millis(30));
            tasks.spawn(async move {
                loop {
                    let id = next.fetch_add(1, Ordering::Relaxed);
                    queue.append(batch(id)).await.unwrap();
                    log.lock().unwrap().write_all(format!("a{id}\n").as_bytes()).unwrap();
                    // A few MB/s are enough, and leave the copies small.
                    pace.tick().await;
                }
            });
        }
        tasks.join_all().await;
    });
}

fn complete(queue: &Queue, log: &Mutex<File>) {
    let mut reader = queue.reader().unwrap();
    let mut pace = Pace::new(Duration::from_millis(2));
    loop {
        pace.next();
        if queue.stats().entries < BACKLOG {
            continue;
        }
        let Some(lease) = reader.next(Duration::from_millis(100)) else { continue };
        let lines: String =
            lease.batches().iter().map(|batch| format!("c{}\n", id(batch))).collect();
        log.lock().unwrap().write_all(lines.as_bytes()).unwrap();
        lease.complete();
    }
}
