//! The envelope of a container log line, as the kubelet's CRI defines it
//! (`kubernetes/pkg/kubelet/kuberuntime/logs`): `<RFC 3339 time> <stdout|stderr> <tag[:tag…]> <content>`.
//!
//! Both ends read it by this one function: the forwarder to know where a record ends, the aggregator to decode it. Pure
//! and total: a line that it does not accept is malformed, and still a record.

use crate::time::leading_rfc3339_ns;
use crate::wire::IoStream;

/// What stands before a line's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Envelope {
    /// Nanoseconds since 1970.
    pub time_ns: i64,
    /// Never unspecified.
    pub iostream: IoStream,
    /// Tagged `P`: the next line of the same iostream continues it.
    pub partial: bool,
    /// Where the content begins in the line.
    pub content_start: usize,
}

/// Reads the envelope of a line, with or without its newline.
#[must_use]
pub fn envelope(line: &[u8]) -> Option<Envelope> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let (time_ns, time_end) = leading_time(line)?;
    let rest = line.get(time_end..)?;
    let iostream = match rest.get(..8)? {
        b" stdout " => IoStream::Stdout,
        b" stderr " => IoStream::Stderr,
        _ => return None,
    };
    let tags = rest.get(8..)?;
    let partial = match tags.first()? {
        b'F' => false,
        b'P' => true,
        _ => return None,
    };
    let content_start = match tags.get(1) {
        Some(b' ') => time_end + 10,
        None => time_end + 9,
        // Further tags are reserved by the format.
        Some(b':') => match memchr::memchr(b' ', tags) {
            Some(space) => time_end + 8 + space + 1,
            None => line.len(),
        },
        Some(_) => return None,
    };
    Some(Envelope { time_ns, iostream, partial, content_start })
}

/// The time that a line begins with, and where it ends, exclusive.
#[must_use]
pub fn leading_time(line: &[u8]) -> Option<(i64, usize)> {
    leading_rfc3339_ns(line).filter(|(_, end)| line.get(*end) == Some(&b' '))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: Option<(IoStream, bool, &str)>) {
        let found = envelope(line.as_bytes());
        let found =
            found.as_ref().map(|e| (e.iostream, e.partial, line.split_at(e.content_start).1));
        assert_eq!(found, expected, "{line:?}");
    }

    #[test]
    fn reads_envelopes() {
        use IoStream::{Stderr, Stdout};
        check("2026-11-22T09:30:00.1+09:00 stdout F hello", Some((Stdout, false, "hello")));
        check("2026-11-22T09:30:00Z stderr P  two", Some((Stderr, true, " two")));
        check("2026-11-22T09:30:00Z stdout F ", Some((Stdout, false, "")));
        check("2026-11-22T09:30:00Z stdout F", Some((Stdout, false, "")));
        check("2026-11-22T09:30:00Z stdout P:x:y z", Some((Stdout, true, "z")));
        check("2026-11-22T09:30:00Z stdout F:x", Some((Stdout, false, "")));
        check("2026-11-22T09:30:00Z stdin F x", None);
        check("2026-11-22T09:30:00Z stdout  x", None);
        check("2026-11-22T09:30:00Z stdout Full x", None);
        check("2026-11-22T09:30:00Z stdout ", None);
        check(
            "2026-03-10T15:48:15.2+08:00 stdout 2026-03-10T16:03:15.2+08:00 stdout F + true",
            None,
        );
        check("yesterday stdout F x", None);
        check("", None);
        check(" stdout F x", None);
    }
}
