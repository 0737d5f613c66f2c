//! The files of a checkpoint: one log, the log before it, and how one replaces the other.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use prost::Message;
use rustix::fs::{FallocateFlags, fallocate, fdatasync};
use thiserror::Error;

use super::stored::{StoredItem, Unreadable, stored_item};
use super::{COMPACT_MIN_BYTES, item};

const CURRENT: &str = "checkpoint";
const PREVIOUS: &str = "checkpoint.previous";
const TEMPORARY: &str = "checkpoint.tmp";
const DAMAGED: &str = "checkpoint.damaged";

/// The end of a longer log is read: 50,000 sources are a quarter of it.
const READ_MAX_BYTES: u64 = 64 << 20;

/// What could not be read of a checkpoint.
#[derive(Debug, Error)]
pub enum Damage {
    /// Between whole items.
    #[error("{file}: the bytes {} to {} are damaged and were skipped", .range.start, .range.end)]
    Skipped {
        /// Its name.
        file: &'static str,
        /// In what was read of it.
        range: Range<usize>,
    },
    /// As after a crash.
    #[error("{file}: the last {bytes} bytes are not a whole item and were cut off")]
    Torn {
        /// Its name.
        file: &'static str,
        /// Lost.
        bytes: usize,
    },
    /// Not even a header.
    #[error("{file} is empty")]
    Empty {
        /// Its name.
        file: &'static str,
    },
    /// Put aside, as it is.
    #[error("{file} is of version {version}, which is newer, and was put aside")]
    Newer {
        /// Its name.
        file: &'static str,
        /// What it says.
        version: u8,
    },
    /// Whole, and yet not what this version writes.
    #[error("{0}, which was skipped")]
    Unreadable(Unreadable),
    /// The disk's.
    #[error("{file} cannot be read")]
    Io {
        /// Its name.
        file: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// The directory of a checkpoint.
#[derive(Debug)]
pub(super) struct Generations {
    directory: PathBuf,
    /// The current log is damaged: it is kept, but not as the previous one.
    put_aside: bool,
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Of the previous log, then of the current one.
    pub(super) items: Vec<stored_item::Kind>,
    pub(super) damage: Vec<Damage>,
    pub(super) fresh: bool,
    /// The length up to which the current one is sound, when it can be appended to.
    pub(super) appendable: Option<u64>,
}

impl Generations {
    pub(super) fn in_directory(directory: &Path) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        Ok(Self { directory: directory.into(), put_aside: false })
    }

    /// Reads both logs, whatever they contain, and changes nothing: a command may look while the owner writes.
    pub(super) fn read(&mut self) -> Found {
        let mut found = Found::default();
        let previous = self.read_log(PREVIOUS, &mut found);
        if let Some(sound_end) = self.read_log(CURRENT, &mut found) {
            found.appendable = Some(sound_end).filter(|_| !self.put_aside);
        } else if self.read_log(TEMPORARY, &mut found).is_none() {
            found.fresh = previous.is_none() && found.damage.is_empty();
        }
        found
    }

    /// Adds a log's items and damage to what was found; its sound length, None if there is none.
    fn read_log(&mut self, file: &'static str, found: &mut Found) -> Option<u64> {
        let bytes = match read_end(&self.path(file)) {
            Ok(bytes) => bytes,
            Err(source) if source.kind() == io::ErrorKind::NotFound => return None,
            Err(source) => {
                self.put_aside |= file != PREVIOUS;
                found.damage.push(Damage::Io { file, source });
                return Some(0);
            }
        };
        if let Some(version) = item::newer_version(&bytes) {
            self.put_aside |= file != PREVIOUS;
            found.damage.push(Damage::Newer { file, version });
            return Some(0);
        }
        let scan = item::scan(&bytes);
        for range in scan.damaged {
            let torn = range.end == bytes.len() && scan.sound_end >= item::FILE_HEADER_BYTES;
            if torn {
                // In the previous log it is what this log was begun after.
                if file != PREVIOUS {
                    found.damage.push(Damage::Torn { file, bytes: range.len() });
                }
            } else {
                self.put_aside |= file != PREVIOUS;
                found.damage.push(Damage::Skipped { file, range });
            }
        }
        if scan.sound_end < item::FILE_HEADER_BYTES {
            self.put_aside |= file != PREVIOUS;
            if bytes.is_empty() {
                found.damage.push(Damage::Empty { file });
            }
        }
        self.put_aside |= file != PREVIOUS && bytes.len() as u64 == READ_MAX_BYTES;
        for payload in scan.payloads {
            match StoredItem::decode(payload) {
                Ok(StoredItem { kind: Some(kind) }) => found.items.push(kind),
                Ok(StoredItem { kind: None }) | Err(_) => {
                    found.damage.push(Damage::Unreadable(Unreadable("kind")));
                }
            }
        }
        Some(scan.sound_end as u64)
    }

    /// Opens the current log to append, behind its sound part.
    pub(super) fn append_to(&self, sound_end: u64) -> io::Result<Log> {
        Log::open(&self.path(CURRENT), sound_end)
    }

    /// Writes a log that [`Self::install`] makes the current one. Until then nothing has changed.
    pub(super) fn write_new(&self, bytes: &[u8]) -> io::Result<Log> {
        let path = self.path(TEMPORARY);
        if !self.path(CURRENT).exists() && path.exists() {
            // One was interrupted between its two renames: the new log is whole.
            fs::rename(&path, self.path(CURRENT))?;
        }
        let written = Log::create(&path, bytes);
        if written.is_err() {
            // It takes room, and nobody reads it as long as there is a current one.
            fs::remove_file(&path).ok();
        }
        written
    }

    /// Makes the new log, whose content is `bytes`, the current one, and the current one the previous.
    ///
    /// After an error it may be either; the new one is complete.
    pub(super) fn install(&mut self, bytes: &[u8]) -> io::Result<()> {
        let current = self.path(CURRENT);
        let old = self.path(if self.put_aside { DAMAGED } else { PREVIOUS });
        match fs::rename(&current, old) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        fs::rename(self.path(TEMPORARY), current)?;
        if self.put_aside {
            // The previous log would bring back what was removed since; yet there must be two.
            self.write_new(bytes)?;
            fs::rename(self.path(TEMPORARY), self.path(PREVIOUS))?;
        }
        File::open(&self.directory)?.sync_all()?;
        self.put_aside = false;
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

fn read_end(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(READ_MAX_BYTES)))?;
    let mut bytes = Vec::with_capacity(length.min(READ_MAX_BYTES) as usize);
    file.take(READ_MAX_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A log that is appended to.
#[derive(Debug)]
pub(super) struct Log {
    file: File,
    length: u64,
    /// The disk has room for it up to here.
    allocated: u64,
    sound: bool,
}

impl Log {
    fn create(path: &Path, bytes: &[u8]) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
        let mut log = Self { file, length: 0, allocated: 0, sound: true };
        log.append(bytes)?;
        log.file.sync_all()?;
        Ok(log)
    }

    /// Cuts off what follows `length`.
    fn open(path: &Path, length: u64) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).open(path)?;
        file.set_len(length)?;
        Ok(Self { file, length, allocated: length, sound: true })
    }

    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// False after an error that leaves unknown what is in the file: nothing may be appended.
    pub(super) fn is_sound(&self) -> bool {
        self.sound
    }

    /// Appends and makes durable, all or, as far as the next append is concerned, nothing.
    pub(super) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let end = self.length + bytes.len() as u64;
        self.reserve(end);
        if let Err(error) = self.file.write_all_at(bytes, self.length) {
            // A whole item left behind here would be read after newer ones that are shorter.
            self.sound = self.file.set_len(self.length).is_ok();
            self.allocated = self.length;
            return Err(error);
        }
        if let Err(error) = fdatasync(&self.file) {
            // The kernel does not say twice which pages it failed to write.
            self.sound = false;
            return Err(error.into());
        }
        self.length = end;
        Ok(())
    }

    /// Takes room on the disk before others do, so that a disk that fills up does not stop appends soon.
    fn reserve(&mut self, end: u64) {
        if end <= self.allocated {
            return;
        }
        let step = COMPACT_MIN_BYTES as u64;
        let allocated = end.next_multiple_of(step);
        // Where it is not possible the append itself will say so.
        if fallocate(&self.file, FallocateFlags::KEEP_SIZE, self.length, allocated - self.length)
            .is_ok()
        {
            self.allocated = allocated;
        }
    }
}
