//! A part: one sled value, one slice of an entry, with a header that vouches for it.
//!
//! Pure. The header is little-endian and comes first, so that a part can be found and checked in
//! the raw bytes of a damaged sled file (`scan`):
//!
//! ```text
//! 0  magic "NQpt"   4 version (1)   5 kind   6 batches u16   8 salt u64   16 sequence u64
//! 24 committed, ms since 1970, i64  32 key u32   36 part u16   38 parts u16
//! 40 length u32   44 crc32c of bytes 0..44 and of the payload   48 payload
//! ```
//!
//! The salt is the segment's own: what a pod wrote into its log to look like a part is not one.

use super::bytes_in::BytesIn;
use super::entry::Sequence;

pub(super) const MAGIC: [u8; 4] = *b"NQpt";
pub(super) const VERSION: u8 = 1;
pub(super) const HEADER_BYTES: usize = 48;
const CHECKED_BYTES: usize = 44;

/// What an entry's body holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Batches,
    /// Letters as the first releases wrote them.
    LettersV1,
    Letters,
}

impl Kind {
    fn code(self) -> u8 {
        match self {
            Self::Batches => 1,
            Self::LettersV1 => 2,
            Self::Letters => 4,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: Kind,
    pub(super) batches: u16,
    pub(super) salt: u64,
    pub(super) sequence: Sequence,
    pub(super) committed_ms: i64,
    pub(super) key: u32,
    pub(super) part: u16,
    pub(super) parts: u16,
}

/// Why bytes are not a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotAPart {
    /// No magic, an impossible field, or a checksum that differs.
    Damaged,
    /// More bytes are needed to tell.
    Short,
    /// Written by another release (or its version byte is damaged).
    Version(u8),
}

/// Appends the part's header and payload to `out`.
pub(super) fn encode(header: &Header, payload: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&MAGIC);
    out.push(VERSION);
    out.push(header.kind.code());
    out.extend_from_slice(&header.batches.to_le_bytes());
    out.extend_from_slice(&header.salt.to_le_bytes());
    out.extend_from_slice(&header.sequence.0.to_le_bytes());
    out.extend_from_slice(&header.committed_ms.to_le_bytes());
    out.extend_from_slice(&header.key.to_le_bytes());
    out.extend_from_slice(&header.part.to_le_bytes());
    out.extend_from_slice(&header.parts.to_le_bytes());
    out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&out[start..]), payload);
    out.extend_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(payload);
}

/// Reads the part at the front of `bytes`; what follows it is not looked at.
pub(super) fn decode(bytes: &[u8]) -> Result<(Header, &[u8]), NotAPart> {
    let mut input = BytesIn::new(bytes);
    if input.take(4).ok_or(NotAPart::Short)? != MAGIC {
        return Err(NotAPart::Damaged);
    }
    match input.u8().ok_or(NotAPart::Short)? {
        VERSION => {}
        other => return Err(NotAPart::Version(other)),
    }
    let (header, length, crc) = fields(&mut input).ok_or(NotAPart::Short)?;
    let payload = input.take(length as usize).ok_or(NotAPart::Short)?;
    let checked = bytes.get(..CHECKED_BYTES).ok_or(NotAPart::Short)?;
    if crc32c::crc32c_append(crc32c::crc32c(checked), payload) != crc {
        return Err(NotAPart::Damaged);
    }
    let (kind, rest) = header;
    let kind = match kind {
        1 => Kind::Batches,
        2 => Kind::LettersV1,
        4 => Kind::Letters,
        _ => return Err(NotAPart::Damaged),
    };
    if rest.part >= rest.parts {
        return Err(NotAPart::Damaged);
    }
    Ok((Header { kind, ..rest }, payload))
}

/// The fields after the version: (kind and header), payload length, checksum.
fn fields(input: &mut BytesIn<'_>) -> Option<((u8, Header), u32, u32)> {
    let kind = input.u8()?;
    let header = Header {
        kind: Kind::Batches,
        batches: input.u16()?,
        salt: input.u64()?,
        sequence: Sequence(input.u64()?),
        committed_ms: input.i64()?,
        key: input.u32()?,
        part: input.u16()?,
        parts: input.u16()?,
    };
    Some(((kind, header), input.u32()?, input.u32()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Header {
        Header {
            kind: Kind::Letters,
            batches: 3,
            salt: 0x0123_4567_89ab_cdef,
            sequence: Sequence(77),
            committed_ms: 1_700_000_000_123,
            key: 12,
            part: 1,
            parts: 4,
        }
    }

    #[test]
    fn reads_back_what_it_wrote() {
        let mut bytes = Vec::new();
        encode(&sample(), b"payload", &mut bytes);
        assert_eq!(bytes.len(), HEADER_BYTES + 7);
        bytes.extend_from_slice(b"what follows");
        assert_eq!(decode(&bytes), Ok((sample(), &b"payload"[..])));
    }

    #[test]
    fn no_single_flipped_bit_passes() {
        let mut bytes = Vec::new();
        encode(&sample(), b"payload", &mut bytes);
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&bytes).is_err(), "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn says_what_is_wrong() {
        let mut bytes = Vec::new();
        encode(&sample(), b"payload", &mut bytes);
        for len in 0..bytes.len() {
            assert_eq!(decode(&bytes[..len]), Err(NotAPart::Short), "{len} bytes");
        }
        bytes[4] = 9;
        assert_eq!(decode(&bytes), Err(NotAPart::Version(9)));
        assert_eq!(decode(b"something else, and long enough for a header of a part"), {
            Err(NotAPart::Damaged)
        });
    }
}
