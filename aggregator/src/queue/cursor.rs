//! How far the queue is delivered: a file of two slots, written in turns.
//!
//! Each slot has a block of its own, so that writing one cannot tear the other, and the file never
//! grows, so that it can be written on a full disk. The newer intact slot counts. Losing one costs
//! a second delivery of what was done since, which document ids make harmless; losing both costs
//! that of everything that is still there.
//!
//! ```text
//! "NQcu" version u8 (1), generation u64, delivered through sequence u64, crc32c   (little-endian)
//! ```

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::bytes_in::BytesIn;
use super::disk::sync_dir;
use super::entry::Sequence;

const MAGIC: [u8; 4] = *b"NQcu";
const VERSION: u8 = 1;
const SLOT_STRIDE: u64 = 4096;
const SLOT_BYTES: usize = 25;

/// The open cursor file.
#[derive(Debug)]
pub(super) struct Cursor {
    file: File,
    generation: u64,
    delivered: Sequence,
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
        let (generation, delivered) = slots.into_iter().flatten().max().unwrap_or_default();
        Ok(Self { file, generation, delivered })
    }

    /// Every entry up to and with this one is delivered.
    pub(super) fn delivered(&self) -> Sequence {
        self.delivered
    }

    /// Writes the older slot, durably.
    pub(super) fn save(&mut self, delivered: Sequence) -> io::Result<()> {
        let generation = self.generation + 1;
        let mut bytes = Vec::with_capacity(SLOT_BYTES);
        bytes.extend_from_slice(&MAGIC);
        bytes.push(VERSION);
        bytes.extend_from_slice(&generation.to_le_bytes());
        bytes.extend_from_slice(&delivered.0.to_le_bytes());
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
        self.file.write_all_at(&bytes, generation % 2 * SLOT_STRIDE)?;
        self.file.sync_data()?;
        (self.generation, self.delivered) = (generation, delivered);
        Ok(())
    }
}

/// Every entry up to and with this one is delivered; a file that is not there says none. Nothing is written.
pub(super) fn read(dir: &Path) -> io::Result<Sequence> {
    let file = match File::open(dir.join("cursor")) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Sequence::default()),
        Err(error) => return Err(error),
    };
    let newest = [slot(&file, 0), slot(&file, 1)].into_iter().flatten().max();
    Ok(newest.unwrap_or_default().1)
}

fn file_has_content(file: &File) -> bool {
    let mut bytes = [0; 2 * SLOT_STRIDE as usize];
    file.read_exact_at(&mut bytes, 0).is_ok() && bytes.iter().any(|byte| *byte != 0)
}

/// Generation and sequence of an intact slot.
fn slot(file: &File, number: u64) -> Option<(u64, Sequence)> {
    let mut bytes = [0; SLOT_BYTES];
    file.read_exact_at(&mut bytes, number * SLOT_STRIDE).ok()?;
    let (content, crc) = bytes.split_last_chunk::<4>()?;
    let mut input = BytesIn::new(content);
    let known = crc32c::crc32c(content) == u32::from_le_bytes(*crc)
        && input.take(4)? == MAGIC
        && input.u8()? == VERSION;
    let generation = input.u64()?;
    (known && generation % 2 == number).then_some((generation, Sequence(input.u64()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_slot_counts() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Cursor::open(dir.path()).unwrap().delivered(), Sequence(0));
        for sequence in [3, 8, 20] {
            let mut cursor = Cursor::open(dir.path()).unwrap();
            cursor.save(Sequence(sequence)).unwrap();
            assert_eq!(Cursor::open(dir.path()).unwrap().delivered(), Sequence(sequence));
        }
    }

    #[test]
    fn a_damaged_slot_costs_one_save_and_two_cost_all() {
        let dir = tempfile::tempdir().unwrap();
        let mut cursor = Cursor::open(dir.path()).unwrap();
        cursor.save(Sequence(5)).unwrap();
        cursor.save(Sequence(9)).unwrap();
        let good = std::fs::read(dir.path().join("cursor")).unwrap();
        for (slot, left) in [(0, 5), (1, 9)] {
            for byte in 0..SLOT_BYTES {
                let mut bad = good.clone();
                bad[slot * SLOT_STRIDE as usize + byte] ^= 4;
                std::fs::write(dir.path().join("cursor"), &bad).unwrap();
                let read = Cursor::open(dir.path()).unwrap().delivered();
                assert_eq!(read, Sequence(left), "slot {slot}, byte {byte}");
            }
        }
        for len in [0, 1, 4096, 8191] {
            std::fs::write(dir.path().join("cursor"), &good[..len]).unwrap();
            let mut cursor = Cursor::open(dir.path()).unwrap();
            assert!(cursor.delivered() <= Sequence(9));
            cursor.save(Sequence(11)).unwrap();
            assert_eq!(Cursor::open(dir.path()).unwrap().delivered(), Sequence(11));
        }
    }
}
