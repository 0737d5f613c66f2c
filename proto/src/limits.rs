//! What both ends enforce. A peer may announce less in its `Limits`, never more.

/// A batch's body as it travels, compressed.
pub const BATCH_COMPRESSED_MAX_BYTES: usize = 1 << 20;
/// A batch's body after decompression.
pub const BATCH_RAW_MAX_BYTES: usize = 4 << 20;
/// The input of one zstd frame of a body: a third of the context memory of larger ones for 1 % of the ratio (measured).
pub const ZSTD_FRAME_MAX_BYTES: usize = 256 << 10;
/// One record, envelopes and newlines included.
pub const RECORD_MAX_BYTES: usize = 960 << 10;
/// Physical lines of one record.
pub const RECORD_MAX_LINES: usize = 1024;
/// Extents of one frame: a record of as many lines, none adjacent, in two files.
pub const FRAME_MAX_EXTENTS: usize = RECORD_MAX_LINES + 2;
/// Compressed bytes a client may have sent on one stream without an answer.
pub const UNACKNOWLEDGED_MAX_BYTES: usize = 8 << 20;
/// A message of the stream: a full batch and room for its header.
pub const MESSAGE_MAX_BYTES: usize = BATCH_COMPRESSED_MAX_BYTES + (64 << 10);
/// Names in a source (the kernel's own bound of a path).
pub const NAME_MAX_BYTES: usize = 4096;

/// The protocol's own limits as a message.
#[must_use]
pub fn announced() -> crate::wire::Limits {
    crate::wire::Limits {
        batch_compressed_bytes: BATCH_COMPRESSED_MAX_BYTES as u32,
        batch_raw_bytes: BATCH_RAW_MAX_BYTES as u32,
        record_bytes: RECORD_MAX_BYTES as u32,
        record_lines: RECORD_MAX_LINES as u32,
        unacknowledged_bytes: UNACKNOWLEDGED_MAX_BYTES as u32,
    }
}
