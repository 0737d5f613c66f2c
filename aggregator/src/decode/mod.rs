//! Decoding: what a record says once the format of its file is taken off.
//!
//! Total: there is no error type. A line that cannot be read is kept as it stood and marked, because bad data is data.
//! Pure: a record and what its frame says in, borrowed slices out; scratch buffers are the caller's.
//!
//! The steps, in order: [`record`] takes the envelopes off and joins the fragments, [`encoding`] makes the bytes text,
//! [`json`] judges whether the text is an object that Elasticsearch takes, [`level`] looks for a level.
#![deny(clippy::indexing_slicing)]

pub mod cri;
pub mod encoding;
#[cfg(test)]
mod fuzz;
pub mod json;
pub mod json_file;
pub mod level;

use naru_proto::frame::{Format, Frame, IoStream, Record};

/// Whether records of this format can be decoded here; batches with others are refused before they are acknowledged.
#[must_use]
pub fn decodable(format: Format) -> bool {
    match format {
        Format::Cri | Format::JsonFile | Format::Plain => true,
        Format::Unspecified => false,
    }
}

/// What a record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decoded<'a> {
    /// As the program wrote it, joined, without envelopes and without the last newline; not yet UTF-8.
    pub text: &'a [u8],
    /// For `@timestamp`, nanoseconds since 1970; never before 1970.
    pub timestamp_ns: i64,
    /// Decides the document's id and index, nanoseconds since 1970.
    pub id_time_ns: Option<i64>,
    /// Where the program wrote it, if that is known.
    pub iostream: Option<IoStream>,
    /// A line of it has no readable envelope and stands in the text as it was.
    pub malformed: bool,
}

/// Decodes one record of a frame; `joined` is scratch.
///
/// A plain record is kept byte for byte but for its last newline: a `\r` before it is what was written. A format that is
/// not [`decodable`] never gets past the check of its batch; here it is read as plain text.
#[must_use]
pub fn record<'a>(frame: &Frame, record: &Record<'a>, joined: &'a mut Vec<u8>) -> Decoded<'a> {
    let content = match frame.format {
        Format::Cri => cri::join(record.raw, record.first && frame.line_start.is_some(), joined),
        Format::JsonFile => json_file::join(record.raw, joined),
        Format::Plain | Format::Unspecified => return plain(frame, record),
    };
    let id_time_ns = content.first.map(|(time_ns, _)| time_ns).or(frame.id_time_ns);
    Decoded {
        text: content.text,
        timestamp_ns: timestamp([id_time_ns, frame.read_time_ns]),
        id_time_ns,
        iostream: content.first.map(|(_, iostream)| iostream).or(frame.iostream),
        malformed: content.malformed || frame.flags.malformed,
    }
}

fn plain<'a>(frame: &Frame, record: &Record<'a>) -> Decoded<'a> {
    Decoded {
        text: record.raw.strip_suffix(b"\n").unwrap_or(record.raw),
        timestamp_ns: timestamp([frame.read_time_ns, frame.id_time_ns]),
        id_time_ns: frame.id_time_ns,
        iostream: frame.iostream,
        malformed: frame.flags.malformed,
    }
}

/// The first time that Elasticsearch's `date_nanos` takes: from 1970 on (its end is that of 64 bits); else 1970 itself.
fn timestamp(candidates: [Option<i64>; 2]) -> i64 {
    candidates.into_iter().flatten().find(|ns| *ns >= 0).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use naru_proto::frame::{Ends, Extent, Flags, Source, Writer};
    use naru_proto::ids::FileId;

    fn frame(format: Format, bytes: &'static [u8]) -> Frame {
        Frame {
            source: Source { node: "n".into(), writer: Writer::HostFile { path: "/v".into() } },
            format,
            extents: vec![Extent { file: FileId([1; 12]), start: 9, length: bytes.len() as u64 }],
            ends: Ends::One,
            id_time_ns: Some(5),
            read_time_ns: Some(7),
            iostream: None,
            line_start: None,
            container_id: String::new(),
            flags: Flags::default(),
            bytes: Bytes::from_static(bytes),
        }
    }

    fn check(frame: &Frame, expected: (&str, i64, Option<i64>, Option<IoStream>, bool)) {
        let mut joined = Vec::new();
        let found = record(frame, &frame.records().next().unwrap(), &mut joined);
        let text = std::str::from_utf8(found.text).unwrap();
        let found = (text, found.timestamp_ns, found.id_time_ns, found.iostream, found.malformed);
        assert_eq!(found, expected);
    }

    #[test]
    fn times_and_iostreams_come_from_where_they_are_known() {
        use IoStream::{Stderr, Stdout};
        let second = 1_000_000_000;
        let line = b"1970-01-01T00:00:01Z stdout F x\n";
        check(&frame(Format::Cri, line), ("x", second, Some(second), Some(Stdout), false));
        check(&frame(Format::Cri, b"no envelope\n"), ("no envelope", 5, Some(5), None, true));

        let mut continued = frame(Format::Cri, b"inside\n1970-01-01T00:00:01Z stdout F x\n");
        continued.line_start = Some(3);
        continued.iostream = Some(Stderr);
        check(&continued, ("insidex", 5, Some(5), Some(Stderr), false));
        continued.flags.malformed = true;
        check(&continued, ("insidex", 5, Some(5), Some(Stderr), true));

        check(&frame(Format::Plain, b"a\r\n"), ("a\r", 7, Some(5), None, false));
        check(&frame(Format::Plain, b"a\nb\n\n"), ("a\nb\n", 7, Some(5), None, false));
        let mut timeless = frame(Format::Plain, b"a");
        timeless.read_time_ns = None;
        check(&timeless, ("a", 5, Some(5), None, false));
        timeless.id_time_ns = None;
        check(&timeless, ("a", 0, None, None, false));
    }

    #[test]
    fn docker_lines_carry_their_time_and_iostream() {
        let line = br#"{"log":"x\n","stream":"stderr","time":"1970-01-01T00:00:01Z"}"#;
        let first_second = Some(1_000_000_000);
        let expected = ("x", 1_000_000_000, first_second, Some(IoStream::Stderr), false);
        check(&frame(Format::JsonFile, line), expected);
        check(&frame(Format::JsonFile, b"{\n"), ("{", 5, Some(5), None, true));
    }

    /// A multi-line rule's records: the lines as the program wrote them, the first line's time.
    #[test]
    fn lines_of_a_record_are_joined_by_newlines() {
        let second = 1_000_000_000;
        let trace = b"1970-01-01T00:00:01Z stderr F boom\n1970-01-01T00:00:02Z stderr P   at x\n\
            1970-01-01T00:00:02Z stderr F (y)\n1970-01-01T00:00:02Z stderr F \n";
        let expected = ("boom\n  at x(y)\n", second, Some(second), Some(IoStream::Stderr), false);
        check(&frame(Format::Cri, trace), expected);
        let trace = b"boom\n  at x\n  at y\n";
        check(&frame(Format::Plain, trace), ("boom\n  at x\n  at y", 7, Some(5), None, false));
    }

    #[test]
    fn a_time_before_1970_is_no_timestamp() {
        let old = frame(Format::Cri, b"1969-12-31T23:59:59Z stdout F x\n");
        check(&old, ("x", 7, Some(-1_000_000_000), Some(IoStream::Stdout), false));
    }

    #[test]
    fn formats_without_a_decoder_are_not_decodable() {
        assert!([Format::Cri, Format::JsonFile, Format::Plain].into_iter().all(decodable));
        assert!(!decodable(Format::Unspecified));
    }
}
