//! Lines of docker's json-file driver: their envelopes come off, the pieces of a line are joined. Pure and total.
//!
//! The texts of a record's lines follow each other as the program wrote them: each has its own newline, but for a piece
//! of a line that docker split. A line without a readable envelope is kept whole, as if it were all text. `attrs` (the
//! labels and variables that docker was told to add) are not kept.

use naru_proto::frame::IoStream;
use naru_proto::json_file::{envelope, unescape};

use super::cri::Content;

/// Joins a record's lines.
#[must_use]
pub fn join<'a>(raw: &'a [u8], joined: &'a mut Vec<u8>) -> Content<'a> {
    joined.clear();
    let mut first: Option<Option<(i64, IoStream)>> = None;
    let mut malformed = false;
    for line in raw.split_inclusive(|byte| *byte == b'\n') {
        let envelope = envelope(line);
        match envelope {
            Some(envelope) => unescape(envelope.log, joined),
            None => joined.extend_from_slice(line),
        }
        malformed |= envelope.is_none();
        first.get_or_insert(envelope.map(|envelope| (envelope.time_ns, envelope.iostream)));
    }
    let text = joined.strip_suffix(b"\n").unwrap_or(joined);
    Content { text, first: first.flatten(), malformed: malformed || raw.is_empty() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(log: &str, stream: &str) -> String {
        let time = "1970-01-01T00:00:00.000000042Z";
        format!("{{\"log\":\"{log}\",\"stream\":\"{stream}\",\"time\":\"{time}\"}}\n")
    }

    fn check(raw: &str, expected: (&str, Option<IoStream>, bool)) {
        let mut joined = b"left over".to_vec();
        let found = join(raw.as_bytes(), &mut joined);
        assert!(found.first.is_none_or(|(time_ns, _)| time_ns == 42));
        let text = std::str::from_utf8(found.text).unwrap();
        assert_eq!(
            (text, found.first.map(|(_, iostream)| iostream), found.malformed),
            expected,
            "{raw}"
        );
    }

    #[test]
    fn envelopes_come_off_and_pieces_join() {
        use IoStream::{Stderr, Stdout};
        check(&line(r"hello\n", "stdout"), ("hello", Some(Stdout), false));
        check(&line(r"\n", "stderr"), ("", Some(Stderr), false));
        check(line("half", "stdout").trim_end(), ("half", Some(Stdout), false));
        check(&line(r"a\r\n\n", "stdout"), ("a\r\n", Some(Stdout), false));
        let pieces = [line(r#"{\"a\":"#, "stdout"), line(r#"\"\u003c\"}\n"#, "stdout")].concat();
        check(&pieces, (r#"{"a":"<"}"#, Some(Stdout), false));
        let trace = [line(r"boom\n", "stderr"), line(r"\tat x\n", "stderr")].concat();
        check(&trace, ("boom\n\tat x", Some(Stderr), false));
    }

    #[test]
    fn malformed_lines_are_kept() {
        check("", ("", None, true));
        check("\n", ("", None, true));
        check("{\"log\":\"x", ("{\"log\":\"x", None, true));
        check(&format!("junk\n{}", line(r"x\n", "stdout")), ("junk\nx", None, true));
        let torn = format!("{}junk", line(r"x\n", "stdout"));
        check(&torn, ("x\njunk", Some(IoStream::Stdout), true));
    }
}
