//! How far the queue is delivered: a file of two slots, written in turns.
//!
//! Each slot has a block of its own, so that writing one cannot tear the other, and the file never
//! grows, so that it can be written on a full disk. The newer intact slot counts. Losing one costs
//! a second delivery of what was done since, which document ids make harmless; losing both costs
//! that of everything that is still there.
//!
//! ```text
//! "NQcu" version u8, generation u64, delivered through sequence u64, ranges, crc32c   (little-endian)
//! ranges    of version 1: none · of version 2: count u16, and the first and the last sequence of each, u64
//! ```
//!
//! Version 1 is written while there are no ranges, so that an older release reads it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::bytes_in::BytesIn;
use super::disk::sync_dir;
use super::done::Done;
use super::entry::Sequence;

const MAGIC: [u8; 4] = *b"NQcu";
const WITHOUT_RANGES: u8 = 1;
const WITH_RANGES: u8 = 2;
const SLOT_STRIDE: u64 = 4096;
/// Ranges that are written: twice as many as leases can make. Those beyond are delivered again after a restart.
const RANGES_MAX: usize = 64;
const CRC_BYTES: usize = 4;

/// The open cursor file.
#[derive(Debug)]
pub(super) struct Cursor {
    file: File,
    generation: u64,
    done: Done,
}

impl Cursor {
    /// Opens the file in `dir`, or makes one that says: nothing is delivered.
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        let path = dir.join("cursor");
        let file =
            File::options().create(true).truncate(false).read(true).write(true).open(&path)?;
        let slots = [slot(&file, 0), slot(&file, 1)];
        if file.metadata()?.len() != 2 * SLOT_STRIDE {
            file.write_all_at(&[0; SLOT_STRIDE as usize], SLOT_STRIDE)?;
            file.set_len(2 * SLOT_STRIDE)?;
            file.sync_all()?;
            sync_dir(dir)?;
        } else if slots.iter().all(Option::is_none) && file_has_content(&file) {
            tracing::warn!("the cursor is damaged: all that the queue holds is delivered again");
        }
        let (generation, done) = newest(slots);
        Ok(Self { file, generation, done })
    }

    /// What is delivered.
    pub(super) fn done(&self) -> &Done {
        &self.done
    }

    /// Writes the older slot, durably.
    pub(super) fn save(&mut self, mut done: Done) -> io::Result<()> {
        done.ranges.truncate(RANGES_MAX);
        let generation = self.generation + 1;
        let bytes = encode(generation, &done);
        self.file.write_all_at(&bytes, generation % 2 * SLOT_STRIDE)?;
        self.file.sync_data()?;
        (self.generation, self.done) = (generation, done);
        Ok(())
    }
}

/// What is delivered; a file that is not there says nothing. Nothing is written.
pub(super) fn read(dir: &Path) -> io::Result<Done> {
    let file = match File::open(dir.join("cursor")) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Done::default()),
        Err(error) => return Err(error),
    };
    Ok(newest([slot(&file, 0), slot(&file, 1)]).1)
}

fn newest(slots: [Option<(u64, Done)>; 2]) -> (u64, Done) {
    slots.into_iter().flatten().max_by_key(|(generation, _)| *generation).unwrap_or_default()
}

fn encode(generation: u64, done: &Done) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(SLOT_STRIDE as usize);
    bytes.extend_from_slice(&MAGIC);
    bytes.push(if done.ranges.is_empty() { WITHOUT_RANGES } else { WITH_RANGES });
    bytes.extend_from_slice(&generation.to_le_bytes());
    bytes.extend_from_slice(&done.through.0.to_le_bytes());
    if !done.ranges.is_empty() {
        bytes.extend_from_slice(&(done.ranges.len() as u16).to_le_bytes());
        for (first, last) in &done.ranges {
            bytes.extend_from_slice(&first.0.to_le_bytes());
            bytes.extend_from_slice(&last.0.to_le_bytes());
        }
    }
    bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
    bytes
}

fn file_has_content(file: &File) -> bool {
    let mut bytes = [0; 2 * SLOT_STRIDE as usize];
    file.read_exact_at(&mut bytes, 0).is_ok() && bytes.iter().any(|byte| *byte != 0)
}

/// Generation and content of an intact slot.
fn slot(file: &File, number: u64) -> Option<(u64, Done)> {
    let mut bytes = [0; SLOT_STRIDE as usize];
    let mut filled = 0;
    // The file may be cut short: what is there may be whole.
    while let Some(room) = bytes.get_mut(filled..).filter(|room| !room.is_empty())
        && let Ok(read) = file.read_at(room, number * SLOT_STRIDE + filled as u64)
        && read > 0
    {
        filled += read;
    }
    let (generation, done) = decode(bytes.get(..filled)?)?;
    (generation % 2 == number).then_some((generation, done))
}

fn decode(bytes: &[u8]) -> Option<(u64, Done)> {
    let mut input = BytesIn::new(bytes);
    if input.take(MAGIC.len())? != MAGIC {
        return None;
    }
    let version = input.u8()?;
    let generation = input.u64()?;
    let mut done = Done { through: Sequence(input.u64()?), ranges: Vec::new() };
    let count = match version {
        WITHOUT_RANGES => 0,
        WITH_RANGES => usize::from(input.u16()?),
        _ => return None,
    };
    for _ in 0..count {
        done.ranges.push((Sequence(input.u64()?), Sequence(input.u64()?)));
    }
    let content = bytes.get(..input.position())?;
    let crc = input.take(CRC_BYTES)?;
    (crc == crc32c::crc32c(content).to_le_bytes()).then_some((generation, done))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn done(through: u64, ranges: &[(u64, u64)]) -> Done {
        let ranges = ranges.iter().map(|(first, last)| (Sequence(*first), Sequence(*last)));
        Done { through: Sequence(through), ranges: ranges.collect() }
    }

    #[test]
    fn the_newest_slot_counts() {
        let dir = tempfile::tempdir().unwrap();
        let open = || Cursor::open(dir.path()).unwrap();
        assert_eq!(open().done(), &Done::default());
        for saved in
            [done(3, &[]), done(8, &[(10, 10), (12, 40)]), done(20, &[]), done(20, &[(22, 23)])]
        {
            open().save(saved.clone()).unwrap();
            assert_eq!(open().done(), &saved);
            assert_eq!(read(dir.path()).unwrap(), saved);
        }
    }

    #[test]
    fn ranges_are_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let many: Vec<_> = (0..1000).map(|n| (10 + 3 * n, 11 + 3 * n)).collect();
        Cursor::open(dir.path()).unwrap().save(done(3, &many)).unwrap();
        let kept = done(3, many.get(..RANGES_MAX).unwrap());
        assert_eq!(Cursor::open(dir.path()).unwrap().done(), &kept);
        assert!(encode(1, &kept).len() <= SLOT_STRIDE as usize);
    }

    #[test]
    fn a_damaged_slot_costs_one_save_and_two_cost_all() {
        let dir = tempfile::tempdir().unwrap();
        let mut cursor = Cursor::open(dir.path()).unwrap();
        let (older, newer) = (done(5, &[(7, 8)]), done(9, &[(11, 12), (20, 30)]));
        cursor.save(older.clone()).unwrap();
        cursor.save(newer.clone()).unwrap();
        let good = std::fs::read(dir.path().join("cursor")).unwrap();
        for (slot, written, left) in [(0, &newer, &older), (1, &older, &newer)] {
            for byte in 0..encode(1, written).len() {
                let mut bad = good.clone();
                bad[slot * SLOT_STRIDE as usize + byte] ^= 4;
                std::fs::write(dir.path().join("cursor"), &bad).unwrap();
                let read = Cursor::open(dir.path()).unwrap();
                assert_eq!(read.done(), left, "slot {slot}, byte {byte}");
            }
        }
        for len in [0, 1, 4096, 8191] {
            std::fs::write(dir.path().join("cursor"), &good[..len]).unwrap();
            let mut cursor = Cursor::open(dir.path()).unwrap();
            assert!(cursor.done().through <= Sequence(9));
            cursor.save(done(11, &[])).unwrap();
            assert_eq!(Cursor::open(dir.path()).unwrap().done(), &done(11, &[]));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            prop_assert_eq!(decode(&[&MAGIC[..], &[2], &bytes].concat()), None);
        }
    }
}
