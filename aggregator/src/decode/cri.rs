//! Container log lines: their envelopes come off, their fragments are joined. Pure and total.
//!
//! A record of one readable line, nearly every one, is borrowed. Others are joined into a buffer:
//! - a line tagged `P` is continued by the next one without anything between them;
//! - a line tagged `F` that is not the last (a multi-line rule) is followed by `\n`, as the program wrote it;
//! - a line without a readable envelope is kept whole, as if its content were all of it and tagged `F`;
//! - what a continued record begins with, up to the first newline, is content of a line whose envelope is in the record
//!   before it. Whether that line is `P` or `F` is not known here: `P` is assumed, because only runs of fragments are
//!   long enough to be cut inside a line.

use naru_proto::cri::envelope;
use naru_proto::frame::IoStream;

/// The joined content of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content<'a> {
    /// Without envelopes and without the last newline.
    pub text: &'a [u8],
    /// The time (nanoseconds since 1970) and the iostream of the first line, if its envelope is here and readable.
    pub first: Option<(i64, IoStream)>,
    /// A line has no readable envelope.
    pub malformed: bool,
}

/// Joins a record's lines; `inside` says that the first of them began in an earlier record.
#[must_use]
pub fn join<'a>(raw: &'a [u8], inside: bool, joined: &'a mut Vec<u8>) -> Content<'a> {
    let raw = raw.strip_suffix(b"\n").unwrap_or(raw);
    match memchr::memchr(b'\n', raw) {
        Some(_) => join_lines(raw, inside, joined),
        None if inside => Content { text: raw, first: None, malformed: false },
        None => {
            let line = Line::read(raw);
            Content { text: line.content, first: line.first, malformed: line.malformed }
        }
    }
}

fn join_lines<'a>(raw: &'a [u8], inside: bool, joined: &'a mut Vec<u8>) -> Content<'a> {
    joined.clear();
    let mut rest = Some(raw);
    let mut first = None;
    let mut malformed = false;
    let mut partial = true;
    let mut at_start = true;
    while let Some(lines) = rest {
        let (raw_line, after) = match memchr::memchr(b'\n', lines) {
            Some(newline) => (lines.get(..newline).unwrap_or_default(), lines.get(newline + 1..)),
            None => (lines, None),
        };
        rest = after;
        if !partial {
            joined.push(b'\n');
        }
        if at_start && inside {
            joined.extend_from_slice(raw_line);
        } else {
            let line = Line::read(raw_line);
            joined.extend_from_slice(line.content);
            malformed |= line.malformed;
            partial = line.partial;
            if at_start {
                first = line.first;
            }
        }
        at_start = false;
    }
    Content { text: joined, first, malformed }
}

struct Line<'a> {
    content: &'a [u8],
    first: Option<(i64, IoStream)>,
    partial: bool,
    malformed: bool,
}

impl<'a> Line<'a> {
    fn read(line: &'a [u8]) -> Self {
        match envelope(line) {
            Some(envelope) => Self {
                content: line.get(envelope.content_start..).unwrap_or_default(),
                first: Some((envelope.time_ns, envelope.iostream)),
                partial: envelope.partial,
                malformed: false,
            },
            None => Self { content: line, first: None, partial: false, malformed: true },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: &str = "1970-01-01T00:00:00.000000042Z";

    fn check(raw: &str, inside: bool, expected: (&str, Option<IoStream>, bool)) {
        let raw = raw.replace("{T}", T);
        let mut joined = b"left over".to_vec();
        let found = join(raw.as_bytes(), inside, &mut joined);
        assert!(found.first.is_none_or(|(time_ns, _)| time_ns == 42));
        let text = std::str::from_utf8(found.text).unwrap();
        let iostream = found.first.map(|(_, iostream)| iostream);
        assert_eq!((text, iostream, found.malformed), expected, "{raw:?}");
    }

    #[test]
    fn envelopes_come_off_and_fragments_join() {
        use IoStream::{Stderr, Stdout};
        check("{T} stdout F hello\n", false, ("hello", Some(Stdout), false));
        check("{T} stdout F hello", false, ("hello", Some(Stdout), false));
        check("{T} stderr F\n", false, ("", Some(Stderr), false));
        check("{T} stdout P half\n", false, ("half", Some(Stdout), false));
        check("{T} stdout P ab\n{T} stdout F c\n", false, ("abc", Some(Stdout), false));
        check("{T} stdout F a\n{T} stdout F  b\n", false, ("a\n b", Some(Stdout), false));
        check(
            "{T} stdout F a\n{T} stdout F\n{T} stdout F b",
            false,
            ("a\n\nb", Some(Stdout), false),
        );
        check(
            "{T} stdout P a\n{T} stdout P b\n{T} stdout F c\n{T} stdout P d\n",
            false,
            ("abc\nd", Some(Stdout), false),
        );
    }

    #[test]
    fn malformed_lines_are_kept() {
        check("\n", false, ("", None, true));
        check("", false, ("", None, true));
        check("stdout F x\n", false, ("stdout F x", None, true));
        check("junk\n{T} stdout F x\n", false, ("junk\nx", None, true));
        check(
            "{T} stdout P a\njunk\n{T} stdout F x\n",
            false,
            ("ajunk\nx", Some(IoStream::Stdout), true),
        );
    }

    #[test]
    fn a_continued_record_begins_inside_a_line() {
        check("rest of it\n", true, ("rest of it", None, false));
        check("{T} stdout F x\n", true, ("1970-01-01T00:00:00.000000042Z stdout F x", None, false));
        check("rest, \n{T} stdout F x\n", true, ("rest, x", None, false));
        check("rest\n{T} stdout F x\n{T} stdout F y\n", true, ("restx\ny", None, false));
    }
}
