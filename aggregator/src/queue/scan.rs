//! Finds the parts in the raw bytes of a segment's sled file, whatever sled thinks of it.
//!
//! sled's recovery stops at the first damaged message of an I/O buffer and overwrites what is
//! after it, so a closed segment is scanned before sled opens it. Values lie unbroken in sled's log
//! (`use_compression` off, no blobs, at most 9 keys a tree), and each part has its own checksum.
//! Memory: one window of the file and the places of at most `segment_max_keys` parts.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use memchr::memmem;

use super::entry::Sequence;
use super::part::{self, HEADER_BYTES, Header, Kind, NotAPart};

/// Twice the largest part there can be (a quarter of sled's largest segment).
const WINDOW_BYTES: usize = 8 << 20;
/// sled closes an I/O buffer with a header of at most this; more after the last part is torn.
const SLED_TAIL_BYTES: u64 = 32;

/// Where a whole entry lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) kind: Kind,
    pub(super) batches: u16,
    pub(super) committed_ms: i64,
    /// The sled key of its first part; the others follow.
    pub(super) first_key: u32,
    /// Offset and length of each part, header included.
    parts: Vec<Option<(u64, u32)>>,
}

impl Place {
    /// Bytes of the parts that were found.
    pub(super) fn bytes(&self) -> u64 {
        self.parts.iter().flatten().map(|(_, len)| u64::from(*len)).sum()
    }
}

/// What a file holds.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The entries of which every part is intact.
    pub(super) entries: BTreeMap<Sequence, Place>,
    /// Entries of which a part is missing.
    pub(super) broken: BTreeMap<Sequence, Place>,
    /// A part of another version, if one was seen.
    pub(super) version: Option<u8>,
    /// Bytes after the last intact part that are neither zero nor sled's: a commit that was cut
    /// off, or damage.
    pub(super) torn_bytes: u64,
}

/// Scans a sled file. With `salt`, parts of other segments are not looked at; without one the
/// first part's salt is taken.
pub(super) fn scan(db: &Path, salt: Option<u64>) -> io::Result<Found> {
    scan_file(&File::open(db)?, salt)
}

/// The same of an open file.
pub(super) fn scan_file(file: &File, salt: Option<u64>) -> io::Result<Found> {
    let mut scanner = Scanner { salt, all: BTreeMap::new(), version: None, tail_bytes: 0 };
    let len = file.metadata()?.len();
    let mut window = vec![0; WINDOW_BYTES.min(len as usize)];
    let mut at = 0;
    while at < len {
        let filled = window.len().min((len - at) as usize);
        let bytes = &mut window[..filled];
        file.read_exact_at(bytes, at)?;
        let used = scanner.window(bytes, at, at + filled as u64 == len);
        at += used.max(1) as u64;
    }
    Ok(scanner.finish())
}

/// Reads an entry's body at its place.
pub(super) fn read(db: &File, sequence: Sequence, place: &Place) -> io::Result<Option<Vec<u8>>> {
    let mut body = Vec::new();
    let mut bytes = Vec::new();
    for (number, at) in place.parts.iter().enumerate() {
        let Some((offset, len)) = *at else { return Ok(None) };
        bytes.resize(len as usize, 0);
        db.read_exact_at(&mut bytes, offset)?;
        match part::decode(&bytes) {
            Ok((header, payload))
                if header.sequence == sequence && usize::from(header.part) == number =>
            {
                body.extend_from_slice(payload);
            }
            Ok(_) | Err(_) => return Ok(None),
        }
    }
    Ok(Some(body))
}

struct Scanner {
    salt: Option<u64>,
    all: BTreeMap<Sequence, Place>,
    version: Option<u8>,
    tail_bytes: u64,
}

impl Scanner {
    /// Looks through one window and says how much of it is done with.
    fn window(&mut self, bytes: &[u8], offset: u64, is_last: bool) -> usize {
        let finder = memmem::Finder::new(&part::MAGIC);
        let mut at = 0;
        while let Some(found) = finder.find(&bytes[at..]) {
            let start = at + found;
            self.tail(&bytes[at..start]);
            at = start;
            match part::decode(&bytes[start..]) {
                Ok((header, payload)) if self.is_ours(&header) => {
                    let len = HEADER_BYTES + payload.len();
                    self.note(&header, offset + start as u64, len as u32);
                    self.tail_bytes = 0;
                    at += len;
                    continue;
                }
                // It may continue in the next window, which then begins with it.
                Err(NotAPart::Short) if !is_last && start > 0 => return start,
                Err(NotAPart::Version(version)) => self.version = Some(version),
                Ok(_) | Err(NotAPart::Short | NotAPart::Damaged) => {}
            }
            self.tail(&bytes[start..start + 1]);
            at = start + 1;
        }
        let kept = if is_last { 0 } else { part::MAGIC.len() - 1 };
        let end = bytes.len().saturating_sub(kept).max(at);
        self.tail(&bytes[at..end]);
        end
    }

    fn is_ours(&mut self, header: &Header) -> bool {
        *self.salt.get_or_insert(header.salt) == header.salt
    }

    fn tail(&mut self, bytes: &[u8]) {
        self.tail_bytes += bytes.iter().filter(|byte| **byte != 0).count() as u64;
    }

    fn note(&mut self, header: &Header, offset: u64, len: u32) {
        let place = self.all.entry(header.sequence).or_insert_with(|| Place {
            kind: header.kind,
            batches: header.batches,
            committed_ms: header.committed_ms,
            first_key: header.key.saturating_sub(u32::from(header.part)),
            parts: vec![None; usize::from(header.parts)],
        });
        if let Some(slot) = place.parts.get_mut(usize::from(header.part)) {
            *slot = Some((offset, len));
        }
    }

    fn finish(self) -> Found {
        let torn_bytes = if self.tail_bytes > SLED_TAIL_BYTES { self.tail_bytes } else { 0 };
        let (entries, broken) =
            self.all.into_iter().partition(|(_, place)| place.parts.iter().all(Option::is_some));
        Found { entries, broken, version: self.version, torn_bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(sequence: u64, part: u16, parts: u16, salt: u64, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let header = Header {
            kind: Kind::Batches,
            batches: 1,
            salt,
            sequence: Sequence(sequence),
            committed_ms: 0,
            key: sequence as u32,
            part,
            parts,
        };
        part::encode(&header, payload, &mut out);
        out
    }

    fn found(bytes: &[u8], salt: Option<u64>) -> (Found, File) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        std::fs::write(&path, bytes).unwrap();
        (scan(&path, salt).unwrap(), File::open(&path).unwrap())
    }

    #[test]
    fn finds_parts_among_anything() {
        let mut bytes = b"sled's own NQp NQpt".to_vec();
        bytes.extend(part(1, 0, 1, 5, b"one"));
        bytes.extend(b"\0\0between");
        bytes.extend(part(2, 0, 2, 5, b"two "));
        bytes.extend(part(2, 1, 2, 5, b"halves"));
        bytes.extend(part(3, 0, 2, 5, b"half"));
        bytes.extend([0; 100]);
        let (found, file) = found(&bytes, Some(5));
        let sequences: Vec<_> = found.entries.keys().map(|s| s.0).collect();
        assert_eq!(sequences, [1, 2]);
        assert!(found.broken.contains_key(&Sequence(3)));
        assert_eq!(found.torn_bytes, 0);
        let body = read(&file, Sequence(2), &found.entries[&Sequence(2)]).unwrap();
        assert_eq!(body.as_deref(), Some(&b"two halves"[..]));
        assert_eq!(read(&file, Sequence(3), &found.broken[&Sequence(3)]).unwrap(), None);
    }

    #[test]
    fn a_part_inside_a_damaged_part_is_not_taken_for_one() {
        let forged = part(9, 0, 1, 666, b"what a pod wrote into its log");
        let mut bytes = part(1, 0, 1, 5, &forged);
        bytes[HEADER_BYTES + forged.len() - 1] ^= 1;
        bytes[20] ^= 1;
        assert!(found(&bytes, Some(5)).0.entries.is_empty());
        let whole = part(1, 0, 1, 5, &forged);
        assert_eq!(found(&whole, None).0.entries.len(), 1, "inside an intact one it is data");
    }

    #[test]
    fn parts_may_cross_windows() {
        let mut bytes = Vec::new();
        for sequence in 1..40 {
            bytes.extend(part(sequence, 0, 1, 5, &vec![7; 1 << 20]));
            bytes.extend([1, 2, 3]);
        }
        let (found, _) = found(&bytes, None);
        assert_eq!(found.entries.len(), 39);
    }

    #[test]
    fn a_torn_tail_and_another_version_are_seen() {
        let mut bytes = part(1, 0, 1, 5, b"one");
        let torn = part(2, 0, 1, 5, &[3; 500]);
        bytes.extend(&torn[..300]);
        assert!(found(&bytes, None).0.torn_bytes >= 200);
        let mut newer = part(1, 0, 1, 5, b"one");
        newer[4] = 2;
        assert_eq!(found(&newer, None).0.version, Some(2));
    }
}
