//! What is found in a directory is matched with the files that a source already has.
//!
//! A file is known by its identity, else by its first line: that holds over rename, compression, a reboot and a lost
//! checkpoint. Two files with the same first line are one that was copied, or get different ids.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use naru_proto::frame::Writer;
use naru_proto::ids::FileId;

use super::file::{Content, GzipReader, TailedFile};
use super::source::{CONTAINER_LATE, Place, SourceTail};
use crate::clock;
use crate::discover::pods::{LogFile, Order};
use crate::identity::{self, Identity, Stat};

/// What went wrong with one file; the others go on.
#[derive(Debug)]
pub(super) struct Trouble {
    pub(super) path: PathBuf,
    pub(super) error: io::Error,
    /// No event tells when it can be read: it must be tried again.
    pub(super) again: bool,
}

/// What came of a look at a source's directory.
#[derive(Debug, Default)]
pub(super) struct Adopted {
    pub(super) troubles: Vec<Trouble>,
    /// Compressed files that will never be read, and their ids.
    pub(super) damaged: Vec<(FileId, Trouble)>,
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
    /// Matches the files of a container with what its directory beneath a root holds now.
    pub(super) fn adopt(&mut self, root: &Path, entries: Vec<LogFile>, now: Instant) -> Adopted {
        let Place::Container { directory, .. } = &self.place else { return Adopted::default() };
        let mut look = Look {
            root,
            relative: match &self.docker {
                Some(container) => PathBuf::from(container),
                None => directory.path(),
            },
            now,
            seen: BTreeSet::new(),
            incomplete: false,
            adopted: Adopted::default(),
        };
        self.name_by_head();
        let known = self.files.len();
        let live = self.live_files();
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
        self.put_in_order(known, &live);
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
        let (found, stat) = match identity::stat_path(&path) {
            Ok(stat) if stat.regular => (stat.identity, stat),
            // What stands there is none of the source's files, and a file in its place is an event.
            Ok(stat) if !stat.link => {
                self.names.is_no_log(&entry.order);
                let path = look.relative.join(&entry.name);
                let error = io::Error::new(io::ErrorKind::InvalidInput, "not a regular file");
                look.adopted.troubles.push(Trouble { path, error, again: false });
                return None;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                look.incomplete = true;
                return None;
            }
            // Opening says more.
            Ok(_) | Err(_) => return Some((entry, false)),
        };
        let same = |file: &TailedFile| {
            let known = if entry.gzip { file.gzip_identity } else { file.identity };
            // An open file keeps its inode number: nobody else has it.
            known.is_some_and(|k| k.is_surely(&found) || (file.is_open() && k.is_same(&found)))
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
        if !file.is_open() && (!file.passed || (!entry.gzip && may_grow(file, &stat))) {
            return Some((entry, true));
        }
        if !entry.gzip || !look.seen.contains(&index) {
            self.rename(index, &entry);
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
        let same = |file: &TailedFile| file.identity.is_some_and(|i| i.is_same(&stat.identity));
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
        let known = |other: &TailedFile| {
            let pair = other.identity.zip(copy.identity);
            other.id.is_none() && pair.is_some_and(|(one, two)| one.is_same(&two))
        };
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
        let format = self.cutter.format();
        let head = match GzipReader::head(&file, format.head_max_bytes()) {
            Ok(head) => head,
            Err(error) if is_damage(&error) => {
                return self.adopt_damaged(error, &stat, entry, look);
            }
            Err(error) => return look.trouble(&entry.name, error),
        };
        look.adopted.fine.push(look.relative.join(&entry.name));
        // A compressed file is whole: what it holds is all that it will.
        let head = format.head(&head).unwrap_or(&head);
        let size = gzip_size(&file);
        let content = Content::Gzip(file, None);
        let Some(index) = self.known_compressed(head, &content, &entry.name, look) else {
            let mut found = new_file(&entry, &stat, look.now);
            found.gzip_identity = Some(stat.identity);
            found.size = size.map_or(0, u64::from);
            found.content = content;
            found.id = Some(self.container_file_id(head, 0));
            while self.files.iter().any(|other| other.id == found.id) {
                found.salt += 1;
                found.id = Some(self.container_file_id(head, found.salt));
                look.adopted.salted = true;
            }
            return self.add(found, look);
        };
        let twin = !look.seen.insert(index);
        let Some(known) = self.files.get_mut(index) else { return };
        known.gzip_identity = Some(stat.identity);
        if twin {
            return;
        }
        let unread = size.is_none_or(|size| size != known.read as u32) && !known.given_up;
        if !known.is_open() && (!known.passed || unread) {
            known.content = content;
            known.size = known.size.max(known.read + u64::from(unread));
        }
        self.rename(index, &entry);
    }

    /// The file of which this is the compressed twin: its first line is the same, and so is what stands before the byte
    /// that it was read to. Best the one that had the name.
    fn known_compressed(
        &self,
        head: &[u8],
        content: &Content,
        name: &str,
        look: &Look<'_>,
    ) -> Option<usize> {
        let alike = |file: &TailedFile| match file.id {
            Some(id) => id == self.container_file_id(head, file.salt),
            // One without a line has nothing else that it could be known by.
            None => head.is_empty() && matches!(file.content, Content::Plain(_)) && file.size == 0,
        };
        let mut matching: Vec<usize> = (0..self.files.len())
            .filter(|index| self.files.get(*index).is_some_and(alike))
            .collect();
        matching.sort_by_key(|index| {
            let file = self.files.get(*index);
            let named = file.is_some_and(|file| file.is_named(name));
            (!named, look.seen.contains(index), file.map(|file| file.salt))
        });
        matching.into_iter().find(|index| {
            self.files.get(*index).is_some_and(|file| {
                file.is_open() || file.given_up || file.holds_what_was_read(content)
            })
        })
    }

    /// A compressed file of which nothing can be read: declared lost once, under an id that its name gives it.
    fn adopt_damaged(
        &mut self,
        error: io::Error,
        stat: &Stat,
        entry: LogFile,
        look: &mut Look<'_>,
    ) {
        let path = look.relative.join(&entry.name);
        look.adopted.fine.push(path.clone());
        // Its plain twin may still be there, and is read.
        let twin = |f: &TailedFile| f.is_named(&entry.name) && !f.given_up && !f.gone;
        if self.files.iter().enumerate().any(|(at, f)| twin(f) && look.seen.contains(&at)) {
            return;
        }
        let name = [b"damaged\0", entry.name.as_bytes()].concat();
        let id = self.container_file_id(&name, 0);
        let known = self.files.iter().position(|file| file.id == Some(id));
        if let Some(index) = known {
            look.seen.insert(index);
            if let Some(file) = self.files.get_mut(index) {
                file.gzip_identity = Some(stat.identity);
            }
            return;
        }
        let mut found = new_file(&entry, stat, look.now);
        (found.id, found.gzip_identity) = (Some(id), Some(stat.identity));
        (found.passed, found.given_up, found.size) = (true, true, 0);
        look.adopted.damaged.push((id, Trouble { path, error, again: false }));
        self.add(found, look);
    }

    /// A file that was known under another identity, or was not open.
    fn found_again(&mut self, index: usize, content: Content, stat: Stat, entry: LogFile) {
        let Some(file) = self.files.get_mut(index) else { return };
        if entry.order == Order::Live {
            file.passed = false;
        }
        if !file.is_open() {
            if !file.passed || may_grow(file, &stat) {
                file.content = content;
                file.grew = grown_at(&stat, clock::now());
            }
            file.identity = Some(stat.identity);
            file.size = file.size.max(stat.size);
        }
        self.rename(index, &entry);
    }

    fn add(&mut self, file: TailedFile, look: &mut Look<'_>) {
        look.seen.insert(self.files.len());
        // Most sources have one file: ten thousand of them must not take the room of four each.
        self.files.reserve_exact(1);
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
}

impl Look<'_> {
    fn trouble(&mut self, name: &str, error: io::Error) {
        self.incomplete = true;
        let path = self.relative.join(name);
        self.adopted.troubles.push(Trouble { path, error, again: true });
    }
}

/// The bytes are not what a compressor writes; anything else may pass.
pub(super) fn is_damage(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
    )
}

fn new_file(entry: &LogFile, stat: &Stat, now: Instant) -> TailedFile {
    let mut file = TailedFile::new(entry.name.clone(), entry.order.clone(), now);
    date(&mut file, stat, now);
    file
}

/// A passed file has more, or was written to so lately that late lines may still come.
fn may_grow(file: &TailedFile, stat: &Stat) -> bool {
    let age_ns = clock::now_ns().saturating_sub(stat.modified_ns);
    stat.size > file.read || (age_ns < CONTAINER_LATE.as_nanos() as i64 && !file.given_up)
}

/// When a file was last written, by the monotonic clock and no longer ago than any grace: it may not reach back further.
fn grown_at(stat: &Stat, now: Instant) -> Instant {
    let age = u64::try_from(clock::now_ns().saturating_sub(stat.modified_ns)).unwrap_or_default();
    now.checked_sub(Duration::from_nanos(age).min(Duration::from_secs(5))).unwrap_or(now)
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
    file.modified_ns = stat.modified_ns;
    if stat.identity.birth_ns > 0 {
        file.appeared = ago(stat.identity.birth_ns);
    }
    file.size = stat.size;
}

/// The uncompressed size, modulo 2³², that a compressed file ends with (RFC 1952, ISIZE).
pub(super) fn gzip_size(file: &File) -> Option<u32> {
    let size = file.metadata().ok()?.len();
    let mut trailer = [0; 4];
    file.read_exact_at(&mut trailer, size.checked_sub(4)?).ok()?;
    Some(u32::from_le_bytes(trailer))
}
