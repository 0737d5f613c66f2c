//! Which physical file a descriptor is, and how one is opened without being led astray.
//!
//! Log directories are written by whoever runs on the node. A path is resolved beneath its root without following any
//! link, only regular files are taken, and opening never blocks.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, StatxFlags};
use rustix::io::Errno;

use handle::Handle;

#[cfg(test)]
mod filesystems;
pub mod handle;
pub mod writers;

/// A physical file, as the kernel tells it apart from one that had its inode number before.
#[derive(Debug, Clone, Copy)]
pub struct Identity {
    /// May change over a reboot.
    pub device: u64,
    /// Reused as soon as the file is deleted.
    pub inode: u64,
    /// Nanoseconds since 1970; 0 where the file system does not know it.
    pub birth_ns: i64,
    /// Where the file system has such a thing and the process may ask for it.
    pub handle: Option<Handle>,
}

/// Of an open file: nobody else has its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    device: u64,
    inode: u64,
}

/// What two identities can be compared by, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Evidence {
    /// The kernel's handle, which has the inode's generation.
    Handle,
    /// Inode and birth time.
    Birth,
    /// Device and inode: another file may have both by now, so its content must be compared too.
    Inode,
}

impl Identity {
    /// What is known of both.
    #[must_use]
    pub fn evidence(&self, other: &Self) -> Evidence {
        match (self.handle, other.handle) {
            (Some(_), Some(_)) => Evidence::Handle,
            _ if self.birth_ns != 0 && other.birth_ns != 0 => Evidence::Birth,
            _ => Evidence::Inode,
        }
    }

    /// Both are the same file, as far as the evidence goes. Handles and births outlive a changed device number.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.inode == other.inode
            && match (self.evidence(other), self.handle, other.handle) {
                (Evidence::Handle, one, two) => one == two,
                (Evidence::Birth, ..) => self.birth_ns == other.birth_ns,
                (Evidence::Inode, ..) => self.device == other.device,
            }
    }

    /// What no other file has as long as this one is open.
    #[must_use]
    pub fn key(&self) -> Key {
        Key { device: self.device, inode: self.inode }
    }

    /// The same file for certain, whatever it contains.
    #[must_use]
    pub fn is_surely(&self, other: &Self) -> bool {
        self.is_same(other) && self.evidence(other) != Evidence::Inode
    }
}

/// What the kernel answers this test's thread instead of looking.
#[cfg(test)]
pub(crate) mod refused {
    use std::cell::Cell;
    use std::io;

    use rustix::io::Errno;

    thread_local! {
        static ANSWER: Cell<Option<Errno>> = const { Cell::new(None) };
    }

    pub(crate) fn with(answer: Option<Errno>) {
        ANSWER.set(answer);
    }

    pub(crate) fn check() -> io::Result<()> {
        ANSWER.get().map_or(Ok(()), |errno| Err(errno.into()))
    }
}

/// What the kernel says of an open file.
#[derive(Debug, Clone, Copy)]
pub struct Stat {
    /// Which file it is.
    pub identity: Identity,
    /// Bytes.
    pub size: u64,
    /// The last write, nanoseconds since 1970.
    pub modified_ns: i64,
    /// No name is left.
    pub unlinked: bool,
    /// Neither a directory, a pipe nor a device.
    pub regular: bool,
    /// A symbolic link.
    pub link: bool,
}

const FIELDS: StatxFlags = StatxFlags::BASIC_STATS.union(StatxFlags::BTIME);

/// What the kernel says of a descriptor, but for its handle.
pub fn stat(file: impl AsFd) -> io::Result<Stat> {
    Ok(read_stat(&rustix::fs::statx(file, c"", AtFlags::EMPTY_PATH, FIELDS)?))
}

/// What the kernel says of a name, without following a link.
pub fn stat_path(path: &Path) -> io::Result<Stat> {
    #[cfg(test)]
    refused::check()?;
    let mut found = read_stat(&rustix::fs::statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, FIELDS)?);
    if found.identity.birth_ns == 0 && found.regular {
        found.identity.handle = handle::of_path(path);
    }
    Ok(found)
}

fn read_stat(found: &rustix::fs::Statx) -> Stat {
    let device = rustix::fs::makedev(found.stx_dev_major, found.stx_dev_minor);
    let birth_ns = nanoseconds(found.stx_btime);
    #[cfg(test)]
    let (device, birth_ns) = forced::on(device, birth_ns);
    let file_type = FileType::from_raw_mode(u32::from(found.stx_mode));
    Stat {
        identity: Identity { device, inode: found.stx_ino, birth_ns, handle: None },
        size: found.stx_size,
        modified_ns: nanoseconds(found.stx_mtime),
        unlinked: found.stx_nlink == 0,
        regular: file_type == FileType::RegularFile,
        link: file_type == FileType::Symlink,
    }
}

/// When a directory's entries last changed, nanoseconds since 1970.
///
/// A link is followed only where the path is the operator's own.
pub fn directory_changed_ns(path: &Path, follow: bool) -> io::Result<i64> {
    #[cfg(test)]
    refused::check()?;
    let flags = if follow { AtFlags::empty() } else { AtFlags::SYMLINK_NOFOLLOW };
    let found = rustix::fs::statx(CWD, path, flags, FIELDS)?;
    match FileType::from_raw_mode(u32::from(found.stx_mode)) {
        FileType::Directory => Ok(nanoseconds(found.stx_mtime)),
        _ => Err(io::ErrorKind::NotADirectory.into()),
    }
}

/// Opens a regular file beneath a directory, following no link.
pub fn open_beneath(root: &Path, relative: &Path) -> io::Result<(File, Stat)> {
    #[cfg(test)]
    refused::check()?;
    let directory =
        rustix::fs::open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let opened = match rustix::fs::openat2(&directory, relative, flags, Mode::empty(), resolve) {
        // Kernels before 5.6.
        Err(Errno::NOSYS) => open_by_steps(directory, relative, flags),
        opened => opened,
    };
    let file = match opened {
        Ok(file) => File::from(file),
        Err(Errno::LOOP | Errno::XDEV) => return Err(not_taken("a link, which is not followed")),
        Err(error) => return Err(error.into()),
    };
    let mut stat = stat(&file)?;
    if !stat.regular {
        return Err(not_taken("not a regular file"));
    }
    stat.identity.handle = handle::of_descriptor(&file);
    Ok((file, stat))
}

fn open_by_steps(
    mut directory: OwnedFd,
    relative: &Path,
    flags: OFlags,
) -> rustix::io::Result<OwnedFd> {
    let mut names = Vec::<&OsStr>::new();
    for component in relative.components() {
        match component {
            Component::Normal(name) => names.push(name),
            _ => return Err(Errno::XDEV),
        }
    }
    let last = names.pop().ok_or(Errno::NOENT)?;
    let step = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    for name in names {
        directory = rustix::fs::openat(&directory, name, step, Mode::empty())?;
    }
    rustix::fs::openat(&directory, last, flags, Mode::empty())
}

fn not_taken(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, reason)
}

fn nanoseconds(time: rustix::fs::StatxTimestamp) -> i64 {
    time.tv_sec.saturating_mul(1_000_000_000).saturating_add(i64::from(time.tv_nsec))
}

/// What a test hides from the rest: how a file system without births, or a process without handles, sees it.
#[cfg(test)]
pub(crate) mod forced {
    use std::cell::Cell;

    use super::Evidence;

    thread_local! {
        static BEST: Cell<Evidence> = const { Cell::new(Evidence::Handle) };
        static BOOTS: Cell<u64> = const { Cell::new(0) };
    }

    /// No better evidence than this from here on, in this test's thread.
    pub(crate) fn best(evidence: Evidence) {
        BEST.set(evidence);
    }

    /// Devices have other numbers from here on.
    pub(crate) fn reboot() {
        BOOTS.set(BOOTS.get() + 1);
    }

    pub(super) fn on(device: u64, birth_ns: i64) -> (u64, i64) {
        let birth_ns = if BEST.get() == Evidence::Inode { 0 } else { birth_ns };
        (device + BOOTS.get(), birth_ns)
    }

    pub(super) fn hides_handles() -> bool {
        BEST.get() != Evidence::Handle
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn check(relative: &str, expected: Result<u64, io::ErrorKind>) {
        let root = tempfile::tempdir().unwrap();
        let pod = root.path().join("pod");
        std::fs::create_dir(&pod).unwrap();
        std::fs::write(pod.join("0.log"), "hello").unwrap();
        std::fs::write(root.path().join("secret"), "x").unwrap();
        symlink("../secret", pod.join("link")).unwrap();
        symlink("/etc", root.path().join("etc")).unwrap();
        symlink("pod", root.path().join("alias")).unwrap();
        rustix::fs::mknodat(CWD, pod.join("fifo"), FileType::Fifo, 0o600.into(), 0).unwrap();
        let directory =
            rustix::fs::open(root.path(), OFlags::PATH | OFlags::DIRECTORY, Mode::empty());
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW;
        let by_steps = open_by_steps(directory.unwrap(), Path::new(relative), flags);
        if expected.is_err() && !relative.ends_with("fifo") && !relative.ends_with("pod") {
            assert!(by_steps.is_err(), "{relative} by steps");
        }
        let found = open_beneath(root.path(), Path::new(relative));
        assert_eq!(found.map(|(_, s)| s.size).map_err(|e| e.kind()), expected, "{relative}");
    }

    #[test]
    fn only_regular_files_beneath_the_root_are_opened() {
        check("pod/0.log", Ok(5));
        check("pod/1.log", Err(io::ErrorKind::NotFound));
        check("pod/link", Err(io::ErrorKind::InvalidInput));
        check("pod/fifo", Err(io::ErrorKind::InvalidInput));
        check("pod", Err(io::ErrorKind::InvalidInput));
        check("etc/passwd", Err(io::ErrorKind::InvalidInput));
        check("alias/0.log", Err(io::ErrorKind::InvalidInput));
        check("../../etc/passwd", Err(io::ErrorKind::InvalidInput));
    }

    #[test]
    fn a_renamed_file_keeps_its_identity_and_a_new_one_has_another() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("0.log");
        std::fs::write(&path, "a").unwrap();
        let (file, before) = open_beneath(root.path(), Path::new("0.log")).unwrap();
        std::fs::rename(&path, root.path().join("0.log.1")).unwrap();
        std::fs::write(&path, "b").unwrap();
        assert!(stat(&file).unwrap().identity.is_surely(&before.identity));
        let (_, other) = open_beneath(root.path(), Path::new("0.log")).unwrap();
        assert!(!other.identity.is_same(&before.identity));
    }
}
