//! What is delivered is kept, found again, read again, and gives way: the oldest first, and never for nothing.

use super::*;

fn keeping(dir: &Path, max_bytes: u64) -> QueueConfig {
    QueueConfig { retain: Retain { max_bytes, max_age: None }, ..small(dir) }
}

/// The ids of what was delivered and can be read, and how many entries gave way.
fn delivered(queue: &Queue, after: u64) -> (Vec<u64>, u64) {
    let mut ids = Vec::new();
    let mut gone = 0;
    for entry in queue.delivered(Sequence(after)) {
        match entry {
            DeliveredEntry::Entry(sequence, batches) => {
                assert!(sequence.0 > after);
                ids.extend(batches.iter().map(id));
            }
            DeliveredEntry::Gone(range) => gone += range.end().0 - range.start().0 + 1,
            DeliveredEntry::Lost(lost) => panic!("{lost:?}"),
        }
    }
    (ids, gone)
}

fn settles(queue: &Queue) {
    eventually("all that is sealed is moved", || queue.segments().sealed == 0);
}

#[test]
fn delivered_segments_are_kept_and_read_again_over_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(keeping(dir.path(), 1 << 30));
    fill(&queue, 0..60, 15_000);
    assert!(delivered(&queue, 0).0.is_empty(), "nothing is delivered yet");
    assert_eq!(drain(&queue), (0..60).collect::<Vec<_>>());
    // The open segment, too.
    assert_eq!(delivered(&queue, 0), ((0..60).collect(), 0));
    settles(&queue);
    assert_eq!(delivered(&queue, 50), ((50..60).collect(), 0), "after an entry");
    drop(queue);
    let queue = open(keeping(dir.path(), 1 << 30));
    assert!(drain(&queue).is_empty(), "nothing comes again by itself");
    settles(&queue);
    let stats = queue.stats();
    assert!(stats.retained.segments >= 3 && stats.retained.bytes > 900_000, "{stats:?}");
    assert!(stats.retained.oldest_ms.is_some());
    assert_eq!((stats.disk_bytes, queue.segments().retained), (0, stats.retained.segments));
    fill(&queue, 60..65, 15_000);
    assert_eq!(delivered(&queue, 0), ((0..60).collect(), 0), "what waits comes by itself");
    let mut reader = queue.reader().unwrap();
    let first = reader.next(Duration::ZERO).unwrap();
    let second = reader.next(Duration::ZERO).unwrap();
    second.complete();
    let ids = delivered(&queue, 0).0;
    assert!(ids.contains(&61) && !ids.contains(&60), "{ids:?}");
    drop((first, reader, queue));
    // Without retention what was kept goes at the next start.
    let queue = open(small(dir.path()));
    assert!(names(&dir.path().join("done")).is_empty());
    assert_eq!(queue.stats().retained, RetainedStats::default());
}

#[test]
fn what_is_kept_gives_way_the_oldest_first() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(keeping(dir.path(), 700_000));
    fill(&queue, 0..100, 15_000);
    let before = queue.delivered(Sequence(0));
    assert_eq!(drain(&queue).len(), 100);
    settles(&queue);
    eventually("its bytes are kept", || queue.stats().retained.bytes <= 700_000);
    let (ids, _) = delivered(&queue, 0);
    let first = ids[0];
    assert_eq!(ids, (first..100).collect::<Vec<_>>(), "the oldest went");
    assert!(first > 20 && ids.len() > 20, "{ids:?}");
    let (mut gone, mut left) = (0, 0);
    for entry in before {
        match entry {
            DeliveredEntry::Entry(..) => left += 1,
            DeliveredEntry::Gone(range) => gone += range.end().0 - range.start().0 + 1,
            DeliveredEntry::Lost(lost) => panic!("{lost:?}"),
        }
    }
    assert!(
        gone > 0 && gone + left == 100,
        "whoever began before is told what went: {gone}, {left}"
    );
    drop(queue);
    // By age: at once, when it is asked for.
    let retain = Retain { max_bytes: 1 << 30, max_age: Some(Duration::ZERO) };
    let queue = open(QueueConfig { retain, ..small(dir.path()) });
    eventually("all is too old", || queue.stats().retained.segments == 0);
}

#[test]
fn what_is_kept_never_costs_intake() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(QueueConfig { max_bytes: 3 << 20, ..keeping(dir.path(), 1 << 30) });
    for round in 0..8 {
        let ids = round * 40..(round + 1) * 40;
        fill(&queue, ids.clone(), 15_000);
        assert_eq!(drain(&queue), ids.collect::<Vec<_>>());
        // What is delivered counts until the keeper has taken it out, as without retention.
        settles(&queue);
    }
    eventually("both are within the bound", || {
        let stats = queue.stats();
        stats.disk_bytes + stats.retained.bytes <= 3 << 20
    });
    let stats = queue.stats();
    assert!(stats.retained.bytes > 1 << 20, "{stats:?}");
    assert_eq!((stats.full, stats.failed_commits), (None, 0));
}

#[test]
fn beside_a_backlog_only_what_is_delivered_is_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(QueueConfig { in_order: false, ..keeping(dir.path(), 1 << 30) });
    fill(&queue, 0..60, 15_000);
    let mut reader = queue.reader().unwrap();
    let newest = reader.next(Duration::ZERO).unwrap();
    assert_eq!(delivered(&queue, 0), (vec![], 0), "it is on its way");
    newest.complete();
    assert_eq!(delivered(&queue, 0), (vec![59], 0), "and the backlog waits");
    drop(reader);
    drain(&queue);
    settles(&queue);
    assert_eq!(delivered(&queue, 0), ((0..60).collect(), 0));
}

#[test]
fn a_deletion_that_was_cut_off_is_finished_and_all_else_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(keeping(dir.path(), 1 << 30));
    fill(&queue, 0..60, 15_000);
    drain(&queue);
    settles(&queue);
    drop(queue);
    let done = dir.path().join("done");
    let mut kept = names(&done);
    kept.sort();
    // Any of its files may be the first to go.
    fs::remove_file(done.join(&kept[0]).join("db")).unwrap();
    fs::remove_file(done.join(&kept[1]).join("summary")).unwrap();
    fs::remove_file(done.join(&kept[2]).join("identity")).unwrap();
    let (queue, opened) = Queue::open(keeping(dir.path(), 1 << 30)).unwrap();
    assert!(opened.quarantined.is_empty() && opened.torn.is_empty());
    assert!(!done.join(&kept[0]).exists());
    let second: u64 = kept[1].parse().unwrap();
    assert_eq!(delivered(&queue, 0), ((second - 1..60).collect(), 0));
}

#[test]
fn a_damaged_segment_is_discarded_when_it_is_asked_and_not_before_it_is_delivered() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(small(dir.path()));
    fill(&queue, 0..60, 15_000);
    drop(queue);
    let sealed = names(&dir.path().join("sealed"));
    let first = sealed.iter().min().unwrap();
    fs::remove_file(dir.path().join("sealed").join(first).join("identity")).unwrap();
    let queue = open(small(dir.path()));
    let mut reader = queue.reader().unwrap();
    let lease = reader.next(Duration::ZERO).unwrap();
    let waits = queue.discard(None).unwrap();
    assert!(waits.len() == 1 && waits[0].waits && waits[0].path.is_dir(), "{waits:?}");
    drop((lease, reader));
    assert_eq!(drain(&queue).len(), 60);
    assert_eq!(queue.discard(Some(Sequence(999))).unwrap(), []);
    let gone = queue.discard(Some(waits[0].first)).unwrap();
    assert!(!gone[0].waits && gone[0].bytes > 0 && !gone[0].path.exists());
    assert_eq!((queue.segments().quarantine, queue.quarantined()), (0, vec![]));
    assert_eq!(queue.discard(None).unwrap(), []);
}
