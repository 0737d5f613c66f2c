//! What is checked before a batch is acknowledged: whatever could not be decoded later is refused now, while the file
//! still has it. Pure.

use bytes::Bytes;
use thiserror::Error;
use zstd_safe::DCtx;

use crate::body::{BodyError, WireFrames, decompress};
use crate::frame::{Format, Frame, FrameError};
use crate::limits::BATCH_COMPRESSED_MAX_BYTES;
use crate::wire::{self, RefuseReason, RetryWhere};

/// Why a batch is refused.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum BatchError {
    /// Longer than a body may be.
    #[error("the body has {0} bytes")]
    TooLarge(usize),
    /// Damaged on the way.
    #[error("the body does not match its CRC-32C")]
    Checksum,
    /// See [`BodyError`].
    #[error(transparent)]
    Body(#[from] BodyError),
    /// See [`FrameError`].
    #[error("frame {index}: {source}")]
    Frame {
        /// Counted from 0.
        index: usize,
        /// What is wrong with it.
        source: FrameError,
    },
    /// A frame of a node that the client is not.
    #[error("frame {index} names the node {named:?}")]
    WrongNode {
        /// Counted from 0.
        index: usize,
        /// What it says.
        named: String,
    },
    /// A count that is not so.
    #[error("the batch declares {declared} records and holds {found}")]
    WrongCount {
        /// What it says.
        declared: u32,
        /// What there is.
        found: usize,
    },
}

impl BatchError {
    /// What the client is told.
    #[must_use]
    pub fn refusal(&self) -> (RefuseReason, RetryWhere) {
        match self {
            Self::TooLarge(_) => (RefuseReason::TooLarge, RetryWhere::Never),
            Self::Checksum => (RefuseReason::Checksum, RetryWhere::Here),
            Self::Body(
                BodyError::NotZstd | BodyError::WrongLength { .. } | BodyError::NotFrames,
            ) => (RefuseReason::Invalid, RetryWhere::Never),
            Self::Frame { source, .. } => match source {
                // A newer aggregator may know it.
                FrameError::UnknownFormat(_) | FrameError::UnknownEnds(_) => {
                    (RefuseReason::UnknownFormat, RetryWhere::Elsewhere)
                }
                FrameError::RecordTooLarge { .. } => (RefuseReason::TooLarge, RetryWhere::Never),
                FrameError::NoSource
                | FrameError::BadName(_)
                | FrameError::BadFileId(_)
                | FrameError::BadExtents(_)
                | FrameError::BadEnds => (RefuseReason::Invalid, RetryWhere::Never),
            },
            Self::WrongNode { .. } => (RefuseReason::WrongNode, RetryWhere::Never),
            Self::WrongCount { .. } => (RefuseReason::Invalid, RetryWhere::Never),
        }
    }
}

/// Checks a whole batch of the client that is `node`; `decodable` says which formats the caller can decode.
pub fn check(
    context: &mut DCtx<'_>,
    batch: &wire::Batch,
    node: &str,
    decodable: fn(Format) -> bool,
) -> Result<(), BatchError> {
    if batch.body.len() > BATCH_COMPRESSED_MAX_BYTES {
        return Err(BatchError::TooLarge(batch.body.len()));
    }
    if crc32c::crc32c(&batch.body) != batch.crc32c {
        return Err(BatchError::Checksum);
    }
    let raw = decompress(context, &batch.body, batch.raw_bytes as usize)?;
    let mut found = 0;
    for (index, frame) in WireFrames::new(raw).enumerate() {
        let frame =
            Frame::try_from(frame?).map_err(|source| BatchError::Frame { index, source })?;
        if !decodable(frame.format) {
            let source = FrameError::UnknownFormat(frame.format.into());
            return Err(BatchError::Frame { index, source });
        }
        if frame.source.node != node {
            return Err(BatchError::WrongNode { index, named: frame.source.node });
        }
        found += frame.record_count();
    }
    if found != batch.records as usize {
        return Err(BatchError::WrongCount { declared: batch.records, found });
    }
    Ok(())
}

/// The frames of a body that was [`check`]ed before it was stored.
pub fn frames(
    context: &mut DCtx<'_>,
    body: &[u8],
    raw_bytes: usize,
) -> Result<Vec<Frame>, BatchError> {
    let raw: Bytes = decompress(context, body, raw_bytes)?;
    WireFrames::new(raw)
        .enumerate()
        .map(|(index, frame)| {
            Frame::try_from(frame?).map_err(|source| BatchError::Frame { index, source })
        })
        .collect()
}
