//! Where a physical line, or a piece of one that is longer than the cap, ends. Pure, and blind to what has not been read.

use memchr::memchr;

/// How far the next piece of a file reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// A line, or the rest of one, through its newline.
    Newline(usize),
    /// A longer line: a piece of exactly the cap, less a character that it would split.
    Cap(usize),
    /// Not known before more is read.
    Unknown,
}

/// The piece that `rest`, the file from a line's or a piece's first byte on, begins with.
///
/// A line that fits into the cap with its newline is one piece. So `max_bytes` of it decide, however much more there is.
pub(super) fn reach(rest: &[u8], max_bytes: usize) -> Reach {
    let window = rest.get(..max_bytes).unwrap_or(rest);
    match memchr(b'\n', window) {
        Some(newline) => Reach::Newline(newline + 1),
        None if window.len() == max_bytes => Reach::Cap(character_boundary(window)),
        None => Reach::Unknown,
    }
}

/// The length without a UTF-8 character at the end that has only begun; never 0 but for nothing.
fn character_boundary(window: &[u8]) -> usize {
    let length = window.len();
    let begun = (1..=3.min(length.saturating_sub(1))).find(|back| {
        let end = window.get(length - back..).unwrap_or_default();
        str::from_utf8(end).is_err_and(|e| e.valid_up_to() == 0 && e.error_len().is_none())
    });
    length - begun.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rest: &[u8], expected: Reach) {
        assert_eq!(reach(rest, 8), expected, "{:?}", String::from_utf8_lossy(rest));
    }

    #[test]
    fn a_line_that_fits_with_its_newline_is_whole() {
        check(b"", Reach::Unknown);
        check(b"\n", Reach::Newline(1));
        check(b"abc\nd", Reach::Newline(4));
        check(b"1234567", Reach::Unknown);
        check(b"1234567\n", Reach::Newline(8));
        check(b"1234567\nx", Reach::Newline(8));
        check(b"12345678", Reach::Cap(8));
        check(b"12345678\n", Reach::Cap(8));
        check(b"123456789", Reach::Cap(8));
    }

    #[test]
    fn a_character_is_not_split() {
        check("1234567é".as_bytes(), Reach::Cap(7));
        check("123456é".as_bytes(), Reach::Cap(8));
        check("123456주".as_bytes(), Reach::Cap(6));
        check("1234567주".as_bytes(), Reach::Cap(7));
        check("12345주".as_bytes(), Reach::Cap(8));
        check("12345🦀".as_bytes(), Reach::Cap(5));
        check("1234567🦀".as_bytes(), Reach::Cap(7));
        check("1234🦀".as_bytes(), Reach::Cap(8));
        // Not UTF-8: nothing to keep together.
        check(&[0x80; 9], Reach::Cap(8));
        check(b"1234567\xff", Reach::Cap(8));
        check(b"1234\xf0\x80\x80\x80", Reach::Cap(8));
        check(b"12345\xf0\x80\x80", Reach::Cap(8));
        check(b"12345\xf0\x9f\xa6", Reach::Cap(5));
    }
}
