//! One inotify instance.

use std::ffi::{OsStr, OsString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;

/// Entries of a directory that come, go, or change their names.
pub(super) const ENTRIES: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::ONLYDIR);

/// Events read in one call; the rest waits in the kernel's queue.
const READ_BYTES: usize = 16 << 10;

pub(super) struct Watcher {
    descriptor: OwnedFd,
    /// As if `max_user_watches` were reached.
    #[cfg(test)]
    pub(super) exhausted: bool,
}

pub(super) struct Event {
    pub(super) watch: i32,
    pub(super) flags: ReadFlags,
    pub(super) name: OsString,
}

impl Watcher {
    pub(super) fn new() -> io::Result<Self> {
        let descriptor = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        Ok(Self {
            descriptor,
            #[cfg(test)]
            exhausted: false,
        })
    }

    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }

    /// Watching a directory again gives the same watch.
    pub(super) fn add(&self, path: &Path, flags: WatchFlags) -> io::Result<i32> {
        #[cfg(test)]
        if self.exhausted {
            return Err(Errno::NOSPC.into());
        }
        Ok(inotify::add_watch(&self.descriptor, path, flags)?)
    }

    /// Appends every event that waits.
    pub(super) fn read(&mut self, events: &mut Vec<Event>) -> io::Result<()> {
        let mut buffer = [MaybeUninit::uninit(); READ_BYTES];
        let mut reader = Reader::new(&self.descriptor, &mut buffer);
        loop {
            match reader.next() {
                Ok(event) => events.push(Event {
                    watch: event.wd(),
                    flags: event.events(),
                    name: event
                        .file_name()
                        .map(|name| OsStr::from_bytes(name.to_bytes()).to_owned())
                        .unwrap_or_default(),
                }),
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}
