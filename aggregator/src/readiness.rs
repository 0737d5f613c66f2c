//! Whether lines can pass, and if not, why: the sentences of `/readyz`. Pure.

use std::time::Duration;

use crate::queue::{Full, Stats};

/// Forwarders that hear no acknowledgement for 15 s go elsewhere; before that somebody should know why.
const COMMIT_MAX: Duration = Duration::from_secs(10);

/// What is wrong; nothing when all is well.
pub(crate) fn not_ready(
    stats: &Stats,
    delivery_trouble: Option<String>,
    is_draining: bool,
) -> Vec<String> {
    let draining = is_draining
        .then(|| "stopping: nothing is taken in, what is queued is delivered".to_owned());
    let full = stats.full.map(|full| full_sentence(full).to_owned());
    let hangs = stats.commit_running.filter(|running| *running > COMMIT_MAX).map(|running| {
        format!("the disk hangs: a write of the queue has not ended for {} s", running.as_secs())
    });
    [draining, full, hangs, delivery_trouble].into_iter().flatten().collect()
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
    }
}

#[cfg(test)]
mod tests {
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
            full: Some(Full::Disk),
            commit_running: Some(Duration::from_secs(12)),
            ..well.clone()
        };
        check(&hangs, None, false, &["reserve", "for 12 s"]);
    }
}
