//! Power cuts: a loop device with ext4 is copied while the writer is stopped, so that the copy has
//! what reached the device and nothing else; its journal is replayed and the queue opened there.
//!
//! Every batch that was acknowledged before the cut, and not completed, must be in the copy, and where
//! delivered segments are retained every acknowledged one. Every dead letter that was kept must be there, and
//! none that was settled. The same harness sees batches lost by the mutant that acknowledges without
//! `fdatasync`. The writer rolls segments, drains and deletes or retains them all the while; `NARU_LONG=1` makes
//! 100 cuts of each kind.
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
use naru_aggregator::queue::{
    Content, DeliveredEntry, Letter, Letters, LettersConfig, Queue, QueueConfig, Retain, Sequence,
    StoredBatch, SyncMode, Tuning,
};
use naru_integration::eventually::eventually;
use naru_integration::pace::Pace;
use naru_integration::scale::scaled;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Without retention segments are deleted, with it they are moved.
const CUTS: u32 = 12;
const RETAINING_CUTS: u32 = 8;
const LONG_CUTS: u32 = 100;
/// What 100 cuts write fits, retained; it is sparse.
const IMAGE_BYTES: u64 = 1 << 30;
const MUTANT_CUTS: u32 = 5;
/// Tells this binary, started again, to be the writer.
const WRITER_HOME: &str = "NARU_POWER_CUT_WRITER";
const WRITER_SYNC: &str = "NARU_POWER_CUT_SYNC";
const WRITER_RETAINS: &str = "NARU_POWER_CUT_RETAINS";
/// Entries that the writer leaves in the queue, so that there is something to lose.
const BACKLOG: u64 = 40;

#[test]
fn no_acknowledged_batch_is_lost() {
    let cuts = scaled(CUTS, LONG_CUTS);
    let name = "no_acknowledged_batch_is_lost";
    let Some(lost) = lost_in_cuts(name, "data", false, cuts) else { return };
    let cuts = lost.len();
    assert!(lost.iter().all(|missing| *missing == 0), "lost in {cuts} cuts: {lost:?}");
}

#[test]
fn no_retained_batch_and_no_letter_is_lost() {
    let cuts = scaled(RETAINING_CUTS, LONG_CUTS);
    let name = "no_retained_batch_and_no_letter_is_lost";
    let Some(lost) = lost_in_cuts(name, "data", true, cuts) else { return };
    let cuts = lost.len();
    assert!(lost.iter().all(|missing| *missing == 0), "lost in {cuts} cuts: {lost:?}");
}

#[test]
fn without_fdatasync_batches_are_lost() {
    let name = "without_fdatasync_batches_are_lost";
    let Some(lost) = lost_in_cuts(name, "never", false, MUTANT_CUTS) else { return };
    println!("the mutant lost {lost:?} batches");
    assert!(lost.iter().any(|missing| *missing > 0), "the harness does not bite: {lost:?}");
}

/// How many acknowledged batches and letters were missing after each cut; `None` if it was skipped.
fn lost_in_cuts(name: &str, sync: &str, retains: bool, cuts: u32) -> Option<Vec<usize>> {
    let Some(disk) = Disk::new() else {
        println!("skipped: {name}: power_cut needs root and loop devices");
        return None;
    };
    let writer = Writer::start(&disk, sync, retains);
    let mut lost = Vec::new();
    let mut letters_at_stake = 0;
    for cut in 0..cuts {
        // From the middle of a segment to a segment or two later.
        writer.append_some(30 + u64::from(cut) * 17 % 70);
        writer.stop();
        let log = Seen::read(&writer.log());
        let found = disk.after_power_cut(retains);
        writer.signal(Signal::CONT);
        let expected =
            if retains { log.acknowledged.clone() } else { &log.acknowledged - &log.completed };
        let letters = &log.kept - &log.settling;
        let batches_missing: Vec<_> = expected.difference(&found.batches).collect();
        let letters_missing: Vec<_> = letters.difference(&found.letters).collect();
        let missing = batches_missing.len() + letters_missing.len();
        if missing > 0 {
            println!("missing: batches {batches_missing:?}, letters {letters_missing:?}");
        }
        println!(
            "cut {cut}: {} batches expected, {} found ({} of them retained), {} letters expected, {} found: {missing} missing",
            expected.len(),
            found.batches.len(),
            found.retained,
            letters.len(),
            found.letters.len(),
        );
        assert!(!expected.is_empty(), "nothing was at stake");
        letters_at_stake += letters.len();
        let back: Vec<_> = log.settled.intersection(&found.letters).collect();
        assert!(back.is_empty(), "settled letters are there again: {back:?}");
        lost.push(missing);
    }
    assert!(letters_at_stake > 0, "no letter was at stake");
    println!("{name}: {cuts} cuts, {} lost", lost.iter().sum::<usize>());
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
        File::create(&image)
            .and_then(|file| file.set_len(IMAGE_BYTES))
            .map_err(|e| e.to_string())?;
        run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image))?;
        // Nothing but an fsync commits the journal while the image is copied.
        let mount = Mount::new(&image, &home.path().join("mounted"), "loop,commit=600")?;
        Ok(Self { home, _mount: mount })
    }

    /// What a start finds on what the device has by now.
    fn after_power_cut(&self, retains: bool) -> Found {
        let copy = self.home.path().join("copy");
        run(Command::new("cp")
            .arg("--sparse=always")
            .arg(self.home.path().join("image"))
            .arg(&copy))
        .unwrap();
        let mounted = self.home.path().join("copy-mounted");
        let mount = Mount::new(&copy, &mounted, "loop").unwrap();
        let (queue, opened) =
            Queue::open(config(mounted.join("queue"), SyncMode::Data, retains)).unwrap();
        assert!(opened.quarantined.is_empty(), "{opened:?}");
        let mut reader = queue.reader().unwrap();
        let mut found = Found::default();
        while let Some(lease) = reader.next(Duration::ZERO) {
            found.batches.extend(lease.batches().iter().map(id));
            lease.complete();
        }
        assert_eq!(queue.quarantined(), []);
        let waiting = found.batches.len();
        for entry in queue.delivered(Sequence(0)).filter(|_| retains) {
            match entry {
                DeliveredEntry::Entry(_, batches) => found.batches.extend(batches.iter().map(id)),
                // The writer's own keeper moves segments all the while, but none is deleted.
                other => panic!("{other:?}"),
            }
        }
        found.retained = found.batches.len() - waiting;
        drop((reader, queue));
        let letters = Letters::open(LettersConfig::new(mounted.join("letters"), 1 << 30)).unwrap();
        found.letters = letters.iter().map(|(_, letter)| letter.position().1).collect();
        assert_eq!(letters.quarantined(), []);
        drop(letters);
        drop(mount);
        found
    }
}

/// What is on a disk after a cut.
#[derive(Default)]
struct Found {
    batches: BTreeSet<u64>,
    retained: usize,
    letters: BTreeSet<u64>,
}

/// What the outside world saw before it.
#[derive(Default)]
struct Seen {
    acknowledged: BTreeSet<u64>,
    /// About to be completed, or more.
    completed: BTreeSet<u64>,
    kept: BTreeSet<u64>,
    /// About to be settled, or more.
    settling: BTreeSet<u64>,
    settled: BTreeSet<u64>,
}

impl Seen {
    fn read(log: &str) -> Self {
        let mut seen = Self::default();
        for line in log.lines() {
            let (what, id) = line.split_at(1);
            let set = match what {
                "a" => &mut seen.acknowledged,
                "c" => &mut seen.completed,
                "l" => &mut seen.kept,
                "s" => &mut seen.settling,
                "S" => &mut seen.settled,
                other => panic!("{other:?} in the log"),
            };
            set.insert(id.parse().unwrap());
        }
        seen
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
    fn start(disk: &Disk, sync: &str, retains: bool) -> Self {
        // The log is on another file system: it is what the outside world saw.
        let log = disk.home.path().join("log");
        File::create(&log).unwrap();
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "writer", "--nocapture"])
            .env(WRITER_HOME, disk.home.path())
            .env(WRITER_SYNC, sync)
            .env(WRITER_RETAINS, if retains { "yes" } else { "no" })
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

    /// Stops it. A thread that is inside a call finishes it first: what it writes must not meet the copying.
    fn stop(&self) {
        self.signal(Signal::STOP);
        let tasks = PathBuf::from(format!("/proc/{}/task", self.child.id()));
        eventually("every thread stands still", || {
            for task in fs::read_dir(&tasks).unwrap() {
                let stat = fs::read_to_string(task.unwrap().path().join("stat")).unwrap();
                let state = stat.rsplit_once(") ").unwrap().1;
                if !state.starts_with('T') {
                    return Err(stat);
                }
            }
            Ok(())
        });
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn config(dir: PathBuf, sync: SyncMode, retains: bool) -> QueueConfig {
    let retain = Retain { max_bytes: 900 << 20, max_age: None };
    QueueConfig {
        retain: if retains { retain } else { Retain::default() },
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
    let retains = std::env::var(WRITER_RETAINS).is_ok_and(|retains| retains == "yes");
    let (queue, _) = Queue::open(config(home.join("mounted/queue"), sync, retains)).unwrap();
    let letters = LettersConfig::new(home.join("mounted/letters"), 1 << 30);
    let letters = Letters::open(letters).unwrap();
    let queue = Arc::new(queue);
    let log = OpenOptions::new().append(true).open(home.join("log")).unwrap();
    let log = Arc::new(Mutex::new(log));
    std::thread::spawn({
        let (queue, log) = (Arc::clone(&queue), Arc::clone(&log));
        move || complete(&queue, &log)
    });
    std::thread::spawn({
        let log = Arc::clone(&log);
        move || keep_letters(&letters, &log)
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

/// Keeps letters and settles all but the newest, so that segments of them are deleted, too.
fn keep_letters(letters: &Letters, log: &Mutex<File>) {
    let mut pace = Pace::new(Duration::from_millis(40));
    let say = |what: &str, ids: &[u64]| {
        let lines: String = ids.iter().map(|id| format!("{what}{id}\n")).collect();
        log.lock().unwrap().write_all(lines.as_bytes()).unwrap();
    };
    for first in (0..).step_by(5) {
        pace.next();
        let ids: Vec<u64> = (first..first + 5).collect();
        let all: Vec<_> = ids.iter().map(|id| letter(*id)).collect();
        letters.append_all(&all).unwrap();
        say("l", &ids);
        // Of each ten commits nine go; every hundredth time all go, and their segment with them.
        let keeps = if first % 500 == 0 { 0 } else { 10 };
        let old: Vec<_> = letters.iter().map(|(id, letter)| (id, letter.position().1)).collect();
        let old = &old[..old.len().saturating_sub(keeps)];
        let (numbers, offsets): (Vec<_>, Vec<u64>) = old.iter().copied().unzip();
        say("s", &offsets);
        letters.settle(&numbers).unwrap();
        say("S", &offsets);
        if keeps == 0 {
            letters.append(&letter(first + 1_000_000)).unwrap();
            say("l", &[first + 1_000_000]);
        }
    }
}

fn letter(id: u64) -> Letter {
    Letter {
        content: Content::Bytes {
            bytes: Bytes::from(vec![id as u8; 1000]),
            file_id: [7; 12],
            offset: id,
        },
        node: "node-1".to_owned(),
        index: "logstash-2026.11.22".to_owned(),
        document_id: "AAAAAAAAAAAAAAAAAAAA".to_owned(),
        reason: "mapper_parsing_exception".to_owned(),
        attempts: 1,
        first_ms: 1,
        last_ms: 1,
    }
}
