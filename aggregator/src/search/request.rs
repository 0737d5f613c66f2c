//! One search and its answer: what every implementation takes and gives.
//!
//! Pure. Documents are in one order everywhere: newest first, then by file, then the later offset first, then by id and
//! index; so a page goes on exactly where the last one ended, however many documents have the same time.

use std::hash::Hasher;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde_json::value::RawValue;
use siphasher::sip::SipHasher13;

use super::parse::{self, QueryError};
use super::query::Query;
use super::time::TimeText;

/// Documents on a page when nothing is said.
pub const DEFAULT_LIMIT: usize = 100;
/// Documents on a page at most.
pub const MAX_LIMIT: usize = 1000;
/// A page ends early when its documents are this large: a document may be a megabyte.
pub const PAGE_MAX_BYTES: usize = 16 * 1024 * 1024;
const CURSOR_VERSION: u8 = 1;
const CURSOR_TYPICAL_BYTES: usize = 128;

/// A search as it was asked for.
#[derive(Debug, Clone, Default)]
pub struct RawRequest<'a> {
    /// The query; all documents when there is none.
    pub query: Option<&'a str>,
    /// The beginning of the time range, inclusive.
    pub from: Option<&'a str>,
    /// The end of the time range, exclusive.
    pub to: Option<&'a str>,
    /// Documents on the page.
    pub limit: Option<usize>,
    /// The `next` of the page before.
    pub after: Option<&'a str>,
}

/// A search to be answered.
#[derive(Debug, Clone)]
pub struct SearchRequest {
    /// What is searched for.
    pub query: Query,
    /// Nanoseconds since 1970.
    pub from_ns: Option<i64>,
    /// Nanoseconds since 1970.
    pub to_ns_exclusive: Option<i64>,
    /// What `now` in the query is: the same on every page.
    pub now_ns: i64,
    /// 0 to [`MAX_LIMIT`].
    pub limit: usize,
    /// Where the last page ended, and the total it said.
    pub after: Option<After>,
}

/// Where a page ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct After {
    /// Its last document's.
    pub key: SortKey,
    /// Counted for the first page, and not again.
    pub total: u64,
}

/// A document's place in the order. It is less the earlier it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SortKey {
    /// Its `@timestamp`.
    pub timestamp_ns: i64,
    /// The file of its record.
    pub file: [u8; 12],
    /// The offset of its record.
    pub offset: u64,
    /// Its `_id` in bytes that sort, or what else tells it from others of the same place, by the implementation.
    pub id: Vec<u8>,
    /// Its `_index`.
    pub index: String,
}

impl Ord for SortKey {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        other
            .timestamp_ns
            .cmp(&self.timestamp_ns)
            .then_with(|| self.file.cmp(&other.file))
            .then_with(|| other.offset.cmp(&self.offset))
            .then_with(|| self.id.cmp(&other.id))
            .then_with(|| self.index.cmp(&other.index))
    }
}

impl PartialOrd for SortKey {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// A document that was found.
#[derive(Debug, Serialize)]
pub struct Hit {
    /// Its index.
    #[serde(rename = "_index")]
    pub index: String,
    /// Its id.
    #[serde(rename = "_id")]
    pub id: String,
    /// The document, as it was given.
    #[serde(rename = "_source")]
    pub source: Box<RawValue>,
}

/// One page of an answer.
#[derive(Debug)]
pub struct SearchPage {
    /// How many documents there were on all pages, when the first one was made.
    pub total: u64,
    /// In order.
    pub hits: Vec<Hit>,
    /// What to ask for the next page with; none when this is the last.
    pub next: Option<String>,
    /// Indices that could not be searched, each with the reason: the answer lacks what they hold.
    pub incomplete: Vec<String>,
}

/// Why a request was not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The query.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// `from` or `to`.
    #[error(
        "`{0}` is not a time; write 2026-11-22T09:30:00Z, 2026-11-22, milliseconds since 1970 or now-15m"
    )]
    Time(&'static str),
    /// `interval`.
    #[error("`interval` is written 30s, 5m, 1h or 1d")]
    Interval,
    /// `limit`.
    #[error("`limit` is above {MAX_LIMIT}; ask for further pages with `after`")]
    Limit,
    /// `after` is not what a page gave.
    #[error("`after` is not the `next` of a page")]
    After,
    /// `after` came from another search.
    #[error("`after` is the `next` of a page of another query or time range")]
    OtherSearch,
}

impl RequestError {
    /// The character of the query at which it went wrong, counted from 0.
    #[must_use]
    pub fn position(&self) -> Option<usize> {
        match self {
            Self::Query(error) => Some(error.position),
            Self::Time(_) | Self::Interval | Self::Limit | Self::After | Self::OtherSearch => None,
        }
    }
}

impl SearchRequest {
    /// Reads a request. Relative times are resolved once, on the first page.
    ///
    /// # Errors
    /// Says what was not understood.
    pub fn read(raw: &RawRequest<'_>, now_ns: i64) -> Result<Self, RequestError> {
        let limit = raw.limit.unwrap_or(DEFAULT_LIMIT);
        if limit > MAX_LIMIT {
            return Err(RequestError::Limit);
        }
        let query = parse::parse(raw.query.unwrap_or("*"))?;
        let cursor = match raw.after.filter(|after| !after.is_empty()) {
            Some(after) => Some(Cursor::decode(after).ok_or(RequestError::After)?),
            None => None,
        };
        let now_ns = cursor.as_ref().map_or(now_ns, |cursor| cursor.now_ns);
        let request = Self {
            query,
            from_ns: read_time("from", raw.from, now_ns)?,
            to_ns_exclusive: read_time("to", raw.to, now_ns)?,
            now_ns,
            limit,
            after: None,
        };
        match cursor {
            Some(cursor) if cursor.search != request.fingerprint() => {
                Err(RequestError::OtherSearch)
            }
            cursor => Ok(Self { after: cursor.map(|cursor| cursor.after), ..request }),
        }
    }

    /// What the page after this one is asked for with.
    #[must_use]
    pub fn next(&self, key: SortKey, total: u64) -> String {
        let after = After { key, total };
        Cursor { now_ns: self.now_ns, search: self.fingerprint(), after }.encode()
    }

    fn fingerprint(&self) -> u64 {
        let mut hasher = SipHasher13::new();
        for time in [self.from_ns, self.to_ns_exclusive] {
            hasher.write(&time.map_or(i128::MAX, i128::from).to_le_bytes());
        }
        hasher.write(self.query.to_string().as_bytes());
        hasher.finish()
    }
}

/// A time of a request; none when it is left out.
pub(super) fn read_time(
    name: &'static str,
    text: Option<&str>,
    now_ns: i64,
) -> Result<Option<i64>, RequestError> {
    match text {
        None | Some("") => Ok(None),
        Some(text) => TimeText::parse(text)
            .map(|time| Some(time.resolve(now_ns)))
            .ok_or(RequestError::Time(name)),
    }
}

struct Cursor {
    now_ns: i64,
    search: u64,
    after: After,
}

impl Cursor {
    fn encode(&self) -> String {
        let After { key, total } = &self.after;
        let mut bytes = Vec::with_capacity(CURSOR_TYPICAL_BYTES);
        bytes.push(CURSOR_VERSION);
        bytes.extend(self.now_ns.to_le_bytes());
        bytes.extend(self.search.to_le_bytes());
        bytes.extend(total.to_le_bytes());
        bytes.extend(key.timestamp_ns.to_le_bytes());
        bytes.extend(key.file);
        bytes.extend(key.offset.to_le_bytes());
        bytes.extend((key.id.len() as u64).to_le_bytes());
        bytes.extend(&key.id);
        bytes.extend(key.index.as_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    fn decode(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let mut rest = bytes.as_slice();
        if take::<1>(&mut rest)? != [CURSOR_VERSION] {
            return None;
        }
        let now_ns = i64::from_le_bytes(take(&mut rest)?);
        let search = u64::from_le_bytes(take(&mut rest)?);
        let total = u64::from_le_bytes(take(&mut rest)?);
        let timestamp_ns = i64::from_le_bytes(take(&mut rest)?);
        let file = take(&mut rest)?;
        let offset = u64::from_le_bytes(take(&mut rest)?);
        let id_length = usize::try_from(u64::from_le_bytes(take(&mut rest)?)).ok()?;
        let (id, index) = rest.split_at_checked(id_length)?;
        let (id, index) = (id.to_vec(), String::from_utf8(index.to_vec()).ok()?);
        let key = SortKey { timestamp_ns, file, offset, id, index };
        Some(Self { now_ns, search, after: After { key, total } })
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*head)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw<'a>(query: &'a str, from: &'a str, after: &'a str) -> RawRequest<'a> {
        RawRequest {
            query: Some(query),
            from: Some(from),
            after: Some(after),
            ..RawRequest::default()
        }
    }

    #[test]
    fn a_cursor_belongs_to_its_search_and_keeps_its_now() {
        let first = SearchRequest::read(&raw("a", "now-1h", ""), 1 << 60).unwrap();
        let key = SortKey {
            timestamp_ns: -5,
            file: [9; 12],
            offset: u64::MAX,
            id: vec![0, 255, 7],
            index: "logstash-2026.11.22".to_owned(),
        };
        let next = first.next(key.clone(), 7);
        let second = SearchRequest::read(&raw("a", "now-1h", &next), 1 << 61).unwrap();
        assert_eq!(second.after, Some(After { key, total: 7 }));
        assert_eq!(second.from_ns, first.from_ns);
        let read = |raw| SearchRequest::read(&raw, 1 << 61).err();
        assert_eq!(read(raw("b", "now-1h", &next)), Some(RequestError::OtherSearch));
        assert_eq!(read(raw("a", "now-2h", &next)), Some(RequestError::OtherSearch));
        for broken in ["x", "AAAA", next.split_at(next.len() / 2).0, "주문"] {
            assert_eq!(read(raw("a", "", broken)), Some(RequestError::After), "{broken}");
        }
    }

    #[test]
    fn a_request_says_what_is_wrong() {
        let read = |raw: RawRequest<'_>| SearchRequest::read(&raw, 0).err();
        assert_eq!(read(raw("*", "soon", "")), Some(RequestError::Time("from")));
        let many = RawRequest { limit: Some(MAX_LIMIT + 1), ..RawRequest::default() };
        assert_eq!(read(many), Some(RequestError::Limit));
        assert_eq!(read(raw("a (b", "", "")).and_then(|error| error.position()), Some(2));
    }
}
