//! A dead letter: a record that can never be indexed, with all that is needed to try again.
//!
//! Pure. The body of an entry of letters (kind 2 in the part's header) is, per letter, to the end,
//! little-endian:
//!
//! ```text
//! length u32 of each: record, node, index, document id, reason
//! file id 12 bytes, offset u64, attempts u32, first ms i64, last ms i64
//! record, node, index, document id, reason
//! ```

use bytes::Bytes;

use super::bytes_in::BytesIn;

/// One record that was given up, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// The record as it was in the file, envelopes and newlines included.
    pub record: Bytes,
    /// The node that it came from.
    pub node: String,
    /// The file that it was in.
    pub file_id: [u8; 12],
    /// Where in the uncompressed file it begins.
    pub offset: u64,
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

impl Letter {
    /// About what it takes on the disk.
    pub(super) fn stored_bytes(&self) -> usize {
        const FIXED_BYTES: usize = 60;
        let texts = [&self.node, &self.index, &self.document_id, &self.reason];
        FIXED_BYTES + self.record.len() + texts.map(|text| text.len()).iter().sum::<usize>()
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let texts = [&self.node, &self.index, &self.document_id, &self.reason];
        out.extend_from_slice(&(self.record.len() as u32).to_le_bytes());
        for text in texts {
            out.extend_from_slice(&(text.len() as u32).to_le_bytes());
        }
        out.extend_from_slice(&self.file_id);
        out.extend_from_slice(&self.offset.to_le_bytes());
        out.extend_from_slice(&self.attempts.to_le_bytes());
        out.extend_from_slice(&self.first_ms.to_le_bytes());
        out.extend_from_slice(&self.last_ms.to_le_bytes());
        out.extend_from_slice(&self.record);
        for text in texts {
            out.extend_from_slice(text.as_bytes());
        }
    }

    /// The letters of a body; `None` when it is not one.
    pub(super) fn decode_all(body: &Bytes) -> Option<Vec<Self>> {
        let mut input = BytesIn::new(body);
        let mut letters = Vec::new();
        while !input.is_empty() {
            letters.push(Self::decode(body, &mut input)?);
        }
        Some(letters)
    }

    fn decode(body: &Bytes, input: &mut BytesIn<'_>) -> Option<Self> {
        let record_len = input.u32()? as usize;
        let lens = [input.u32()?, input.u32()?, input.u32()?, input.u32()?];
        let file_id = input.take(12)?.try_into().ok()?;
        let offset = input.u64()?;
        let attempts = input.u32()?;
        let (first_ms, last_ms) = (input.i64()?, input.i64()?);
        let start = input.position();
        input.take(record_len)?;
        let record = body.slice(start..start + record_len);
        let mut texts = Vec::with_capacity(lens.len());
        for len in lens {
            texts.push(std::str::from_utf8(input.take(len as usize)?).ok()?.to_owned());
        }
        let [node, index, document_id, reason] = texts.try_into().ok()?;
        Some(Self {
            record,
            node,
            file_id,
            offset,
            index,
            document_id,
            reason,
            attempts,
            first_ms,
            last_ms,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    prop_compose! {
        fn letters()(
            record in proptest::collection::vec(any::<u8>(), 0..200),
            texts in proptest::array::uniform4(".{0,30}"),
            file_id in any::<[u8; 12]>(),
            offset in any::<u64>(),
            attempts in any::<u32>(),
            times in any::<(i64, i64)>(),
        ) -> Letter {
            let [node, index, document_id, reason] = texts;
            let (first_ms, last_ms) = times;
            let record = record.into();
            Letter {
                record, node, file_id, offset, index, document_id, reason, attempts, first_ms,
                last_ms,
            }
        }
    }

    proptest! {
        #[test]
        fn letters_are_read_back(letters in proptest::collection::vec(letters(), 0..5)) {
            let mut body = Vec::new();
            letters.iter().for_each(|letter| letter.encode(&mut body));
            prop_assert_eq!(body.len(), letters.iter().map(Letter::stored_bytes).sum::<usize>());
            prop_assert_eq!(Letter::decode_all(&body.into()), Some(letters));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Some(letters) = Letter::decode_all(&bytes.into()) {
                prop_assert!(letters.len() <= 5);
            }
        }
    }
}
