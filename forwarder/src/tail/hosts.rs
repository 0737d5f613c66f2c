//! What stands at a host path is matched with the files that the source already has, and so is what rotation made of them.
//!
//! A file is known by its identity, else by its content before the acknowledged offset: that holds over compression and
//! over `copytruncate`'s copies. A rotated file that nobody knows and that is newer than the newest known one was written
//! while nobody looked, and is read. What was there before the first look is not: tailing begins with the live file.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::{DirEntryExt, FileExt};
use std::path::{Path, PathBuf};
use std::time::Instant;

use naru_proto::ids::FileId;

use super::adopt::{Owners, date, physical};
use super::file::{Content, TailedFile};
use super::siblings::{Sibling, siblings};
use super::source::{Place, SourceTail};
use crate::chance;
use crate::discover::pods::Order;
use crate::identity::{self, Stat};

/// Which files are another source's.
pub(super) struct Others {
    /// By what they keep over a reboot.
    pub(super) owners: Owners,
    /// Paths that are sources of their own.
    pub(super) paths: HashSet<PathBuf>,
    /// What stands at the path that is looked at was copied of another's file.
    pub(super) copied: bool,
}

/// What was found of a file that was truncated.
#[derive(Default)]
pub(super) struct Copied {
    /// Where its copy ends; None without one.
    pub(super) end: Option<u64>,
    /// Newer copies, inserted after it.
    pub(super) files: usize,
    /// Of those, the ones that cannot be read.
    pub(super) damaged: Vec<FileId>,
}

impl SourceTail {
    /// Matches the files of a host path with what stands there now. The error is that of the path itself; the ids are
    /// those of compressed files that cannot be read.
    pub(super) fn adopt_host(
        &mut self,
        now: Instant,
        others: &Others,
        own: usize,
    ) -> (io::Result<()>, Vec<FileId>) {
        let Place::Host { path, skip_binary } = &self.place else { return (Ok(()), Vec::new()) };
        let (path, skip_binary) = (PathBuf::from(path), *skip_binary);
        self.find_deleted(&path);
        for file in &mut self.files {
            if let Content::Plain(handle) = &file.content {
                file.gone = identity::stat(handle).is_ok_and(|stat| stat.unlinked);
            }
        }
        let live = match open_live(&path) {
            Ok(live) => live,
            Err(error) => return (Err(error), Vec::new()),
        };
        if live.is_none() && path.parent().is_some_and(|directory| !directory.is_dir()) {
            // Its directory is not there: nothing is known of what was in it.
            return (Ok(()), Vec::new());
        }
        let known = live.as_ref().and_then(|(handle, stat)| self.known(handle, stat));
        if let (Some(index), Some((handle, stat))) = (known, &live) {
            self.reopen_live(index, handle, stat);
        }
        let mut damaged = Vec::new();
        if let Some(index) = known.filter(|at| self.may_have_missed_copies(*at)) {
            damaged = self.take_missed_copies(index, others, own, now).1;
        }
        let lost = |file: &TailedFile| !file.is_open() && !file.passed;
        if !self.files.is_empty() && (known.is_none() || self.files.iter().any(lost)) {
            let live = live.as_ref().map(|(_, stat)| stat.identity);
            let mut siblings = siblings(&path, others, own, live);
            self.find_renamed(&mut siblings, now);
            if known.is_none() {
                damaged = self.add_unknown(siblings, now);
            }
            for file in self.files.iter_mut().filter(|file| lost(file)) {
                file.gone = true;
                file.missing_since = Some(file.missing_since.unwrap_or(now));
            }
        }
        let added = match live {
            Some((handle, stat)) if known.is_none() => {
                self.add_live(&path, handle, &stat, others, own, skip_binary, now)
            }
            _ => Ok(()),
        };
        (added, damaged)
    }

    /// The file that is open under a path now.
    fn known(&self, handle: &File, stat: &Stat) -> Option<usize> {
        self.files.iter().rposition(|file| {
            file.identity.is_some_and(|known| {
                known.is_surely(&stat.identity)
                    || (known.is_same(&stat.identity)
                        && (file.is_open() || self.is_as_read(file, handle)))
            })
        })
    }

    /// Nothing but an inode number says that it is the file: it must hold what was read, or have been emptied.
    fn is_as_read(&self, file: &TailedFile, handle: &File) -> bool {
        let Ok(handle) = handle.try_clone() else { return false };
        !file.passed || file.holds_what_was_read(&Content::Plain(handle))
    }

    fn reopen_live(&mut self, index: usize, handle: &File, stat: &Stat) {
        let Some(file) = self.files.get_mut(index) else { return };
        file.identity = Some(stat.identity);
        let as_read = || {
            let same = handle.try_clone().map(Content::Plain);
            same.is_ok_and(|content| file.holds_what_was_read(&content))
        };
        if file.modified_ns != stat.modified_ns && as_read() {
            // Not what is written after a truncation that was not noticed yet: a copy is older than that.
            file.modified_ns = stat.modified_ns;
        }
        if !file.is_open()
            && (!file.passed || stat.size != file.read)
            && let Ok(handle) = handle.try_clone()
        {
            file.content = Content::Plain(handle);
            (file.passed, file.gone, file.missing_since) = (false, false, None);
        }
        file.seen_size(stat.size);
    }

    #[allow(clippy::too_many_arguments, reason = "what is known of one file")]
    fn add_live(
        &mut self,
        path: &Path,
        handle: File,
        stat: &Stat,
        others: &Others,
        own: usize,
        skip_binary: bool,
        now: Instant,
    ) -> io::Result<()> {
        let owner = others.owners.get(&physical(stat.identity));
        if others.copied || owner.is_some_and(|owner| *owner != own) {
            return Ok(());
        }
        if skip_binary && self.files.is_empty() && looks_binary(&handle)? {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a binary file"));
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut file = TailedFile::new(name, Order::Live, now);
        date(&mut file, stat, now);
        file.identity = Some(stat.identity);
        file.content = Content::Plain(handle);
        if self.files.is_empty() {
            self.first_look_ns = path.parent().map_or(0, directory_changed_ns);
        }
        self.files.push(file);
        Ok(())
    }

    /// After a restart: finds files that were renamed, copied or compressed meanwhile, and takes them from the siblings.
    fn find_renamed(&mut self, siblings: &mut [Sibling], now: Instant) {
        for by_content in [false, true] {
            for file in self.files.iter_mut().filter(|file| !file.is_open() && !file.passed) {
                let is_it = |sibling: &Sibling| match by_content {
                    false => file.identity.is_some_and(|known| {
                        known.is_surely(&sibling.stat.identity)
                            || (known.is_same(&sibling.stat.identity) && sibling.continues(file))
                    }),
                    true => sibling.continues(file),
                };
                let Some(found) = siblings.iter().position(is_it) else { continue };
                if let Some(sibling) = siblings.get_mut(found) {
                    let content = std::mem::replace(&mut sibling.content, Content::Closed);
                    take(file, sibling, content, now);
                }
            }
        }
    }

    /// Adds the rotated files that nobody knows and that are newer than the newest known one, in their order. Gives the
    /// ids of those that cannot be read.
    fn add_unknown(&mut self, siblings: Vec<Sibling>, now: Instant) -> Vec<FileId> {
        let known = self.match_known(&siblings, None);
        let Some(newest) = self.files.last() else { return Vec::new() };
        let mut pairs = known.iter().zip(&siblings);
        // The newest file itself, else the newest by name of those that are known.
        let place = pairs
            .clone()
            .find(|(known, _)| **known == Some(self.files.len() - 1))
            .or_else(|| pairs.rfind(|(known, _)| known.is_some()))
            .map(|(_, sibling)| sibling)
            .or_else(|| siblings.iter().find(|s| newest.passed && s.continues(newest)));
        let is_newer: Vec<bool> = siblings
            .iter()
            .zip(&known)
            .map(|(sibling, known)| {
                known.is_none()
                    && !sibling.foreign
                    && match place {
                        Some(place) => sibling.age(place) == Ordering::Greater,
                        None => sibling.is_later_than(newest),
                    }
            })
            .collect();
        let unknown = siblings.into_iter().zip(is_newer).filter(|(_, newer)| *newer);
        self.insert_unknown(self.files.len(), unknown.map(|(sibling, _)| sibling).collect(), now)
    }

    /// For each rotated file the one that it is: by its identity, or compressed of it since, even while it is open here
    /// and nothing of it was read. One is compressed of each at most, and none of `but`.
    fn match_known(&mut self, siblings: &[Sibling], but: Option<usize>) -> Vec<Option<usize>> {
        let by_identity = |sibling: &Sibling| {
            self.files.iter().rposition(|file| {
                let known = [file.identity, file.gzip_identity];
                known.into_iter().flatten().any(|known| known.is_same(&sibling.stat.identity))
            })
        };
        let known = siblings.iter().map(|s| by_identity(s).filter(|index| but != Some(*index)));
        let mut known: Vec<Option<usize>> = known.collect();
        for (at, sibling) in siblings.iter().enumerate().rev().filter(|(_, s)| s.is_gzip()) {
            if known.get(at).is_none_or(Option::is_some) {
                continue;
            }
            let free = |index: &usize| but != Some(*index) && !known.contains(&Some(*index));
            let made_of = |index: &usize| {
                self.files.get(*index).is_some_and(|file| sibling.is_compressed_of(file))
            };
            let of = (0..self.files.len()).rev().filter(free).find(made_of);
            let Some(file) = of.and_then(|index| self.files.get_mut(index)) else { continue };
            file.gzip_identity = Some(sibling.stat.identity);
            if let Some(known) = known.get_mut(at) {
                *known = of;
            }
        }
        known
    }

    /// Inserts rotated files that were never read, oldest first. Gives the ids of those that cannot be.
    fn insert_unknown(
        &mut self,
        at: usize,
        mut siblings: Vec<Sibling>,
        now: Instant,
    ) -> Vec<FileId> {
        siblings.sort_by(Sibling::age);
        let mut damaged = Vec::new();
        for (nth, mut sibling) in siblings.into_iter().enumerate() {
            let mut file = TailedFile::new(sibling.name.clone(), Order::Live, now);
            let content = std::mem::replace(&mut sibling.content, Content::Closed);
            take(&mut file, &sibling, content, now);
            if sibling.damaged {
                let id = FileId(chance::bytes());
                (file.id, file.passed, file.given_up) = (Some(id), true, true);
                (file.content, file.size) = (Content::Closed, 0);
                damaged.push(id);
            }
            self.files.insert(at + nth, file);
        }
        damaged
    }

    /// A file was truncated: whether a copy was made of it before, which has what was not read. Takes the copy, and the
    /// copies that are newer.
    pub(super) fn take_copy(
        &mut self,
        at: usize,
        others: &Others,
        own: usize,
        now: Instant,
    ) -> Copied {
        let Place::Host { path, .. } = &self.place else { return Copied::default() };
        let path = PathBuf::from(path);
        let siblings = siblings(&path, others, own, None);
        // What is another file's, or was made of one, is no copy of this one.
        let known = self.match_known(&siblings, Some(at));
        let place = known.iter().rposition(Option::is_some);
        let (mut older, mut newer) = (Vec::new(), Vec::new());
        for (nth, (sibling, known)) in siblings.into_iter().zip(known).enumerate() {
            match (known, place.is_none_or(|place| nth > place)) {
                (Some(_), _) => {}
                (None, true) => newer.push(sibling),
                (None, false) => older.push(sibling),
            }
        }
        let Some(file) = self.files.get_mut(at) else { return Copied::default() };
        let never_read = |file: &TailedFile, sibling: &Sibling| {
            file.read == 0
                && file.head.length == 0
                && sibling.size >= file.size
                && sibling.stat.identity.birth_ns >= file.modified_ns
                && !(sibling.is_gzip() || sibling.foreign)
        };
        let found = newer.iter().position(|sibling| {
            let in_time = place.is_some() || file.read > 0;
            never_read(file, sibling)
                || sibling.begins_like(file)
                || (in_time && sibling.has_what_was_read(file))
        });
        // What is older by its name than a file that is known must be one for certain, and the only one.
        older.retain(|sibling| sibling.is_surely_copied_of(file));
        let copy = match found {
            Some(found) => Some(newer.swap_remove(found)),
            None => older.pop().filter(|_| older.is_empty()),
        };
        let Some(mut copy) = copy else { return Copied::default() };
        newer.retain(|s| !s.foreign && s.age(&copy) == Ordering::Greater);
        let content = std::mem::replace(&mut copy.content, Content::Closed);
        take(file, &copy, content, now);
        let end = Some(copy.size.max(file.read));
        if !copy.is_gzip() {
            // It may have been seen to have more: what was written to it since it was truncated.
            file.size = copy.size.max(file.read);
        }
        let files = newer.len();
        Copied { end, files, damaged: self.insert_unknown(at + 1, newer, now) }
    }

    /// Nothing was read of a file, and it was not there alone since the first look. A renamed one is not copied any more.
    pub(super) fn may_have_missed_copies(&self, at: usize) -> bool {
        let Place::Host { path, .. } = &self.place else { return false };
        let unread = self.files.get(at).is_some_and(|file| {
            file.read == 0 && file.head.length == 0 && !file.passed && file.is_open()
        });
        let changed_ns = || Path::new(path).parent().map_or(0, directory_changed_ns);
        unread && at + 1 == self.files.len() && (at > 0 || changed_ns() != self.first_look_ns)
    }

    /// Of a file of which nothing was read: takes the copies of what it held before, which are known to nobody. It was
    /// truncated since, unseen. Gives their number, and the ids of those that cannot be read.
    pub(super) fn take_missed_copies(
        &mut self,
        at: usize,
        others: &Others,
        own: usize,
        now: Instant,
    ) -> (usize, Vec<FileId>) {
        let nothing = (0, Vec::new());
        let Place::Host { path, .. } = &self.place else { return nothing };
        let path = PathBuf::from(path);
        let Some(live) = self.files.get(at).filter(|_| self.may_have_missed_copies(at)) else {
            return nothing;
        };
        let Content::Plain(handle) = &live.content else { return nothing };
        let Ok(stat) = identity::stat(handle) else { return nothing };
        let siblings = siblings(&path, others, own, Some(stat.identity));
        let known = self.match_known(&siblings, None);
        let Some(live) = self.files.get_mut(at) else { return nothing };
        let place = known.iter().rposition(Option::is_some).and_then(|at| siblings.get(at));
        let is_missed = |sibling: &Sibling| {
            !sibling.foreign
                && (sibling.size > 0 || sibling.damaged)
                && !sibling.is_prefix_of(live)
                && match place {
                    Some(place) => sibling.age(place) == Ordering::Greater,
                    None => sibling.written_ns() > self.first_look_ns,
                }
        };
        let missed: Vec<bool> =
            siblings.iter().zip(&known).map(|(s, known)| known.is_none() && is_missed(s)).collect();
        let missed = siblings.into_iter().zip(missed).filter(|(_, missed)| *missed);
        let missed: Vec<Sibling> = missed.map(|(sibling, _)| sibling).collect();
        if missed.is_empty() {
            return nothing;
        }
        // What it was seen to have beyond that stands in them.
        live.size = stat.size;
        (missed.len(), self.insert_unknown(at, missed, now))
    }

    /// Marks the files that were read to their end, closed, and have no name left.
    fn find_deleted(&mut self, path: &Path) {
        let done = |file: &TailedFile| file.passed && !file.is_open() && !file.gone;
        if !self.files.iter().any(done) {
            return;
        }
        let Some(Ok(entries)) = path.parent().map(std::fs::read_dir) else { return };
        let mut inodes = HashSet::new();
        for entry in entries {
            // What cannot be looked at is not absent.
            let Ok(entry) = entry else { return };
            inodes.insert(entry.ino());
        }
        for file in self.files.iter_mut().filter(|file| done(file)) {
            let known = [file.identity, file.gzip_identity];
            file.gone = !known.into_iter().flatten().any(|known| inodes.contains(&known.inode));
        }
    }
}

/// 0 where it cannot be said.
fn directory_changed_ns(directory: &Path) -> i64 {
    identity::directory_changed_ns(directory, true).unwrap_or(0)
}

/// None between rename and create, and after a deletion.
pub(super) fn open_live(path: &Path) -> io::Result<Option<(File, Stat)>> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else { return Ok(None) };
    match identity::open_beneath(directory, Path::new(name)) {
        Ok(opened) => Ok(Some(opened)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// A file takes over what a sibling holds.
fn take(file: &mut TailedFile, sibling: &Sibling, content: Content, now: Instant) {
    let known = (file.size, file.read);
    date(file, &sibling.stat, now);
    file.size = known.0.max(match sibling.is_gzip() || matches!(content, Content::Gzip(..)) {
        // There is something to look for.
        true => known.1 + 1,
        false => sibling.size,
    });
    match &content {
        Content::Gzip(..) => file.gzip_identity = Some(sibling.stat.identity),
        Content::Plain(_) | Content::Closed => file.identity = Some(sibling.stat.identity),
    }
    file.name.clone_from(&sibling.name);
    (file.gone, file.missing_since) = (false, None);
    file.content = content;
}

fn looks_binary(file: &File) -> io::Result<bool> {
    let mut head = [0; 512];
    let filled = file.read_at(&mut head, 0)?;
    Ok(head.get(..filled).is_some_and(|head| memchr::memchr(0, head).is_some()))
}
