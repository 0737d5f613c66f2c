//! A dead letter: a record that can never be indexed, with all that is needed to try again.
//!
//! Pure. The body of an entry of letters (kind 4 in the part's header) is, per letter, to the end, little-endian:
//!
//! ```text
//! length u32 of each: content, node, index, document id, reason
//! content u8: 1, the record as a wire frame of its own; 2, bytes alone
//! file id 12 bytes, offset u64 (of bytes alone; else 0), attempts u32, first ms i64, last ms i64
//! content, node, index, document id, reason
//! ```
//!
//! The first releases (kind 2) wrote bytes alone, and no byte for the content: such a letter can be shown, but not tried again.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use naru_proto::frame::{Frame, Writer};
use naru_proto::wire;
use prost::Message;

use super::bytes_in::BytesIn;
use super::entry::Sequence;
use super::part::Kind;

/// Which letter: the commit that it was in, and its place there, from 0. Never given twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LetterId {
    /// The commit.
    pub sequence: Sequence,
    /// The place; less than 1,024.
    pub place: u16,
}

impl fmt::Display for LetterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.sequence, self.place)
    }
}

impl FromStr for LetterId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str = "is not a letter's number, such as 17.0";
        let (sequence, place) = text.split_once('.').ok_or(WRONG)?;
        let sequence = Sequence(sequence.parse().map_err(|_| WRONG)?);
        Ok(Self { sequence, place: place.parse().map_err(|_| WRONG)? })
    }
}

/// One record that was given up, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// The record.
    pub content: Content,
    /// The node that it came from.
    pub node: String,
    /// The index that would not take it.
    pub index: String,
    /// The id that it has there.
    pub document_id: String,
    /// Why it was given up.
    pub reason: String,
    /// How often it was tried.
    pub attempts: u32,
    /// The first attempt, milliseconds since 1970.
    pub first_ms: i64,
    /// The last one.
    pub last_ms: i64,
}

/// What is kept of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// All of it: the same document can be made again.
    Frame(Box<Frame>),
    /// Its bytes and its place: nothing says how to read them.
    Bytes {
        /// As they were in the file, or, without a document's id, a whole batch as it was queued.
        bytes: Bytes,
        /// The file that it was in.
        file_id: [u8; 12],
        /// Where in the uncompressed file it begins.
        offset: u64,
    },
}

const FRAME: u8 = 1;
const BYTES: u8 = 2;
const FIXED_BYTES: usize = 61;

impl Letter {
    /// The record as it was in the file, envelopes and newlines included.
    #[must_use]
    pub fn record(&self) -> &Bytes {
        match &self.content {
            Content::Frame(frame) => &frame.bytes,
            Content::Bytes { bytes, .. } => bytes,
        }
    }

    /// The file that it was in, and where in the uncompressed file it begins.
    #[must_use]
    pub fn position(&self) -> ([u8; 12], u64) {
        match &self.content {
            Content::Frame(frame) => {
                let first = frame.extents.first();
                first.map_or(([0; 12], 0), |extent| (extent.file.0, extent.start))
            }
            Content::Bytes { file_id, offset, .. } => (*file_id, *offset),
        }
    }

    /// The namespace of the container that wrote it, where that is known.
    #[must_use]
    pub fn namespace(&self) -> Option<&str> {
        match &self.content {
            Content::Frame(frame) => match &frame.source.writer {
                Writer::Container(container) => Some(&container.namespace),
                Writer::HostFile { .. } => None,
            },
            Content::Bytes { .. } => None,
        }
    }

    /// About what it takes on the disk.
    pub(super) fn stored_bytes(&self) -> usize {
        const FRAME_HEADER_BYTES: usize = 400;
        let texts = [&self.node, &self.index, &self.document_id, &self.reason];
        let texts: usize = texts.map(|text| text.len()).iter().sum();
        FIXED_BYTES + FRAME_HEADER_BYTES + self.record().len() + texts
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let texts = [&self.node, &self.index, &self.document_id, &self.reason];
        let (kind, content, file_id, offset) = match &self.content {
            Content::Frame(frame) => {
                let frame = wire::Frame::from(Frame::clone(frame)).encode_to_vec();
                (FRAME, Bytes::from(frame), [0; 12], 0)
            }
            Content::Bytes { bytes, file_id, offset } => (BYTES, bytes.clone(), *file_id, *offset),
        };
        out.extend_from_slice(&(content.len() as u32).to_le_bytes());
        for text in texts {
            out.extend_from_slice(&(text.len() as u32).to_le_bytes());
        }
        out.push(kind);
        out.extend_from_slice(&file_id);
        out.extend_from_slice(&offset.to_le_bytes());
        out.extend_from_slice(&self.attempts.to_le_bytes());
        out.extend_from_slice(&self.first_ms.to_le_bytes());
        out.extend_from_slice(&self.last_ms.to_le_bytes());
        out.extend_from_slice(&content);
        for text in texts {
            out.extend_from_slice(text.as_bytes());
        }
    }

    /// The letters of a body of this kind; `None` when it is not one.
    pub(super) fn decode_all(kind: Kind, body: &Bytes) -> Option<Vec<Self>> {
        let has_content_kind = match kind {
            Kind::Letters => true,
            Kind::LettersV1 => false,
            _ => return None,
        };
        let mut input = BytesIn::new(body);
        let mut letters = Vec::new();
        while !input.is_empty() {
            letters.push(Self::decode(has_content_kind, body, &mut input)?);
        }
        Some(letters)
    }

    fn decode(has_content_kind: bool, body: &Bytes, input: &mut BytesIn<'_>) -> Option<Self> {
        let content_len = input.u32()? as usize;
        let lens = [input.u32()?, input.u32()?, input.u32()?, input.u32()?];
        let kind = if has_content_kind { input.u8()? } else { BYTES };
        let file_id = input.take(12)?.try_into().ok()?;
        let offset = input.u64()?;
        let attempts = input.u32()?;
        let (first_ms, last_ms) = (input.i64()?, input.i64()?);
        let start = input.position();
        input.take(content_len)?;
        let bytes = body.slice(start..start + content_len);
        let content = match kind {
            FRAME => {
                let frame = wire::Frame::decode(bytes).ok()?;
                let bytes = frame.bytes.clone();
                match Frame::try_from(frame) {
                    Ok(frame) => Content::Frame(Box::new(frame)),
                    // A newer release's: it can be shown, and its neighbours tried.
                    Err(_) => Content::Bytes { bytes, file_id, offset },
                }
            }
            BYTES => Content::Bytes { bytes, file_id, offset },
            _ => return None,
        };
        let mut texts = Vec::with_capacity(lens.len());
        for len in lens {
            texts.push(std::str::from_utf8(input.take(len as usize)?).ok()?.to_owned());
        }
        let [node, index, document_id, reason] = texts.try_into().ok()?;
        Some(Self { content, node, index, document_id, reason, attempts, first_ms, last_ms })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use naru_proto::frame::{Container, Ends, Extent, Flags, Format, IoStream, Source};
    use naru_proto::ids::FileId;
    use proptest::prelude::*;

    use super::*;

    /// A frame of one record.
    pub(in crate::queue) fn frame(offset: u64, bytes: Bytes) -> Frame {
        let container = Container {
            namespace: "shop".into(),
            pod: "web-0".into(),
            pod_uid: "0f0e8b9e-6d3b-4c0e-9d53-0123456789ab".into(),
            container: "web".into(),
            restart: 3,
        };
        let length = bytes.len() as u64;
        Frame {
            source: Source { node: "node-1".into(), writer: Writer::Container(container) },
            format: Format::Cri,
            extents: vec![Extent { file: FileId(*b"file-id-12-b"), start: offset, length }],
            ends: Ends::One,
            id_time_ns: Some(1_795_363_200_000_000_000),
            read_time_ns: Some(1_795_363_200_456_000_000),
            iostream: Some(IoStream::Stderr),
            line_start: Some(offset),
            container_id: "c".repeat(64),
            flags: Flags { incomplete: true, continued: true, malformed: false },
            bytes,
        }
    }

    prop_compose! {
        fn letters()(
            record in proptest::collection::vec(any::<u8>(), 1..200),
            whole in any::<bool>(),
            texts in proptest::array::uniform4(".{0,30}"),
            file_id in any::<[u8; 12]>(),
            offset in 0..u64::MAX / 2,
            attempts in any::<u32>(),
            times in any::<(i64, i64)>(),
        ) -> Letter {
            let [node, index, document_id, reason] = texts;
            let (first_ms, last_ms) = times;
            let bytes = Bytes::from(record);
            let content = match whole {
                true => Content::Frame(Box::new(frame(offset, bytes))),
                false => Content::Bytes { bytes, file_id, offset },
            };
            Letter { content, node, index, document_id, reason, attempts, first_ms, last_ms }
        }
    }

    proptest! {
        #[test]
        fn letters_are_read_back(letters in proptest::collection::vec(letters(), 0..5)) {
            let mut body = Vec::new();
            letters.iter().for_each(|letter| letter.encode(&mut body));
            prop_assert!(body.len() <= letters.iter().map(Letter::stored_bytes).sum::<usize>());
            prop_assert_eq!(Letter::decode_all(Kind::Letters, &body.into()), Some(letters));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let bytes = Bytes::from(bytes);
            for kind in [Kind::Letters, Kind::LettersV1] {
                if let Some(letters) = Letter::decode_all(kind, &bytes) {
                    prop_assert!(letters.len() <= 5);
                }
            }
            prop_assert_eq!(Letter::decode_all(Kind::Batches, &bytes), None);
        }
    }

    #[test]
    fn numbers_are_read_back() {
        let id = LetterId { sequence: Sequence(17), place: 3 };
        assert_eq!((id.to_string().as_str(), "17.3".parse()), ("17.3", Ok(id)));
        for wrong in ["", "17", "17.", ".3", "17.3.4", "-1.0", "17.70000", "x.y"] {
            assert!(wrong.parse::<LetterId>().is_err(), "{wrong}");
        }
    }
}
