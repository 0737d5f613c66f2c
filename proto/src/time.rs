//! RFC 3339 times of log envelopes, in nanoseconds since 1970. Pure, allocation-free, total.

/// 2000-01-01T00:00:00Z: an id-time before it is not believed.
pub const ID_TIME_MIN_NS: i64 = 946_684_800 * 1_000_000_000;
/// 2100-01-01T00:00:00Z: an id-time from it on is not believed.
pub const ID_TIME_MAX_EXCLUSIVE_NS: i64 = 4_102_444_800 * 1_000_000_000;

const NS_PER_S: i64 = 1_000_000_000;
const S_PER_DAY: i64 = 86_400;

/// Reads `2026-11-22T09:30:00.123456789+09:00`: 0–9 fraction digits, `Z` or a numeric zone.
///
/// None for anything else, and for years outside 1678–2261, which do not fit.
#[must_use]
pub fn parse_rfc3339_ns(text: &[u8]) -> Option<i64> {
    leading_rfc3339_ns(text).filter(|(_, end)| *end == text.len()).map(|(time_ns, _)| time_ns)
}

/// Reads the time that a text begins with, likewise, and where it ends, exclusive.
#[must_use]
pub fn leading_rfc3339_ns(text: &[u8]) -> Option<(i64, usize)> {
    let (date_time, rest) = text.split_first_chunk::<19>()?;
    let local_s = civil_seconds(date_time)?;
    let (fraction_ns, fraction_end) = match rest {
        [b'.', digits @ ..] => fraction(digits)?,
        _ => (0, 0),
    };
    let (zone_s, zone_end) = zone_seconds(rest.get(fraction_end..)?)?;
    let time_ns = (local_s - zone_s) * NS_PER_S + fraction_ns;
    Some((time_ns, 19 + fraction_end + zone_end))
}

/// The UTC date of a time: year, month, day.
#[must_use]
pub fn civil_date(time_ns: i64) -> (i64, u32, u32) {
    civil_from_days(time_ns.div_euclid(S_PER_DAY * NS_PER_S))
}

/// Writes `2026-11-22T00:30:00.123456789Z`, always nine fraction digits.
#[must_use]
pub fn format_rfc3339_ns(time_ns: i64) -> [u8; 30] {
    let (year, month, day) = civil_date(time_ns);
    let in_day_ns = time_ns.rem_euclid(S_PER_DAY * NS_PER_S);
    let second = in_day_ns / NS_PER_S;
    let mut out = *b"0000-00-00T00:00:00.000000000Z";
    put(&mut out, 0, 4, year.unsigned_abs());
    put(&mut out, 5, 2, u64::from(month));
    put(&mut out, 8, 2, u64::from(day));
    put(&mut out, 11, 2, (second / 3600) as u64);
    put(&mut out, 14, 2, (second / 60 % 60) as u64);
    put(&mut out, 17, 2, (second % 60) as u64);
    put(&mut out, 20, 9, (in_day_ns % NS_PER_S) as u64);
    out
}

/// Writes the last `width` decimal digits of a number at a place.
fn put(out: &mut [u8; 30], at: usize, width: usize, mut number: u64) {
    for digit in out.iter_mut().skip(at).take(width).rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// `2026-11-22T09:30:00` as if it were UTC, in seconds since 1970.
fn civil_seconds(text: &[u8; 19]) -> Option<i64> {
    let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2, b'T', h1, h2, b':', n1, n2, b':', s1, s2] =
        *text
    else {
        return None;
    };
    // Every line of every log comes by here: one branch for all of the digits.
    let digits = [y1, y2, y3, y4, m1, m2, d1, d2, h1, h2, n1, n2, s1, s2];
    let digits = digits.map(|byte| byte.wrapping_sub(b'0'));
    if digits.iter().fold(false, |bad, digit| bad | (*digit > 9)) {
        return None;
    }
    let two = |at: usize| i64::from(digits[at]) * 10 + i64::from(digits[at + 1]);
    let (year, month, day) = (two(0) * 100 + two(2), two(4), two(6));
    let (hour, minute, second) = (two(8), two(10), two(12));
    if !(1678..=2261).contains(&year) || !(1..=12).contains(&month) {
        return None;
    }
    if day < 1 || day > days_in_month(year, month) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    Some(days_from_civil(year, month, day) * S_PER_DAY + hour * 3600 + minute * 60 + second)
}

/// The digits behind the point, in nanoseconds, and where they end, counted from the point.
fn fraction(digits: &[u8]) -> Option<(i64, usize)> {
    const PLACES: [i64; 10] =
        [1_000_000_000, 100_000_000, 10_000_000, 1_000_000, 100_000, 10_000, 1_000, 100, 10, 1];
    let mut value = 0;
    let mut count = 0;
    for byte in digits.iter().take(10) {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            break;
        }
        value = value * 10 + i64::from(digit);
        count += 1;
    }
    let place = PLACES.get(count).filter(|_| count > 0)?;
    Some((value * place, 1 + count))
}

/// The offset of the zone that a text begins with, and its length.
fn zone_seconds(text: &[u8]) -> Option<(i64, usize)> {
    match *text {
        [b'Z', ..] => Some((0, 1)),
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2, ..] => {
            let digits = [h1, h2, m1, m2].map(|byte| i64::from(byte.wrapping_sub(b'0')));
            let (hours, minutes) = (digits[0] * 10 + digits[1], digits[2] * 10 + digits[3]);
            if digits.iter().any(|digit| *digit > 9) || hours > 23 || minutes > 59 {
                return None;
            }
            let seconds = hours * 3600 + minutes * 60;
            Some((if sign == b'+' { seconds } else { -seconds }, 6))
        }
        _ => None,
    }
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 of a proleptic Gregorian date (Howard Hinnant, "chrono-compatible low-level date algorithms").
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let year_of_era = y.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The inverse of [`days_from_civil`], by the same source.
fn civil_from_days(days: i64) -> (i64, u32, u32) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let mp = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * mp + 2) / 5 + 1) as u32;
    let month = if mp < 10 { mp + 3 } else { mp - 9 } as u32;
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<i64>) {
        assert_eq!(parse_rfc3339_ns(text.as_bytes()), expected, "{text}");
    }

    #[test]
    fn reads_what_container_runtimes_write() {
        check("1970-01-01T00:00:00Z", Some(0));
        check("1970-01-01T09:00:00+09:00", Some(0));
        check("1969-12-31T19:00:00.000000001-05:00", Some(1));
        check("2026-11-22T00:30:00.12Z", Some(1_795_307_400_120_000_000));
        check("2024-02-29T23:59:59.999999999Z", Some(1_709_251_199_999_999_999));
    }

    #[test]
    fn refuses_everything_else() {
        for text in [
            "",
            "2026-11-22",
            "2026-11-22T00:30:00",
            "2026-11-22 00:30:00Z",
            "2026-13-22T00:30:00Z",
            "2023-02-29T00:30:00Z",
            "2026-11-31T00:30:00Z",
            "2026-11-22T24:30:00Z",
            "2026-11-22T00:60:00Z",
            "2026-11-22T00:30:60Z",
            "2026-11-22T00:30:00.Z",
            "2026-11-22T00:30:00.1234567890Z",
            "2026-11-22T00:30:00+9:00",
            "2026-11-22T00:30:00+24:00",
            "2026-11-22T00:30:00+0x:00",
            "2026-11-22T00:30:0:Z",
            "2026-11-22T00:30:/0Z",
            "2026-11-22T00:30:00Zz",
            "1600-11-22T00:30:00Z",
            "2400-11-22T00:30:00Z",
            "+026-11-22T00:30:00Z",
        ] {
            check(text, None);
        }
    }

    #[test]
    fn knows_where_a_leading_time_ends() {
        let check = |text: &str, end: usize| {
            let time_ns = parse_rfc3339_ns(&text.as_bytes()[..end]);
            assert!(time_ns.is_some());
            assert_eq!(leading_rfc3339_ns(text.as_bytes()), time_ns.map(|ns| (ns, end)), "{text}");
        };
        check("2026-11-22T00:30:00Z", 20);
        check("2026-11-22T00:30:00.123456789+09:00 stdout", 35);
        check("2026-11-22T00:30:00.1Zz", 22);
        check("2026-11-22T00:30:00-05:000", 25);
        assert_eq!(leading_rfc3339_ns(b"2026-11-22T00:30:00.1234567890Z"), None);
        assert_eq!(leading_rfc3339_ns(b"2026-11-22T00:30:00 Z"), None);
        assert_eq!(leading_rfc3339_ns(b"2026-11-22T00:30:0:Z"), None);
    }

    #[test]
    fn formats_what_it_reads() {
        let step = 86_400 * NS_PER_S * 13 + 3_723_000_000_123;
        let mut time = -(NS_PER_S * S_PER_DAY * 365 * 200);
        while time < NS_PER_S * S_PER_DAY * 365 * 200 {
            assert_eq!(parse_rfc3339_ns(&format_rfc3339_ns(time)), Some(time));
            time += step;
        }
    }
}
