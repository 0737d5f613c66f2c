//! The rotated files beside a host path, and what tells which known file each of them was.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::path::Path;

use super::adopt::{gzip_size, is_damage, physical};
use super::file::{Content, GzipReader, TailedFile};
use super::hosts::Others;
use crate::discover::rotated::{Stamp, rotated};
use crate::identity::{self, Identity, Stat};

/// Of the first and of the last bytes of a file and of what may be compressed of it.
pub(super) const COMPARED_BYTES: usize = 1024;

/// A rotated file of a host path.
pub(super) struct Sibling {
    pub(super) name: String,
    pub(super) stamp: Stamp,
    pub(super) content: Content,
    pub(super) stat: Stat,
    /// Uncompressed; of a compressed file modulo 2³².
    pub(super) size: u64,
    /// It is compressed and cannot be read.
    pub(super) damaged: bool,
    /// Its name is a source of its own: what this one does not know by its identity is read there.
    pub(super) foreign: bool,
}

impl Sibling {
    /// Which of two was written earlier: by their names where those say it, else by their last writes.
    pub(super) fn age(&self, other: &Self) -> Ordering {
        let by_time = || self.stat.modified_ns.cmp(&other.stat.modified_ns);
        self.stamp.age(&other.stamp).unwrap_or_else(by_time)
    }

    /// Written to after all that was known of a file.
    pub(super) fn is_later_than(&self, file: &TailedFile) -> bool {
        let births = file.identity.map(|known| (known.birth_ns, self.stat.identity.birth_ns));
        match births {
            Some((known @ 1.., found @ 1..)) if !self.is_gzip() => found > known,
            _ => self.stat.modified_ns > file.last_write_ns(),
        }
    }

    pub(super) fn is_gzip(&self) -> bool {
        matches!(self.content, Content::Gzip(..))
    }

    /// When it came to be, or what it was compressed of was written last.
    pub(super) fn written_ns(&self) -> i64 {
        match self.stat.identity.birth_ns {
            birth_ns @ 1.. if !self.is_gzip() => birth_ns,
            _ => self.stat.modified_ns,
        }
    }

    /// A file begins with what this one holds: it is being copied, and is not truncated yet.
    pub(super) fn is_prefix_of(&self, file: &TailedFile) -> bool {
        let alike = |start, length| alike(&file.content, &self.content, start, length);
        let length = self.size.min(COMPARED_BYTES as u64) as usize;
        alike(0, length) && alike(self.size.saturating_sub(length as u64), length)
    }

    /// Holds what was read of a file, and no less than it had.
    pub(super) fn continues(&self, file: &TailedFile) -> bool {
        let enough = match self.is_gzip() {
            true => self.size >= u64::from(file.size as u32) || file.size > u64::from(u32::MAX),
            false => self.size >= file.size,
        };
        enough && self.begins_like(file)
    }

    /// Was compressed of a file: of one that is open, everything can be compared.
    pub(super) fn is_compressed_of(&self, file: &TailedFile) -> bool {
        let Content::Plain(handle) = &file.content else {
            return file.passed && !file.given_up && self.continues(file);
        };
        let Ok(stat) = identity::stat(handle) else { return false };
        let alike = |start: u64, length: usize| {
            let pair = (file.bytes_up_to(start, length), self.content.bytes_up_to(start, length));
            matches!(pair, (Ok(one), Ok(other)) if one == other)
        };
        let end = stat.size.saturating_sub(COMPARED_BYTES as u64);
        let length = stat.size.min(COMPARED_BYTES as u64) as usize;
        length > 0
            && !self.damaged
            && !self.foreign
            && u64::from(stat.size as u32) == self.size
            && alike(0, length)
            && alike(end, length)
    }

    /// Holds what was read of a file.
    pub(super) fn begins_like(&self, file: &TailedFile) -> bool {
        let in_time = file.read > 0 || self.stat.modified_ns >= file.modified_ns;
        in_time && self.has_what_was_read(file)
    }

    /// The same, whenever it was written. Where its name is a source of its own, only for certain: that one leaves it then.
    pub(super) fn has_what_was_read(&self, file: &TailedFile) -> bool {
        let compared = file.read > 0 || file.head.length > 0;
        let may_be = match self.foreign {
            true => !self.is_gzip() && file.is_well_known(),
            false => compared,
        };
        !self.damaged && may_be && file.holds_what_was_read(&self.content)
    }

    /// It was certainly copied of a file, whatever its name: it came to be after all that was known to be written to that one,
    /// and holds what was read of it.
    pub(super) fn is_surely_copied_of(&self, file: &TailedFile) -> bool {
        !self.is_gzip()
            && file.modified_ns > 0
            && self.stat.identity.birth_ns >= file.modified_ns
            && file.is_well_known()
            && self.has_what_was_read(file)
    }
}

/// Whether two files hold the same bytes there, and as many.
pub(super) fn alike(one: &Content, other: &Content, start: u64, length: usize) -> bool {
    let pair = (one.bytes_up_to(start, length), other.bytes_up_to(start, length));
    matches!(pair, (Ok(one), Ok(other)) if one == other && one.len() == length)
}

/// The rotated files of a path that are no other source's, oldest first. What cannot be looked at is looked at again.
pub(super) fn siblings(
    path: &Path,
    others: &Others,
    own: usize,
    live: Option<Identity>,
) -> Vec<Sibling> {
    let (Some(directory), Some(live_name)) = (path.parent(), path.file_name()) else {
        return Vec::new();
    };
    let live_name = live_name.to_string_lossy();
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(parts) = rotated(&live_name, &name) else { continue };
        let foreign = others.paths.contains(&directory.join(&name));
        let Ok((file, stat)) = identity::open_beneath(directory, Path::new(&name)) else {
            continue;
        };
        let owner = others.owners.get(&physical(stat.identity));
        if owner.is_some_and(|owner| *owner != own)
            || live.is_some_and(|live| live.is_same(&stat.identity))
        {
            continue;
        }
        let (mut size, mut damaged) = (stat.size, false);
        let content = if parts.gzip {
            size = gzip_size(&file).map_or(0, u64::from);
            damaged = GzipReader::head(&file, 1).is_err_and(|error| is_damage(&error));
            Content::Gzip(file, None)
        } else {
            Content::Plain(file)
        };
        found.push(Sibling { name, stamp: parts.stamp, content, stat, size, damaged, foreign });
    }
    found.sort_by(Sibling::age);
    drop_twins(&mut found);
    found
}

/// A plain file and its compressed twin are one: while one is made of the other both are there.
fn drop_twins(siblings: &mut Vec<Sibling>) {
    let plain: HashSet<String> =
        siblings.iter().filter(|s| !s.is_gzip()).map(|s| s.name.clone()).collect();
    let is_twin = |s: &Sibling| s.name.strip_suffix(".gz").is_some_and(|name| plain.contains(name));
    siblings.retain(|sibling| !(sibling.is_gzip() && is_twin(sibling)));
}
