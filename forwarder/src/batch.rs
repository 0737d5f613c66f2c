//! Frames become batches, as many as fit. Pure but for the compressor's memory.
//!
//! Each batch carries the points that its sources have reached: what a restart goes on from once the batch, and every
//! batch before it, is acknowledged.

use std::collections::BTreeMap;

use bytes::Bytes;
use naru_proto::body::BodyWriter;
use naru_proto::limits::{BATCH_COMPRESSED_MAX_BYTES, BATCH_RAW_MAX_BYTES};
use naru_proto::wire;

/// Room for a frame's header beside its bytes: names, and 25 bytes for each extent.
const HEADER_MAX_BYTES: usize = 40 << 10;

/// Collects frames. `P` is the point of a source; sources are told apart by a number.
pub struct Batcher<P> {
    writer: BodyWriter,
    records: u32,
    /// Of the sources whose frames are all in this batch or in earlier ones.
    points: BTreeMap<usize, P>,
    next_number: u64,
}

/// A batch that takes nothing more.
pub struct Sealed<P> {
    /// As it is sent.
    pub batch: wire::Batch,
    /// What its acknowledgement allows.
    pub points: BTreeMap<usize, P>,
}

impl<P> Default for Batcher<P> {
    fn default() -> Self {
        let points = BTreeMap::new();
        Self { writer: BodyWriter::default(), records: 0, points, next_number: 1 }
    }
}

impl<P> Batcher<P> {
    /// Adds a frame; gives the batch before it when it would not fit into that.
    pub fn push(&mut self, header: &wire::Frame, bytes: &[u8], records: u32) -> Option<Sealed<P>> {
        let growth = HEADER_MAX_BYTES.min(1024 + 32 * header.extents.len()) + bytes.len();
        // zstd's bound: 1/256 and a constant for each of its frames.
        let compressed = self.writer.compressed_bound() + growth + growth / 128 + 1024;
        let full = compressed > BATCH_COMPRESSED_MAX_BYTES
            || self.writer.raw_bytes() + growth > BATCH_RAW_MAX_BYTES;
        let sealed = if full { self.seal() } else { None };
        self.writer.push(header, bytes);
        self.records += records;
        sealed
    }

    /// Everything that was pushed of a source so far leads to this point.
    pub fn reached(&mut self, source: usize, point: P) {
        self.points.insert(source, point);
    }

    /// Nothing waits to be sent.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Ends the batch; None when it is empty.
    pub fn seal(&mut self) -> Option<Sealed<P>> {
        if self.is_empty() {
            return None;
        }
        let raw_bytes = self.writer.raw_bytes() as u32;
        let body = Bytes::from(self.writer.finish());
        let batch = wire::Batch {
            number: self.next_number,
            crc32c: crc32c::crc32c(&body),
            records: std::mem::take(&mut self.records),
            raw_bytes,
            body,
        };
        self.next_number += 1;
        Some(Sealed { batch, points: std::mem::take(&mut self.points) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use naru_proto::frame::{Ends, Extent, Flags, Format, Frame, Source, Writer};
    use naru_proto::ids::FileId;

    fn header(length: usize) -> wire::Frame {
        let frame = Frame {
            source: Source { node: "n".into(), writer: Writer::HostFile { path: "/v".into() } },
            format: Format::Plain,
            extents: vec![Extent { file: FileId([1; 12]), start: 0, length: length as u64 }],
            ends: Ends::One,
            id_time_ns: None,
            read_time_ns: None,
            iostream: None,
            line_start: None,
            container_id: String::new(),
            flags: Flags::default(),
            bytes: Bytes::new(),
        };
        frame.into()
    }

    #[test]
    fn no_batch_is_over_its_limits_whatever_goes_in() {
        let noise: Vec<u8> = (0..983_040_u64)
            .map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8 | 0x20)
            .collect();
        let zeros = vec![0; 983_040];
        let mut batcher = Batcher::<u32>::default();
        let mut sealed = Vec::new();
        for size in [983_040, 10, 983_040, 500_000, 983_040, 1, 2, 3] {
            sealed.extend(batcher.push(&header(size), &noise[..size], 1));
            for _ in 0..9 {
                sealed.extend(batcher.push(&header(size), &zeros[..size], 1));
            }
            batcher.reached(0, size as u32);
        }
        sealed.extend(batcher.seal());
        assert!(batcher.seal().is_none());
        assert_eq!(sealed.iter().map(|s| s.batch.records).sum::<u32>(), 80);
        let context = &mut zstd_safe::DCtx::create();
        for (index, sealed) in sealed.iter().enumerate() {
            assert_eq!(sealed.batch.number, index as u64 + 1);
            naru_proto::batch::check(context, &sealed.batch, "n", |_| true).unwrap();
        }
        let last_points = &sealed.last().unwrap().points;
        assert_eq!(last_points.get(&0), Some(&3));
    }
}
