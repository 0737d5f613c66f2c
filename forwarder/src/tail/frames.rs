//! What the cutter says becomes frames of a batch.

use std::collections::VecDeque;
use std::time::Instant;

use naru_proto::frame::{Extent, Format, IoStream, Source};
use naru_proto::ids::FileId;
use naru_proto::wire;

use super::source::Point;
use crate::batch::{Batcher, Sealed};
use crate::clock;
use crate::cut::{CutRecord, Sink};
use crate::metrics::Metrics;

/// A run of lines is cut into frames of about this size, so that one always fits into a batch.
const LINES_MAX_BYTES: usize = 256 << 10;

/// What was cut and is not handed to the session yet.
pub(super) struct Outgoing {
    batcher: Batcher<Point>,
    /// Full batches, in order.
    pub(super) sealed: VecDeque<Sealed<Point>>,
    /// When the oldest record of the open batch was cut.
    since: Option<Instant>,
    pub(super) metrics: Metrics,
}

impl Outgoing {
    pub(super) fn new(metrics: Metrics) -> Self {
        Self { batcher: Batcher::default(), sealed: VecDeque::new(), since: None, metrics }
    }

    /// Where the cutter puts the records of a source; `step_ns` is the id-time of a host file.
    pub(super) fn sink<'a>(
        &'a mut self,
        (source, container_id): (&'a Source, &'a str),
        format: Format,
        step_ns: Option<i64>,
    ) -> FrameSink<'a> {
        let read_time_ns = clock::now_ns();
        FrameSink { outgoing: self, source, container_id, format, read_time_ns, step_ns }
    }

    /// Everything that was cut of a source so far leads to this point.
    pub(super) fn reached(&mut self, source: usize, point: Point) {
        self.batcher.reached(source, point);
    }

    /// Compressed bytes that wait for the session.
    pub(super) fn sealed_bytes(&self) -> usize {
        self.sealed.iter().map(|sealed| sealed.batch.body.len()).sum()
    }

    /// Since when the open batch waits for more.
    pub(super) fn waits_since(&self) -> Option<Instant> {
        self.since
    }

    /// Ends the open batch.
    pub(super) fn seal(&mut self) {
        self.sealed.extend(self.batcher.seal());
        self.since = None;
    }
}

/// Writes the records of one source into the open batch.
pub(super) struct FrameSink<'a> {
    outgoing: &'a mut Outgoing,
    source: &'a Source,
    container_id: &'a str,
    format: Format,
    read_time_ns: i64,
    step_ns: Option<i64>,
}

impl FrameSink<'_> {
    fn header(&self, ends: wire::Ends, extents: &[Extent]) -> wire::Frame {
        wire::Frame {
            source: Some(self.source.clone().into()),
            container_id: self.container_id.to_owned(),
            format: self.format.into(),
            extents: extents.iter().map(wire::Extent::from).collect(),
            ends: ends.into(),
            id_time_ns: self.step_ns,
            read_time_ns: Some(self.read_time_ns),
            ..wire::Frame::default()
        }
    }

    fn push(&mut self, header: &wire::Frame, bytes: &[u8], records: u32) {
        let outgoing = &mut *self.outgoing;
        outgoing.metrics.cut_records.inc_by(u64::from(records));
        if let Some(sealed) = outgoing.batcher.push(header, bytes, records) {
            outgoing.sealed.push_back(sealed);
            outgoing.since = None;
        }
        outgoing.since.get_or_insert_with(clock::now);
    }
}

impl Sink for FrameSink<'_> {
    fn lines(
        &mut self,
        file: FileId,
        mut start: u64,
        mut bytes: &[u8],
        mut records: u32,
        malformed: bool,
        id_time_ns: Option<i64>,
    ) {
        if malformed {
            self.outgoing.metrics.malformed_records.inc_by(u64::from(records));
        }
        while !bytes.is_empty() {
            let (now, later) = split_at_line(bytes);
            let extent = Extent { file, start, length: now.len() as u64 };
            let mut header = self.header(wire::Ends::Lines, &[extent]);
            header.malformed = malformed;
            header.id_time_ns = id_time_ns.or(header.id_time_ns);
            let count = match later {
                [] => records,
                _ => memchr::memchr_iter(b'\n', now).count() as u32,
            };
            self.push(&header, now, count);
            records -= count;
            start += now.len() as u64;
            bytes = later;
        }
    }

    fn record(&mut self, record: CutRecord<'_>) {
        let mut header = self.header(wire::Ends::One, record.extents);
        header.id_time_ns = record.id_time_ns.or(header.id_time_ns);
        header.iostream = record.iostream.unwrap_or(IoStream::Unspecified).into();
        header.line_start = record.line_start;
        header.incomplete = record.incomplete;
        header.continued = record.continued;
        header.malformed = record.malformed;
        if record.incomplete {
            self.outgoing.metrics.incomplete_records.inc();
        }
        if record.malformed {
            self.outgoing.metrics.malformed_records.inc();
        }
        self.push(&header, record.bytes, 1);
    }
}

/// Splits a run of whole lines so that the first part has a frame's size, or one line.
fn split_at_line(bytes: &[u8]) -> (&[u8], &[u8]) {
    let Some(head) = bytes.get(..LINES_MAX_BYTES) else { return (bytes, &[]) };
    let end = match memchr::memrchr(b'\n', head) {
        Some(newline) => newline + 1,
        None => memchr::memchr(b'\n', bytes).map_or(bytes.len(), |newline| newline + 1),
    };
    bytes.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_split_between_lines() {
        let line = [b"x".repeat(99), b"\n".to_vec()].concat();
        let many = line.repeat(6000);
        let (first, rest) = split_at_line(&many);
        assert_eq!(first.len() % 100, 0);
        assert!(first.len() <= LINES_MAX_BYTES && first.len() > LINES_MAX_BYTES - 100);
        assert_eq!(first.len() + rest.len(), many.len());
        let long = [b"y".repeat(LINES_MAX_BYTES * 2), b"\nz\n".to_vec()].concat();
        assert_eq!(split_at_line(&long).1, b"z\n");
        assert_eq!(split_at_line(b"a\nb\n"), (&b"a\nb\n"[..], &b""[..]));
    }
}
