//! A program that nothing happens to has nothing to complain about: a WARN or ERROR that a story does not expect fails it.

/// Panics if a log has a WARN or ERROR line that contains none of `expected`.
pub fn assert_quiet(log: &str, expected: &[&str]) {
    let unexpected = unexpected(log, expected);
    assert!(
        unexpected.is_empty(),
        "{} unexpected lines in the log:\n{}",
        unexpected.len(),
        unexpected.iter().take(20).copied().collect::<Vec<_>>().join("\n")
    );
}

fn unexpected<'a>(log: &'a str, expected: &[&str]) -> Vec<&'a str> {
    log.lines()
        .filter(|line| complains(line) && !expected.iter().any(|words| line.contains(words)))
        .collect()
}

/// The level of a `tracing` line stands between its time and its target; a panic has none.
fn complains(line: &str) -> bool {
    let mut words = line.split_whitespace().take(3);
    words.any(|word| matches!(word, "WARN" | "ERROR")) || line.contains("panicked at")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_are_found_and_expected_ones_are_not_counted() {
        let log = "2026-11-22T00:30:00.1Z  INFO naru: a WARN in the text\n\
                   2026-11-22T00:30:00.1Z  WARN naru::tail: a file cannot be read path=/x\n\
                   2026-11-22T00:30:00.1Z ERROR naru::queue: the disk is full\n\
                   thread 'main' panicked at src/main.rs:1:1:\n";
        assert_eq!(unexpected(log, &[]).len(), 3);
        assert_eq!(unexpected(log, &["cannot be read"]).len(), 2);
        assert_eq!(unexpected(log, &["cannot be read", "disk is full", "panicked"]).len(), 0);
    }
}
