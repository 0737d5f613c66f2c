//! JSON strings, written fast: 32 bytes at a time, and runs that need no escape are copied whole. Pure.

/// What follows the backslash; 0 for bytes that stand for themselves, `u` for those that have no letter.
const ESCAPES: [u8; 256] = {
    let mut table = [0; 256];
    let mut control = 0;
    while control < 0x20 {
        table[control] = b'u';
        control += 1;
    }
    table[0x08] = b'b';
    table[0x09] = b't';
    table[0x0a] = b'n';
    table[0x0c] = b'f';
    table[0x0d] = b'r';
    table[b'"' as usize] = b'"';
    table[b'\\' as usize] = b'\\';
    table
};

/// A piece: two vector registers, and few enough that escaping all of it fits a stack buffer.
const PIECE_BYTES: usize = 32;

/// Appends a JSON string with its quotes.
pub(super) fn push_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    push_escaped(out, text);
    out.push(b'"');
}

/// Appends the inside of a JSON string.
pub(super) fn push_escaped(out: &mut Vec<u8>, text: &str) {
    let mut run = text.as_bytes();
    let mut clean = 0;
    while let Some(piece) = run.get(clean..).filter(|rest| !rest.is_empty()) {
        let piece = piece.get(..PIECE_BYTES).unwrap_or(piece);
        if !needs_escape(piece) {
            clean += piece.len();
            continue;
        }
        let (copied, rest) = run.split_at(clean);
        out.extend_from_slice(copied);
        push_piece(out, piece);
        run = rest.get(piece.len()..).unwrap_or_default();
        clean = 0;
    }
    out.extend_from_slice(run);
}

/// Without a branch per byte, so that the compiler uses vectors.
fn needs_escape(piece: &[u8]) -> bool {
    piece.iter().fold(false, |found, b| found | (*b < 0x20) | (*b == b'"') | (*b == b'\\'))
}

/// Without a branch per byte, because in a JSON body every fifth needs an escape, unpredictably.
fn push_piece(out: &mut Vec<u8>, piece: &[u8]) {
    let mut escaped = [0; PIECE_BYTES * 2];
    let mut length = 0;
    let mut without_letter = false;
    for byte in piece {
        let letter = ESCAPES[usize::from(*byte)];
        without_letter |= letter == b'u';
        escaped[length % escaped.len()] = b'\\';
        length += usize::from(letter != 0);
        escaped[length % escaped.len()] = if letter == 0 { *byte } else { letter };
        length += 1;
    }
    if without_letter {
        piece.iter().for_each(|byte| push_byte(out, *byte));
    } else {
        out.extend_from_slice(escaped.get(..length).unwrap_or_default());
    }
}

fn push_byte(out: &mut Vec<u8>, byte: u8) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    match ESCAPES[usize::from(byte)] {
        0 => out.push(byte),
        b'u' => {
            out.extend_from_slice(b"\\u00");
            out.push(HEX[usize::from(byte >> 4)]);
            out.push(HEX[usize::from(byte & 15)]);
        }
        letter => out.extend_from_slice(&[b'\\', letter]),
    }
}

/// Appends a decimal number.
pub(super) fn push_number(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(text: &str) {
        let mut out = b"before".to_vec();
        push_string(&mut out, text);
        let expected = format!("before{}", serde_json::to_string(text).unwrap());
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn every_byte_in_every_place() {
        for byte in 0..0x80_u8 {
            for length in [0, 1, 31, 32, 33, 70] {
                let byte = char::from(byte);
                check(&format!("{}{byte}{}", "x".repeat(length), "주문\u{2028}".repeat(3)));
                check(&byte.to_string().repeat(length));
            }
        }
    }

    proptest! {
        #[test]
        fn strings_are_those_of_serde_json(text in "(\\PC|[\\x00-\\x7f]|\"|\\\\){0,200}") {
            check(&text);
        }

        #[test]
        fn numbers_are_decimal(number: u64, shift in 0..64_u32) {
            let mut out = Vec::new();
            push_number(&mut out, number >> shift);
            prop_assert_eq!(String::from_utf8(out).unwrap(), (number >> shift).to_string());
        }
    }
}
