//! A batch that an aggregator will never take, in halves: by frames, then by the records of a frame. Pure.
//!
//! A half says of each record what the whole said: file, offset and bytes, so its document keeps its id.

use bytes::Bytes;
use naru_proto::body::{BodyWriter, WireFrames, decompress};
use naru_proto::frame::{Frame, Source};
use naru_proto::wire;
use zstd_safe::DCtx;

use crate::channel::Refused;

/// The halves of a batch; None of a single record, and of what cannot be read here either.
pub(super) fn halves(batch: &wire::Batch, numbers: [u64; 2]) -> Option<[wire::Batch; 2]> {
    let mut first = frames(batch)?;
    let later = match first.len() {
        0 => return None,
        1 => {
            let (one, two) = split(first.pop()?)?;
            first.push(one);
            vec![two]
        }
        count => first.split_off(count / 2),
    };
    let [one, two] = numbers;
    Some([batch_of(one, first), batch_of(two, later)])
}

/// Whose records a batch holds: of each file the first. None of what cannot be read here.
pub(super) fn places(batch: &wire::Batch) -> Option<Vec<Refused>> {
    let mut places: Vec<Refused> = Vec::new();
    for frame in frames(batch)? {
        let writer = Source::try_from(frame.source?).ok()?.writer;
        let extent = frame.extents.first()?;
        let file = naru_proto::ids::FileId::from_bytes(&extent.file_id)?;
        let known = places.iter_mut().find(|known| known.file == file && known.writer == writer);
        match known {
            Some(known) => known.offset = known.offset.min(extent.start),
            None => places.push(Refused { writer, file, offset: extent.start }),
        }
    }
    Some(places).filter(|places| !places.is_empty())
}

fn frames(batch: &wire::Batch) -> Option<Vec<wire::Frame>> {
    let raw = decompress(&mut DCtx::create(), &batch.body, batch.raw_bytes as usize).ok()?;
    WireFrames::new(raw).collect::<Result<_, _>>().ok()
}

fn batch_of(number: u64, frames: Vec<wire::Frame>) -> wire::Batch {
    let mut writer = BodyWriter::default();
    let mut records = 0;
    for mut frame in frames {
        let bytes = std::mem::take(&mut frame.bytes);
        records += match frame.ends() {
            wire::Ends::Lines => memchr::memchr_iter(b'\n', &bytes).count() as u32,
            wire::Ends::Lengths => frame.lengths.len() as u32,
            wire::Ends::One | wire::Ends::Unspecified => 1,
        };
        writer.push(&frame, &bytes);
    }
    let raw_bytes = writer.raw_bytes() as u32;
    let body = Bytes::from(writer.finish());
    wire::Batch { number, crc32c: crc32c::crc32c(&body), records, raw_bytes, body }
}

/// A frame's records in two frames.
fn split(frame: wire::Frame) -> Option<(wire::Frame, wire::Frame)> {
    let frame = Frame::try_from(frame).ok()?;
    let count = frame.record_count();
    let half = count / 2;
    Some((frame.part(0..half)?.into(), frame.part(half..count)?.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use naru_proto::batch;
    use naru_proto::frame::{Ends, Extent, Flags, Format, IoStream, Writer};
    use naru_proto::ids::FileId;

    /// Whatever makes up a document: file, offset, bytes, id-time and marks.
    type Record = (FileId, u64, Vec<u8>, Option<i64>, bool, bool, bool);

    fn frame(path: &str, extents: &[(u8, u64, u64)], ends: Ends, bytes: &str) -> Frame {
        Frame {
            source: Source { node: "n".into(), writer: Writer::HostFile { path: path.into() } },
            format: Format::Plain,
            extents: extents
                .iter()
                .map(|&(file, start, length)| Extent { file: FileId([file; 12]), start, length })
                .collect(),
            ends,
            id_time_ns: Some(7),
            read_time_ns: Some(8),
            iostream: Some(IoStream::Stderr),
            line_start: Some(1),
            container_id: "c".into(),
            flags: Flags { incomplete: true, continued: true, malformed: false },
            bytes: Bytes::copy_from_slice(bytes.as_bytes()),
        }
    }

    fn records(batch: &wire::Batch) -> Vec<Record> {
        let context = &mut DCtx::create();
        batch::check(context, batch, "n", |_| true).unwrap();
        let frames = batch::frames(context, &batch.body, batch.raw_bytes as usize).unwrap();
        let of = |frame: &Frame| {
            let count = frame.record_count();
            let record = |(at, record): (usize, naru_proto::frame::Record<'_>)| {
                let (first, last) = (record.first, at + 1 == count);
                let Flags { incomplete, continued, .. } = frame.flags;
                let inside = first && frame.line_start.is_some();
                let raw = record.raw.to_vec();
                let (cut, goes_on) = (last && incomplete, first && continued);
                (record.file, record.offset, raw, frame.id_time_ns, cut, goes_on, inside)
            };
            frame.records().enumerate().map(record).collect::<Vec<_>>()
        };
        frames.iter().flat_map(of).collect()
    }

    fn whole() -> wire::Batch {
        let lines: String = (0..1000).map(|n| format!("line {n}\n")).collect();
        let length = lines.len() as u64;
        let lengths = vec![4, 1, 5, 2];
        let frames = [
            frame("/a", &[(1, 10, length)], Ends::Lines, &lines),
            frame("/b", &[(2, 5, 3), (3, 0, 9)], Ends::Lengths(lengths), "a\nb\nc\nd\ne\nf\n"),
            frame("/c", &[(4, 0, 2), (4, 9, 2)], Ends::One, "x\ny\n"),
        ];
        batch_of(1, frames.map(wire::Frame::from).to_vec())
    }

    #[test]
    fn b12_halves_hold_what_the_whole_held_down_to_the_record() {
        let mut waiting = vec![whole()];
        let (mut alone, mut divisions) = (Vec::new(), 0);
        while let Some(batch) = waiting.pop() {
            let before = records(&batch);
            let Some(halves) = halves(&batch, [2, 3]) else {
                assert_eq!((before.len(), batch.records), (1, 1));
                alone.extend(before);
                continue;
            };
            divisions += 1;
            let after: Vec<Record> = halves.iter().flat_map(records).collect();
            assert_eq!(after, before);
            waiting.extend(halves.into_iter().rev());
        }
        assert_eq!(alone, records(&whole()));
        assert_eq!(divisions, 1004);
    }

    #[test]
    fn what_is_in_a_batch_is_named_by_file_and_first_offset() {
        let named = |path: &str, file, offset| Refused {
            writer: Writer::HostFile { path: path.into() },
            file: FileId([file; 12]),
            offset,
        };
        let expected = [named("/a", 1, 10), named("/b", 2, 5), named("/c", 4, 0)];
        assert_eq!(places(&whole()).unwrap(), expected);
        let broken = wire::Batch { body: vec![1].into(), ..wire::Batch::default() };
        assert!(places(&broken).is_none() && halves(&broken, [1, 2]).is_none());
    }
}
