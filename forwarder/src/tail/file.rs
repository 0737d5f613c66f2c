//! One physical file of a source: its handle, and its bytes from a position on.
//!
//! Reading never moves the position; consuming does. Each read of a plain file begins 64 bytes before the position and
//! compares them: a file that was truncated, or truncated and written again past the position, is noticed before a
//! byte of it is taken for what it is not.

use std::fs::File;
use std::io;
use std::time::Instant;

use naru_proto::ids::FileId;
use rustix::buffer::spare_capacity;
use rustix::io::Errno;

pub(super) use super::gzip::GzipReader;
use super::report::Growth;
use super::source::READ_BYTES;
use crate::checkpoint::Guard;
use crate::clock;
use crate::cut::{Cutter, Format};
use crate::discover::pods::Order;
use crate::identity::{self, Identity};

/// Compared before each read.
pub(super) const GUARD_BYTES: usize = 64;

/// The buffer of a read and its guard, and twice that for a line that goes on: a larger one is given back after its line.
const BUFFER_KEPT_BYTES: usize = 2 * READ_BYTES + GUARD_BYTES;

/// A file of a source.
pub(super) struct TailedFile {
    /// None until its first line says it.
    pub(super) id: Option<FileId>,
    pub(super) salt: u64,
    /// Of the plain file.
    pub(super) identity: Option<Identity>,
    /// Of its compressed twin.
    pub(super) gzip_identity: Option<Identity>,
    /// In its directory: the plain file's, or the twin's where there is no plain file.
    pub(super) name: String,
    pub(super) order: Order,
    pub(super) content: Content,
    /// The next byte to cut.
    pub(super) read: u64,
    /// Everything before it is acknowledged, but for what the committed state holds.
    pub(super) acknowledged: u64,
    /// The most it was seen to have, uncompressed.
    pub(super) size: u64,
    /// At this size nothing could be cut.
    pub(super) looked_at: u64,
    /// The bytes before `read`.
    pub(super) guard: Vec<u8>,
    /// After a restart: what those bytes must be, until the first read.
    pub(super) saved_guard: Option<Guard>,
    /// The same, for as long as nothing after it is acknowledged.
    pub(super) restored_guard: Guard,
    /// Up to here an earlier run may have sent what it read: its id-time stays.
    pub(super) dated_before: u64,
    /// Read to its end, and the writer has gone on to the next.
    pub(super) passed: bool,
    /// It is decided where it begins.
    pub(super) placed: bool,
    /// No directory entry is left.
    pub(super) gone: bool,
    /// When it last grew.
    pub(super) grew: Instant,
    /// When it came to be, as far as that is known.
    pub(super) appeared: Instant,
    /// Since when it is deleted and holds what is not acknowledged.
    pub(super) held_since: Option<Instant>,
    /// It is deleted and read, and open because somebody may still write to it.
    pub(super) waits: bool,
    /// It was deleted while its container slept: what is written to it since cannot be read.
    pub(super) out_of_sight: bool,
    /// Since when it is gone, unopened and unread.
    pub(super) missing_since: Option<Instant>,
    /// Cuts what comes after the file was passed: the source's own cutter is in a later file by then.
    pub(super) late: Option<Box<Cutter>>,
    /// Where the source's own cutter stopped: `late` cuts from there on.
    pub(super) late_from: Option<u64>,
    /// What was not read of it is declared lost.
    pub(super) given_up: bool,
    /// Of its first bytes.
    pub(super) head: Guard,
    /// When it was last known to be written to, nanoseconds since 1970; 0 if never.
    pub(super) modified_ns: i64,
    /// Its size, and how far it was read and acknowledged, when the aggregator was told last.
    pub(super) told: Option<(u64, u64, u64)>,
    pub(super) growth: Growth,
    /// Host files: the id-time of what is read from an offset on, nanoseconds since 1970.
    pub(super) steps: Vec<(u64, i64)>,
}

/// Where the bytes come from.
pub(super) enum Content {
    Closed,
    Plain(File),
    /// The descriptor keeps the bytes; the reader costs memory and is made when its turn comes.
    Gzip(File, Option<Box<GzipReader>>),
}

impl Content {
    /// Up to `length` bytes from an offset on, as many as there are.
    pub(super) fn bytes_up_to(&self, start: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        match self {
            Self::Closed => {}
            Self::Plain(file) => read_at(file, start, &mut bytes, length, u64::MAX)?,
            Self::Gzip(file, _) => {
                let mut apart = GzipReader::new(file.try_clone()?)?;
                apart.seek(start)?;
                bytes.extend_from_slice(apart.peek(length)?);
            }
        }
        Ok(bytes)
    }
}

/// What a read found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Filled {
    /// The bytes from the position on begin here in the buffer; there are none at the end.
    From(usize),
    /// The file is not what it was.
    Truncated,
    /// It is, up to the position; of what was seen behind it the end is gone.
    Shrunk {
        /// The size that was seen.
        from: u64,
        /// The size that it has.
        to: u64,
    },
}

impl TailedFile {
    pub(super) fn new(name: String, order: Order, now: Instant) -> Self {
        Self {
            id: None,
            salt: 0,
            identity: None,
            gzip_identity: None,
            name,
            order,
            content: Content::Closed,
            read: 0,
            acknowledged: 0,
            size: 0,
            looked_at: 0,
            guard: Vec::new(),
            saved_guard: None,
            restored_guard: Guard::default(),
            dated_before: 0,
            passed: false,
            placed: false,
            gone: false,
            grew: now,
            appeared: now,
            held_since: None,
            waits: false,
            out_of_sight: false,
            missing_since: None,
            late: None,
            late_from: None,
            given_up: false,
            head: Guard::default(),
            modified_ns: 0,
            told: None,
            growth: Growth::default(),
            steps: Vec::new(),
        }
    }

    /// Reads up to `want` bytes from the position on, after the guard.
    pub(super) fn fill(&mut self, buffer: &mut Vec<u8>, want: usize) -> io::Result<Filled> {
        match &mut self.content {
            Content::Closed => {
                buffer.clear();
                Ok(Filled::From(0))
            }
            Content::Gzip(file, reader) => {
                let reader = match reader {
                    Some(reader) => reader,
                    None => reader.insert(Box::new(GzipReader::new(file.try_clone()?)?)),
                };
                reader.seek(self.read)?;
                buffer.clear();
                buffer.extend_from_slice(reader.peek(want)?);
                self.seen_size(self.read + buffer.len() as u64);
                Ok(Filled::From(0))
            }
            Content::Plain(file) => {
                if let Some(saved) = self.saved_guard {
                    let length = u64::from(saved.length).min(self.read);
                    read_at(file, self.read - length, buffer, length as usize, self.size)?;
                    if !saved.matches(buffer) {
                        return Ok(Filled::Truncated);
                    }
                    self.saved_guard = None;
                    self.guard.clone_from(buffer);
                }
                let guard = self.guard.len();
                let from = self.read - guard as u64;
                read_at(file, from, buffer, guard + want, self.size)?;
                if buffer.get(..guard) != Some(&self.guard[..]) {
                    return Ok(Filled::Truncated);
                }
                // Nothing was read of it, but its id is of how it began.
                let head = usize::from(self.head.length);
                if self.read == 0 && !buffer.get(..head).is_some_and(|b| self.head.matches(b)) {
                    return Ok(Filled::Truncated);
                }
                let end = from + buffer.len() as u64;
                if buffer.len() < guard + want && end < self.size {
                    if self.read == 0 {
                        return Ok(Filled::Truncated);
                    }
                    return Ok(Filled::Shrunk {
                        from: std::mem::replace(&mut self.size, end),
                        to: end,
                    });
                }
                self.seen_size(end);
                Ok(Filled::From(guard))
            }
        }
    }

    /// Moves the position over bytes that were cut. `up_to` ends with them and begins as early as is known.
    pub(super) fn consume(&mut self, count: usize, up_to: &[u8]) {
        self.read += count as u64;
        if let Content::Gzip(_, Some(reader)) = &mut self.content {
            reader.consume(count);
        }
        let keep = up_to.len().min(GUARD_BYTES);
        self.guard.clear();
        self.guard.extend_from_slice(up_to.get(up_to.len() - keep..).unwrap_or_default());
    }

    /// Bytes of a range, if they can still be had; the position stays.
    pub(super) fn bytes_at(&self, start: u64, length: usize) -> io::Result<Option<Vec<u8>>> {
        let bytes = self.bytes_up_to(start, length)?;
        Ok((bytes.len() == length).then_some(bytes))
    }

    /// Up to `length` bytes from an offset on, as many as there are.
    pub(super) fn bytes_up_to(&self, start: u64, length: usize) -> io::Result<Vec<u8>> {
        self.content.bytes_up_to(start, length)
    }

    /// Whether other content has before the position what was read there, and begins alike as far as that is known.
    pub(super) fn holds_what_was_read(&self, content: &Content) -> bool {
        let guard = self.saved_guard.unwrap_or_else(|| Guard::of(&self.guard));
        let length = u64::from(guard.length).min(self.read);
        // First what costs little of a compressed file.
        content
            .bytes_up_to(0, usize::from(self.head.length))
            .is_ok_and(|bytes| self.head.matches(&bytes))
            && content
                .bytes_up_to(self.read - length, length as usize)
                .is_ok_and(|bytes| guard.matches(&bytes))
    }

    /// Notes how much there is.
    pub(super) fn seen_size(&mut self, size: u64) {
        if size > self.size {
            self.size = size;
            self.grew = clock::now();
        }
    }

    pub(super) fn is_open(&self) -> bool {
        !matches!(self.content, Content::Closed)
    }

    pub(super) fn is_gzip(&self) -> bool {
        matches!(self.content, Content::Gzip(..))
    }

    /// Whether a read would cost a decompressor's memory that is not spent yet.
    pub(super) fn needs_decompressor(&self) -> bool {
        matches!(self.content, Content::Gzip(_, None))
    }

    pub(super) fn has_decompressor(&self) -> bool {
        matches!(self.content, Content::Gzip(_, Some(_)))
    }

    pub(super) fn drop_decompressor(&mut self) {
        if let Content::Gzip(_, reader) = &mut self.content {
            *reader = None;
        }
    }

    /// The cutter of what is read now: its own for a container's file that was passed, else the source's.
    pub(super) fn cutter<'a>(&'a mut self, of_source: &'a mut Cutter) -> &'a mut Cutter {
        if !self.passed || of_source.format() == Format::Plain {
            return of_source;
        }
        self.late.get_or_insert_with(|| Box::new(of_source.fresh()))
    }

    /// Late lines left something waiting for its end.
    pub(super) fn late_waits(&self) -> bool {
        self.late.as_deref().is_some_and(|late| late.held().next().is_some())
    }

    /// When it was last known to be written to.
    pub(super) fn last_write_ns(&self) -> i64 {
        let Content::Plain(file) = &self.content else { return self.modified_ns };
        identity::stat(file).map_or(self.modified_ns, |stat| stat.modified_ns)
    }

    /// Why the bytes end before the file does.
    pub(super) fn damage(&self) -> Option<io::Error> {
        let Content::Gzip(_, Some(reader)) = &self.content else { return None };
        reader.damage.map(io::Error::from)
    }

    /// Whether every byte that was read is acknowledged.
    pub(super) fn is_settled(&self) -> bool {
        self.acknowledged >= self.read
    }

    /// Whether the aggregator was told how it is now: what is forgotten before is never summed up.
    pub(super) fn is_told(&self) -> bool {
        self.id.is_none() || self.told == Some((self.size, self.read, self.acknowledged))
    }

    /// The id-time of what is read at an offset, and where the next step begins.
    pub(super) fn step_at(&self, offset: u64) -> (Option<i64>, Option<u64>) {
        let after = self.steps.partition_point(|(from, _)| *from <= offset);
        let current = after.checked_sub(1).and_then(|index| self.steps.get(index));
        (current.map(|(_, time)| *time), self.steps.get(after).map(|(from, _)| *from))
    }
}

/// Reads what is there. Where a read gives less than was asked for, the file ends, which another read would only say again;
/// it is asked for nevertheless before a file of which `known` bytes were seen is taken for a shorter one.
fn read_at(
    file: &File,
    from: u64,
    buffer: &mut Vec<u8>,
    want: usize,
    known: u64,
) -> io::Result<()> {
    buffer.clear();
    if buffer.capacity() > BUFFER_KEPT_BYTES && want <= BUFFER_KEPT_BYTES {
        // It was of a long line.
        *buffer = Vec::new();
    }
    // Into memory that is not cleared before: a line's read would cost a clearing of all that could have come.
    buffer.reserve_exact(want);
    while buffer.len() < want {
        let (before, room) = (buffer.len() as u64, buffer.capacity() - buffer.len());
        match rustix::io::pread(file, spare_capacity(buffer), from + before) {
            Ok(0) => break,
            Ok(count) if count < room && from + before + count as u64 >= known => break,
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    buffer.truncate(want);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn tailed(content: Content) -> TailedFile {
        let mut file = TailedFile::new("0.log".into(), Order::Live, Instant::now());
        file.content = content;
        file
    }

    fn take(file: &mut TailedFile, buffer: &mut Vec<u8>, count: usize) -> String {
        let Filled::From(start) = file.fill(buffer, count).unwrap() else { return "!".into() };
        let end = buffer.len().min(start + count);
        file.consume(end - start, &buffer[..end]);
        String::from_utf8(buffer[start..end].to_vec()).unwrap()
    }

    #[test]
    fn truncation_is_noticed_even_when_the_file_has_grown_past_the_position() {
        let buffer = &mut Vec::new();
        let on_disk = tempfile::NamedTempFile::new().unwrap();
        let write = |text: &str| std::fs::write(on_disk.path(), text).unwrap();
        write("first line\nsecond line\n");
        let mut file = tailed(Content::Plain(File::open(on_disk.path()).unwrap()));
        assert_eq!(take(&mut file, buffer, 11), "first line\n");
        assert_eq!(take(&mut file, buffer, 100), "second line\n");
        assert_eq!(take(&mut file, buffer, 100), "");
        write("short\n");
        assert_eq!(file.fill(buffer, 100).unwrap(), Filled::Truncated);
        write("other text of more than the bytes that were there\n");
        assert_eq!(file.fill(buffer, 100).unwrap(), Filled::Truncated);
    }

    #[test]
    fn a_compressed_file_is_read_from_any_offset() {
        let text: String = (0..30_000).map(|n| format!("line {n}\n")).collect();
        let on_disk = tempfile::NamedTempFile::new().unwrap();
        let mut encoder =
            flate2::write::GzEncoder::new(on_disk.reopen().unwrap(), flate2::Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap();
        let open = || Content::Gzip(File::open(on_disk.path()).unwrap(), None);
        let buffer = &mut Vec::new();
        let mut file = tailed(open());
        let mut found = String::new();
        while let piece @ 1.. = {
            let piece = take(&mut file, buffer, 10_007);
            found.push_str(&piece);
            piece.len()
        } {
            assert!(piece <= 10_007);
            // Looking back does not move the position, that of the descriptor included.
            assert_eq!(file.bytes_at(5, 9).unwrap().unwrap(), text.as_bytes()[5..14]);
        }
        assert!(found == text);
        assert_eq!(file.bytes_at(5, 9).unwrap().unwrap(), text.as_bytes()[5..14]);
        let mut later = tailed(open());
        later.read = 100_000;
        assert_eq!(take(&mut later, buffer, 50).as_bytes(), &text.as_bytes()[100_000..100_050]);
        let mut beyond = tailed(open());
        beyond.read = text.len() as u64 + 1;
        assert!(beyond.fill(buffer, 10).is_err());
    }
}
