//! How many documents there are over time: what is asked, and the buckets that every implementation fills.
//!
//! Pure. Buckets begin at multiples of the interval since 1970, UTC, so the same document falls into the same bucket
//! wherever it is kept and whatever the range; the first and last may begin before, and end after, what was asked for.

use std::collections::BTreeMap;

use naru_proto::time::format_rfc3339_ns;
use serde::Serialize;

use super::parse;
use super::query::Query;
use super::request::{RequestError, read_time};
use crate::decode::level::Level;

/// Buckets of one answer: 10,000 of 100 bytes are a megabyte, and more than any screen has columns.
pub const MAX_BUCKETS: usize = 10_000;
/// Buckets at most when no interval is asked for: as many as a page has room for.
const AUTOMATIC_BUCKETS: i64 = 120;
const MS_PER_S: i64 = 1_000;
const MS_PER_DAY: i64 = 86_400_000;
const NS_PER_MS: i64 = 1_000_000;
/// Intervals that people think in.
const AUTOMATIC_MS: [i64; 24] = [
    MS_PER_S,
    2 * MS_PER_S,
    5 * MS_PER_S,
    10 * MS_PER_S,
    15 * MS_PER_S,
    30 * MS_PER_S,
    60 * MS_PER_S,
    120 * MS_PER_S,
    300 * MS_PER_S,
    600 * MS_PER_S,
    900 * MS_PER_S,
    1_800 * MS_PER_S,
    3_600 * MS_PER_S,
    7_200 * MS_PER_S,
    10_800 * MS_PER_S,
    21_600 * MS_PER_S,
    43_200 * MS_PER_S,
    MS_PER_DAY,
    2 * MS_PER_DAY,
    7 * MS_PER_DAY,
    30 * MS_PER_DAY,
    90 * MS_PER_DAY,
    365 * MS_PER_DAY,
    3_650 * MS_PER_DAY,
];

/// The levels that are counted by themselves, as they stand in documents.
pub const LEVELS: [Level; 6] =
    [Level::Fatal, Level::Error, Level::Warn, Level::Info, Level::Debug, Level::Trace];

/// Counts of the documents with each of [`LEVELS`].
pub type LevelCounts = [u64; LEVELS.len()];

/// A histogram as it was asked for.
#[derive(Debug, Clone, Default)]
pub struct RawHistogram<'a> {
    /// The query; all documents when there is none.
    pub query: Option<&'a str>,
    /// The beginning of the time range, inclusive; else that of the documents.
    pub from: Option<&'a str>,
    /// The end of the time range, exclusive; else that of the documents.
    pub to: Option<&'a str>,
    /// How long a bucket is, as `30s` or `1h`; else chosen.
    pub interval: Option<&'a str>,
}

/// A histogram to be made.
#[derive(Debug, Clone)]
pub struct HistogramRequest {
    /// What is counted.
    pub query: Query,
    /// Nanoseconds since 1970.
    pub from_ns: Option<i64>,
    /// Nanoseconds since 1970.
    pub to_ns_exclusive: Option<i64>,
    /// What `now` in the query is.
    pub now_ns: i64,
    /// How long a bucket is.
    pub interval_ms: Option<i64>,
}

/// The range and the interval make more than [`MAX_BUCKETS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("more than {MAX_BUCKETS} buckets; ask for a longer interval or a shorter time range")]
pub struct TooManyBuckets;

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Histogram {
    /// How long a bucket is.
    pub interval_ms: i64,
    /// Indices that could not be searched, each with the reason: the answer lacks what they hold.
    pub incomplete: Vec<String>,
    first_ms: i64,
    counts: Vec<(u64, LevelCounts)>,
}

/// Documents of one interval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Bucket {
    /// Its beginning, RFC 3339.
    pub from: String,
    /// The same in milliseconds since 1970.
    pub from_ms: i64,
    /// Documents in it.
    pub count: u64,
    /// How many of them have which level; those that none has are left out.
    pub levels: BTreeMap<&'static str, u64>,
}

impl HistogramRequest {
    /// Reads a request.
    ///
    /// # Errors
    /// Says what was not understood.
    pub fn read(raw: &RawHistogram<'_>, now_ns: i64) -> Result<Self, RequestError> {
        let interval_ms = match raw.interval.filter(|text| !text.is_empty()) {
            Some(text) => Some(parse_interval_ms(text).ok_or(RequestError::Interval)?),
            None => None,
        };
        Ok(Self {
            query: parse::parse(raw.query.unwrap_or("*"))?,
            from_ns: read_time("from", raw.from, now_ns)?,
            to_ns_exclusive: read_time("to", raw.to, now_ns)?,
            now_ns,
            interval_ms,
        })
    }

    /// The range whose ends were not asked for: from the first document to the last.
    #[must_use]
    pub fn range_of(&self, first_ns: i64, last_ns: i64) -> (i64, i64) {
        let from_ns = self.from_ns.unwrap_or(first_ns);
        (from_ns, self.to_ns_exclusive.unwrap_or_else(|| last_ns.saturating_add(1)))
    }
}

impl Histogram {
    /// Empty buckets over a range; none when the range is empty.
    ///
    /// # Errors
    /// There would be too many.
    pub fn new(
        request: &HistogramRequest,
        (from_ns, to_ns_exclusive): (i64, i64),
    ) -> Result<Self, TooManyBuckets> {
        if from_ns >= to_ns_exclusive {
            return Ok(Self::none(request));
        }
        let first_ms = from_ns.div_euclid(NS_PER_MS);
        let last_ms = (to_ns_exclusive - 1).div_euclid(NS_PER_MS);
        let count = |interval_ms: i64| {
            last_ms.div_euclid(interval_ms) - first_ms.div_euclid(interval_ms) + 1
        };
        let automatic = || AUTOMATIC_MS.into_iter().find(|&ms| count(ms) <= AUTOMATIC_BUCKETS);
        let interval_ms = request.interval_ms.or_else(automatic).ok_or(TooManyBuckets)?;
        let buckets = usize::try_from(count(interval_ms)).map_err(|_| TooManyBuckets)?;
        if buckets > MAX_BUCKETS {
            return Err(TooManyBuckets);
        }
        Ok(Self {
            interval_ms,
            incomplete: Vec::new(),
            first_ms: first_ms.div_euclid(interval_ms) * interval_ms,
            counts: vec![Default::default(); buckets],
        })
    }

    /// No buckets: no document was found.
    #[must_use]
    pub fn none(request: &HistogramRequest) -> Self {
        let interval_ms = request.interval_ms.unwrap_or(MS_PER_S);
        Self { interval_ms, ..Self::default() }
    }

    /// Counts documents of one time; those outside of the buckets are not counted.
    pub fn add(&mut self, at_ms: i64, count: u64, levels: &LevelCounts) {
        let bucket = (at_ms - self.first_ms).div_euclid(self.interval_ms);
        let bucket = usize::try_from(bucket).ok().and_then(|at| self.counts.get_mut(at));
        let Some((all, by_level)) = bucket else { return };
        *all += count;
        for (sum, count) in by_level.iter_mut().zip(levels) {
            *sum += count;
        }
    }

    /// In order of time, without gaps.
    pub fn buckets(&self) -> impl Iterator<Item = Bucket> {
        let starts = (0..).map(|at: i64| self.first_ms + at * self.interval_ms);
        starts.zip(&self.counts).map(|(from_ms, (count, levels))| Bucket {
            from: format_ms(from_ms),
            from_ms,
            count: *count,
            levels: (LEVELS.iter().zip(levels))
                .filter(|(_, count)| **count > 0)
                .map(|(level, count)| (level.as_str(), *count))
                .collect(),
        })
    }

    /// Where runs of at most this many buckets begin and end, in milliseconds.
    #[must_use]
    pub fn runs(&self, max_buckets: usize) -> Vec<(i64, i64)> {
        let at = |bucket: usize| {
            self.first_ms + i64::try_from(bucket).unwrap_or(i64::MAX) * self.interval_ms
        };
        let count = self.counts.len();
        (0..count)
            .step_by(max_buckets.max(1))
            .map(|first| (at(first), at((first + max_buckets).min(count))))
            .collect()
    }
}

/// Reads `500ms`, `30s`, `5m`, `1h`, `1d`, `1w`.
fn parse_interval_ms(text: &str) -> Option<i64> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (count, unit) = text.split_at_checked(digits)?;
    let unit_ms = match unit {
        "ms" => 1,
        "s" => MS_PER_S,
        "m" => 60 * MS_PER_S,
        "h" => 3_600 * MS_PER_S,
        "d" => MS_PER_DAY,
        "w" => 7 * MS_PER_DAY,
        _ => return None,
    };
    // Above a century nothing is left to tell apart.
    let interval_ms = count.parse::<i64>().ok()?.checked_mul(unit_ms)?;
    (1..=36_500 * MS_PER_DAY).contains(&interval_ms).then_some(interval_ms)
}

/// RFC 3339 with milliseconds.
fn format_ms(ms: i64) -> String {
    let text = format_rfc3339_ns(ms.saturating_mul(NS_PER_MS));
    let text = std::str::from_utf8(&text).unwrap_or_default();
    format!("{}Z", text.get(..23).unwrap_or(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(from: &str, to: &str, interval: &str) -> HistogramRequest {
        let (from, to, interval) = (Some(from), Some(to), Some(interval));
        HistogramRequest::read(&RawHistogram { query: None, from, to, interval }, 0).unwrap()
    }

    fn made(from: &str, to: &str, interval: &str) -> Result<(i64, usize), TooManyBuckets> {
        let request = request(from, to, interval);
        let made = Histogram::new(&request, request.range_of(0, 0))?;
        Ok((made.interval_ms, made.buckets().count()))
    }

    #[test]
    fn buckets_begin_at_multiples_and_have_no_gaps() {
        let request = request("1970-01-01T00:00:59.999Z", "1970-01-01T00:03:00Z", "1m");
        let mut made = Histogram::new(&request, request.range_of(0, 0)).unwrap();
        made.add(59_999, 2, &[0, 1, 0, 0, 0, 0]);
        made.add(120_000, 1, &[0; 6]);
        made.add(-1, 1, &[0; 6]);
        made.add(180_000, 1, &[0; 6]);
        let found: Vec<_> = made.buckets().map(|b| (b.from, b.count, b.levels.len())).collect();
        let at = |minute: u32| format!("1970-01-01T00:0{minute}:00.000Z");
        assert_eq!(found, [(at(0), 2, 1), (at(1), 0, 0), (at(2), 1, 0)]);
        assert_eq!(made.runs(2), [(0, 120_000), (120_000, 180_000)]);
    }

    #[test]
    fn the_interval_is_chosen_and_the_buckets_are_bounded() {
        let check = |from, to, interval, expected| assert_eq!(made(from, to, interval), expected);
        check("0", "60000", "", Ok((1_000, 60)));
        check("0", "120000", "", Ok((1_000, 120)));
        check("0", "120001", "", Ok((2_000, 61)));
        check("2026-11-22", "2026-11-23", "", Ok((900_000, 96)));
        check("2026-01-01", "2026-12-31", "", Ok((7 * MS_PER_DAY, 52)));
        check("1700-01-01", "2261-12-31", "", Ok((3_650 * MS_PER_DAY, 58)));
        check("0", "10000", "1ms", Ok((1, 10_000)));
        check("0", "10001", "1ms", Err(TooManyBuckets));
        check("1700-01-01", "2261-12-31", "1ms", Err(TooManyBuckets));
        check("5", "5", "1m", Ok((60_000, 0)));
        check("5", "4", "", Ok((1_000, 0)));
    }

    #[test]
    fn an_interval_has_a_unit() {
        for (text, expected) in
            [("500ms", Some(500)), ("30s", Some(30_000)), ("2w", Some(1_209_600_000))]
        {
            assert_eq!(parse_interval_ms(text), expected);
        }
        for text in ["", "5", "m", "0s", "-1s", "1y", "1.5h", "99999999999999999999s", "주"] {
            assert_eq!(parse_interval_ms(text), None, "{text}");
        }
        let raw = RawHistogram { interval: Some("1y"), ..RawHistogram::default() };
        assert_eq!(HistogramRequest::read(&raw, 0).err(), Some(RequestError::Interval));
    }
}
