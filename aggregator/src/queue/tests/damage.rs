//! Damaged segments: a start never fails, what is intact is delivered, what is not is reported.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use super::*;

/// A small generator, so that a failure names its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

const IDS: u64 = 60;

/// Some sealed segments and an open one, as `kill -9` leaves them.
fn written() -> (tempfile::TempDir, PathBuf) {
    let home = tempfile::tempdir().unwrap();
    let queue = open(small(&home.path().join("live")));
    fill(&queue, 0..IDS, 15_000);
    copy(&home.path().join("live"), &home.path().join("killed"));
    let killed = home.path().join("killed");
    (home, killed)
}

/// Which ids each segment holds, by its directory.
fn segments(queue: &Path) -> Vec<(PathBuf, BTreeSet<u64>)> {
    let mut all: Vec<_> = ["sealed", "open"]
        .iter()
        .flat_map(|state| {
            names(&queue.join(state)).into_iter().map(move |n| queue.join(state).join(n))
        })
        .collect();
    all.sort_by_key(|path| path.file_name().unwrap().to_owned());
    let first = |path: &PathBuf| -> u64 {
        path.file_name().unwrap().to_str().unwrap().parse::<u64>().unwrap() - 1
    };
    let ends: Vec<_> = all.iter().skip(1).map(first).chain([IDS]).collect();
    all.into_iter()
        .zip(ends)
        .map(|(path, end)| {
            let ids = set(first(&path)..end);
            (path, ids)
        })
        .collect()
}

fn flip(file: &Path, random: &mut Random) {
    let len = fs::metadata(file).unwrap().len();
    let at = random.below(len.max(1));
    let file = OpenOptions::new().read(true).write(true).open(file).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    byte[0] ^= 1 << random.below(8);
    file.write_all_at(&byte, at).unwrap();
}

fn truncate(file: &Path, random: &mut Random) {
    let len = fs::metadata(file).unwrap().len();
    let file = OpenOptions::new().write(true).open(file).unwrap();
    file.set_len(random.below(len)).unwrap();
}

#[test]
fn a_hundred_flips_and_truncations_lose_nothing_else() {
    let (home, killed) = written();
    let (mut damaged_entries, mut said_to_be_lost, mut files_damaged) = (0, 0, 0);
    for seed in 1..=200_u64 {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let dir = home.path().join(format!("damaged-{seed}"));
        copy(&killed, &dir);
        let segments = segments(&dir);
        let (place, inside) = &segments[random.below(segments.len() as u64) as usize];
        // Mostly where the data is, and at times any of the small files.
        let mut files: Vec<_> = names(place).into_iter().filter(|name| name != "blobs").collect();
        files.sort_unstable();
        files.extend(["db".to_owned(), "db".to_owned(), "db".to_owned()]);
        let file = place.join(&files[random.below(files.len() as u64) as usize]);
        let is_cut = seed % 2 == 0;
        if is_cut {
            truncate(&file, &mut random)
        } else {
            flip(&file, &mut random)
        }

        let before = contents(&dir);
        let verified: Vec<_> = verify(&dir).unwrap().collect();
        assert!(contents(&dir) == before, "seed {seed}: verifying changed something");
        let (queue, opened) = Queue::open(small(&dir)).unwrap();
        let delivered = set(drain(&queue));
        let missing = &set(0..IDS) - &delivered;
        let context = format!("seed {seed}, {}, {opened:?}", file.display());
        assert!(missing.is_subset(inside), "{context}: {missing:?} of other segments");
        assert!(is_cut || missing.len() <= 1, "{context}: one flip, {missing:?} missing");
        let lost = reported(&queue, &opened);
        assert!(missing.is_subset(&lost), "{context}: {missing:?} missing, {lost:?} reported");
        if !missing.is_empty() && opened.torn.is_empty() {
            assert!(names(&dir.join("quarantine")).len() == 1, "{context}");
        }
        // What is lost is said before anything is started; the cut end of the open segment only in bytes.
        let said = verified.iter().flat_map(|found| found.lost.iter());
        let said = set(said.flat_map(|(first, last)| first.0 - 1..last.0));
        let torn = verified.iter().any(|found| found.torn_bytes > 0 || found.last.is_none());
        assert!(said.is_subset(&missing), "{context}: {said:?} said, {missing:?} missing");
        assert!(torn || said == missing, "{context}: {said:?} said, {missing:?} missing");
        damaged_entries += missing.len();
        said_to_be_lost += said.len();
        files_damaged += 1;

        // And the next start has nothing more to say, nor to deliver.
        drop(queue);
        let (queue, _) = Queue::open(small(&dir)).unwrap();
        assert!(drain(&queue).is_empty(), "{context}");
        drop(queue);
        fs::remove_dir_all(&dir).unwrap();
    }
    println!(
        "{files_damaged} flips and truncations over {IDS} entries each: {damaged_entries} entries lost, all of the damaged \
         segments; {said_to_be_lost} named by verify, the rest cut off the open segment; 0 others lost"
    );
    assert!(damaged_entries > 100, "{damaged_entries} entries: the damage was too small to tell");
}

/// Every file with its content.
fn contents(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for name in names(dir) {
        let path = dir.join(name);
        match path.is_dir() {
            true => found.extend(contents(&path)),
            false => found.push((path.clone(), fs::read(&path).unwrap())),
        }
    }
    found.sort();
    found
}

/// The ids that are reported as lost or cut off.
fn reported(queue: &Queue, opened: &Opened) -> BTreeSet<u64> {
    let lost = queue.quarantined().into_iter().flat_map(|report| report.lost);
    let torn = opened.torn.iter().flat_map(|torn| torn.after.0..IDS);
    lost.map(|sequence| sequence.0 - 1).chain(torn).collect()
}

#[test]
fn sled_that_cannot_be_opened_costs_nothing() {
    let (_home, killed) = written();
    let sealed = segments(&killed);
    // sled panics, or refuses, on each of these.
    fs::write(sealed[0].0.join("conf"), b"segment_size: 7\nnot a conf at all").unwrap();
    fs::write(sealed[1].0.join("conf"), b"").unwrap();
    fs::write(sealed[2].0.join("identity"), b"").unwrap();
    let (queue, opened) = Queue::open(small(&killed)).unwrap();
    assert!(opened.quarantined.is_empty(), "found when they are read");
    assert_eq!(drain(&queue), (0..IDS).collect::<Vec<_>>());
    let reports = queue.quarantined();
    assert!(reports.iter().all(|report| report.lost.is_empty()), "{reports:?}");
    assert!(reports.iter().any(|report| report.damage == Damage::Unreadable), "{reports:?}");
    assert_eq!(names(&killed.join("quarantine")).len(), reports.len());
}

#[test]
fn what_sled_forgets_is_still_delivered() {
    let (_home, killed) = written();
    // A flip in sled's own bytes, outside of every part: its recovery stops there.
    let (place, inside) = &segments(&killed)[0];
    let db = fs::read(place.join("db")).unwrap();
    let magic = memchr::memmem::find(&db, &part::MAGIC).unwrap();
    let mut broken = db.clone();
    broken[magic - 12] ^= 0xff;
    fs::write(place.join("db"), &broken).unwrap();
    let (queue, _) = Queue::open(small(&killed)).unwrap();
    assert_eq!(drain(&queue), (0..IDS).collect::<Vec<_>>());
    // No entry is damaged, and sled is not asked.
    assert!(inside.len() > 2 && queue.quarantined().is_empty(), "{:?}", queue.quarantined());
}

#[test]
fn an_entry_of_another_release_is_reported_and_kept() {
    let (_home, killed) = written();
    let (place, inside) = &segments(&killed)[1];
    let mut db = fs::read(place.join("db")).unwrap();
    let magic = memchr::memmem::find(&db, &part::MAGIC).unwrap();
    db[magic + 4] = 2;
    fs::write(place.join("db"), &db).unwrap();
    let (queue, _) = Queue::open(small(&killed)).unwrap();
    let missing = &set(0..IDS) - &set(drain(&queue));
    assert_eq!(missing, set(inside.first().copied()));
    let report = &queue.quarantined()[0];
    assert_eq!(report.damage, Damage::UnknownVersion(2));
    assert_eq!(report.lost.iter().map(|lost| lost.0 - 1).collect::<BTreeSet<_>>(), missing);
    assert_eq!(queue.stats().lost_entries, 1);
    assert!(report.path.is_dir());
}

#[test]
fn a_segment_with_nothing_left_is_reported_with_its_range() {
    let (_home, killed) = written();
    let (place, inside) = &segments(&killed)[1];
    fs::write(place.join("db"), vec![0x77; 200_000]).unwrap();
    fs::remove_file(place.join("summary")).unwrap();
    let (queue, opened) = Queue::open(small(&killed)).unwrap();
    assert_eq!(set(drain(&queue)), &set(0..IDS) - inside);
    assert_eq!(opened.quarantined.len(), 1);
    assert_eq!(reported(&queue, &opened), *inside);
}

#[test]
fn a_tail_that_was_cut_off_is_not_damage() {
    let (_home, killed) = written();
    let (place, inside) = segments(&killed).pop().unwrap();
    let db = place.join("db");
    let whole = fs::read(&db).unwrap();
    let last = memchr::memmem::rfind(&whole, &part::MAGIC).unwrap();
    fs::write(&db, &whole[..last + 5000]).unwrap();
    let (queue, opened) = Queue::open(small(&killed)).unwrap();
    assert_eq!(drain(&queue), (0..IDS - 1).collect::<Vec<_>>());
    assert!(opened.quarantined.is_empty() && queue.quarantined().is_empty());
    assert_eq!(opened.torn.len(), 1);
    assert_eq!(opened.torn[0].after.0, IDS - 1);
    assert!(inside.contains(&(IDS - 1)));
    fill(&queue, 100..103, 100);
    assert_eq!(drain(&queue), [100, 101, 102]);
}

#[test]
fn missing_directories_and_files_do_not_stop_a_start() {
    let (_home, killed) = written();
    let (place, inside) = segments(&killed).remove(1);
    fs::remove_dir_all(&place).unwrap();
    fs::remove_file(killed.join("cursor")).unwrap();
    fs::write(killed.join("sealed").join("README"), b"not ours").unwrap();
    let queue = open(small(&killed));
    assert_eq!(set(drain(&queue)), &set(0..IDS) - &inside);
}

#[test]
fn quarantined_entries_survive_a_restart_until_they_are_delivered() {
    let (_home, killed) = written();
    let (place, inside) = segments(&killed).remove(0);
    fs::remove_file(place.join("summary")).unwrap();
    let db = fs::read(place.join("db")).unwrap();
    let second = memchr::memmem::find_iter(&db, &part::MAGIC).nth(1).unwrap();
    let mut broken = db.clone();
    broken[second + 1000] ^= 1;
    fs::write(place.join("db"), &broken).unwrap();
    let (queue, opened) = Queue::open(small(&killed)).unwrap();
    assert_eq!(opened.quarantined.len(), 1, "no summary: it was scanned at the start");
    drop(queue);
    let queue = open(small(&killed));
    let delivered = set(drain(&queue));
    assert_eq!((&set(0..IDS) - &delivered).len(), 1);
    assert!((&inside - &delivered).len() == 1);
}
