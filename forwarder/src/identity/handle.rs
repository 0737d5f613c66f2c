//! The kernel's file handle: inode and generation, which no other file of that file system ever has again.
//!
//! `name_to_handle_at(2)` needs no privilege; some file systems have no handles, and some sandboxes refuse the call.
#![allow(unsafe_code, reason = "no safe wrapper of the call exists")]

use std::ffi::{CStr, CString};
use std::hash::Hasher;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use siphasher::sip128::{Hasher128, SipHasher24};

/// Stands for a file handle: a hash, because handles have up to 128 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Handle([u8; 16]);

impl Handle {
    /// As it is kept.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// As it was kept; None for anything else.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

/// Of an open file.
pub(super) fn of_descriptor(file: impl AsFd) -> Option<Handle> {
    ask(file.as_fd().as_raw_fd(), c"", libc::AT_EMPTY_PATH)
}

/// Of a name, without following a link.
pub(super) fn of_path(path: &Path) -> Option<Handle> {
    ask(libc::AT_FDCWD, &CString::new(path.as_os_str().as_bytes()).ok()?, 0)
}

/// `struct file_handle` with room for the largest there may be (`MAX_HANDLE_SZ`).
#[repr(C)]
struct Answer {
    length: libc::c_uint,
    kind: libc::c_int,
    bytes: [u8; 128],
}

fn ask(directory: RawFd, path: &CStr, flags: libc::c_int) -> Option<Handle> {
    #[cfg(test)]
    if super::forced::hides_handles() {
        return None;
    }
    let mut answer = Answer { length: 128, kind: 0, bytes: [0; 128] };
    let mut mount: libc::c_int = 0;
    // SAFETY: the kernel writes at most `length` bytes into `bytes`, and one integer; both live until it returns, and the
    // path ends with its NUL.
    let failed = unsafe {
        libc::syscall(
            libc::SYS_name_to_handle_at,
            directory,
            path.as_ptr(),
            &raw mut answer,
            &raw mut mount,
            flags,
        )
    } != 0;
    let handle = answer.bytes.get(..answer.length as usize).filter(|_| !failed)?;
    let mut hasher = SipHasher24::new_with_key(b"naru.v1.handle..");
    hasher.write(&answer.kind.to_le_bytes());
    hasher.write(handle);
    Some(Handle(hasher.finish128().as_bytes()))
}
