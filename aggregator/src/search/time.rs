//! Times as people write them: RFC 3339, a date, milliseconds since 1970, or relative to now. Pure: now is an argument.

use std::fmt;

use naru_proto::time::{format_rfc3339_ns, parse_rfc3339_ns};

const NS_PER_MS: i64 = 1_000_000;
const NS_PER_S: i64 = 1_000_000_000;
/// 1678 to 2261, the years that RFC 3339 times are read of.
const BELIEVED_MS: std::ops::Range<i64> = -9_214_560_000_000..9_214_646_400_000;
/// A day.
pub const NS_PER_DAY: i64 = 86_400 * NS_PER_S;

/// A point in time, known once now is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeText {
    /// Nanoseconds since 1970.
    At(i64),
    /// Nanoseconds from now on.
    Now(i64),
}

impl TimeText {
    /// Reads `2026-11-22T09:30:00Z` (any fraction and zone; without a zone it is UTC), `2026-11-22`, `1795307400000`
    /// (milliseconds), `now`, `now-15m` or `now+1h` (units s, m, h, d, w).
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(rest) = text.strip_prefix("now") {
            return relative_ns(rest).map(Self::Now);
        }
        let digits = text.strip_prefix('-').unwrap_or(text);
        if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
            let ms: i64 = text.parse().ok()?;
            return BELIEVED_MS.contains(&ms).then(|| Self::At(ms * NS_PER_MS));
        }
        if let Some(day_ns) = parse_day(text) {
            return Some(Self::At(day_ns));
        }
        parse_rfc3339_ns(text.as_bytes())
            .or_else(|| parse_rfc3339_ns(format!("{text}Z").as_bytes()))
            .filter(|ns| BELIEVED_MS.contains(&ns.div_euclid(NS_PER_MS)))
            .map(Self::At)
    }

    /// The nanoseconds since 1970 that it is.
    #[must_use]
    pub fn resolve(self, now_ns: i64) -> i64 {
        match self {
            Self::At(ns) => ns,
            Self::Now(from_now_ns) => now_ns.saturating_add(from_now_ns),
        }
    }
}

impl fmt::Display for TimeText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::At(ns) => {
                f.write_str(std::str::from_utf8(&format_rfc3339_ns(ns)).unwrap_or_default())
            }
            Self::Now(0) => f.write_str("now"),
            Self::Now(ns) => write!(f, "now{:+}s", ns / NS_PER_S),
        }
    }
}

/// The beginning of a day written as `2026-11-22`.
#[must_use]
pub fn parse_day(text: &str) -> Option<i64> {
    (text.len() == 10).then(|| parse_rfc3339_ns(format!("{text}T00:00:00Z").as_bytes())).flatten()
}

fn relative_ns(text: &str) -> Option<i64> {
    if text.is_empty() {
        return Some(0);
    }
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+')?),
    };
    let (unit, seconds) = [("s", 1), ("m", 60), ("h", 3600), ("d", 86_400), ("w", 604_800)]
        .into_iter()
        .find(|(unit, _)| rest.ends_with(unit))?;
    let count = rest.strip_suffix(unit)?;
    if count.is_empty() || !count.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let count: i64 = count.parse().ok()?;
    count.checked_mul(seconds)?.checked_mul(sign * NS_PER_S)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<TimeText>) {
        assert_eq!(TimeText::parse(text), expected, "{text}");
        if let Some(time) = expected {
            assert_eq!(TimeText::parse(&time.to_string()), Some(time), "{text}");
        }
    }

    #[test]
    fn reads_what_people_write() {
        let at = |ns| Some(TimeText::At(ns));
        check("1970-01-01T00:00:00.000000001Z", at(1));
        check("1970-01-01T09:00:00+09:00", at(0));
        check("1970-01-01T00:00:01", at(NS_PER_S));
        check("1970-01-02", at(NS_PER_DAY));
        check("1500", at(1_500_000_000));
        check("-1", at(-NS_PER_MS));
        check("now", Some(TimeText::Now(0)));
        check("now-15m", Some(TimeText::Now(-900 * NS_PER_S)));
        check("now+2w", Some(TimeText::Now(14 * NS_PER_DAY)));
        for text in [
            "",
            "now-",
            "now-m",
            "now15m",
            "now-1y",
            "yesterday",
            "2026-13-01",
            "now-99999999999999w",
            "99999999999999999999",
            "2026-11-22T09",
            "nowish",
            "주문",
        ] {
            check(text, None);
        }
        assert_eq!(TimeText::Now(-5).resolve(3), -2);
        assert_eq!(TimeText::Now(-5).resolve(i64::MIN), i64::MIN);
    }
}
