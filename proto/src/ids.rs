//! Identity: which file a byte stood in, which document a record becomes, which index it goes to.
//!
//! Nothing here may change: an id that comes out differently after an upgrade indexes every line in flight twice. The
//! golden values in the tests pin it. Strings are hashed with their length before them, integers little-endian.

use std::fmt;
use std::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher24};

use crate::cri;
use crate::time::{ID_TIME_MAX_EXCLUSIVE_NS, ID_TIME_MIN_NS, civil_date};

/// A first line that has no readable time is identified by at most this much of it.
pub const HEAD_MAX_BYTES: usize = 4096;

/// The first line of a docker json-file is longer: its envelope's time comes last, and 16 KiB of text may be escaped.
pub const JSON_FILE_HEAD_MAX_BYTES: usize = 64 << 10;

/// One physical file of a source, for ever: 96 bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId(pub [u8; 12]);

impl FileId {
    /// The id of a container's log file.
    ///
    /// `pod_directory` is the directory's name as it is; `head` comes from [`container_head`]; `salt` is 0 but for a
    /// second live file whose id would otherwise be the same.
    #[must_use]
    pub fn of_container_file(
        node: &str,
        pod_directory: &str,
        container: &str,
        restart: u32,
        head: &[u8],
        salt: u64,
    ) -> Self {
        let mut hasher = SipHasher24::new_with_key(b"naru.v1.file.id.");
        for part in [node.as_bytes(), pod_directory.as_bytes(), container.as_bytes()] {
            write_prefixed(&mut hasher, part);
        }
        hasher.write(&restart.to_le_bytes());
        write_prefixed(&mut hasher, head);
        hasher.write(&salt.to_le_bytes());
        let mut id = [0; 12];
        id.copy_from_slice(&hasher.finish128().as_bytes()[..12]);
        Self(id)
    }

    /// Reads 12 bytes; None for any other length.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

impl fmt::Display for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileId({self})")
    }
}

/// What identifies a container's log file: its first line through the envelope's time; without a readable time the
/// line, at most [`HEAD_MAX_BYTES`]. None while the file is too short to say: nothing may be sent before.
#[must_use]
pub fn container_head(file_start: &[u8]) -> Option<&[u8]> {
    if let Some((_, end)) = cri::leading_time(file_start) {
        return file_start.get(..end);
    }
    first_line(file_start, HEAD_MAX_BYTES)
}

/// The same of a docker json-file: its whole first line, at most [`JSON_FILE_HEAD_MAX_BYTES`].
#[must_use]
pub fn json_file_head(file_start: &[u8]) -> Option<&[u8]> {
    first_line(file_start, JSON_FILE_HEAD_MAX_BYTES)
}

fn first_line(file_start: &[u8], max_bytes: usize) -> Option<&[u8]> {
    let head = file_start.get(..max_bytes).unwrap_or(file_start);
    match memchr::memchr(b'\n', head) {
        Some(end) => head.get(..end),
        None => (head.len() == max_bytes).then_some(head),
    }
}

/// The key of a cluster's document ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClusterKey([u8; 16]);

impl ClusterKey {
    /// The key comes from the cluster's name alone, so that every aggregator has the same.
    #[must_use]
    pub fn of(cluster: &str) -> Self {
        let mut hasher = SipHasher24::new_with_key(b"naru.v1.cluster.");
        write_prefixed(&mut hasher, cluster.as_bytes());
        Self(hasher.finish128().as_bytes())
    }
}

/// Makes the document ids of one file's records; the part of the hash that they share is computed once.
#[derive(Debug, Clone)]
pub struct FileDocumentIds {
    prefix: SipHasher24,
}

impl FileDocumentIds {
    /// `node` is the authenticated one.
    #[must_use]
    pub fn new(key: ClusterKey, node: &str, file: FileId) -> Self {
        let mut prefix = SipHasher24::new_with_key(&key.0);
        write_prefixed(&mut prefix, node.as_bytes());
        prefix.write(&file.0);
        Self { prefix }
    }

    /// The id of the record whose first byte is at `offset`; `raw` is the record as it stood in the file.
    #[must_use]
    pub fn id(&self, id_time: IdTime, offset: u64, raw: &[u8]) -> DocumentId {
        let mut hasher = self.prefix;
        hasher.write(&offset.to_le_bytes());
        hasher.write(raw);
        let mut bytes = [0; 15];
        bytes[..6].copy_from_slice(&id_time.milliseconds().to_be_bytes()[2..]);
        bytes[6..].copy_from_slice(&hasher.finish128().as_bytes()[..9]);
        DocumentId::of(bytes)
    }
}

/// The time that decides a document's id and index, and nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct IdTime(Option<i64>);

impl IdTime {
    /// A time outside 2000–2100 is none.
    #[must_use]
    pub fn new(time_ns: Option<i64>) -> Self {
        Self(time_ns.filter(|ns| (ID_TIME_MIN_NS..ID_TIME_MAX_EXCLUSIVE_NS).contains(ns)))
    }

    /// The index for it: a day in UTC, or the one for what has no time.
    #[must_use]
    pub fn index(self) -> IndexName {
        match self.0 {
            Some(ns) => {
                let (year, month, day) = civil_date(ns);
                IndexName::Day { year: year as u16, month: month as u8, day: day as u8 }
            }
            None => IndexName::Unplaced,
        }
    }

    /// Nanoseconds since 1970; None when there is no time.
    #[must_use]
    pub fn ns(self) -> Option<i64> {
        self.0
    }

    fn milliseconds(self) -> u64 {
        self.0.map_or(0, |ns| (ns / 1_000_000) as u64)
    }
}

/// A document's `_id`: 20 characters of base64url that sort by id-time.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DocumentId([u8; 20]);

impl DocumentId {
    fn of(bytes: [u8; 15]) -> Self {
        const ALPHABET: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let mut text = [0; 20];
        for (three, four) in bytes.chunks_exact(3).zip(text.chunks_exact_mut(4)) {
            let bits = u32::from(three[0]) << 16 | u32::from(three[1]) << 8 | u32::from(three[2]);
            for (place, character) in four.iter_mut().enumerate() {
                *character = ALPHABET[(bits >> (18 - 6 * place) & 63) as usize];
            }
        }
        Self(text)
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for DocumentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for DocumentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DocumentId({self})")
    }
}

/// The index of a document: a function of its id-time, never of its arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum IndexName {
    /// For what has no time.
    Unplaced,
    /// A day in UTC.
    Day {
        /// 2000–2099.
        year: u16,
        /// 1–12.
        month: u8,
        /// 1–31.
        day: u8,
    },
}

impl IndexName {
    /// Reads what [`fmt::Display`] writes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("logstash-")?;
        if rest == "unplaced" {
            return Some(Self::Unplaced);
        }
        let mut parts = rest.splitn(3, '.');
        let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
        let name = Self::Day {
            year: year.parse().ok()?,
            month: month.parse().ok()?,
            day: day.parse().ok()?,
        };
        (name.to_string() == text).then_some(name)
    }
}

impl fmt::Display for IndexName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unplaced => f.write_str("logstash-unplaced"),
            Self::Day { year, month, day } => write!(f, "logstash-{year:04}.{month:02}.{day:02}"),
        }
    }
}

fn write_prefixed(hasher: &mut SipHasher24, bytes: &[u8]) {
    hasher.write(&(bytes.len() as u32).to_le_bytes());
    hasher.write(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME_NS: i64 = 1_795_307_400_120_000_000;

    fn sample(offset: u64, raw: &[u8]) -> DocumentId {
        let file = FileId::of_container_file("node-1", "shop_web-0_1234", "web", 2, b"head", 0);
        FileDocumentIds::new(ClusterKey::of("default"), "node-1", file).id(
            IdTime::new(Some(TIME_NS)),
            offset,
            raw,
        )
    }

    #[test]
    fn ids_never_change() {
        let file = FileId::of_container_file("node-1", "shop_web-0_1234", "web", 2, b"head", 0);
        assert_eq!(file.to_string(), "b1defa09e8eeeab9064c6560");
        assert_eq!(sample(0, b"hello\n").as_str(), "AaIAqOu4qtiLRhDHf3dn");
    }

    #[test]
    fn every_part_matters() {
        let base = sample(0, b"hello\n");
        assert_ne!(base, sample(1, b"hello\n"));
        assert_ne!(base, sample(0, b"hello"));
        let salted = FileId::of_container_file("node-1", "shop_web-0_1234", "web", 2, b"head", 1);
        let plain = FileId::of_container_file("node-1", "shop_web-0_1234", "web", 2, b"head", 0);
        assert_ne!(salted, plain);
        let shifted = FileId::of_container_file("node-1s", "hop_web-0_1234", "web", 2, b"head", 0);
        assert_ne!(shifted, plain);
        assert_ne!(ClusterKey::of("a"), ClusterKey::of("b"));
    }

    #[test]
    fn ids_are_base64url_and_begin_with_the_time() {
        let ids = FileDocumentIds::new(ClusterKey::of("c"), "n", FileId([7; 12]));
        let mut last = ids.id(IdTime::new(None), 0, b"x");
        assert!(last.as_str().starts_with("AAAAAAAA"));
        for step in 0..1000_i64 {
            let id = ids.id(IdTime::new(Some(TIME_NS + step * 1_000_000)), 0, b"x");
            assert!(id.as_str().bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)));
            assert_ne!(id, last);
            last = id;
        }
    }

    #[test]
    fn index_is_the_utc_day_of_the_id_time() {
        let index = |ns| IdTime::new(ns).index().to_string();
        assert_eq!(index(Some(TIME_NS)), "logstash-2026.11.22");
        assert_eq!(index(Some(ID_TIME_MIN_NS)), "logstash-2000.01.01");
        assert_eq!(index(Some(ID_TIME_MIN_NS - 1)), "logstash-unplaced");
        assert_eq!(index(Some(ID_TIME_MAX_EXCLUSIVE_NS)), "logstash-unplaced");
        assert_eq!(index(None), "logstash-unplaced");
        for name in ["logstash-unplaced", "logstash-2026.11.02"] {
            assert_eq!(IndexName::parse(name).map(|n| n.to_string()).as_deref(), Some(name));
        }
        assert_eq!(IndexName::parse("logstash-2026.1.2"), None);
        assert_eq!(IndexName::parse("other"), None);
    }

    #[test]
    fn a_head_is_final_once_it_is_known() {
        let check = |bytes: &[u8], expected: Option<&[u8]>| {
            assert_eq!(container_head(bytes), expected, "{}", String::from_utf8_lossy(bytes));
        };
        check(b"", None);
        check(b"2026-11-22T00:30:00.1", None);
        check(b"2026-11-22T00:30:00.1Z ", Some(b"2026-11-22T00:30:00.1Z"));
        check(b"2026-11-22T00:30:00.1Z stdout F x\n", Some(b"2026-11-22T00:30:00.1Z"));
        check(b"garbage here", None);
        check(b"garbage here\nmore", Some(b"garbage here"));
        check(b"\nx", Some(b""));
        check(&[b'x'; 5000], Some(&[b'x'; 4096]));
    }

    #[test]
    fn the_head_of_a_json_file_is_its_whole_first_line() {
        let line = [b'x'; JSON_FILE_HEAD_MAX_BYTES + 1];
        assert_eq!(json_file_head(&line[..JSON_FILE_HEAD_MAX_BYTES - 1]), None);
        assert_eq!(json_file_head(&line), line.get(..JSON_FILE_HEAD_MAX_BYTES));
        let json = br#"{"log":"a\n","stream":"stdout","time":"2026-11-22T00:30:00.1Z"}"#;
        assert_eq!(json_file_head(json), None);
        assert_eq!(json_file_head(&[&json[..], b"\n{"].concat()), Some(&json[..]));
    }
}
