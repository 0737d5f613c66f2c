//! Numbers of documents and queries, compared exactly: 1234567890123456789 is not 1234567890123456788, and 5 is 5.0.
//!
//! Pure. A number is a whole one of 64 bits or a finite double; what JSON writes larger is the nearest double.

use std::cmp::Ordering;
use std::fmt;

/// A number, ordered by value.
#[derive(Debug, Clone, Copy)]
pub enum Number {
    /// Fits 64 bits, with a sign or without one.
    Whole(i128),
    /// Finite.
    Double(f64),
}

impl Number {
    /// Reads a number as JSON writes it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix('-').unwrap_or(text);
        let plain = |b: u8| b.is_ascii_digit() || b".eE+-".contains(&b);
        if !digits.starts_with(|c: char| c.is_ascii_digit()) || !digits.bytes().all(plain) {
            return None;
        }
        match text.parse::<i128>() {
            Ok(whole) if (i64::MIN.into()..=u64::MAX.into()).contains(&whole) => {
                Some(Self::Whole(whole))
            }
            _ => text.parse().ok().filter(|double: &f64| double.is_finite()).map(Self::Double),
        }
    }

    /// Nineteen characters that sort as the numbers do, and are equal where they are: the nearest double's bits, made to
    /// sort, then what it is off by, which is at most 1,024.
    #[must_use]
    pub fn key(self) -> String {
        let (sortable, off) = self.order();
        format!("{sortable:016x}{off:03x}")
    }

    fn order(self) -> (u64, u16) {
        let (double, off) = match self {
            Self::Whole(whole) => (whole as f64, whole - (whole as f64) as i128),
            // Minus zero is zero.
            Self::Double(double) => (double + 0.0, 0),
        };
        let bits = double.to_bits();
        let sortable = if bits >> 63 == 1 { !bits } else { bits | 1 << 63 };
        (sortable, (off + 2048).clamp(0, 4095) as u16)
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.order() == other.order()
    }
}

impl Eq for Number {}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Number {
    fn cmp(&self, other: &Self) -> Ordering {
        self.order().cmp(&other.order())
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(whole) => whole.fmt(f),
            Self::Double(double) => write!(f, "{double:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_as_numbers_do() {
        let ascending = [
            "-1e300",
            "-9223372036854775808",
            "-9223372036854775807",
            "-1.5",
            "-1",
            "-1e-300",
            "0",
            "1e-300",
            "0.5",
            "1",
            "1.5",
            "9007199254740992",
            "9007199254740993",
            "1234567890123456788",
            "1234567890123456789",
            "9223372036854775807",
            "18446744073709551614",
            "18446744073709551615",
            "1e300",
        ];
        let numbers: Vec<_> = ascending.iter().filter_map(|text| Number::parse(text)).collect();
        assert_eq!(numbers.len(), ascending.len());
        for pair in numbers.windows(2) {
            assert!(pair[0] < pair[1] && pair[0].key() < pair[1].key(), "{pair:?}");
            assert_eq!(Number::parse(&pair[0].to_string()), Some(pair[0]));
        }
    }

    #[test]
    fn equal_however_written() {
        for (a, b) in [
            ("5", "5.0"),
            ("0", "-0.0"),
            ("1e3", "1000"),
            ("9007199254740992", "9007199254740992.0"),
        ] {
            assert_eq!(Number::parse(a), Number::parse(b), "{a} {b}");
        }
        for text in ["", "-", "1e999", "inf", "NaN", "0x10", "1_0", "+1", ".5", "5a", "--1"] {
            assert_eq!(Number::parse(text), None, "{text}");
        }
    }
}
