//! Which records of a batch a replay takes: by their own time, which decides their index, and by namespace. Pure.

use bytes::Bytes;
use naru_proto::batch::{self, BatchError};
use naru_proto::body::BodyWriter;
use naru_proto::frame::{Frame, Source, Writer};
use naru_proto::wire;
use serde::{Deserialize, Serialize};
use zstd_safe::DCtx;

use crate::decode;
use crate::queue::StoredBatch;

/// A batch is ended before its frames take more than this: half of what a batch may have, since a frame's header is repeated
/// for each run of its records. One frame may be larger, and is then no larger than the one it came from.
const RAW_MAX_BYTES: usize = 2 << 20;
/// About what a frame's header takes.
const HEADER_BYTES: usize = 1 << 10;

/// What is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Selection {
    /// Records of this time or later, nanoseconds since 1970; one without a time is of no time.
    pub(crate) from_ns: Option<i64>,
    /// Records before this time.
    pub(crate) to_ns: Option<i64>,
    /// Records of containers in these namespaces; of all, and of host files, when there are none.
    pub(crate) namespaces: Vec<String>,
}

/// Memory that is used again.
#[derive(Default)]
pub(super) struct Scratch {
    joined: Vec<u8>,
    body: BodyWriter,
}

impl Selection {
    /// What of a batch is asked for, in batches.
    pub(super) fn take(
        &self,
        stored: &StoredBatch,
        context: &mut DCtx<'_>,
        scratch: &mut Scratch,
    ) -> Result<Vec<StoredBatch>, BatchError> {
        if *self == Self::default() {
            return Ok(vec![stored.clone()]);
        }
        let frames = batch::frames(context, &stored.body, stored.raw_bytes as usize)?;
        let mut taken = Vec::new();
        let mut records = 0;
        for frame in frames.iter().filter(|frame| self.takes_source(&frame.source)) {
            for part in self.parts(frame, &mut scratch.joined) {
                let more = part.bytes.len() + HEADER_BYTES;
                if records > 0 && scratch.body.raw_bytes() + more > RAW_MAX_BYTES {
                    taken.push(finish(&mut scratch.body, stored, std::mem::take(&mut records)));
                }
                records += part.record_count() as u32;
                push(&mut scratch.body, part);
            }
        }
        if records > 0 {
            taken.push(finish(&mut scratch.body, stored, records));
        }
        Ok(taken)
    }

    fn takes_source(&self, source: &Source) -> bool {
        match &source.writer {
            _ if self.namespaces.is_empty() => true,
            Writer::Container(container) => self.namespaces.contains(&container.namespace),
            Writer::HostFile { .. } => false,
        }
    }

    /// The runs of a frame's records that are asked for.
    fn parts(&self, frame: &Frame, joined: &mut Vec<u8>) -> Vec<Frame> {
        if self.from_ns.is_none() && self.to_ns.is_none() {
            return vec![frame.clone()];
        }
        let mut runs: Vec<std::ops::Range<usize>> = Vec::new();
        for (place, record) in frame.records().enumerate() {
            let time_ns = decode::record(frame, &record, joined).id_time_ns;
            if !time_ns.is_some_and(|time_ns| self.takes_time(time_ns)) {
                continue;
            }
            match runs.last_mut() {
                Some(run) if run.end == place => run.end += 1,
                _ => runs.push(place..place + 1),
            }
        }
        runs.into_iter().filter_map(|run| frame.part(run)).collect()
    }

    fn takes_time(&self, time_ns: i64) -> bool {
        self.from_ns.is_none_or(|from| from <= time_ns) && self.to_ns.is_none_or(|to| time_ns < to)
    }
}

fn push(body: &mut BodyWriter, mut frame: Frame) {
    let bytes = std::mem::take(&mut frame.bytes);
    body.push(&wire::Frame::from(frame), &bytes);
}

fn finish(body: &mut BodyWriter, of: &StoredBatch, records: u32) -> StoredBatch {
    let raw_bytes = body.raw_bytes() as u32;
    let body = Bytes::from(body.finish());
    StoredBatch {
        node: of.node.clone(),
        received_ms: of.received_ms,
        records,
        raw_bytes,
        crc32c: crc32c::crc32c(&body),
        body,
    }
}

#[cfg(test)]
mod tests {
    use naru_proto::frame::{Container, Ends, Extent, Flags, Format};
    use naru_proto::ids::FileId;

    use super::*;

    const DAY_NS: i64 = 1_795_305_600_000_000_000;

    fn frame(namespace: Option<&str>, lines: &[u8]) -> Frame {
        let writer = match namespace {
            Some(namespace) => Writer::Container(Container {
                namespace: namespace.into(),
                pod: "p".into(),
                pod_uid: "u".into(),
                container: "c".into(),
                restart: 0,
            }),
            None => Writer::HostFile { path: "/var/log/syslog".into() },
        };
        let length = lines.len() as u64;
        Frame {
            source: Source { node: "n".into(), writer },
            format: Format::Cri,
            extents: vec![Extent { file: FileId([7; 12]), start: 100, length }],
            ends: Ends::Lines,
            id_time_ns: None,
            read_time_ns: None,
            iostream: None,
            line_start: None,
            container_id: String::new(),
            flags: Flags::default(),
            bytes: Bytes::copy_from_slice(lines),
        }
    }

    /// Lines of seconds of one minute.
    fn lines(seconds: impl IntoIterator<Item = u32>) -> Vec<u8> {
        let line = |second| format!("2026-11-22T00:00:{second:02}Z stdout F line {second}\n");
        seconds.into_iter().map(line).collect::<String>().into_bytes()
    }

    fn stored(frames: Vec<Frame>) -> StoredBatch {
        let mut body = BodyWriter::default();
        let records = frames.iter().map(Frame::record_count).sum::<usize>() as u32;
        frames.into_iter().for_each(|frame| push(&mut body, frame));
        let of = StoredBatch {
            node: "n".into(),
            received_ms: 5,
            records: 0,
            raw_bytes: 0,
            crc32c: 0,
            body: Bytes::new(),
        };
        finish(&mut body, &of, records)
    }

    /// Offsets and text of what is taken.
    fn taken(selection: &Selection, batch: &StoredBatch) -> Vec<(u64, String)> {
        let mut context = DCtx::create();
        let mut scratch = Scratch::default();
        let batches = selection.take(batch, &mut context, &mut scratch).unwrap();
        let mut found = Vec::new();
        for batch in &batches {
            assert_eq!((batch.node.as_str(), batch.received_ms), ("n", 5));
            let frames = batch::frames(&mut context, &batch.body, batch.raw_bytes as usize);
            let before = found.len();
            for frame in &frames.unwrap() {
                let text = |raw: &[u8]| {
                    String::from_utf8_lossy(raw).trim_end().get(35..).unwrap().to_owned()
                };
                found.extend(frame.records().map(|record| (record.offset, text(record.raw))));
            }
            assert_eq!(found.len() - before, batch.records as usize);
        }
        found
    }

    #[test]
    fn records_are_taken_by_time_and_namespace_with_their_places() {
        let batch = stored(vec![
            frame(Some("shop"), &lines([1, 5, 2, 9])),
            frame(Some("mail"), &lines([1, 2])),
            frame(None, &lines([1])),
        ]);
        let at = |second: i64| Some(DAY_NS + second * 1_000_000_000);
        let check = |selection: Selection, expected: &[(u64, &str)]| {
            let found = taken(&selection, &batch);
            let found: Vec<_> = found.iter().map(|(at, text)| (*at, text.as_str())).collect();
            assert_eq!(found, expected, "{selection:?}");
        };
        let shop = || vec!["shop".to_owned(), "none".to_owned()];
        check(
            Selection { namespaces: shop(), ..Selection::default() },
            &[(100, "1"), (137, "5"), (174, "2"), (211, "9")],
        );
        check(
            Selection { from_ns: at(2), to_ns: at(9), namespaces: shop() },
            &[(137, "5"), (174, "2")],
        );
        check(
            Selection { to_ns: at(2), ..Selection::default() },
            &[(100, "1"), (100, "1"), (100, "1")],
        );
        check(Selection { from_ns: at(10), ..Selection::default() }, &[]);
        assert_eq!(taken(&Selection::default(), &batch).len(), 7);
    }

    #[test]
    fn a_record_of_no_time_is_taken_when_no_time_is_asked_for() {
        let batch = stored(vec![frame(Some("shop"), format!("{}\n", "x".repeat(40)).as_bytes())]);
        let asked = Selection { from_ns: Some(0), ..Selection::default() };
        assert!(taken(&asked, &batch).is_empty());
        let shop = Selection { namespaces: vec!["shop".into()], ..Selection::default() };
        assert_eq!(taken(&shop, &batch).len(), 1);
    }

    #[test]
    fn every_second_record_of_a_large_batch_still_fits_into_batches() {
        let many = lines((0..60_000).map(|number| number % 2));
        let frames = many.chunks(37 * 300).map(|lines| frame(Some("shop"), lines));
        let batch = stored(frames.collect());
        let odd = Selection { from_ns: Some(DAY_NS + 1), ..Selection::default() };
        assert_eq!(taken(&odd, &batch).len(), 30_000);
    }
}
