//! What the queue does on an undamaged disk.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::*;

#[test]
fn what_is_appended_is_delivered_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(small(dir.path()));
    fill(&queue, 0..50, 20_000);
    assert_eq!(queue.stats().entries, 50);
    assert_eq!(drain(&queue), (0..50).collect::<Vec<_>>());
    let stats = queue.stats();
    assert_eq!((stats.entries, stats.batches, stats.oldest_ms), (0, 0, None));
    assert_eq!((stats.head, stats.delivered), (Sequence(50), Sequence(50)));
}

#[test]
fn a_backlog_survives_a_restart_and_delivery_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(small(dir.path()));
    fill(&queue, 0..40, 20_000);
    let mut reader = queue.reader().unwrap();
    for _ in 0..15 {
        reader.next(Duration::ZERO).unwrap().complete();
    }
    drop(reader);
    drop(queue);
    let (queue, opened) = Queue::open(small(dir.path())).unwrap();
    assert_eq!((opened.entries, opened.quarantined.len(), opened.torn.len()), (25, 0, 0));
    fill(&queue, 40..50, 20_000);
    assert_eq!(drain(&queue), (15..50).collect::<Vec<_>>());
}

#[test]
fn one_commit_takes_all_that_waits() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(QueueConfig::new(dir.path()).without_reserve());
    let results = append(&queue, (0..60).map(|id| batch(id, 1000)).collect());
    assert!(results.iter().all(Result::is_ok));
    assert!(queue.stats().head.0 < 30, "{} commits for 60 batches", queue.stats().head);
    assert_eq!(set(drain(&queue)), set(0..60));
}

#[test]
fn a_large_batch_takes_several_parts() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(QueueConfig::new(dir.path()).without_reserve());
    // What one part takes of a batch of `node-N` alone in its entry.
    let one = segment::max_value_bytes(Tuning::default().sled_segment_bytes)
        - part::HEADER_BYTES
        - 4
        - batch(0, 0).stored_bytes()
        + batch(0, 0).body.len();
    let most = BATCH_MAX_BYTES - batch(0, 0).stored_bytes() + batch(0, 0).body.len();
    let sizes = [1 << 20, 8, one - 1, one, one + 1, 4 * one, 4 * one + 1, most];
    for (id, len) in (0..).zip(sizes) {
        append(&queue, vec![batch(id, len)]).pop().unwrap().unwrap();
    }
    let result = append(&queue, vec![batch(9, 4 << 20)]).pop().unwrap();
    assert!(matches!(result, Err(AppendError::TooLarge)));
    assert_eq!(drain(&queue), (0..sizes.len() as u64).collect::<Vec<_>>());
}

#[test]
fn a_reader_follows_the_commits() {
    let dir = tempfile::tempdir().unwrap();
    let queue = Arc::new(open(small(dir.path())));
    let mut reader = queue.reader().unwrap();
    assert!(queue.reader().is_none(), "there is one");
    let writer = std::thread::spawn({
        let queue = Arc::clone(&queue);
        move || fill(&queue, 0..100, 10_000)
    });
    for expected in 0..100 {
        let lease = reader.next(Duration::from_secs(20)).unwrap();
        assert_eq!(id(&lease.batches()[0]), expected);
        lease.complete();
    }
    writer.join().unwrap();
    assert!(reader.next(Duration::from_millis(1)).is_none());
    drop(reader);
    assert!(queue.reader().is_some());
}

#[test]
fn leases_complete_in_any_order_and_come_back_when_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(QueueConfig { max_leases: 3, ..small(dir.path()) });
    fill(&queue, 0..6, 100);
    let mut reader = queue.reader().unwrap();
    let mut next = || reader.next(Duration::ZERO);
    let (first, second, third) = (next().unwrap(), next().unwrap(), next().unwrap());
    assert!(next().is_none(), "three are leased");
    second.complete();
    third.complete();
    assert_eq!(queue.stats().delivered, Sequence(0));
    drop(first);
    let first = next().unwrap();
    assert_eq!(id(&first.batches()[0]), 0);
    assert_eq!(id(&next().unwrap().batches()[0]), 3);
    first.complete();
    assert_eq!(queue.stats().delivered, Sequence(3));
    drop(reader);
    drop(queue);
    assert_eq!(drain(&open(small(dir.path()))), [3, 4, 5]);
}

#[test]
fn delivered_segments_are_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(small(dir.path()));
    fill(&queue, 0..60, 20_000);
    let full = queue.stats().disk_bytes;
    assert!(names(&dir.path().join("sealed")).len() >= 4);
    drain(&queue);
    eventually("sealed segments go", || names(&dir.path().join("sealed")).is_empty());
    eventually("their space is counted", || queue.stats().disk_bytes < full / 2);
    assert_eq!(names(&dir.path().join("open")).len(), 1);
    eventually("what is done is deleted", || names(&dir.path().join("done")).is_empty());
    assert!(names(&dir.path().join("quarantine")).is_empty());
}

#[test]
fn a_segment_ends_by_age() {
    let dir = tempfile::tempdir().unwrap();
    let config = QueueConfig { segment_max_age: Duration::ZERO, ..small(dir.path()) };
    let queue = open(config);
    fill(&queue, 0..5, 100);
    assert_eq!(names(&dir.path().join("sealed")).len(), 4);
    assert_eq!(drain(&queue), [0, 1, 2, 3, 4]);
}

#[test]
fn no_value_becomes_a_blob() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(QueueConfig::new(dir.path()).without_reserve());
    for (id, len) in (0..).zip([500, 120_000, 131_000, 600_000, 1 << 20, 3 << 20]) {
        append(&queue, vec![batch(id, len)]).pop().unwrap().unwrap();
    }
    let open = dir.path().join("open");
    for segment in names(&open) {
        assert!(names(&open.join(segment).join("blobs")).is_empty());
    }
}

#[test]
fn a_second_process_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(small(dir.path()));
    assert!(matches!(Queue::open(small(dir.path())), Err(OpenError::Locked { .. })));
    drop(queue);
    open(small(dir.path()));
}

#[test]
fn a_closed_queue_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(small(dir.path()));
    fill(&queue, 0..3, 100);
    let mut reader = queue.reader().unwrap();
    let lease = reader.next(Duration::ZERO).unwrap();
    queue.close();
    queue.close();
    let result = append(&queue, vec![batch(9, 100)]).pop().unwrap();
    assert!(matches!(result, Err(AppendError::Closed)));
    assert!(reader.next(Duration::from_secs(60)).is_none());
    drop(lease);
    drop((reader, queue));
    assert_eq!(drain(&open(small(dir.path()))), [0, 1, 2]);
}

#[test]
fn a_failed_fdatasync_ends_the_segment_and_is_not_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let failing = Arc::new(AtomicBool::new(false));
    let mut config = small(dir.path());
    config.tuning.sync = SyncMode::Failing(Arc::clone(&failing));
    let queue = open(config);
    fill(&queue, 0..5, 100);
    failing.store(true, Ordering::Relaxed);
    for id in 100..103 {
        let result = append(&queue, vec![batch(id, 100)]).pop().unwrap();
        assert!(matches!(result, Err(AppendError::Commit(_))), "{result:?}");
    }
    failing.store(false, Ordering::Relaxed);
    fill(&queue, 5..8, 100);
    assert_eq!(queue.stats().failed_commits, 3);
    assert_eq!(drain(&queue), (0..8).collect::<Vec<_>>());
    assert_eq!(names(&dir.path().join("sealed")).len(), 1, "the one that failed");
}

#[test]
fn a_commit_that_hangs_stops_intake_until_it_returns() {
    let dir = tempfile::tempdir().unwrap();
    let hanging = Arc::new(AtomicBool::new(false));
    let mut config = QueueConfig { hanging_after: Duration::from_millis(100), ..small(dir.path()) };
    config.tuning.sync = SyncMode::Hanging(Arc::clone(&hanging));
    let queue = Arc::new(open(config));
    fill(&queue, 0..3, 100);
    hanging.store(true, Ordering::Relaxed);
    let waiting = std::thread::spawn({
        let queue = Arc::clone(&queue);
        move || fill(&queue, 3..4, 100)
    });
    eventually("it is noticed", || queue.stats().full == Some(Full::Hanging));
    assert!(
        queue.stats().commit_running.is_some_and(|running| running > Duration::from_millis(100))
    );
    let refused = append(&queue, vec![batch(9, 100)]).pop().unwrap();
    let Err(AppendError::Full { full: Full::Hanging, retry_after }) = refused else {
        panic!("{refused:?}")
    };
    assert!(retry_after > Duration::from_secs(1), "forwarders are sent elsewhere");
    hanging.store(false, Ordering::Relaxed);
    waiting.join().unwrap();
    eventually("it goes on", || queue.stats().full.is_none());
    fill(&queue, 4..6, 100);
    assert_eq!(drain(&queue), (0..6).collect::<Vec<_>>());
}

#[test]
fn what_is_new_and_a_backlog_have_their_turns_over_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let config = || QueueConfig { max_leases: 4, in_order: false, ..small(dir.path()) };
    let queue = open(config());
    fill(&queue, 0..200, 8_000);
    let mut reader = queue.reader().unwrap();
    let mut next = || {
        let lease = reader.next(Duration::ZERO).unwrap();
        let id = id(&lease.batches()[0]);
        lease.complete();
        id
    };
    assert_eq!(next(), 199, "the newest");
    fill(&queue, 200..300, 8_000);
    let segments = || -> BTreeSet<u64> {
        names(&dir.path().join("sealed")).iter().map(|name| name.parse().unwrap()).collect()
    };
    let before = segments();
    let mut delivered: Vec<u64> = (0..200).map(|_| next()).collect();
    let new = delivered.iter().filter(|id| **id >= 200).count();
    assert_eq!(new, 100, "what is new comes within twice its bytes: {delivered:?}");
    assert!((0..100).all(|id| delivered.contains(&id)), "and half of it is old: {delivered:?}");
    let middle = |segments: &BTreeSet<u64>| segments.range(202..270).count();
    assert!(middle(&before) > 0);
    eventually("segments after what is left are deleted", || middle(&segments()) == 0);
    assert!(segments().range(..200).count() > 0, "what is left is kept");
    drop(reader);
    drop(queue);
    let (queue, opened) = Queue::open(config()).unwrap();
    assert_eq!((opened.entries, opened.quarantined.len()), (99, 0));
    fill(&queue, 300..310, 8_000);
    delivered = drain(&queue);
    delivered.sort_unstable();
    assert_eq!(delivered, (100..199).chain(300..310).collect::<Vec<_>>());
    assert_eq!(queue.stats().entries, 0);
}

#[test]
fn in_order_means_all_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(small(dir.path()));
    fill(&queue, 0..150, 100);
    assert_eq!(drain(&queue), (0..150).collect::<Vec<_>>());
}

impl QueueConfig {
    /// For tests on a disk that may be nearly full.
    pub(super) fn without_reserve(self) -> Self {
        Self { reserve_percent: 0, ballast_bytes: 0, ..self }
    }
}
