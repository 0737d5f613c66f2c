//! Bytes to text: whatever is not UTF-8 becomes U+FFFD and is counted. Pure and total.
//!
//! It runs after joining, because a character may lie across two fragments of a line.

/// The text of a record and how many U+FFFD stand for bytes that are not UTF-8; `scratch` holds it when it differs.
#[must_use]
pub fn utf8<'a>(bytes: &'a [u8], scratch: &'a mut String) -> (&'a str, usize) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (text, 0),
        Err(_) => repaired(bytes, scratch),
    }
}

fn repaired<'a>(bytes: &[u8], scratch: &'a mut String) -> (&'a str, usize) {
    scratch.clear();
    let mut errors = 0;
    for chunk in bytes.utf8_chunks() {
        scratch.push_str(chunk.valid());
        if !chunk.invalid().is_empty() {
            scratch.push(char::REPLACEMENT_CHARACTER);
            errors += 1;
        }
    }
    (scratch, errors)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8], expected_errors: usize) {
        let mut scratch = String::from("left over");
        let (text, errors) = utf8(bytes, &mut scratch);
        assert_eq!(text, String::from_utf8_lossy(bytes));
        assert_eq!(errors, expected_errors, "{bytes:?}");
    }

    #[test]
    fn bad_bytes_are_replaced_and_counted() {
        check(b"", 0);
        check("주문 완료\u{2028}".as_bytes(), 0);
        check("written \u{fffd}".as_bytes(), 0);
        check(b"\xff", 1);
        check(b"a\xc3\x28b\xed\xa0\x80", 4);
        check(b"\xec\xa3", 1);
        check(&[0x80; 100], 100);
    }
}
