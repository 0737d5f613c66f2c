//! What is saved of a source.

use std::hash::Hasher;
use std::path::PathBuf;

use naru_proto::frame::Source;
use naru_proto::ids::FileId;
use naru_proto::wire::GapReason;
use siphasher::sip::SipHasher24;

use crate::cut::{CutJournal, ResumeState};

/// The whole state of one source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceState {
    /// Whose.
    pub source: Source,
    /// In the order in which they were written.
    pub files: Vec<FileState>,
    /// The cutter's, where its files are acknowledged.
    pub cutter: ResumeState,
    /// What a re-read from there must cut again.
    pub cuts: CutJournal,
    /// Declared, and not known to an aggregator yet.
    pub gaps: Vec<DeclaredGap>,
    /// Those of the cutters that cut late lines of files before the current one, where they are acknowledged.
    pub late: Vec<ResumeState>,
}

/// One physical file of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileState {
    /// See [`FileId`].
    pub id: FileId,
    /// The device that it is on.
    pub device: u64,
    /// Its inode there, which another file may have by now.
    pub inode: u64,
    /// When the inode was born, nanoseconds since 1970, where the file system says so.
    pub birth_time_ns: Option<i64>,
    /// What stands for the kernel's file handle; empty where there is none.
    pub handle: Vec<u8>,
    /// The name last seen.
    pub name: PathBuf,
    /// Of its id; 0 but for a second file whose id would be the same.
    pub salt: u64,
    /// The uncompressed size last known.
    pub size: u64,
    /// Everything before this offset is the aggregator's, but for what the cutter holds.
    pub acknowledged: u64,
    /// Its life has ended, and everything of it was read.
    pub finished: bool,
    /// Of the bytes before `acknowledged`.
    pub guard: Guard,
    /// A host file's id-times, by offset.
    pub steps: Vec<TimeStep>,
    /// Of the file's first bytes.
    pub head: Guard,
    /// When it was last known to be written to, nanoseconds since 1970; 0 if never.
    pub modified_ns: i64,
    /// From here on its lines came late: a cutter of their own cuts them.
    pub late_from: Option<u64>,
    /// What was not read of it is declared lost.
    pub given_up: bool,
}

/// The id-time of a host file's bytes from an offset on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeStep {
    /// The first byte that it dates.
    pub from_offset: u64,
    /// Nanoseconds since 1970.
    pub time_ns: i64,
}

/// A declared loss that the aggregator does not know yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeclaredGap {
    /// None when the file was never read.
    pub file: Option<FileId>,
    /// The first lost byte.
    pub start: u64,
    /// None when the end is not known.
    pub end_exclusive: Option<u64>,
    /// When the file was last seen.
    pub last_known_size: u64,
    /// Never unspecified.
    pub reason: GapReason,
    /// Between this moment, nanoseconds since 1970 …
    pub from_time_ns: i64,
    /// … and this one it was lost.
    pub until_time_ns: i64,
}

/// What stood before an offset: tells whether the file is still the one that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Guard {
    /// At most [`Guard::MAX_BYTES`]; 0 guards nothing.
    pub length: u8,
    /// Of those bytes.
    pub hash: u64,
}

impl Guard {
    /// How many bytes are guarded.
    pub const MAX_BYTES: usize = 64;

    /// Guards the last bytes of `before`, which end at the offset.
    #[must_use]
    pub fn of(before: &[u8]) -> Self {
        let from = before.len().saturating_sub(Self::MAX_BYTES);
        let guarded = before.get(from..).unwrap_or_default();
        if guarded.is_empty() {
            return Self::default();
        }
        let mut hasher = SipHasher24::new_with_key(b"naru.v1.guard...");
        hasher.write(guarded);
        Self { length: guarded.len() as u8, hash: hasher.finish() }
    }

    /// The bytes that end at the offset, at least `length` of them, are what they were.
    #[must_use]
    pub fn matches(&self, before: &[u8]) -> bool {
        let from = before.len().checked_sub(usize::from(self.length));
        from.and_then(|from| before.get(from..)).is_some_and(|guarded| Self::of(guarded) == *self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guard_knows_its_bytes() {
        let before: Vec<u8> = (0..100).collect();
        let guard = Guard::of(&before);
        assert_eq!(guard.length, 64);
        assert!(guard.matches(&before));
        assert!(guard.matches(&before[36..]));
        assert!(!guard.matches(&before[37..]));
        assert!(!guard.matches(&before[..99]));
        assert_ne!(Guard::of(b"a").hash, Guard::of(b"b").hash);
        assert!(Guard::of(b"short").matches(b"short"));
        assert!(Guard::of(b"").matches(b"anything"));
    }
}
