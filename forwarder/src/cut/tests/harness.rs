//! What the tests of the cutter share: files, and a sink that writes down single records.

use naru_proto::frame::{Extent, IoStream};
use naru_proto::ids::{ClusterKey, DocumentId, FileDocumentIds, FileId, IdTime};

use super::super::{CutRecord, Format, Sink};

/// A record as the aggregator will know it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Cut {
    /// File number, start, end.
    pub(super) extents: Vec<(u8, u64, u64)>,
    pub(super) id: DocumentId,
    pub(super) id_time_ns: Option<i64>,
    pub(super) iostream: Option<i32>,
    pub(super) line_start: Option<u64>,
    /// incomplete, continued, malformed: `ICM` or less.
    pub(super) flags: String,
}

impl Cut {
    pub(super) fn new(record: CutRecord<'_>) -> Self {
        let flags = [(record.incomplete, 'I'), (record.continued, 'C'), (record.malformed, 'M')];
        let first = record.extents[0];
        let ids = FileDocumentIds::new(ClusterKey::of("test"), "node", first.file);
        assert_eq!(record.bytes.len() as u64, record.extents.iter().map(|e| e.length).sum::<u64>());
        Self {
            extents: record
                .extents
                .iter()
                .map(|e| (e.file.0[0], e.start, e.end_exclusive()))
                .collect(),
            id: ids.id(IdTime::new(record.id_time_ns), first.start, record.bytes),
            id_time_ns: record.id_time_ns,
            iostream: record.iostream.map(i32::from),
            line_start: record.line_start,
            flags: flags.iter().filter(|(set, _)| *set).map(|(_, flag)| *flag).collect(),
        }
    }
}

/// Writes down what is cut, record by record.
#[derive(Debug)]
pub(super) struct Recorder {
    pub(super) format: Format,
    pub(super) cuts: Vec<Cut>,
}

impl Recorder {
    pub(super) fn new(format: Format) -> Self {
        Self { format, cuts: Vec::new() }
    }
}

impl Sink for Recorder {
    fn lines(
        &mut self,
        file: FileId,
        start: u64,
        bytes: &[u8],
        records: u32,
        malformed: bool,
        id_time_ns: Option<i64>,
    ) {
        assert!(malformed || id_time_ns.is_none());
        let mut start = start;
        let before = self.cuts.len();
        for line in bytes.split_inclusive(|b| *b == b'\n') {
            assert!(line.ends_with(b"\n"));
            let envelope = self.format.envelope(line);
            assert_eq!(malformed, envelope.is_none() && self.format != Format::Plain);
            self.cuts.push(Cut::new(CutRecord {
                extents: &[Extent { file, start, length: line.len() as u64 }],
                bytes: line,
                iostream: envelope.map(|e| e.iostream),
                id_time_ns: envelope.map_or(id_time_ns, |e| Some(e.time_ns)),
                line_start: None,
                incomplete: false,
                continued: false,
                malformed,
            }));
            start += line.len() as u64;
        }
        assert_eq!(records as usize, self.cuts.len() - before);
    }

    fn record(&mut self, record: CutRecord<'_>) {
        self.cuts.push(Cut::new(record));
    }
}

pub(super) fn file_id(number: u8) -> FileId {
    FileId([number; 12])
}

pub(super) fn iostream(stderr: bool) -> IoStream {
    if stderr { IoStream::Stderr } else { IoStream::Stdout }
}

/// Each byte of the files is in exactly one record, but for what follows the last one of a file.
pub(super) fn assert_covers(cuts: &[Cut], lengths: &[(u8, u64)]) {
    let mut extents: Vec<_> = cuts.iter().flat_map(|cut| cut.extents.clone()).collect();
    extents.sort_unstable();
    for (file, length) in lengths {
        let mut at = 0;
        for (_, start, end) in extents.iter().filter(|extent| extent.0 == *file) {
            assert_eq!(*start, at, "file {file}: lost or twice");
            assert!(end > start, "file {file}: empty at {start}");
            at = *end;
        }
        assert_eq!(at, *length, "file {file}: its end is lost");
    }
}
