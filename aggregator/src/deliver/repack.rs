//! Documents back into batches of their records, to be queued again. Pure.
//!
//! The records are taken out of the batches that they came in, as frames of their own ([`Frame::part`]): what is made of
//! them later has the same ids, indices and fields.

use bytes::Bytes;
use naru_proto::batch::{self, BatchError};
use naru_proto::body::BodyWriter;
use naru_proto::frame::Frame;
use naru_proto::wire;
use prost::Message;
use zstd_safe::DCtx;

use super::entry::{Place, Token};
use crate::queue::StoredBatch;

/// A batch is ended before its frames take more than this: half of what a batch may have, since a frame's header is
/// repeated for each run of its records. One frame may be larger, and is then no larger than the one it came from.
const RAW_MAX_BYTES: usize = 2 << 20;
/// A frame's own length in front of it, and the tag and the length of its bytes.
const FRAMING_BYTES: usize = 16;

/// What was not in the batch that it came from: a fault of ours.
#[derive(Debug, thiserror::Error)]
pub(super) enum RepackError {
    #[error("a queued batch cannot be decoded: {0}")]
    Batch(#[from] BatchError),
    #[error("a record is not in its batch")]
    Gone,
}

/// The records of all these documents, in batches.
pub(super) fn batches(tokens: &[&Token]) -> Result<Vec<StoredBatch>, RepackError> {
    let mut context = DCtx::create();
    let mut out = Vec::new();
    for beside in tokens.chunk_by(|one, next| one.is_beside(next)) {
        let stored = beside.first().and_then(|token| token.stored()).ok_or(RepackError::Gone)?;
        let frames = batch::frames(&mut context, &stored.body, stored.raw_bytes as usize)?;
        let places: Vec<Place> = beside.iter().map(|token| token.place()).collect();
        let mut packing = Packing::new(stored, &mut out);
        for run in places.chunk_by(|one, next| {
            one.frame == next.frame && one.record.checked_add(1) == Some(next.record)
        }) {
            packing.push(part(&frames, run).ok_or(RepackError::Gone)?);
        }
        packing.finish();
    }
    Ok(out)
}

/// Records that follow each other.
fn part(frames: &[Frame], run: &[Place]) -> Option<Frame> {
    let (first, last) = (run.first()?, run.last()?);
    let frame = frames.get(first.frame as usize)?;
    frame.part(first.record as usize..last.record as usize + 1)
}

struct Packing<'a> {
    from: &'a StoredBatch,
    out: &'a mut Vec<StoredBatch>,
    body: BodyWriter,
    records: u32,
}

impl<'a> Packing<'a> {
    fn new(from: &'a StoredBatch, out: &'a mut Vec<StoredBatch>) -> Self {
        Self { from, out, body: BodyWriter::default(), records: 0 }
    }

    fn push(&mut self, mut frame: Frame) {
        let records = frame.record_count() as u32;
        let bytes = std::mem::take(&mut frame.bytes);
        let header = wire::Frame::from(frame);
        let more = header.encoded_len() + FRAMING_BYTES + bytes.len();
        if self.records > 0 && self.body.raw_bytes() + more > RAW_MAX_BYTES {
            self.end();
        }
        self.body.push(&header, &bytes);
        self.records += records;
    }

    fn finish(mut self) {
        if self.records > 0 {
            self.end();
        }
    }

    fn end(&mut self) {
        let raw_bytes = self.body.raw_bytes() as u32;
        let body = Bytes::from(self.body.finish());
        self.out.push(StoredBatch {
            node: self.from.node.clone(),
            received_ms: self.from.received_ms,
            records: std::mem::take(&mut self.records),
            raw_bytes,
            crc32c: crc32c::crc32c(&body),
            body,
        });
    }
}

#[cfg(test)]
mod tests {
    use naru_proto::frame::{Ends, Extent, Flags, Format, IoStream, Source, Writer};
    use naru_proto::ids::{ClusterKey, FileId};
    use std::time::Duration;

    use super::*;
    use crate::deliver::entry::Building;
    use crate::document::{Builder, Documents};
    use crate::queue::{Queue, QueueConfig};

    fn frame(random: &mut fastrand::Rng, number: u64) -> Frame {
        let lines: Vec<String> = (0..random.usize(1..60))
            .map(|line| {
                let text = "x".repeat(random.usize(..200));
                format!("2026-11-2{}T00:30:{:02}Z stdout F {line} {text}\n", random.u8(2..4), line)
            })
            .collect();
        let text = lines.concat();
        let lengths = lines.iter().map(|line| line.len() as u32).collect();
        let mut bit = || random.bool();
        Frame {
            source: Source {
                node: "node-1".into(),
                writer: Writer::HostFile { path: "/v".into() },
            },
            format: if bit() { Format::Cri } else { Format::Plain },
            extents: vec![Extent {
                file: FileId([number as u8; 12]),
                start: 1000 * number,
                length: text.len() as u64,
            }],
            ends: if bit() { Ends::Lines } else { Ends::Lengths(lengths) },
            id_time_ns: bit().then_some(1_795_307_400_000_000_000),
            read_time_ns: Some(1_795_307_400_000_000_001),
            iostream: bit().then_some(IoStream::Stderr),
            line_start: None,
            container_id: String::new(),
            flags: Flags { incomplete: bit(), continued: bit(), malformed: false },
            bytes: Bytes::from(text),
        }
    }

    fn batch(frames: &[Frame]) -> StoredBatch {
        let from = StoredBatch {
            node: "node-1".to_owned(),
            received_ms: 42,
            records: 0,
            raw_bytes: 0,
            crc32c: 0,
            body: Bytes::new(),
        };
        let mut out = Vec::new();
        let mut packing = Packing::new(&from, &mut out);
        frames.iter().cloned().for_each(|frame| packing.push(frame));
        packing.finish();
        assert_eq!(out.len(), 1);
        out.remove(0)
    }

    /// Each document as text, with its id and its index.
    fn documents(batch: &StoredBatch) -> Vec<Vec<String>> {
        let raw_bytes = batch.raw_bytes as usize;
        let frames = batch::frames(&mut DCtx::create(), &batch.body, raw_bytes).unwrap();
        let mut builder = Builder::new(ClusterKey::of("default"));
        let of_frame = |frame: &Frame| {
            let mut out = Documents::default();
            let progress = builder.append(frame, 0, usize::MAX, &mut out);
            assert_eq!(progress.next_record, None);
            let text = |d: crate::document::Document<'_>| {
                format!("{} {} {}", d.id, d.index(), String::from_utf8_lossy(d.source))
            };
            out.iter().map(text).collect()
        };
        frames.iter().map(of_frame).collect()
    }

    #[test]
    fn what_is_made_of_repacked_records_is_what_was_made_of_them() {
        let mut random = fastrand::Rng::with_seed(20_261_130);
        let dir = tempfile::tempdir().unwrap();
        let config = QueueConfig { reserve_percent: 0, ..QueueConfig::new(dir.path()) };
        let (queue, _) = Queue::open(config).unwrap();
        let mut reader = queue.reader().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for round in 0..60 {
            let frames: Vec<_> = (0..random.u64(1..6)).map(|n| frame(&mut random, n)).collect();
            let stored = batch(&frames);
            runtime.block_on(queue.append(stored.clone())).unwrap();
            let building = Building::new(reader.next(Duration::from_secs(10)).unwrap());
            let origin = building.origins().next().unwrap();
            let (mut tokens, mut expected) = (Vec::new(), Vec::new());
            for (frame, texts) in documents(&stored).into_iter().enumerate() {
                for (record, text) in texts.into_iter().enumerate() {
                    if random.u8(..4) > 0 {
                        let place = Place { frame: frame as u32, record: record as u32 };
                        tokens.push(origin.token(place));
                        expected.push(text);
                    }
                }
            }
            building.finish();
            let repacked = batches(&tokens.iter().collect::<Vec<_>>()).unwrap();
            let found: Vec<String> = repacked.iter().flat_map(documents).flatten().collect();
            assert_eq!(found, expected, "round {round}");
            let records: u32 = repacked.iter().map(|batch| batch.records).sum();
            assert_eq!(records as usize, tokens.len());
            assert!(repacked.iter().all(|batch| batch.received_ms == 42 && batch.node == "node-1"));
            drop(origin);
            assert_eq!(queue.stats().entries, 1, "it waits for its documents");
            tokens.into_iter().for_each(Token::settle);
            assert_eq!(queue.stats().entries, 0);
        }
    }

    #[test]
    fn many_runs_make_several_batches_that_can_be_read() {
        let dir = tempfile::tempdir().unwrap();
        let config = QueueConfig { reserve_percent: 0, ..QueueConfig::new(dir.path()) };
        let (queue, _) = Queue::open(config).unwrap();
        let mut random = fastrand::Rng::with_seed(1);
        let mut frame = frame(&mut random, 1);
        frame.source.writer = Writer::HostFile { path: "/".repeat(4000) };
        frame.ends = Ends::Lines;
        frame.bytes = Bytes::from("x\n".repeat(2400));
        frame.extents = vec![Extent { file: FileId([1; 12]), start: 0, length: 4800 }];
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(queue.append(batch(&[frame]))).unwrap();
        let mut reader = queue.reader().unwrap();
        let building = Building::new(reader.next(Duration::from_secs(10)).unwrap());
        let origin = building.origins().next().unwrap();
        let every_other =
            (0..2400).step_by(2).map(|record| origin.token(Place { frame: 0, record }));
        let tokens: Vec<_> = every_other.collect();
        let repacked = batches(&tokens.iter().collect::<Vec<_>>()).unwrap();
        assert!(repacked.len() > 2, "{}", repacked.len());
        assert_eq!(repacked.iter().flat_map(documents).flatten().count(), 1200);
    }
}
