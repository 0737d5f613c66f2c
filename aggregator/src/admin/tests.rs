//! The same questions to a running aggregator and to the files it left behind get the same answers.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Runtime;

use super::filter::LetterFilter;
use super::server::{Socket, State};
use super::*;
use crate::deliver::{Parked, ParkedConfig, Trouble};
use crate::queue::tests::numbered;
use crate::queue::{Content, Letter, Letters, LettersConfig, Queue, QueueConfig};
use crate::replay::Replayer;

struct Running {
    socket: Option<Socket>,
    letters: Letters,
    parked: Parked,
    queue: Arc<Queue>,
    runtime: Runtime,
}

fn run(data_dir: &Path) -> Running {
    let runtime = Runtime::new().unwrap();
    let (queue, _) = Queue::open(QueueConfig {
        reserve_percent: 0,
        ballast_bytes: 0,
        ..QueueConfig::new(data_dir.join("queue"))
    })
    .unwrap();
    let letters =
        Letters::open(LettersConfig::new(data_dir.join("dead-letters"), 1 << 30)).unwrap();
    let queue = Arc::new(queue);
    let replayer = Replayer::new(Arc::clone(&queue), letters.clone(), None);
    let trouble = Trouble::default();
    let parked = ParkedConfig { reserve_percent: 0, ..ParkedConfig::new(data_dir.join("parked")) };
    let parked = Parked::open(parked).unwrap();
    let state = State::new(
        data_dir,
        Arc::clone(&queue),
        letters.clone(),
        parked.clone(),
        trouble,
        replayer,
    );
    let socket = runtime.block_on(async { Socket::open(data_dir, state) });
    assert!(socket.is_some());
    Running { socket, letters, parked, queue, runtime }
}

fn append(runtime: &Runtime, queue: &Queue, count: u64) {
    for number in 0..count {
        runtime.block_on(queue.append(numbered(number))).unwrap();
    }
}

/// What an earlier run has parked: three entries.
fn park(data_dir: &Path) {
    let dir = data_dir.join("parked").join("logstash-2026.11.21");
    let config = QueueConfig { reserve_percent: 0, ballast_bytes: 0, ..QueueConfig::new(dir) };
    let (chain, _) = Queue::open(config).unwrap();
    append(&Runtime::new().unwrap(), &chain, 3);
}

impl Running {
    fn append(&self, count: u64) {
        append(&self.runtime, &self.queue, count);
    }

    /// Leaves the socket behind, as `kill -9` does.
    fn end(mut self, data_dir: &Path) {
        drop(self.socket.take());
        // The answers that were given hold the directory until they are gone.
        self.runtime.shutdown_timeout(Duration::from_secs(10));
        self.queue.close();
        drop((self.queue, self.letters, self.parked));
        drop(UnixListener::bind(data_dir.join(SOCKET)).unwrap());
        assert!(data_dir.join(SOCKET).exists());
    }
}

fn letter(offset: u64, record: &[u8]) -> Letter {
    Letter {
        content: Content::Bytes { bytes: Bytes::copy_from_slice(record), file_id: [7; 12], offset },
        node: "node-1".to_owned(),
        index: "logstash-2026.11.22".to_owned(),
        document_id: "AAAAAAAAAAAAAAAAAAAA".to_owned(),
        reason: "mapper_parsing_exception: \u{1b}]0;owned\u{7}".to_owned(),
        attempts: 2,
        first_ms: 1_795_363_200_000,
        last_ms: 1_795_363_200_900,
    }
}

const HOSTILE: &[u8] = b"2026-11-22T00:00:00Z stdout F \x1b[2J\xff\xe2\x80\xae evil\r\n";

/// Asks, and asks again when the aggregator is gone.
fn while_running_and_after(data_dir: &Path, ask: impl Fn(bool)) {
    park(data_dir);
    let running = run(data_dir);
    running.append(5);
    let many: Vec<_> = (1..=200).map(|offset| letter(offset, b"a line\n")).collect();
    running.letters.append(&letter(0, HOSTILE)).unwrap();
    running.letters.append_all(&many).unwrap();
    ask(true);
    running.end(data_dir);
    ask(false);
    // The next start takes the place of what was left behind.
    let running = run(data_dir);
    ask(true);
    drop(running.socket);
    assert!(!data_dir.join(SOCKET).exists(), "a socket that nobody listens on");
}

#[test]
fn the_queue_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    while_running_and_after(dir.path(), |running| {
        let report = client::queue(dir.path()).unwrap();
        assert_eq!(report.running, running);
        assert_eq!((report.entries, report.head, report.delivered), (5, 5, 0));
        assert_eq!(report.batches, 5);
        assert!(report.disk_bytes > 0 && report.oldest_ms.is_some());
        assert_eq!(report.open_segments + report.sealed_segments, 1);
        assert_eq!(report.full, None);
        assert_eq!(report.dead_letters, running.then_some(201));
        assert!(report.quarantined.is_empty());
        let parked: Vec<_> = report.parked.iter().map(|one| (&*one.index, one.entries)).collect();
        assert_eq!(parked, [("logstash-2026.11.21", 3)]);
    });
}

#[test]
fn letters_are_listed_and_shown() {
    let dir = tempfile::tempdir().unwrap();
    while_running_and_after(dir.path(), |_| {
        let all = LetterFilter::default();
        let list = client::list(dir.path(), &all, 3).unwrap();
        assert_eq!(list.total, 201);
        let numbers: Vec<_> =
            list.letters.iter().map(|row| (row.number.as_str(), row.offset)).collect();
        assert_eq!(numbers, [("2.197", 198), ("2.198", 199), ("2.199", 200)]);
        let rows = client::list(dir.path(), &all, 1000).unwrap().letters;
        assert_eq!((rows.len(), rows[0].number.as_str()), (201, "1.0"));
        let id = |number: &str| number.parse().unwrap();
        let found = client::show(dir.path(), id("1.0")).unwrap().unwrap();
        assert_eq!(found.record().unwrap(), HOSTILE);
        assert_eq!(found.letter, rows[0]);
        assert_eq!(client::show(dir.path(), id("1.1")).unwrap(), None);
        assert_eq!(client::show(dir.path(), id("3.0")).unwrap(), None);
        let none = LetterFilter { reason: Some("blocked".into()), ..all };
        assert_eq!(client::list(dir.path(), &none, 3).unwrap().total, 0);
    });
}

#[test]
fn letters_are_purged_by_whoever_may() {
    let dir = tempfile::tempdir().unwrap();
    let some = |numbers: &[&str]| LetterFilter {
        numbers: numbers.iter().map(|number| (*number).to_owned()).collect(),
        ..LetterFilter::default()
    };
    let left = || client::list(dir.path(), &LetterFilter::default(), 1).unwrap().total;
    let running = run(dir.path());
    let many: Vec<_> = (0..10).map(|offset| letter(offset, b"a line\n")).collect();
    running.letters.append_all(&many).unwrap();
    assert_eq!(client::purge(dir.path(), &some(&["1.3", "9.9"])).unwrap(), 1);
    assert_eq!(left(), 9);
    running.end(dir.path());
    assert_eq!(left(), 9);
    assert_eq!(client::purge(dir.path(), &some(&["1.3", "1.4"])).unwrap(), 1);
    assert_eq!(left(), 8);
    let running = run(dir.path());
    assert_eq!(left(), 8);
    assert_eq!(client::purge(dir.path(), &LetterFilter::default()).unwrap(), 8);
    assert_eq!((left(), running.letters.stats().letters), (0, 0));
}

#[test]
fn what_needs_elasticsearch_or_a_running_aggregator_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let asked = client::post("/queue/replay", &crate::replay::EntriesAsked::default());
    let running = run(dir.path());
    let report = client::replay(dir.path(), &asked, |_| ()).unwrap().unwrap();
    let error = report.error.unwrap();
    assert!(error.contains("own store") && !report.complete, "{error}");
    assert_eq!(client::discard(dir.path(), None).unwrap(), []);
    running.end(dir.path());
    for error in [
        client::replay(dir.path(), &asked, |_| ()).unwrap_err(),
        client::discard(dir.path(), None).unwrap_err(),
    ] {
        assert!(error.to_string().contains("no aggregator runs in"), "{error}");
    }
}

#[test]
fn segments_are_verified_running_or_not() {
    let dir = tempfile::tempdir().unwrap();
    while_running_and_after(dir.path(), |_| {
        let mut found = Vec::new();
        client::verify(dir.path(), |segment| found.push(segment)).unwrap();
        let sums: Vec<_> = found.iter().map(|s| (s.entries, s.batches, s.is_damaged())).collect();
        assert_eq!(sums, [(2, 201, false), (3, 3, false), (5, 5, false)], "{found:?}");
    });
}

#[test]
fn the_socket_is_its_owners_and_its_path_may_be_long() {
    let dir = tempfile::tempdir().unwrap();
    let long: PathBuf = dir.path().join("d".repeat(200)).join("e".repeat(200));
    std::fs::create_dir_all(&long).unwrap();
    let running = run(&long);
    let mode = std::fs::metadata(long.join(SOCKET)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(client::queue(&long).unwrap().running);
    drop(running);
}

#[test]
fn what_is_not_there_is_a_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let missing = client::queue(&dir.path().join("none")).unwrap_err().to_string();
    assert!(missing.contains("none: No such file"), "{missing}");
    let empty = client::list(dir.path(), &LetterFilter::default(), 1).unwrap_err().to_string();
    assert!(empty.contains("dead-letters: No such file"), "{empty}");
    // One that runs and does not listen.
    let running = run(dir.path());
    std::fs::remove_file(dir.path().join(SOCKET)).unwrap();
    let silent = client::queue(dir.path()).unwrap_err().to_string();
    assert!(silent.contains("does not answer"), "{silent}");
    drop(running);
}

#[test]
fn looking_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let running = run(dir.path());
    running.append(3);
    running.letters.append(&letter(0, HOSTILE)).unwrap();
    running.end(dir.path());
    let before = files(dir.path());
    client::queue(dir.path()).unwrap();
    client::list(dir.path(), &LetterFilter::default(), 10).unwrap();
    client::verify(dir.path(), |_| ()).unwrap();
    assert_eq!(files(dir.path()), before);
}

/// Every file with its content.
fn files(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut waiting = vec![dir.to_path_buf()];
    while let Some(dir) = waiting.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else if path.is_file() {
                found.push((path.clone(), std::fs::read(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}
