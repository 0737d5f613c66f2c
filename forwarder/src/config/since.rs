//! How old a file may be.

use std::time::Duration;

use naru_proto::time::parse_rfc3339_ns;
use serde_saphyr::Spanned;

use super::wrong::Wrong;

/// A point in time, or an age.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Since {
    /// Before the start.
    Age(Duration),
    /// Nanoseconds since 1970.
    Time(i64),
}

impl Since {
    /// Reads `24h` (also `s`, `m`, `d`) or a time as RFC 3339 writes it; None for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(time_ns) = parse_rfc3339_ns(text.as_bytes()) {
            return Some(Self::Time(time_ns));
        }
        let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
        let seconds = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            "d" => 86_400,
            _ => return None,
        };
        let number: u64 = digits.parse().ok()?;
        number.checked_mul(seconds).map(|seconds| Self::Age(Duration::from_secs(seconds)))
    }

    pub(super) fn checked(found: Spanned<String>) -> Result<Self, Wrong> {
        Self::parse(&found.value).ok_or_else(|| {
            let reason = format!("{:?} is neither an age like 24h nor a time", found.value);
            Wrong::new("since", &found, reason)
        })
    }

    /// The same as nanoseconds since 1970.
    #[must_use]
    pub fn before(&self, now_ns: i64) -> i64 {
        match self {
            Self::Age(age) => {
                now_ns.saturating_sub(i64::try_from(age.as_nanos()).unwrap_or(i64::MAX))
            }
            Self::Time(time_ns) => *time_ns,
        }
    }
}
