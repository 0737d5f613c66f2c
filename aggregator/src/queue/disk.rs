//! The real disk: what is free on it, the lock on the directory, the ballast, directory fsync.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, FlockOperation, fallocate, flock, statvfs};

/// Room on a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Room {
    pub(super) total_bytes: u64,
    /// What an ordinary user may still take.
    pub(super) available_bytes: u64,
}

impl Room {
    pub(super) fn of(dir: &Path) -> io::Result<Self> {
        let stat = statvfs(dir)?;
        Ok(Self {
            total_bytes: stat.f_blocks.saturating_mul(stat.f_frsize),
            available_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
        })
    }

    /// Whether `extra_bytes` more would leave less than the reserve: `reserve_percent` of the disk, or 4 GiB of a large
    /// one.
    pub(super) fn is_short(&self, reserve_percent: u8, extra_bytes: u64) -> bool {
        let left = self.available_bytes.saturating_sub(extra_bytes);
        let share = u128::from(self.total_bytes) * u128::from(reserve_percent) / 100;
        u128::from(left) < share.min(u128::from(RESERVE_MAX_BYTES))
    }
}

/// The reserve of a disk of more than 20 GiB: 64 segments, and a fifth of what a queue may take by default. A fifth of a
/// large shared disk would stop intake with room for the whole queue left (docs/decisions/0002).
const RESERVE_MAX_BYTES: u64 = 4 << 30;

/// Makes what was created, renamed or removed in `dir` durable.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Bytes that a file really takes; 0 when it is not there.
pub(super) fn allocated_bytes(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(path).map_or(0, |meta| meta.blocks().saturating_mul(512))
}

pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

/// A lock on a file, held until it is dropped.
///
/// It is undone by name and not by closing the file: a process that is being forked right then has
/// the file too, and would hold the lock until its `exec`.
#[derive(Debug)]
pub(super) struct Lock(File);

impl Lock {
    /// Takes the directory for this process. `WouldBlock`: another has it.
    pub(super) fn directory(dir: &Path) -> io::Result<Self> {
        let mut options = File::options();
        options.create(true).truncate(false).read(true).write(true);
        Self::take(options.open(dir.join("lock"))?)
    }

    /// Locks a file. `WouldBlock`: it is locked.
    pub(super) fn take(file: File) -> io::Result<Self> {
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Self(file))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if let Err(error) = flock(&self.0, FlockOperation::Unlock) {
            tracing::warn!(%error, "could not unlock a file");
        }
    }
}

/// A file of no content, given up so that a queue on a full disk can still be opened.
#[derive(Debug)]
pub(super) struct Ballast {
    path: PathBuf,
    bytes: u64,
}

impl Ballast {
    pub(super) fn new(dir: &Path, bytes: u64) -> Self {
        Self { path: dir.join("ballast"), bytes }
    }

    fn is_there(&self) -> bool {
        fs::metadata(&self.path).is_ok_and(|meta| meta.len() == self.bytes)
    }

    /// Gives the space back to the disk; false when there was none to give.
    pub(super) fn release(&self) -> bool {
        fs::remove_file(&self.path).is_ok()
    }

    /// Puts the file back where the disk has room for it beyond the reserve.
    pub(super) fn restore(&self, room: Room, reserve_percent: u8) -> io::Result<()> {
        if self.bytes == 0 || self.is_there() || room.is_short(reserve_percent, self.bytes) {
            return Ok(());
        }
        let file = File::create(&self.path)?;
        match fallocate(&file, FallocateFlags::empty(), 0, self.bytes) {
            Ok(()) => file.sync_all(),
            Err(error) => {
                fs::remove_file(&self.path)?;
                match error {
                    // A file system without preallocation has no ballast.
                    rustix::io::Errno::OPNOTSUPP => Ok(()),
                    other => Err(other.into()),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_is_a_share_of_a_small_disk_and_a_size_of_a_large_one() {
        let check = |total_gib: u64, free_gib: u64, expected: bool| {
            let room = Room { total_bytes: total_gib << 30, available_bytes: free_gib << 30 };
            assert_eq!(room.is_short(20, 0), expected, "{free_gib} of {total_gib} GiB free");
        };
        check(10, 1, true);
        check(10, 3, false);
        check(252, 48, false);
        check(252, 3, true);
        check(10_000, 5, false);
    }

    #[test]
    fn reserve_is_a_share_of_the_whole_disk() {
        #[track_caller]
        fn check(available_bytes: u64, percent: u8, extra: u64, short: bool) {
            let room = Room { total_bytes: 1000, available_bytes };
            assert_eq!(room.is_short(percent, extra), short);
        }
        check(200, 20, 0, false);
        check(199, 20, 0, true);
        check(210, 20, 11, true);
        check(0, 0, 50, false);
        check(1000, 100, 0, false);
    }

    #[test]
    fn ballast_takes_real_space_and_gives_it_back() {
        let dir = tempfile::tempdir().unwrap();
        let ballast = Ballast::new(dir.path(), 1 << 20);
        let room = Room::of(dir.path()).unwrap();
        ballast.restore(room, 0).unwrap();
        ballast.restore(room, 0).unwrap();
        assert!(allocated_bytes(&dir.path().join("ballast")) >= 1 << 20);
        assert!(ballast.release());
        assert!(!ballast.release());
        let full = Room { available_bytes: 0, ..room };
        ballast.restore(full, 20).unwrap();
        assert!(!ballast.release(), "not put on a full disk");
    }

    #[test]
    fn a_directory_has_one_owner() {
        let dir = tempfile::tempdir().unwrap();
        let first = Lock::directory(dir.path()).unwrap();
        let second = Lock::directory(dir.path());
        assert_eq!(second.unwrap_err().kind(), ErrorKind::WouldBlock);
        let as_after_a_fork = first.0.try_clone().unwrap();
        drop(first);
        Lock::directory(dir.path()).unwrap();
        drop(as_after_a_fork);
    }
}
