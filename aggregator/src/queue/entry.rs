//! An entry: what one commit holds, and its body's bytes.
//!
//! Pure. The body is little-endian, follows the part headers (`part`, which carry version,
//! sequence and checksum) and is:
//!
//! ```text
//! metadata bytes u32, then per record: type u16, length u32, bytes
//! then per batch, to the end: node length u16, received ms i64, records u32, raw bytes u32,
//!                             crc32c u32, body length u32, node, body
//! ```
//!
//! A reader passes over the metadata types that it does not know.

use std::fmt;

use bytes::Bytes;

use super::bytes_in::BytesIn;

/// Which commit of the queue: counts up over its whole life, never reused for another entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Sequence(pub u64);

impl Sequence {
    pub(super) fn next(self) -> Self {
        Self(self.0 + 1)
    }

    pub(super) fn previous(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A batch as the queue keeps it: still compressed, as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredBatch {
    /// The authenticated node that sent it; at most 64 KiB.
    pub node: String,
    /// When it was received, milliseconds since 1970.
    pub received_ms: i64,
    /// Records in it, as declared and checked by admission.
    pub records: u32,
    /// Size of its frames before compression.
    pub raw_bytes: u32,
    /// Checksum of `body`, as it came over the wire. The queue has its own and does not check it.
    pub crc32c: u32,
    /// The zstd frames.
    pub body: Bytes,
}

/// Something that helps to read the batches of an entry: a pod's labels, later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// What `bytes` are; whoever does not know it passes over it.
    pub kind: u16,
    /// The record itself.
    pub bytes: Bytes,
}

/// One commit: metadata first, then batches in the order of their arrival.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Entry {
    pub(super) metadata: Vec<Metadata>,
    pub(super) batches: Vec<StoredBatch>,
}

/// Bytes before a batch's node and body.
const BATCH_HEADER_BYTES: usize = 26;
const METADATA_HEADER_BYTES: usize = 6;

impl StoredBatch {
    /// What the batch adds to an entry's body.
    pub(super) fn stored_bytes(&self) -> usize {
        BATCH_HEADER_BYTES + self.node.len() + self.body.len()
    }
}

impl Entry {
    /// Writes the body to `out`. Node names are checked to fit by `Queue::append`.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let metadata: usize =
            self.metadata.iter().map(|m| METADATA_HEADER_BYTES + m.bytes.len()).sum();
        out.extend_from_slice(&(metadata as u32).to_le_bytes());
        for record in &self.metadata {
            out.extend_from_slice(&record.kind.to_le_bytes());
            out.extend_from_slice(&(record.bytes.len() as u32).to_le_bytes());
            out.extend_from_slice(&record.bytes);
        }
        for batch in &self.batches {
            out.extend_from_slice(&(batch.node.len() as u16).to_le_bytes());
            out.extend_from_slice(&batch.received_ms.to_le_bytes());
            out.extend_from_slice(&batch.records.to_le_bytes());
            out.extend_from_slice(&batch.raw_bytes.to_le_bytes());
            out.extend_from_slice(&batch.crc32c.to_le_bytes());
            out.extend_from_slice(&(batch.body.len() as u32).to_le_bytes());
            out.extend_from_slice(batch.node.as_bytes());
            out.extend_from_slice(&batch.body);
        }
    }

    /// Reads a body; batches share its memory. `None` when it is not one.
    pub(super) fn decode(body: &Bytes) -> Option<Self> {
        let mut input = BytesIn::new(body);
        let metadata_bytes = input.u32()? as usize;
        let metadata_end = input.position().checked_add(metadata_bytes)?;
        let mut entry = Self::default();
        while input.position() < metadata_end {
            let kind = input.u16()?;
            let len = input.u32()? as usize;
            entry.metadata.push(Metadata { kind, bytes: shared(body, &mut input, len)? });
        }
        if input.position() != metadata_end {
            return None;
        }
        while !input.is_empty() {
            entry.batches.push(batch(body, &mut input)?);
        }
        Some(entry)
    }
}

fn batch(body: &Bytes, input: &mut BytesIn<'_>) -> Option<StoredBatch> {
    let node_len = input.u16()? as usize;
    let received_ms = input.i64()?;
    let records = input.u32()?;
    let raw_bytes = input.u32()?;
    let crc32c = input.u32()?;
    let body_len = input.u32()? as usize;
    let node = std::str::from_utf8(input.take(node_len)?).ok()?.to_owned();
    let body = shared(body, input, body_len)?;
    Some(StoredBatch { node, received_ms, records, raw_bytes, crc32c, body })
}

/// The next `len` bytes, without copying them.
fn shared(body: &Bytes, input: &mut BytesIn<'_>, len: usize) -> Option<Bytes> {
    let start = input.position();
    input.take(len)?;
    Some(body.slice(start..start + len))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn batches() -> impl Strategy<Value = StoredBatch> {
        let body = proptest::collection::vec(any::<u8>(), 0..300).prop_map(Bytes::from);
        (".{0,20}", any::<i64>(), any::<u32>(), any::<u32>(), any::<u32>(), body).prop_map(
            |(node, received_ms, records, raw_bytes, crc32c, body)| StoredBatch {
                node,
                received_ms,
                records,
                raw_bytes,
                crc32c,
                body,
            },
        )
    }

    fn entries() -> impl Strategy<Value = Entry> {
        let metadata = (any::<u16>(), proptest::collection::vec(any::<u8>(), 0..40))
            .prop_map(|(kind, bytes)| Metadata { kind, bytes: bytes.into() });
        (proptest::collection::vec(metadata, 0..4), proptest::collection::vec(batches(), 0..5))
            .prop_map(|(metadata, batches)| Entry { metadata, batches })
    }

    proptest! {
        #[test]
        fn reads_back_what_it_wrote(entry in entries()) {
            let mut body = Vec::new();
            entry.encode(&mut body);
            prop_assert_eq!(Entry::decode(&body.into()), Some(entry));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Some(entry) = Entry::decode(&Bytes::from(bytes)) {
                prop_assert!(entry.batches.len() <= 200);
            }
        }

        #[test]
        fn a_cut_body_is_refused(entry in entries(), cut in 1_usize..40) {
            let mut body = Vec::new();
            entry.encode(&mut body);
            body.truncate(body.len().saturating_sub(cut));
            let read = Entry::decode(&body.into());
            prop_assert!(read.is_none_or(|read| read.batches.len() < entry.batches.len()
                && read.metadata == entry.metadata));
        }
    }
}
