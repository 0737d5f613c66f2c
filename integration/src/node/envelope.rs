//! How containerd writes a line: pieces of at most 16 KiB, each with an envelope. Pure.

use naru_proto::frame::IoStream;

use crate::line::iostream_name;

/// containerd's `max_container_log_line_size`.
pub const FRAGMENT_MAX_BYTES: usize = 16 * 1024;

/// Whether a piece ends its line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tag {
    Partial,
    Full,
}

/// The pieces of a line that ends: all partial, the last full. One of exactly 16 KiB is not split.
pub(super) fn fragments(content: &[u8]) -> impl Iterator<Item = (Tag, &[u8])> {
    let count = content.len().div_ceil(FRAGMENT_MAX_BYTES).max(1);
    (0..count).map(move |index| {
        let start = index * FRAGMENT_MAX_BYTES;
        let end = content.len().min(start + FRAGMENT_MAX_BYTES);
        (if index + 1 == count { Tag::Full } else { Tag::Partial }, &content[start..end])
    })
}

/// One physical line.
pub(super) fn physical(time: &str, iostream: IoStream, tag: Tag, content: &[u8]) -> Vec<u8> {
    let tag = match tag {
        Tag::Partial => 'P',
        Tag::Full => 'F',
    };
    let mut line = format!("{time} {} {tag} ", iostream_name(iostream)).into_bytes();
    line.extend_from_slice(content);
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_split_as_containerd_does() {
        let check = |length: usize, expected: &[(Tag, usize)]| {
            let content = vec![b'x'; length];
            let found: Vec<_> =
                fragments(&content).map(|(tag, piece)| (tag, piece.len())).collect();
            assert_eq!(found, expected);
        };
        check(0, &[(Tag::Full, 0)]);
        check(1, &[(Tag::Full, 1)]);
        check(16_384, &[(Tag::Full, 16_384)]);
        check(16_385, &[(Tag::Partial, 16_384), (Tag::Full, 1)]);
        check(40_000, &[(Tag::Partial, 16_384), (Tag::Partial, 16_384), (Tag::Full, 7232)]);
    }

    #[test]
    fn a_physical_line_has_an_envelope() {
        let line = physical("2026-11-22T00:30:00Z", IoStream::Stderr, Tag::Full, b"");
        assert_eq!(line, b"2026-11-22T00:30:00Z stderr F \n");
        let envelope = naru_proto::cri::envelope(&line).unwrap();
        assert_eq!(envelope.iostream, IoStream::Stderr);
    }
}
