//! Whether lines can pass, and if not, why: the sentences of `/readyz`. Pure.

use crate::queue::{Full, Stats};

/// What is wrong; nothing when all is well.
pub(crate) fn not_ready(
    stats: &Stats,
    delivery_trouble: Option<String>,
    is_draining: bool,
) -> Vec<String> {
    let draining = is_draining
        .then(|| "stopping: nothing is taken in, what is queued is delivered".to_owned());
    let full = stats.full.map(|full| {
        let running = stats.commit_running.filter(|_| full == Full::Hanging);
        let seconds = running.map(|running| format!(": for {} s now", running.as_secs()));
        format!("{}{}", full_sentence(full), seconds.unwrap_or_default())
    });
    [draining, full, delivery_trouble].into_iter().flatten().collect()
}

/// Why nothing more is taken in.
pub(crate) fn full_sentence(full: Full) -> &'static str {
    match full {
        Full::Queue => {
            "the queue is full: it takes all it may of the disk, and forwarders keep their lines"
        }
        Full::Disk => {
            "the queue is full: the disk has less than its reserve left, and forwarders keep their lines"
        }
        Full::Hanging => {
            "the disk hangs: a write of the queue does not end, and forwarders go elsewhere or keep their lines"
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::queue::Sequence;

    #[test]
    fn each_trouble_is_a_sentence() {
        let well = Stats {
            entries: 3,
            batches: 3,
            disk_bytes: 1,
            retained: crate::queue::RetainedStats::default(),
            oldest_ms: None,
            head: Sequence(3),
            delivered: Sequence(0),
            leased: 0,
            full: None,
            failed_commits: 0,
            lost_entries: 0,
            quarantined: 0,
            commit_running: Some(Duration::from_secs(10)),
        };
        let check = |stats: &Stats, trouble: Option<&str>, draining, words: &[&str]| {
            let found = not_ready(stats, trouble.map(str::to_owned), draining);
            assert_eq!(found.len(), words.len(), "{found:?}");
            for (sentence, word) in found.iter().zip(words) {
                assert!(sentence.contains(word), "{sentence:?} does not say {word:?}");
            }
        };
        check(&well, None, false, &[]);
        check(&well, Some("no host answers"), false, &["no host answers"]);
        let full = Stats { full: Some(Full::Queue), ..well.clone() };
        check(&full, None, true, &["stopping", "takes all it may"]);
        let hangs = Stats {
            full: Some(Full::Hanging),
            commit_running: Some(Duration::from_secs(12)),
            ..well.clone()
        };
        check(&hangs, None, false, &["forwarders go elsewhere or keep their lines: for 12 s"]);
        let short = Stats { full: Some(Full::Disk), ..well.clone() };
        check(&short, None, false, &["reserve"]);
    }
}
