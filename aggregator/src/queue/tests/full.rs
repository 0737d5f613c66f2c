//! A full queue and a full disk: intake stops, delivery goes on, a start succeeds.

use super::*;

#[test]
fn a_full_queue_refuses_until_something_is_delivered() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(QueueConfig { max_bytes: 2 << 20, ..small(dir.path()) });
    let mut taken = 0;
    let refused = loop {
        match append(&queue, vec![batch(taken, 20_000)]).pop().unwrap() {
            Ok(_) => taken += 1,
            Err(error) => break error,
        }
        assert!(taken < 200, "2 MiB hold no 4 MB");
    };
    assert!(matches!(refused, AppendError::Full { full: Full::Queue, .. }), "{refused}");
    assert!(queue.stats().disk_bytes <= (2 << 20) + 100_000);
    let delivered = drain(&queue);
    assert_eq!(delivered, (0..taken).collect::<Vec<_>>());
    eventually("room again", || append(&queue, vec![batch(999, 20_000)])[0].is_ok());
    assert_eq!(drain(&queue), [999]);
}

/// A file system of 16 MiB, unmounted when dropped; `None` where that is not allowed.
struct SmallDisk {
    dir: tempfile::TempDir,
}

impl SmallDisk {
    fn mount(name: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=16m", "naru-test"])
            .arg(dir.path())
            .output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Self { dir });
        }
        assert!(std::env::var_os("CI").is_none() || !rustix_is_root(), "mount failed as root");
        println!("skipped: {name} needs root and mount");
        None
    }

    fn fill(&self) {
        let file = fs::File::create(self.dir.path().join("somebody-elses")).unwrap();
        let mut size = 16 << 20;
        let mut at = 0;
        while size > 0 {
            let flags = rustix::fs::FallocateFlags::empty();
            match rustix::fs::fallocate(&file, flags, at, size) {
                Ok(()) => at += size,
                Err(_) => size /= 2,
            }
        }
    }

    fn free(&self) {
        fs::remove_file(self.dir.path().join("somebody-elses")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        std::process::Command::new("umount").arg("-l").arg(self.dir.path()).status().unwrap();
    }
}

fn rustix_is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|meta| std::os::unix::fs::MetadataExt::uid(&meta) == 0)
}

#[test]
fn the_reserve_of_the_real_disk_is_kept() {
    let Some(disk) = SmallDisk::mount("the_reserve_of_the_real_disk_is_kept") else { return };
    let config = QueueConfig { reserve_percent: 30, ..small(&disk.dir.path().join("queue")) };
    let queue = open(config);
    let mut taken = 0;
    loop {
        match append(&queue, vec![batch(taken, 100_000)]).pop().unwrap() {
            Ok(_) => taken += 1,
            Err(AppendError::Full { full: Full::Disk, .. }) => break,
            Err(other) => panic!("{other}"),
        }
    }
    let room = disk::Room::of(disk.dir.path()).unwrap();
    assert!(room.available_bytes * 100 >= room.total_bytes * 20, "{room:?}");
    assert_eq!(queue.stats().full, Some(Full::Disk));
    assert_eq!(drain(&queue).len() as u64, taken);
    eventually("room again", || append(&queue, vec![batch(999, 100)])[0].is_ok());
}

#[test]
fn what_is_kept_gives_way_to_a_disk_that_fills() {
    let Some(disk) = SmallDisk::mount("what_is_kept_gives_way_to_a_disk_that_fills") else {
        return;
    };
    let retain = Retain { max_bytes: 1 << 30, max_age: None };
    let dir = disk.dir.path().join("queue");
    let queue = open(QueueConfig { reserve_percent: 30, retain, ..small(&dir) });
    // Three times what the disk has, all acknowledged.
    for round in 0..24 {
        let ids = round * 20..(round + 1) * 20;
        fill(&queue, ids.clone(), 100_000);
        assert_eq!(drain(&queue), ids.collect::<Vec<_>>());
        // What is delivered gives way once the keeper has moved it.
        eventually("it is moved", || queue.segments().sealed == 0);
        eventually("the reserve is kept", || {
            let room = disk::Room::of(disk.dir.path()).unwrap();
            room.available_bytes * 100 >= room.total_bytes * 30
        });
    }
    let stats = queue.stats();
    assert!(stats.retained.bytes > 2 << 20, "{stats:?}");
    assert_eq!((stats.full, stats.failed_commits, stats.lost_entries), (None, 0, 0));
}

#[test]
fn letters_on_a_full_disk_are_refused_and_those_that_are_there_can_go() {
    let name = "letters_on_a_full_disk_are_refused_and_those_that_are_there_can_go";
    let Some(disk) = SmallDisk::mount(name) else { return };
    let letters = || Letters::open(LettersConfig::new(disk.dir.path().join("letters"), 1 << 30));
    let kept = letters().unwrap();
    let letter = |offset: u64| Letter {
        content: Content::Bytes {
            bytes: vec![offset as u8; 50_000].into(),
            file_id: [7; 12],
            offset,
        },
        node: "n".into(),
        index: "i".into(),
        document_id: "d".into(),
        reason: "r".into(),
        attempts: 1,
        first_ms: 1,
        last_ms: 1,
    };
    let mut acknowledged = BTreeSet::new();
    for offset in 0..20 {
        kept.append(&letter(offset)).unwrap();
        acknowledged.insert(offset);
    }
    disk.fill();
    for offset in 20..40 {
        if kept.append(&letter(offset)).is_ok() {
            acknowledged.insert(offset);
        }
    }
    let found = |letters: &Letters| -> BTreeSet<u64> {
        letters.iter().map(|(_, letter)| letter.position().1).collect()
    };
    assert!(acknowledged.len() < 40, "the disk was not full");
    assert!(acknowledged.is_subset(&found(&kept)));
    let first = kept.iter().next().unwrap().0;
    // Full to the last byte: it may fail, and then nothing is changed.
    let settled = kept.settle(&[first]).is_ok();
    drop(kept);
    disk.free();
    let kept = letters().unwrap();
    let left = &acknowledged - &set(settled.then_some(0));
    assert!(left.is_subset(&found(&kept)), "{:?}", &left - &found(&kept));
    let all: Vec<_> = kept.iter().map(|(id, _)| id).collect();
    kept.settle(&all).unwrap();
    assert!(found(&kept).is_empty());
    kept.append(&letter(99)).unwrap();
    assert_eq!(found(&kept), set([99]));
}

#[test]
fn a_disk_that_somebody_else_fills_costs_no_acknowledged_batch() {
    let name = "a_disk_that_somebody_else_fills_costs_no_acknowledged_batch";
    let Some(disk) = SmallDisk::mount(name) else { return };
    let config = || QueueConfig {
        ballast_bytes: 2 << 20,
        segment_max_bytes: 1 << 20,
        ..small(&disk.dir.path().join("queue"))
    };
    let queue = open(config());
    let ballast = disk.dir.path().join("queue/ballast");
    eventually("the ballast", || ballast.exists());
    fill(&queue, 0..40, 50_000);
    disk.fill();
    // No reserve: the commits themselves meet the full disk.
    let mut acknowledged = set(0..40);
    for id in 40..60 {
        if append(&queue, vec![batch(id, 50_000)])[0].is_ok() {
            acknowledged.insert(id);
        }
    }
    assert!(queue.stats().failed_commits > 0, "the disk was not full");
    drop(queue);

    // Killed and started on the full disk: all is delivered, which makes room.
    let queue = open(config());
    let delivered = set(drain(&queue));
    assert!(acknowledged.is_subset(&delivered), "{:?}", &acknowledged - &delivered);
    assert_eq!(queue.stats().lost_entries, 0);
    disk.free();
    eventually("appends work again", || append(&queue, vec![batch(999, 50_000)])[0].is_ok());
    eventually("the ballast is back", || ballast.exists());
}
