//! A batch's body: concatenated zstd frames over a sequence of length-prefixed [`wire::Frame`]s. Pure.
//!
//! [`BodyWriter`] keeps one piece of at most 256 KiB uncompressed. [`decompress`] trusts nothing that the sender said.

use bytes::{Buf, Bytes};
use prost::Message;
use thiserror::Error;
use zstd_safe::{CCtx, CParameter, DCtx};

use crate::limits::{BATCH_RAW_MAX_BYTES, ZSTD_FRAME_MAX_BYTES};
use crate::wire;

/// zstd's level: 1 costs the least CPU of those that pay for themselves in bytes (measured).
const LEVEL: i32 = 1;

/// Writes a body, frame after frame.
pub struct BodyWriter {
    context: CCtx<'static>,
    /// Not yet compressed; shorter than a piece between calls.
    pending: Vec<u8>,
    compressed: Vec<u8>,
    raw_bytes: usize,
}

impl Default for BodyWriter {
    fn default() -> Self {
        let mut context = CCtx::create();
        // The level is one that zstd has, so setting it does not fail.
        let set = context.set_parameter(CParameter::CompressionLevel(LEVEL));
        debug_assert!(set.is_ok());
        Self {
            context,
            pending: Vec::with_capacity(ZSTD_FRAME_MAX_BYTES),
            compressed: Vec::new(),
            raw_bytes: 0,
        }
    }
}

impl BodyWriter {
    /// Appends a frame. Its bytes are given apart, so that they are copied once.
    ///
    /// `header.bytes` must be empty.
    pub fn push(&mut self, header: &wire::Frame, bytes: &[u8]) {
        debug_assert!(header.bytes.is_empty());
        let mut prefix = Vec::with_capacity(512);
        let bytes_key = prost::encoding::key_len(BYTES_TAG);
        let length = header.encoded_len()
            + bytes_key
            + prost::length_delimiter_len(bytes.len())
            + bytes.len();
        prost::encoding::encode_varint(length as u64, &mut prefix);
        header.encode_raw(&mut prefix);
        prost::encoding::encode_key(
            BYTES_TAG,
            prost::encoding::WireType::LengthDelimited,
            &mut prefix,
        );
        prost::encoding::encode_varint(bytes.len() as u64, &mut prefix);
        self.append(&prefix);
        self.append(bytes);
    }

    /// Bytes before compression so far.
    #[must_use]
    pub fn raw_bytes(&self) -> usize {
        self.raw_bytes
    }

    /// An upper bound of what [`Self::finish`] would return now.
    #[must_use]
    pub fn compressed_bound(&self) -> usize {
        self.compressed.len() + zstd_safe::compress_bound(self.pending.len())
    }

    /// Ends the body and starts an empty one.
    pub fn finish(&mut self) -> Vec<u8> {
        self.compress_pending();
        self.raw_bytes = 0;
        std::mem::take(&mut self.compressed)
    }

    fn append(&mut self, mut bytes: &[u8]) {
        self.raw_bytes += bytes.len();
        while !bytes.is_empty() {
            let room = ZSTD_FRAME_MAX_BYTES - self.pending.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.pending.extend_from_slice(now);
            bytes = later;
            if self.pending.len() == ZSTD_FRAME_MAX_BYTES {
                self.compress_pending();
            }
        }
    }

    fn compress_pending(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let start = self.compressed.len();
        self.compressed.resize(start + zstd_safe::compress_bound(self.pending.len()), 0);
        let room = self.compressed.get_mut(start..).unwrap_or_default();
        let written = self.context.compress2(room, &self.pending);
        // It fails only without room, and the bound was given; losing the piece silently would lose lines.
        assert!(written.is_ok(), "zstd refused to compress into its own bound");
        self.compressed.truncate(start + written.unwrap_or_default());
        self.pending.clear();
    }
}

/// `bytes` of [`wire::Frame`].
const BYTES_TAG: u32 = 15;

/// Why a body cannot be read.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum BodyError {
    /// Not zstd, cut short, or a frame of it over its limit.
    #[error("the body is not made of zstd frames of at most 256 KiB")]
    NotZstd,
    /// It does not decompress to what was declared, or that is over the limit.
    #[error("the body does not hold the declared {declared} bytes")]
    WrongLength {
        /// What the batch says.
        declared: usize,
    },
    /// What it decompresses to is not a sequence of frames.
    #[error("the body is not a sequence of frames")]
    NotFrames,
}

/// Decompresses a body of `declared` bytes, never more.
pub fn decompress(
    context: &mut DCtx<'_>,
    body: &[u8],
    declared: usize,
) -> Result<Bytes, BodyError> {
    let wrong_length = BodyError::WrongLength { declared };
    if declared > BATCH_RAW_MAX_BYTES {
        return Err(wrong_length);
    }
    let mut raw = vec![0; declared];
    let mut at = 0;
    let mut rest = body;
    while !rest.is_empty() {
        let size = zstd_safe::find_frame_compressed_size(rest).map_err(|_| BodyError::NotZstd)?;
        let (frame, after) = rest.split_at_checked(size).ok_or(BodyError::NotZstd)?;
        let end = declared.min(at + ZSTD_FRAME_MAX_BYTES);
        let room = raw.get_mut(at..end).ok_or(BodyError::NotZstd)?;
        at += context.decompress(room, frame).map_err(|_| BodyError::NotZstd)?;
        rest = after;
    }
    if at == declared { Ok(raw.into()) } else { Err(wrong_length) }
}

/// The messages of a decompressed body; their bytes are slices of it.
#[derive(Debug, Clone)]
pub struct WireFrames {
    rest: Bytes,
}

impl WireFrames {
    /// Over what [`decompress`] returned.
    #[must_use]
    pub fn new(raw: Bytes) -> Self {
        Self { rest: raw }
    }
}

impl Iterator for WireFrames {
    type Item = Result<wire::Frame, BodyError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let frame = read_frame(&mut self.rest);
        if frame.is_err() {
            self.rest.clear();
        }
        Some(frame)
    }
}

fn read_frame(rest: &mut Bytes) -> Result<wire::Frame, BodyError> {
    let length = prost::encoding::decode_varint(rest).map_err(|_| BodyError::NotFrames)? as usize;
    if length > rest.remaining() {
        return Err(BodyError::NotFrames);
    }
    wire::Frame::decode(rest.split_to(length)).map_err(|_| BodyError::NotFrames)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body_of(frames: &[(wire::Frame, Vec<u8>)]) -> (Vec<u8>, usize) {
        let mut writer = BodyWriter::default();
        for (header, bytes) in frames {
            writer.push(header, bytes);
        }
        let raw_bytes = writer.raw_bytes();
        (writer.finish(), raw_bytes)
    }

    #[test]
    fn frames_survive_any_size() {
        let header = wire::Frame { container_id: "c".repeat(70), ..wire::Frame::default() };
        for size in [0, 1, 100, ZSTD_FRAME_MAX_BYTES - 1, ZSTD_FRAME_MAX_BYTES, 980_000] {
            let bytes: Vec<u8> = (0..size).map(|i| (i * 7 % 251) as u8).collect();
            let frames = [(header.clone(), bytes.clone()), (header.clone(), bytes.clone())];
            let (body, raw_bytes) = body_of(&frames);
            let raw = decompress(&mut DCtx::create(), &body, raw_bytes).unwrap();
            let read: Vec<_> = WireFrames::new(raw).map(Result::unwrap).collect();
            assert_eq!(read.len(), 2);
            assert!(read.iter().all(|f| f.bytes == bytes && f.container_id == header.container_id));
        }
    }

    #[test]
    fn a_declared_size_is_not_trusted() {
        let (body, raw_bytes) = body_of(&[(wire::Frame::default(), vec![0; 200_000])]);
        let context = &mut DCtx::create();
        for declared in [0, 1, raw_bytes - 1, raw_bytes + 1, BATCH_RAW_MAX_BYTES, usize::MAX] {
            assert!(decompress(context, &body, declared).is_err(), "{declared}");
        }
        let bomb = zstd_safe_bomb(BATCH_RAW_MAX_BYTES);
        assert_eq!(
            decompress(context, &bomb, BATCH_RAW_MAX_BYTES),
            Err(BodyError::NotZstd),
            "one zstd frame of 4 MiB"
        );
    }

    fn zstd_safe_bomb(size: usize) -> Vec<u8> {
        let mut out = vec![0; zstd_safe::compress_bound(size)];
        let written = zstd_safe::compress(&mut out[..], &vec![0; size], 1).unwrap();
        out.truncate(written);
        out
    }

    #[test]
    fn hostile_bytes_are_errors() {
        let (body, raw_bytes) = body_of(&[(wire::Frame::default(), b"hello".repeat(50))]);
        let mut seed = 0x9e37_79b9_u32;
        for _ in 0..20_000 {
            let mut bytes = body.clone();
            for _ in 0..=seed % 3 {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let at = seed as usize % bytes.len();
                bytes[at] ^= (seed >> 24) as u8 | 1;
            }
            if let Ok(raw) = decompress(&mut DCtx::create(), &bytes, raw_bytes) {
                WireFrames::new(raw).for_each(drop);
            }
        }
    }
}
