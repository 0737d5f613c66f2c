//! Documents: what records become, ready to be indexed.
//!
//! [`Builder`] writes them, [`Documents`] holds them until they are delivered.

mod builder;
mod escape;
mod origin;

pub use builder::{Builder, Progress, Tally};

use naru_proto::ids::{DocumentId, FileId, IdTime, IndexName};

/// Documents that share one buffer, so that a batch costs a few allocations and a document none.
#[derive(Debug, Default)]
pub struct Documents {
    json: Vec<u8>,
    items: Vec<Item>,
}

#[derive(Debug)]
struct Item {
    id: DocumentId,
    id_time: IdTime,
    timestamp_ns: i64,
    file: FileId,
    offset: u64,
    end: usize,
}

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Document<'a> {
    /// Its `_id`.
    pub id: DocumentId,
    /// The time that decides its index.
    pub id_time: IdTime,
    /// Its `@timestamp`, nanoseconds since 1970.
    pub timestamp_ns: i64,
    /// The file that its record stood in.
    pub file: FileId,
    /// The offset of its record.
    pub offset: u64,
    /// Its `_source`: one JSON object without a newline.
    pub source: &'a [u8],
}

/// All of a document but its `_source`.
#[derive(Debug, Clone, Copy)]
pub struct Identity {
    /// See [`Document::id`].
    pub id: DocumentId,
    /// See [`Document::id_time`].
    pub id_time: IdTime,
    /// See [`Document::timestamp_ns`].
    pub timestamp_ns: i64,
    /// See [`Document::file`].
    pub file: FileId,
    /// See [`Document::offset`].
    pub offset: u64,
}

impl Document<'_> {
    /// The day that it belongs to.
    #[must_use]
    pub fn index(&self) -> IndexName {
        self.id_time.index()
    }
}

impl Documents {
    /// Adds a document whose `_source` the closure appends to the buffer.
    pub fn push(&mut self, identity: Identity, write_source: impl FnOnce(&mut Vec<u8>)) {
        write_source(&mut self.json);
        self.items.push(Item {
            id: identity.id,
            id_time: identity.id_time,
            timestamp_ns: identity.timestamp_ns,
            file: identity.file,
            offset: identity.offset,
            end: self.json.len(),
        });
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The bytes of all `_source`s.
    #[must_use]
    pub fn json_bytes(&self) -> usize {
        self.json.len()
    }

    /// Forgets them, keeps the memory.
    pub fn clear(&mut self) {
        self.json.clear();
        self.items.clear();
    }

    /// In the order they were added.
    pub fn iter(&self) -> impl Iterator<Item = Document<'_>> {
        let mut start = 0;
        self.items.iter().map(move |item| {
            let source = self.json.get(start..item.end).unwrap_or_default();
            start = item.end;
            Document {
                id: item.id,
                id_time: item.id_time,
                timestamp_ns: item.timestamp_ns,
                file: item.file,
                offset: item.offset,
                source,
            }
        })
    }
}
