//! Names that rotation gives to a host's log: `x.log.1`, `x.log.2.gz`, `x.log-20261122`, `x-20261122.log`,
//! `x-2026-11-22T10-00-00.000.log`. Pure.

use std::cmp::Ordering;

/// A rotated name, as far as it says which file is newer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotated {
    /// What stands in it for the time.
    pub stamp: Stamp,
    /// Compressed.
    pub gzip: bool,
}

/// What a rotated name is told apart by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stamp {
    /// Counted up with each rotation: the newest has the lowest.
    Number(u64),
    /// Made of the time of the rotation.
    Date(String),
}

impl Stamp {
    /// Whether this file is older or newer than another; None where their names cannot be compared.
    #[must_use]
    pub fn age(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Number(one), Self::Number(two)) => Some(two.cmp(one)),
            (Self::Date(one), Self::Date(two)) => Some(one.cmp(two)),
            _ => None,
        }
    }
}

/// Reads `name` as a rotated name of the file `live`.
#[must_use]
pub fn rotated(live: &str, name: &str) -> Option<Rotated> {
    let (plain, gzip) = match name.strip_suffix(".gz") {
        Some(plain) => (plain, true),
        None => (name, false),
    };
    let behind = plain.strip_prefix(live);
    let before_extension = || {
        let (stem, extension) = live.rsplit_once('.')?;
        plain.strip_prefix(stem)?.strip_suffix(extension)?.strip_suffix('.')
    };
    let stamp = behind.and_then(stamp).or_else(|| before_extension().and_then(stamp))?;
    Some(Rotated { stamp, gzip })
}

/// What follows a name: a separator, then digits with what stands between the parts of a date.
fn stamp(text: &str) -> Option<Stamp> {
    let digits = text.strip_prefix(['.', '-', '_'])?;
    let number = digits.bytes().all(|byte| byte.is_ascii_digit()) && digits.len() <= 4;
    if let Some(number) = digits.parse().ok().filter(|_| number) {
        return Some(Stamp::Number(number));
    }
    let dated = digits.len() >= 6
        && digits.starts_with(|first: char| first.is_ascii_digit())
        && digits
            .bytes()
            .all(|b| b.is_ascii_digit() || matches!(b, b'-' | b'.' | b'_' | b':' | b'T'));
    dated.then(|| Stamp::Date(digits.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b4_rotated_names() {
        let check = |live: &str, name: &str, expected: Option<(Stamp, bool)>| {
            let found = rotated(live, name).map(|found| (found.stamp, found.gzip));
            assert_eq!(found, expected, "{live} {name}");
        };
        let date = |text: &str| Stamp::Date(text.to_owned());
        check("syslog", "syslog.1", Some((Stamp::Number(1), false)));
        check("syslog", "syslog.12.gz", Some((Stamp::Number(12), true)));
        check("syslog", "syslog-20261122", Some((date("20261122"), false)));
        check("syslog", "syslog-20261122.gz", Some((date("20261122"), true)));
        check("x.log", "x-20261122.log.gz", Some((date("20261122"), true)));
        check("x.log", "x.log-20261122-1795307400", Some((date("20261122-1795307400"), false)));
        check(
            "audit.log",
            "audit-2026-11-22T10-00-00.000.log",
            Some((date("2026-11-22T10-00-00.000"), false)),
        );
        for other in
            ["syslog", "syslog.gz", "syslog.1.tmp", "syslog.old", "syslog2", "syslog.1.bz2"]
        {
            check("syslog", other, None);
        }
        check("x.log", "xy.log.1", None);
        assert_eq!(Stamp::Number(1).age(&Stamp::Number(2)), Some(Ordering::Greater));
        assert_eq!(date("20261121").age(&date("20261122")), Some(Ordering::Less));
        assert_eq!(date("20261121").age(&Stamp::Number(1)), None);
    }
}
