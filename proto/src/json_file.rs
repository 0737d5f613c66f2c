//! A line of docker's json-file driver (`moby/daemon/logger/jsonfilelog`): one JSON object with `log`, `stream`, `time`
//! and perhaps `attrs`. `log` ends with a newline, but for a piece of a line that docker split at 16 KiB.
//!
//! Both ends read it by this one function: the forwarder to know where a record ends, the aggregator to decode it. Pure
//! and total: a line that it does not accept is malformed, and still a record.

use std::borrow::Cow;

use memchr::memchr_iter;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::time::parse_rfc3339_ns;
use crate::wire::IoStream;

/// What a line says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// Nanoseconds since 1970.
    pub time_ns: i64,
    /// Never unspecified.
    pub iostream: IoStream,
    /// The text does not end with a newline: the next line of the same iostream continues it.
    pub partial: bool,
    /// The text as it stands between its quotes; see [`unescape`].
    pub log: &'a [u8],
}

/// Reads a line, with or without its newline.
#[must_use]
pub fn envelope(line: &[u8]) -> Option<Envelope<'_>> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    as_docker_writes(line).or_else(|| as_json(line))
}

/// `{"log":"…","stream":"stdout","time":"…"}`, byte for byte: nearly every line, and no JSON parser is needed for it.
fn as_docker_writes(line: &[u8]) -> Option<Envelope<'_>> {
    let text = line.strip_prefix(br#"{"log":""#)?;
    let end = memchr_iter(b'"', text).find(|quote| !is_escaped(text, *quote))?;
    let (log, rest) = text.split_at_checked(end)?;
    let (stream, rest) = rest.strip_prefix(br#"","stream":"std"#)?.split_at_checked(3)?;
    let iostream = match stream {
        b"out" => IoStream::Stdout,
        b"err" => IoStream::Stderr,
        _ => return None,
    };
    let time = rest.strip_prefix(br#"","time":""#)?.strip_suffix(br#""}"#)?;
    Some(Envelope { time_ns: parse_rfc3339_ns(time)?, iostream, partial: is_partial(log), log })
}

/// The fields of a line that matter; the others may be anything.
#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    log: &'a RawValue,
    #[serde(borrow)]
    stream: Cow<'a, str>,
    #[serde(borrow)]
    time: Cow<'a, str>,
}

fn as_json(line: &[u8]) -> Option<Envelope<'_>> {
    // An object, and nothing in it that is deep enough to matter: the parser has its own bound.
    let line: Line<'_> = serde_json::from_slice(line).ok()?;
    let log = line.log.get().as_bytes().strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    let iostream = match &*line.stream {
        "stdout" => IoStream::Stdout,
        "stderr" => IoStream::Stderr,
        _ => return None,
    };
    let time_ns = parse_rfc3339_ns(line.time.as_bytes())?;
    Some(Envelope { time_ns, iostream, partial: is_partial(log), log })
}

/// An odd number of backslashes stands before a byte.
fn is_escaped(text: &[u8], at: usize) -> bool {
    let before = text.get(..at).unwrap_or_default();
    before.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1
}

fn is_partial(log: &[u8]) -> bool {
    !(log.ends_with(b"n") && is_escaped(log, log.len() - 1))
}

/// Adds the text that `log` stands for. What is no escape of JSON stays as it is; half a surrogate pair becomes U+FFFD.
pub fn unescape(log: &[u8], text: &mut Vec<u8>) {
    let mut rest = log;
    while let Some(backslash) = memchr::memchr(b'\\', rest) {
        let (plain, escape) = rest.split_at_checked(backslash).unwrap_or((rest, &[]));
        text.extend_from_slice(plain);
        let byte = match escape.get(1) {
            Some(b'n') => b'\n',
            Some(b't') => b'\t',
            Some(b'r') => b'\r',
            Some(b'b') => 8,
            Some(b'f') => 12,
            Some(byte @ (b'"' | b'\\' | b'/')) => *byte,
            Some(b'u') => {
                rest = unescape_unicode(escape, text);
                continue;
            }
            _ => {
                text.push(b'\\');
                rest = escape.get(1..).unwrap_or_default();
                continue;
            }
        };
        text.push(byte);
        rest = escape.get(2..).unwrap_or_default();
    }
    text.extend_from_slice(rest);
}

/// Adds the character of a `\u` escape, and gives what follows it.
fn unescape_unicode<'a>(escape: &'a [u8], text: &mut Vec<u8>) -> &'a [u8] {
    let Some(first) = code_unit(escape) else {
        text.extend_from_slice(b"\\u");
        return escape.get(2..).unwrap_or_default();
    };
    let rest = escape.get(6..).unwrap_or_default();
    let (character, rest) = match first {
        0xd800..0xdc00 => match code_unit(rest) {
            Some(second @ 0xdc00..0xe000) => {
                let character = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                (char::from_u32(character), rest.get(6..).unwrap_or_default())
            }
            _ => (None, rest),
        },
        _ => (char::from_u32(first), rest),
    };
    let character = character.unwrap_or(char::REPLACEMENT_CHARACTER);
    text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    rest
}

/// The number of the `\uXXXX` that a text begins with.
fn code_unit(text: &[u8]) -> Option<u32> {
    let [b'\\', b'u', digits @ ..] = text else { return None };
    let digits = digits.first_chunk::<4>()?;
    digits.iter().try_fold(0, |unit, digit| Some(unit << 4 | char::from(*digit).to_digit(16)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: Option<(IoStream, bool, &str)>) {
        let found = envelope(line.as_bytes());
        assert!(found.is_none_or(|e| e.time_ns == 1_795_307_400_100_000_000));
        let found = found.map(|e| (e.iostream, e.partial, std::str::from_utf8(e.log).unwrap()));
        assert_eq!(found, expected, "{line:?}");
    }

    #[test]
    fn reads_what_docker_writes() {
        use IoStream::{Stderr, Stdout};
        const TIME: &str = r#""time":"2026-11-22T00:30:00.1Z"}"#;
        let line =
            |log: &str, stream: &str| format!(r#"{{"log":"{log}","stream":"{stream}",{TIME}"#);
        check(&line(r"hello\n", "stdout"), Some((Stdout, false, r"hello\n")));
        check(&format!("{}\n", line(r"\n", "stderr")), Some((Stderr, false, r"\n")));
        check(&line("half", "stdout"), Some((Stdout, true, "half")));
        check(&line("", "stdout"), Some((Stdout, true, "")));
        check(&line(r"path\\n", "stdout"), Some((Stdout, true, r"path\\n")));
        check(&line(r"path\\\n", "stdout"), Some((Stdout, false, r"path\\\n")));
        check(
            &line(r#"{\"a\":\"b\\\"\"}\n"#, "stdout"),
            Some((Stdout, false, r#"{\"a\":\"b\\\"\"}\n"#)),
        );
        check(&line(r"a\n", "stdin"), None);
        check(&line("a\tb", "stdout"), Some((Stdout, true, "a\tb")));
    }

    #[test]
    fn reads_any_other_order_and_more_fields() {
        let time = r#""time":"2026-11-22T09:30:00.1+09:00""#;
        let check_a = |line: &str| check(line, Some((IoStream::Stdout, false, r"a\n")));
        check_a(&format!(r#"{{"log":"a\n","stream":"stdout","attrs":{{"tag":"}}x"}},{time}}}"#));
        check_a(&format!(r#"{{ {time}, "stream": "std\u006fut", "log": "a\n" }}"#));
        for bad in [
            String::new(),
            "{}".to_owned(),
            "null".to_owned(),
            format!(r#"{{"log":"a\n","stream":"stdout",{time}}}x"#),
            format!(r#"{{"log":"a\n","stream":"stdout",{time}"#),
            format!(r#"{{"log":7,"stream":"stdout",{time}}}"#),
            format!(r#"{{"log":"a\n",{time}}}"#),
            r#"{"log":"a\n","stream":"stdout","time":"yesterday"}"#.to_owned(),
            // What a full disk leaves.
            format!(r#"{{"log":"hal{{"log":"a\n","stream":"stdout",{time}}}"#),
            "2026-11-22T00:30:00.1Z stdout F x".to_owned(),
        ] {
            check(&bad, None);
        }
    }

    fn check_text(log: &str, expected: &str) {
        let mut text = Vec::new();
        unescape(log.as_bytes(), &mut text);
        assert_eq!(String::from_utf8(text).unwrap(), expected, "{log}");
    }

    #[test]
    fn escapes_come_off() {
        check_text("", "");
        check_text(r#"a\n\t\r\b\f\"\\\/z"#, "a\n\t\r\u{8}\u{c}\"\\/z");
        check_text(r"\u003chtml\u003E\u0026\u2028", "<html>&\u{2028}");
        check_text(r"주\uC8FC\ud83e\udd80", "주주🦀");
        check_text(r"\ud83e", "\u{fffd}");
        check_text(r"\udd80\ud83ex\ud83e\u0041\ud83e\n", "\u{fffd}\u{fffd}x\u{fffd}A\u{fffd}\n");
        check_text(r"\q\u12\u12g4\", r"\q\u12\u12g4\");
        check_text(r"\u000", r"\u000");
    }
}
