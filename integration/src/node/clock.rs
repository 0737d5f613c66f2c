//! The time that log envelopes carry.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use naru_proto::time::format_rfc3339_ns;

/// The node's clock: the machine's, but no two lines have the same time. It may be put forward or back.
#[derive(Debug, Default)]
pub struct Clock {
    last_ns: AtomicI64,
    ahead_ns: AtomicI64,
}

impl Clock {
    /// Nanoseconds since 1970, later than every time before unless it was put back.
    pub fn tick(&self) -> i64 {
        let now = machine_ns();
        let after = |last: i64| Some(now.max(last + 1));
        let last = self.last_ns.fetch_update(Ordering::Relaxed, Ordering::Relaxed, after).unwrap();
        now.max(last + 1) + self.ahead_ns.load(Ordering::Relaxed)
    }

    /// Whole seconds since 1970.
    #[must_use]
    pub fn now_s(&self) -> i64 {
        (machine_ns() + self.ahead_ns.load(Ordering::Relaxed)) / 1_000_000_000
    }

    /// So far ahead of the machine's from now on; a negative number is behind it.
    pub fn put(&self, ahead_s: i64) {
        self.ahead_ns.store(ahead_s * 1_000_000_000, Ordering::Relaxed);
    }

    /// So much later at once.
    pub fn pass(&self, time: Duration) {
        self.ahead_ns.fetch_add(time.as_nanos() as i64, Ordering::Relaxed);
    }

    /// Its day in UTC, as it stands in the names of indices.
    #[must_use]
    pub fn day(&self) -> String {
        let text = format_rfc3339_ns(machine_ns() + self.ahead_ns.load(Ordering::Relaxed));
        String::from_utf8_lossy(&text[..10]).replace('-', ".")
    }

    /// Noon in UTC, so many days after today: far from the day's ends.
    pub fn noon(&self, days: i64) {
        let now = machine_ns();
        let today = now - now.rem_euclid(DAY_NS);
        self.ahead_ns.store(today + days * DAY_NS + DAY_NS / 2 - now, Ordering::Relaxed);
    }
}

const DAY_NS: i64 = 86_400_000_000_000;

fn machine_ns() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as i64
}

/// The node's time zone, which containerd and the kubelet write local times in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Zone {
    /// Written `Z`.
    Utc,
    /// Whole hours east of Greenwich, 1–14.
    East(u8),
}

impl Zone {
    /// Korea's.
    pub const SEOUL: Self = Self::East(9);

    /// Go's `time.RFC3339Nano`: trailing zeros of the fraction are left out, and the point with them.
    #[must_use]
    pub fn rfc3339_nano(self, time_ns: i64) -> String {
        let local = format_rfc3339_ns(time_ns + self.offset_ns());
        let local = std::str::from_utf8(&local[..29]).unwrap();
        let trimmed = local.trim_end_matches('0');
        // A whole second keeps its zeros: only the fraction is trimmed.
        let trimmed = if trimmed.len() <= 20 { local.split_at(19).0 } else { trimmed };
        match self {
            Self::Utc => format!("{trimmed}Z"),
            Self::East(hours) => format!("{trimmed}+{hours:02}:00"),
        }
    }

    /// The kubelet's suffix of a rotated file: `YYYYMMDD-HHMMSS`.
    #[must_use]
    pub fn rotation_suffix(self, time_s: i64) -> String {
        let local = format_rfc3339_ns(time_s * 1_000_000_000 + self.offset_ns());
        let digits = local[..19].iter().filter(|b| b.is_ascii_digit()).map(|b| char::from(*b));
        let mut suffix: String = digits.collect();
        suffix.insert(8, '-');
        suffix
    }

    fn offset_ns(self) -> i64 {
        match self {
            Self::Utc => 0,
            Self::East(hours) => i64::from(hours) * 3_600_000_000_000,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_as_go_writes_them() {
        let check = |zone: Zone, time_ns, expected: &str| {
            let text = zone.rfc3339_nano(time_ns);
            assert_eq!(text, expected);
            assert_eq!(naru_proto::time::parse_rfc3339_ns(text.as_bytes()), Some(time_ns));
        };
        check(Zone::Utc, 0, "1970-01-01T00:00:00Z");
        check(Zone::SEOUL, 0, "1970-01-01T09:00:00+09:00");
        check(Zone::SEOUL, 1_795_307_400_120_000_000, "2026-11-22T09:30:00.12+09:00");
        check(Zone::Utc, 1_795_307_400_000_000_001, "2026-11-22T00:30:00.000000001Z");
        check(Zone::Utc, 1_795_307_410_100_000_000, "2026-11-22T00:30:10.1Z");
    }

    #[test]
    fn rotated_names_are_in_local_time() {
        assert_eq!(Zone::SEOUL.rotation_suffix(1_795_307_400), "20261122-093000");
    }

    #[test]
    fn no_two_lines_have_the_same_time() {
        let clock = Clock::default();
        let times: Vec<i64> = (0..10_000).map(|_| clock.tick()).collect();
        assert!(times.is_sorted_by(|a, b| a < b));
    }
}
