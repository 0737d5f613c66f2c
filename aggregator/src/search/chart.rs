//! A histogram as lines: bars for people, or JSON.
//!
//! Pure.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::histogram::LEVELS;
use super::print::escaped;

/// Columns of the longest bar: with the time, the count and the levels it fits into 100.
const BAR_COLUMNS: u64 = 40;

/// A bucket as the aggregator answers it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Counted {
    from: String,
    from_ms: i64,
    pub(super) count: u64,
    levels: BTreeMap<String, u64>,
}

impl Counted {
    /// `2026-11-22T00:30:00.000Z     12 ██████  error 3  info 9`; the longest bar is that of `most`.
    pub(super) fn human_line(&self, most: u64) -> String {
        // Of a bucket that has something, something is seen.
        let columns = (self.count.saturating_mul(BAR_COLUMNS)).div_ceil(most.max(1));
        let bar = "█".repeat(usize::try_from(columns).unwrap_or_default());
        let mut line = format!("{}  {:>10}  {bar}", escaped(&self.from), self.count);
        for level in LEVELS.map(|level| level.as_str()) {
            if let Some(count) = self.levels.get(level) {
                // Writing to a String cannot fail.
                write!(line, "  {level} {count}").unwrap_or_default();
            }
        }
        line.truncate(line.trim_end().len());
        line + "\n"
    }

    /// As it was answered.
    pub(super) fn json_line(&self) -> Result<String, std::io::Error> {
        Ok(serde_json::to_string(self)? + "\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_a_line() {
        let check = |count, most, expected: &str| {
            let levels = [("info".to_owned(), 2), ("error".to_owned(), 1)].into_iter().collect();
            let from = "2026-11-22T00:30:00.000Z".to_owned();
            let line = Counted { from, from_ms: 0, count, levels }.human_line(most);
            assert_eq!(line, format!("2026-11-22T00:30:00.000Z  {expected}  error 1  info 2\n"));
        };
        check(40, 40, &format!("        40  {}", "█".repeat(40)));
        check(1, 1_000_000, "         1  █");
        check(5, 10, &format!("         5  {}", "█".repeat(20)));
        let empty = Counted { from: "T".to_owned(), from_ms: 5, count: 0, levels: BTreeMap::new() };
        assert_eq!(empty.human_line(0), "T           0\n");
        assert_eq!(
            empty.json_line().unwrap(),
            "{\"from\":\"T\",\"from_ms\":5,\"count\":0,\"levels\":{}}\n"
        );
    }
}
