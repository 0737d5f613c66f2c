//! The dead letters: a side chain of records that can never be indexed, each with its reason. When it is full the lane that
//! writes to it has to stop: nothing is dropped to make room.

use std::path::PathBuf;
use std::sync::Arc;

use thiserror::Error;

use super::OpenError;
use super::chain::Quarantined;
use super::entry::Sequence;
use super::letter::Letter;
use super::part::Kind;
use super::segment::StorageError;
use super::side::Side;

/// Letters that make one commit at most; bounds the memory of `append_all`.
const COMMIT_MAX_BYTES: usize = 1 << 20;
const COMMIT_MAX_LETTERS: usize = 1024;

/// Settings of the dead letters' chain.
#[derive(Debug, Clone)]
pub struct LettersConfig {
    /// The chain's own directory; made when it is not there.
    pub dir: PathBuf,
    /// What it may take of the disk.
    pub max_bytes: u64,
}

impl LettersConfig {
    /// A chain in `dir` of at most `max_bytes`.
    pub fn new(dir: impl Into<PathBuf>, max_bytes: u64) -> Self {
        Self { dir: dir.into(), max_bytes }
    }
}

/// Why a letter could not be kept: the lane has to stop.
#[derive(Debug, Error)]
pub enum LetterError {
    /// Somebody has to look at the letters first.
    #[error("the dead letters take all the room they may have")]
    Full,
    /// The disk.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// The dead letters. A clone is the same chain.
#[derive(Debug, Clone)]
pub struct Letters {
    side: Arc<Side>,
    max_bytes: u64,
}

/// The letters in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LetterStats {
    /// How many there are.
    pub letters: u64,
    /// What they take on the disk.
    pub disk_bytes: u64,
}

impl Letters {
    /// Opens the chain, or makes one. Blocking.
    pub fn open(config: LettersConfig) -> Result<Self, OpenError> {
        let side = Side::open(&config.dir).map_err(|error| OpenError::of(config.dir, error))?;
        Ok(Self { side: Arc::new(side), max_bytes: config.max_bytes })
    }

    /// Keeps a letter: durable on return. Blocking.
    pub fn append(&self, letter: &Letter) -> Result<Sequence, LetterError> {
        self.append_all(std::slice::from_ref(letter))
    }

    /// Keeps letters, with one sync for each MiB of them; all are durable on return. After an error
    /// some may have been kept. Blocking.
    pub fn append_all(&self, letters: &[Letter]) -> Result<Sequence, LetterError> {
        let bytes: usize = letters.iter().map(Letter::stored_bytes).sum();
        if self.side.chain.bytes().saturating_add(bytes as u64) > self.max_bytes {
            return Err(LetterError::Full);
        }
        let mut last = Sequence::default();
        let mut body = Vec::new();
        let mut count = 0;
        for (number, letter) in letters.iter().enumerate() {
            letter.encode(&mut body);
            count += 1;
            let is_last = number + 1 == letters.len();
            if is_last || count == COMMIT_MAX_LETTERS || body.len() >= COMMIT_MAX_BYTES {
                last = self.side.append(Kind::Letters, count as u16, &body)?;
                body.clear();
                count = 0;
            }
        }
        Ok(last)
    }

    /// All letters, oldest first, with the commit that each was in. Blocking: it reads segment by
    /// segment, and what is appended meanwhile may come or not.
    pub fn iter(&self) -> impl Iterator<Item = (Sequence, Letter)> + use<> {
        Side::entries(&self.side).flat_map(|(sequence, kind, body)| {
            let letters = match kind {
                Kind::Letters => Letter::decode_all(&body),
                Kind::Batches => None,
            };
            if letters.is_none() {
                tracing::error!(%sequence, "an intact entry that is no letter");
            }
            letters.unwrap_or_default().into_iter().map(move |letter| (sequence, letter))
        })
    }

    /// The letters in numbers.
    pub fn stats(&self) -> LetterStats {
        let (_, letters) = self.side.chain.backlog(Sequence::default());
        LetterStats { letters, disk_bytes: self.side.chain.bytes() }
    }

    /// Damaged segments found since the start.
    pub fn quarantined(&self) -> Vec<Quarantined> {
        self.side.chain.quarantined()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(offset: u64, len: usize) -> Letter {
        Letter {
            record: vec![offset as u8; len].into(),
            node: "node-1".into(),
            file_id: [7; 12],
            offset,
            index: "logstash-2026.11.22".into(),
            document_id: "AAAAAAAAAAAAAAAAAAAA".into(),
            reason: "mapper_parsing_exception".into(),
            attempts: 2,
            first_ms: 1_795_363_200_000,
            last_ms: 1_795_363_200_900,
        }
    }

    fn offsets(letters: &Letters) -> Vec<u64> {
        letters.iter().map(|(_, letter)| letter.offset).collect()
    }

    #[test]
    fn letters_are_there_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let open = || Letters::open(LettersConfig::new(dir.path(), 1 << 30)).unwrap();
        let letters = open();
        assert!(offsets(&letters).is_empty());
        letters.append(&letter(0, 100)).unwrap();
        letters.append(&letter(1, 900_000)).unwrap();
        let many: Vec<_> = (2..2100).map(|offset| letter(offset, 10)).collect();
        letters.append_all(&many).unwrap();
        assert_eq!(offsets(&letters), (0..2100).collect::<Vec<_>>());
        assert!(matches!(
            Letters::open(LettersConfig::new(dir.path(), 1 << 30)),
            Err(OpenError::Locked { .. })
        ));
        drop(letters);
        let letters = open();
        letters.append(&letter(2100, 1)).unwrap();
        assert_eq!(offsets(&letters), (0..2101).collect::<Vec<_>>());
        assert_eq!(letters.iter().nth(1), Some((Sequence(2), letter(1, 900_000))));
        assert_eq!(letters.stats().letters, 2101);
        assert!(letters.quarantined().is_empty());
    }

    #[test]
    fn a_full_chain_refuses_and_drops_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let letters = Letters::open(LettersConfig::new(dir.path(), 1 << 20)).unwrap();
        let mut kept = 0;
        while letters.append(&letter(kept, 50_000)).is_ok() {
            kept += 1;
        }
        assert!(matches!(letters.append(&letter(kept, 50_000)), Err(LetterError::Full)));
        assert!((10..=20).contains(&kept), "{kept} letters of 50 kB in 1 MiB");
        assert_eq!(offsets(&letters), (0..kept).collect::<Vec<_>>());
        assert!(letters.stats().disk_bytes <= (1 << 20) + 100_000);
    }
}
