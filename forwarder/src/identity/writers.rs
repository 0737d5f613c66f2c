//! Whether somebody has a deleted file open for writing, of which the kernel tells only whoever asks for a lease: it grants
//! one for reading where nobody writes (`fcntl(2)`, `F_SETLEASE`).
//!
//! It answers the file's owner and who has `CAP_LEASE`; a log of a container is root's. The lease is given back at once.
#![allow(unsafe_code, reason = "no safe wrapper of the call exists")]

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Who may still write to a file that has no name left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writers {
    /// Nobody, and nobody will: it cannot be opened any more.
    None,
    /// Somebody has it open.
    Some,
    /// The kernel does not say: the file is another user's, or on a file system without leases.
    Unknown,
}

/// Of a file that is open for reading only and has no name: nobody can open it while there is the lease, so nobody is held up
/// and no signal is sent.
pub fn of(file: impl AsFd) -> Writers {
    #[cfg(test)]
    if forced::are_unknown() {
        return Writers::Unknown;
    }
    let descriptor = file.as_fd().as_raw_fd();
    // SAFETY: the descriptor is open for as long as the borrow lasts, and the argument is an integer.
    let lease = |kind: libc::c_int| unsafe { libc::fcntl(descriptor, libc::F_SETLEASE, kind) };
    if lease(libc::F_RDLCK) == 0 {
        lease(libc::F_UNLCK);
        return Writers::None;
    }
    match io::Error::last_os_error().kind() {
        io::ErrorKind::WouldBlock => Writers::Some,
        _ => Writers::Unknown,
    }
}

/// As for somebody who is not the files' owner, in this test's thread.
#[cfg(test)]
pub(crate) mod forced {
    use std::cell::Cell;

    thread_local! {
        static UNKNOWN: Cell<bool> = const { Cell::new(false) };
    }

    pub(crate) fn unknown(unknown: bool) {
        UNKNOWN.set(unknown);
    }

    pub(super) fn are_unknown() -> bool {
        UNKNOWN.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};

    #[test]
    fn b6_the_kernel_says_whether_somebody_writes_to_a_deleted_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("0.log");
        let writers = [File::create(&path).unwrap(), File::create(&path).unwrap()];
        let reader = File::open(&path).unwrap();
        let other = File::open(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert_eq!(of(&reader), Writers::Some);
        let [one, two] = writers;
        drop(one);
        assert_eq!(of(&reader), Writers::Some);
        drop(two);
        for _ in 0..3 {
            assert_eq!((of(&reader), of(&other)), (Writers::None, Writers::None));
        }
    }
}
