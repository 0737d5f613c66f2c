//! One forwarder a data directory: a second one stands by until the first has ended, and takes over without a gap.
//!
//! The lock is a `flock` on `forwarder.lock` in the data directory, so the kernel lets go of it however its holder ends.
//! Whoever stands by holds every log file open: what is deleted meanwhile, and the first has not read, is still there.
//! It reads no line and changes nothing; the checkpoint is loaded only once the lock is held, for until then the first
//! one writes it.

mod hold;

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::FlockOperation;

pub use hold::{Held, Holder, Whose};

/// How often the lock is tried: how long a node is without a reader after the first has ended.
const TRY: Duration = Duration::from_millis(50);
const LOCK: &str = "forwarder.lock";

/// A data directory, as far as it is this process's.
#[derive(Debug)]
pub enum Lock {
    /// For as long as this is kept.
    Taken(File),
    /// There can be no lock: the directory cannot be made or written. Nothing is saved in it either.
    Impossible,
    /// Another process has it.
    Elsewhere,
}

/// Tries to take a data directory.
#[must_use]
pub fn try_lock(data_dir: &Path) -> Lock {
    let path = data_dir.join(LOCK);
    loop {
        let opened = std::fs::create_dir_all(data_dir)
            .and_then(|()| OpenOptions::new().create(true).truncate(false).write(true).open(&path));
        let Ok(file) = opened else { return Lock::Impossible };
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) if is_at(&file, &path) => return Lock::Taken(file),
            // Somebody deleted it in between: a lock that others cannot find is none.
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Lock::Elsewhere,
            Err(_) => return Lock::Impossible,
        }
    }
}

/// Whether another process runs on a data directory. Changes nothing.
#[must_use]
pub fn is_locked(data_dir: &Path) -> bool {
    let Ok(file) = File::open(data_dir.join(LOCK)) else { return false };
    let tried = rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared);
    matches!(tried, Err(rustix::io::Errno::WOULDBLOCK))
}

fn is_at(file: &File, path: &Path) -> bool {
    let same = |a: io::Result<std::fs::Metadata>, b: io::Result<std::fs::Metadata>| match (a, b) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    };
    same(file.metadata(), std::fs::metadata(path))
}

/// Waits for the lock, holding what there is; None when `stop` was set first.
#[must_use]
pub fn wait(data_dir: &Path, holder: &mut Holder, stop: &AtomicBool) -> Option<Lock> {
    while !stop.load(Ordering::Acquire) {
        holder.look();
        match try_lock(data_dir) {
            Lock::Elsewhere => sleep(holder),
            lock => return Some(lock),
        }
    }
    None
}

fn sleep(holder: &Holder) {
    let descriptor = holder.descriptor();
    let mut polled = Vec::new();
    polled
        .extend(descriptor.as_ref().map(|fd| PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN)));
    let timeout = Timespec::try_from(TRY).ok();
    // Interrupted is as good as woken.
    poll(&mut polled, timeout.as_ref()).ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_taken_once_and_free_again_when_its_holder_ends() {
        let directory = tempfile::tempdir().unwrap();
        assert!(!is_locked(directory.path()));
        let Lock::Taken(first) = try_lock(directory.path()) else { panic!("it is free") };
        assert!(matches!(try_lock(directory.path()), Lock::Elsewhere));
        assert!(is_locked(directory.path()));
        drop(first);
        assert!(!is_locked(directory.path()));
        assert!(matches!(try_lock(directory.path()), Lock::Taken(_)));
    }

    #[test]
    fn there_is_no_lock_where_nothing_can_be_written() {
        assert!(matches!(try_lock(Path::new("/proc/naru")), Lock::Impossible));
        assert!(!is_locked(Path::new("/proc/naru")));
    }
}
