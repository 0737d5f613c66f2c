//! What is found in a directory is matched with the files that a source already has.
//!
//! A file is known by its identity, else by its first line: that holds over rename, compression, a reboot and a lost
//! checkpoint. Two files with the same first line are one that was copied, or get different ids.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::{DirEntryExt, FileExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use naru_proto::frame::Writer;
use naru_proto::ids::FileId;

use super::file::{Content, GzipReader, TailedFile};
use super::source::{Place, SourceTail};
use crate::clock;
use crate::discover::pods::{LogFile, Order};
use crate::identity::{self, Identity, Stat};

/// What went wrong with one file; the others go on.
#[derive(Debug)]
pub(super) struct Trouble {
    pub(super) path: PathBuf,
    pub(super) error: io::Error,
    /// A compressed file that will never be read.
    pub(super) damaged: bool,
}

/// What came of a look at a source's directory.
#[derive(Debug, Default)]
pub(super) struct Adopted {
    pub(super) troubles: Vec<Trouble>,
    /// Files that could be looked at.
    pub(super) fine: Vec<PathBuf>,
    /// A salt was given, which must be written down before anything is sent.
    pub(super) salted: bool,
}

/// Which source a host file is of, without the device.
pub(super) type Owners = HashMap<(u64, i64), usize>;

/// What a file keeps over a reboot.
pub(super) fn physical(identity: Identity) -> (u64, i64) {
    (identity.inode, identity.birth_ns)
}

/// One look at a container's directory.
struct Look<'a> {
    root: &'a Path,
    relative: PathBuf,
    now: Instant,
    seen: BTreeSet<usize>,
    /// Something could not be looked at: nothing is taken for absent.
    incomplete: bool,
    adopted: Adopted,
}

impl SourceTail {
    /// Matches the files of a container with what its directory holds now.
    pub(super) fn adopt(&mut self, root: &Path, entries: Vec<LogFile>, now: Instant) -> Adopted {
        let Place::Container { directory, .. } = &self.place else { return Adopted::default() };
        let mut look = Look {
            root,
            relative: Path::new(&directory.pod).join(&directory.container),
            now,
            seen: BTreeSet::new(),
            incomplete: false,
            adopted: Adopted::default(),
        };
        self.name_by_head();
        let mut unknown: Vec<_> =
            entries.into_iter().filter_map(|entry| self.recognise(entry, &mut look)).collect();
        // A copy must not be taken for the file that it was made of, which is there too.
        unknown.sort_by_key(|(_, familiar)| !familiar);
        for (entry, _) in unknown {
            let path = look.relative.join(&entry.name);
            match identity::open_beneath(root, &path) {
                Ok((file, stat)) if entry.gzip => self.adopt_gzip(file, stat, entry, &mut look),
                Ok((file, stat)) => self.adopt_plain(file, stat, entry, &mut look),
                Err(error) if error.kind() == io::ErrorKind::NotFound => look.incomplete = true,
                Err(error) => look.trouble(&entry.name, error),
            }
        }
        for (index, file) in self.files.iter_mut().enumerate() {
            if !look.incomplete {
                file.gone = !look.seen.contains(&index);
            }
            let unread = file.gone && !file.is_open() && !file.passed;
            file.missing_since = unread.then(|| file.missing_since.unwrap_or(now));
        }
        self.files.sort_by(|a, b| a.order.cmp(&b.order));
        look.adopted
    }

    /// Gives those files their ids that had no whole first line when they were found: their compressed twins are known
    /// by it.
    fn name_by_head(&mut self) {
        for index in 0..self.files.len() {
            let Some(file) = self.files.get(index).filter(|f| f.id.is_none() && f.salt == 0) else {
                continue;
            };
            let Ok(head) = file.bytes_up_to(0, self.cutter.format().head_max_bytes()) else {
                continue;
            };
            let id = self.cutter.format().head(&head).map(|head| self.container_file_id(head, 0));
            if id.is_none() || self.files.iter().any(|other| other.id == id) {
                // The second of two is told apart when its turn comes.
                continue;
            }
            if let Some(file) = self.files.get_mut(index) {
                file.id = id;
            }
        }
    }

    /// Notes the name of a file that is known by its identity. Gives back what must be opened, and whether it is such a
    /// file.
    fn recognise(&mut self, entry: LogFile, look: &mut Look<'_>) -> Option<(LogFile, bool)> {
        let path = look.root.join(&look.relative).join(&entry.name);
        let (found, size) = match identity::stat_path(&path) {
            Ok(stat) => (stat.identity, stat.size),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                look.incomplete = true;
                return None;
            }
            // Opening says more.
            Err(_) => return Some((entry, false)),
        };
        let same = |file: &TailedFile| {
            let known = if entry.gzip { file.gzip_identity } else { file.identity };
            known == Some(found)
        };
        let index = self.files.iter().rposition(same);
        let Some((index, file)) = index.and_then(|at| Some((at, self.files.get_mut(at)?))) else {
            return Some((entry, false));
        };
        if entry.order == Order::Live && file.id.is_some() {
            // The kubelet gave the old name back: the container goes on writing here.
            file.passed = false;
        }
        // After a restart it must be opened, and what it holds compared.
        if !file.is_open() && (!file.passed || (!entry.gzip && size > file.read)) {
            return Some((entry, true));
        }
        if !entry.gzip || !look.seen.contains(&index) {
            file.name.clone_from(&entry.name);
            file.order.clone_from(&entry.order);
        }
        look.seen.insert(index);
        look.adopted.fine.push(look.relative.join(&entry.name));
        None
    }

    fn adopt_plain(&mut self, file: File, stat: Stat, entry: LogFile, look: &mut Look<'_>) {
        let mut head = vec![0; self.cutter.format().head_max_bytes()];
        let filled = match file.read_at(&mut head, 0) {
            Ok(filled) => filled,
            Err(error) => return look.trouble(&entry.name, error),
        };
        head.truncate(filled);
        look.adopted.fine.push(look.relative.join(&entry.name));
        let id = self.cutter.format().head(&head).map(|head| self.container_file_id(head, 0));
        if let Some(index) =
            self.cutter.format().head(&head).and_then(|h| self.known_by_head(h, &stat, look))
        {
            if look.seen.insert(index) {
                return self.found_again(index, Content::Plain(file), stat, entry);
            }
            if self.is_copy(index, &file) {
                return self.skip_copy(index, file, stat, entry, look);
            }
        }
        let mut found = new_file(&entry, &stat, look.now);
        found.identity = Some(stat.identity);
        found.content = Content::Plain(file);
        found.id = id;
        while let Some(head) = self.cutter.format().head(&head)
            && self.files.iter().any(|other| other.id == found.id)
        {
            found.salt += 1;
            found.id = Some(self.container_file_id(head, found.salt));
            look.adopted.salted = true;
        }
        self.add(found, look);
    }

    /// The file whose id this head gives, best the one that it was when it had a name last.
    fn known_by_head(&self, head: &[u8], stat: &Stat, look: &Look<'_>) -> Option<usize> {
        let matching = self.files.iter().enumerate().filter(|(_, file)| {
            file.id.is_some() && file.id == Some(self.container_file_id(head, file.salt))
        });
        let same = |file: &TailedFile| file.identity.is_some_and(|i| same_file(i, stat.identity));
        let by_likeness = |(index, file): &(usize, &TailedFile)| {
            (!same(file), look.seen.contains(index), file.salt)
        };
        matching.min_by_key(by_likeness).map(|(index, _)| index)
    }

    /// Of two files of which one is a prefix of the other the longer is read: it is the one that is written to.
    fn skip_copy(
        &mut self,
        index: usize,
        file: File,
        stat: Stat,
        entry: LogFile,
        look: &mut Look<'_>,
    ) {
        let mut copy = new_file(&entry, &stat, look.now);
        (copy.passed, copy.identity) = (true, Some(stat.identity));
        if let Some(known) = self.files.get_mut(index)
            && let Content::Plain(handle) = &known.content
            && let Ok(of_known) = identity::stat(handle)
            && stat.size > of_known.size
        {
            (copy.name, copy.order) = (entry.name, entry.order);
            std::mem::swap(&mut copy.name, &mut known.name);
            std::mem::swap(&mut copy.order, &mut known.order);
            (copy.identity, copy.size) = (known.identity, of_known.size);
            known.identity = Some(stat.identity);
            known.content = Content::Plain(file);
            known.seen_size(stat.size);
        }
        // It is looked at again when it grows.
        copy.read = copy.size;
        copy.acknowledged = copy.size;
        let known = |other: &TailedFile| other.id.is_none() && other.identity == copy.identity;
        if let Some(again) = self.files.iter().position(known) {
            look.seen.insert(again);
            if let Some(again) = self.files.get_mut(again) {
                *again = copy;
            }
            return;
        }
        let path = look.relative.join(&copy.name);
        tracing::warn!(path = %path.display(), "a copy of another log file; skipped");
        self.add(copy, look);
    }

    fn adopt_gzip(&mut self, file: File, stat: Stat, entry: LogFile, look: &mut Look<'_>) {
        let id = match GzipReader::head(&file, self.cutter.format().head_max_bytes()) {
            Ok(head) => {
                // A compressed file is whole: what it holds is all that it will.
                let head = self.cutter.format().head(&head).unwrap_or(&head);
                Some(self.container_file_id(head, 0))
            }
            Err(error) => {
                look.adopted.troubles.push(Trouble {
                    path: look.relative.join(&entry.name),
                    error,
                    damaged: true,
                });
                None
            }
        };
        look.adopted.fine.push(look.relative.join(&entry.name));
        let known = self.files.iter().position(|file| id.is_some() && file.id == id);
        let Some(index) = known else {
            let mut found = new_file(&entry, &stat, look.now);
            found.gzip_identity = Some(stat.identity);
            found.id = id;
            found.passed = id.is_none();
            found.content = Content::Gzip(file, None);
            return self.add(found, look);
        };
        let twin = !look.seen.insert(index);
        let Some(known) = self.files.get_mut(index) else { return };
        known.gzip_identity = Some(stat.identity);
        if twin {
            return;
        }
        (known.name, known.order) = (entry.name, entry.order);
        let unread = gzip_size(&file).is_none_or(|size| size != known.read as u32);
        if !known.is_open() && (!known.passed || unread) {
            known.content = Content::Gzip(file, None);
            known.size = known.size.max(known.read + u64::from(unread));
        }
    }

    /// A file that was known under another identity, or was not open.
    fn found_again(&mut self, index: usize, content: Content, stat: Stat, entry: LogFile) {
        let Some(file) = self.files.get_mut(index) else { return };
        if entry.order == Order::Live {
            file.passed = false;
        }
        if !file.is_open() {
            if !file.passed || stat.size > file.read {
                file.content = content;
            }
            file.identity = Some(stat.identity);
            file.size = file.size.max(stat.size);
        }
        (file.name, file.order) = (entry.name, entry.order);
    }

    fn add(&mut self, file: TailedFile, look: &mut Look<'_>) {
        look.seen.insert(self.files.len());
        self.files.push(file);
    }

    /// The id that a file with this head has.
    pub(super) fn container_file_id(&self, head: &[u8], salt: u64) -> FileId {
        let (Place::Container { directory, restart }, Writer::Container(_)) =
            (&self.place, &self.source.writer)
        else {
            return FileId(crate::chance::bytes());
        };
        let (pod, container) = (&directory.pod, &directory.container);
        FileId::of_container_file(&self.source.node, pod, container, *restart, head, salt)
    }

    /// Whether a file and the one that has this id begin alike to the end of the shorter.
    pub(super) fn is_copy_of(&self, id: FileId, at: usize) -> bool {
        let known = self.files.iter().position(|file| file.id == Some(id));
        match (known, self.files.get(at).map(|file| &file.content)) {
            (Some(known), Some(Content::Plain(other))) => self.is_copy(known, other),
            _ => false,
        }
    }

    /// Whether one of two files is a prefix of the other.
    fn is_copy(&self, index: usize, other: &File) -> bool {
        let mut buffer = vec![0; 64 << 10];
        let Some(known) = self.files.get(index) else { return false };
        if !known.is_open() {
            // Nothing to compare with: a file that is read to its end, or one that was truncated.
            return !known.gone;
        }
        let mut offset = 0;
        loop {
            let Ok(count) = other.read_at(&mut buffer, offset) else { return false };
            let Some(bytes) = buffer.get(..count).filter(|bytes| !bytes.is_empty()) else {
                return true;
            };
            match known.bytes_up_to(offset, count) {
                Ok(same) if bytes.starts_with(&same) => {
                    if same.len() < count {
                        return true;
                    }
                }
                _ => return false,
            }
            offset += count as u64;
        }
    }
}

impl Look<'_> {
    fn trouble(&mut self, name: &str, error: io::Error) {
        self.incomplete = true;
        let path = self.relative.join(name);
        self.adopted.troubles.push(Trouble { path, error, damaged: false });
    }
}

fn new_file(entry: &LogFile, stat: &Stat, now: Instant) -> TailedFile {
    let mut file = TailedFile::new(entry.name.clone(), entry.order.clone(), now);
    date(&mut file, stat, now);
    file
}

/// Takes over when a file was made and last written.
pub(super) fn date(file: &mut TailedFile, stat: &Stat, now: Instant) {
    let wall_ns = clock::now_ns();
    let ago = |time_ns: i64| {
        let age = u64::try_from(wall_ns.saturating_sub(time_ns)).unwrap_or_default();
        // No older than any grace: the monotonic clock may not reach back further.
        let age = Duration::from_nanos(age).min(Duration::from_secs(5));
        now.checked_sub(age).unwrap_or(now)
    };
    file.grew = ago(stat.modified_ns);
    if stat.identity.birth_ns > 0 {
        file.appeared = ago(stat.identity.birth_ns);
    }
    file.size = stat.size;
}

/// The uncompressed size, modulo 2³², that a compressed file ends with (RFC 1952, ISIZE).
fn gzip_size(file: &File) -> Option<u32> {
    let size = file.metadata().ok()?.len();
    let mut trailer = [0; 4];
    file.read_exact_at(&mut trailer, size.checked_sub(4)?).ok()?;
    Some(u32::from_le_bytes(trailer))
}

impl SourceTail {
    /// Matches the files of a host path with what stands there now. The error is that of the path itself.
    ///
    /// `owners` are the files of all paths: another path's file was only renamed to this one.
    pub(super) fn adopt_host(
        &mut self,
        now: Instant,
        owners: &Owners,
        own: usize,
    ) -> io::Result<()> {
        let Place::Host { path, skip_binary } = &self.place else { return Ok(()) };
        let (path, skip_binary) = (PathBuf::from(path), *skip_binary);
        self.find_renamed(&path, now);
        self.find_deleted(&path);
        for file in &mut self.files {
            if let Content::Plain(handle) = &file.content {
                file.gone = identity::stat(handle).is_ok_and(|stat| stat.unlinked);
            }
        }
        let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
            return Ok(());
        };
        let (handle, stat) = match identity::open_beneath(directory, Path::new(name)) {
            Ok(opened) => opened,
            // Between rename and create, or deleted.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        let known = self.files.iter().rposition(|file| file.identity == Some(stat.identity));
        if let Some(file) = known.and_then(|index| self.files.get_mut(index)) {
            file.seen_size(stat.size);
            if !file.is_open() && (!file.passed || stat.size > file.read) {
                file.content = Content::Plain(handle);
                file.passed = false;
            }
            return Ok(());
        }
        if owners.get(&physical(stat.identity)).is_some_and(|owner| *owner != own) {
            return Ok(());
        }
        if skip_binary && self.files.is_empty() && looks_binary(&handle)? {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a binary file"));
        }
        let mut file = TailedFile::new(name.to_string_lossy().into_owned(), Order::Live, now);
        date(&mut file, &stat, now);
        file.identity = Some(stat.identity);
        file.content = Content::Plain(handle);
        self.files.push(file);
        Ok(())
    }

    /// After a restart: looks for files that were renamed meanwhile.
    fn find_renamed(&mut self, path: &Path, now: Instant) {
        let lost = |file: &TailedFile| !file.is_open() && !file.passed;
        if !self.files.iter().any(lost) {
            return;
        }
        let Some(directory) = path.parent() else { return };
        let Ok(entries) = std::fs::read_dir(directory) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let Ok(stat) = identity::stat_path(&entry.path()) else { continue };
            let same = |file: &&mut TailedFile| {
                lost(file) && file.identity.is_some_and(|known| same_file(known, stat.identity))
            };
            let Some(file) = self.files.iter_mut().find(same) else { continue };
            if let Ok((handle, stat)) = identity::open_beneath(directory, Path::new(&name)) {
                file.identity = Some(stat.identity);
                file.name = name.to_string_lossy().into_owned();
                file.content = Content::Plain(handle);
                date(file, &stat, now);
            }
        }
        for file in self.files.iter_mut().filter(|file| lost(file)) {
            file.gone = true;
            file.missing_since = Some(file.missing_since.unwrap_or(now));
        }
    }
}

impl SourceTail {
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
            file.gone = file.identity.is_none_or(|known| !inodes.contains(&known.inode));
        }
    }
}

/// The device's number may be another after a reboot.
fn same_file(known: Identity, found: Identity) -> bool {
    physical(known) == physical(found)
}

fn looks_binary(file: &File) -> io::Result<bool> {
    let mut head = [0; 512];
    let filled = file.read_at(&mut head, 0)?;
    Ok(head.get(..filled).is_some_and(|head| memchr::memchr(0, head).is_some()))
}
