//! Retention: the oldest indices go, whole, when all together are too large or one is too old.
//!
//! The index of today is never deleted. What has no time lies in one index that has no date; it goes by the day on
//! which something was last written to it, or first of all when it alone takes more than half of what is allowed.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use naru_proto::ids::{IdTime, IndexName};
use naru_proto::time::parse_rfc3339_ns;
use tracing::{info, warn};

use super::day::{Day, sync_dir};
use super::{Store, Writing};
use crate::search::time::NS_PER_DAY;

/// What is being deleted lies here, so that a crash leaves no half index.
const DELETING: &str = "deleting";

/// An index as retention sees it.
#[derive(Debug, Clone, Copy)]
struct Held {
    name: IndexName,
    /// The day it is of, or was last written on.
    day: IndexName,
    bytes: u64,
}

impl Store {
    pub(super) fn retain_locked(&self, writing: &mut Writing, now: SystemTime) -> Vec<String> {
        let since_1970 = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let now_ns = i64::try_from(since_1970.as_nanos()).unwrap_or(i64::MAX);
        let mut held = Vec::new();
        let days = self.days.read().unwrap_or_else(PoisonError::into_inner).clone();
        for day in days.values() {
            match day.size() {
                Ok(bytes) => held.push(Held { name: day.name, day: day_of(day), bytes }),
                Err(error) => warn!(%error, index = %day.name, "measure index"),
            }
        }
        let total: u64 = held.iter().map(|held| held.bytes).sum();
        let mut left = total;
        let mut deleted = Vec::new();
        let max_age = self.config.retention_max_age;
        for gone in too_much(held, now_ns, self.config.retention_max_bytes, max_age) {
            match self.delete(writing, gone.name) {
                Ok(()) => {
                    left -= gone.bytes;
                    info!(index = %gone.name, bytes = gone.bytes, "deleted index by retention");
                    deleted.push(gone.name.to_string());
                }
                Err(error) => warn!(%error, index = %gone.name, "delete index"),
            }
        }
        self.counts.bytes.store(left, Relaxed);
        self.counts.deleted.fetch_add(deleted.len() as u64, Relaxed);
        deleted
    }

    fn delete(&self, writing: &mut Writing, name: IndexName) -> io::Result<()> {
        // What it has uncommitted would be deleted with it.
        writing.writers.retain(|writer| writer.day.name != name);
        let day = self.days.write().unwrap_or_else(PoisonError::into_inner).remove(&name);
        let Some(day) = day else {
            return Ok(());
        };
        let deleting = self.config.dir.join(DELETING);
        let moved = fs::create_dir_all(&deleting)
            .and_then(|()| fs::rename(&day.dir, deleting.join(name.to_string())));
        if let Err(error) = moved {
            self.days.write().unwrap_or_else(PoisonError::into_inner).insert(name, day);
            return Err(error);
        }
        sync_dir(&self.config.dir)?;
        finish_deleting(&self.config.dir)
    }
}

/// Deletes what a deletion, perhaps of a process before this one, moved away.
pub(super) fn finish_deleting(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir.join(DELETING)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn day_of(day: &Arc<Day>) -> IndexName {
    if day.name != IndexName::Unplaced {
        return day.name;
    }
    let written = fs::metadata(day.dir.join("meta.json")).and_then(|metadata| metadata.modified());
    let since_1970 = written.ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    let written_ns = since_1970.and_then(|at| i64::try_from(at.as_nanos()).ok());
    IdTime::new(written_ns).index()
}

/// Which are to be deleted, in order.
fn too_much(
    mut held: Vec<Held>,
    now_ns: i64,
    max_bytes: u64,
    max_age: Option<Duration>,
) -> Vec<Held> {
    let today = IdTime::new(Some(now_ns)).index();
    let hogs = |held: &Held| held.name == IndexName::Unplaced && held.bytes > max_bytes / 2;
    // What has no time first where it is equally old: a day can still be asked for by its time.
    held.sort_by_key(|held| (!hogs(held), held.day, held.name));
    let mut left: u64 = held.iter().map(|held| held.bytes).sum();
    let mut gone = Vec::new();
    for index in held {
        let kept = index.day == today && !hogs(&index);
        let too_old = max_age.is_some_and(|age| ended_before(index.day, now_ns, age));
        if !kept && (left > max_bytes || too_old) {
            left -= index.bytes;
            gone.push(index);
        }
    }
    gone
}

fn ended_before(day: IndexName, now_ns: i64, age: Duration) -> bool {
    let IndexName::Day { year, month, day } = day else {
        return false;
    };
    let start = parse_rfc3339_ns(format!("{year:04}-{month:02}-{day:02}T00:00:00Z").as_bytes());
    let age_ns = i64::try_from(age.as_nanos()).unwrap_or(i64::MAX);
    start.is_some_and(|start| start.saturating_add(NS_PER_DAY).saturating_add(age_ns) <= now_ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_NS: i64 = 1_795_307_400_120_000_000;

    fn held(name: &str, bytes: u64) -> Held {
        let name = IndexName::parse(name).unwrap();
        let written = IndexName::parse("logstash-2026.11.21").unwrap();
        let day = if name == IndexName::Unplaced { written } else { name };
        Held { name, day, bytes }
    }

    fn check(all: &[(&str, u64)], max_bytes: u64, max_days: Option<u64>, expected: &[&str]) {
        let all = all.iter().map(|(name, bytes)| held(name, *bytes)).collect();
        let max_age = max_days.map(|days| Duration::from_secs(days * 86_400));
        let gone = too_much(all, NOW_NS, max_bytes, max_age);
        let gone: Vec<_> = gone.iter().map(|held| held.name.to_string()).collect();
        assert_eq!(gone, expected);
    }

    #[test]
    fn the_oldest_goes_and_never_today() {
        let days = [
            ("logstash-2026.11.22", 50),
            ("logstash-2026.11.20", 10),
            ("logstash-unplaced", 10),
            ("logstash-2026.11.21", 10),
        ];
        check(&days, 80, None, &[]);
        check(&days, 79, None, &["logstash-2026.11.20"]);
        check(&days, 69, None, &["logstash-2026.11.20", "logstash-unplaced"]);
        let but_today = ["logstash-2026.11.20", "logstash-unplaced", "logstash-2026.11.21"];
        check(&days, 1, None, &["logstash-unplaced", "logstash-2026.11.20", "logstash-2026.11.21"]);
        check(&days, 20, None, &but_today);
        check(&days, 1000, Some(1), &["logstash-2026.11.20"]);
        check(&days, 1000, Some(0), &but_today);
        check(&days, 1000, Some(2), &[]);
    }

    #[test]
    fn what_has_no_time_does_not_push_out_the_rest() {
        let days = [("logstash-2026.11.20", 10), ("logstash-unplaced", 60)];
        check(&days, 65, None, &["logstash-unplaced"]);
    }
}
