//! The two small files beside sled's in a segment: `identity`, written at its birth, and `summary`,
//! written when it is sealed.
//!
//! Both are little-endian, end with the crc32c of what is before it, and can be done without: a
//! segment that lost them is scanned instead.
//!
//! ```text
//! identity  "NQid" version u8 (1), first sequence u64, salt u64, sled segment bytes u32, crc32c
//! summary   "NQsu" version u8 (1), first u64, last u64, batches u64, oldest ms i64, crc32c
//! ```

use std::fs::{self, File};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};
use std::path::Path;

use super::bytes_in::BytesIn;
use super::entry::Sequence;

const VERSION: u8 = 1;

/// What a segment is born with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) first: Sequence,
    pub(super) salt: u64,
    /// sled refuses to open a database with another size than it was made with.
    pub(super) sled_segment_bytes: u32,
}

/// What a sealed segment holds: a start reads this and not the segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Summary {
    pub(super) first: Sequence,
    pub(super) last: Sequence,
    pub(super) batches: u64,
    /// When its first entry was committed.
    pub(super) oldest_ms: i64,
}

impl Identity {
    const NAME: &'static str = "identity";
    const MAGIC: [u8; 4] = *b"NQid";

    /// A new identity, with a salt that nobody else knows.
    pub(super) fn new(first: Sequence, sled_segment_bytes: u32) -> Self {
        Self { first, salt: RandomState::new().hash_one(first.0), sled_segment_bytes }
    }

    pub(super) fn save(&self, segment: &Path) -> io::Result<()> {
        let mut bytes = started(Self::MAGIC);
        bytes.extend_from_slice(&self.first.0.to_le_bytes());
        bytes.extend_from_slice(&self.salt.to_le_bytes());
        bytes.extend_from_slice(&self.sled_segment_bytes.to_le_bytes());
        finish(bytes, segment, Self::NAME)
    }

    /// The identity of the segment named by `first`, if it is there and intact.
    pub(super) fn load(segment: &Path, first: Sequence) -> Option<Self> {
        let bytes = fs::read(segment.join(Self::NAME)).ok()?;
        let mut input = checked(&bytes, Self::MAGIC)?;
        let identity = Self {
            first: Sequence(input.u64()?),
            salt: input.u64()?,
            sled_segment_bytes: input.u32()?,
        };
        let sane = identity.sled_segment_bytes.is_power_of_two()
            && (1 << 12..=1 << 24).contains(&identity.sled_segment_bytes);
        (sane && identity.first == first).then_some(identity)
    }
}

impl Summary {
    const NAME: &'static str = "summary";
    const MAGIC: [u8; 4] = *b"NQsu";

    pub(super) fn save(&self, segment: &Path) -> io::Result<()> {
        let mut bytes = started(Self::MAGIC);
        bytes.extend_from_slice(&self.first.0.to_le_bytes());
        bytes.extend_from_slice(&self.last.0.to_le_bytes());
        bytes.extend_from_slice(&self.batches.to_le_bytes());
        bytes.extend_from_slice(&self.oldest_ms.to_le_bytes());
        finish(bytes, segment, Self::NAME)
    }

    /// The summary of the segment named by `first`, if it is there and intact.
    pub(super) fn load(segment: &Path, first: Sequence) -> Option<Self> {
        let bytes = fs::read(segment.join(Self::NAME)).ok()?;
        let mut input = checked(&bytes, Self::MAGIC)?;
        let summary = Self {
            first: Sequence(input.u64()?),
            last: Sequence(input.u64()?),
            batches: input.u64()?,
            oldest_ms: input.i64()?,
        };
        (summary.first == first && summary.last >= first).then_some(summary)
    }
}

fn started(magic: [u8; 4]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(64);
    bytes.extend_from_slice(&magic);
    bytes.push(VERSION);
    bytes
}

fn finish(mut bytes: Vec<u8>, segment: &Path, name: &str) -> io::Result<()> {
    let crc = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    let mut file = File::create(segment.join(name))?;
    file.write_all(&bytes)?;
    file.sync_all()
}

/// The fields of an intact file of this version.
fn checked(bytes: &[u8], magic: [u8; 4]) -> Option<BytesIn<'_>> {
    let (content, crc) = bytes.split_last_chunk::<4>()?;
    if crc32c::crc32c(content) != u32::from_le_bytes(*crc) {
        return None;
    }
    let mut input = BytesIn::new(content);
    (input.take(4)? == magic && input.u8()? == VERSION).then_some(input)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_back_or_refused() {
        let dir = tempfile::tempdir().unwrap();
        let identity = Identity::new(Sequence(7), 512 << 10);
        identity.save(dir.path()).unwrap();
        assert_eq!(Identity::load(dir.path(), Sequence(7)), Some(identity));
        assert_eq!(Identity::load(dir.path(), Sequence(8)), None, "another segment's");
        let summary =
            Summary { first: Sequence(7), last: Sequence(9), batches: 12, oldest_ms: 1_700 };
        summary.save(dir.path()).unwrap();
        assert_eq!(Summary::load(dir.path(), Sequence(7)), Some(summary));

        let path = dir.path().join("summary");
        let good = fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x20;
            fs::write(&path, &bad).unwrap();
            assert_eq!(Summary::load(dir.path(), Sequence(7)), None, "byte {at}");
            fs::write(&path, &good[..at]).unwrap();
            assert_eq!(Summary::load(dir.path(), Sequence(7)), None, "cut at {at}");
        }
    }

    #[test]
    fn salts_differ() {
        let salts = [0; 4].map(|_| Identity::new(Sequence(1), 1 << 19).salt);
        assert!(salts.iter().any(|salt| *salt != salts[0]));
    }
}
