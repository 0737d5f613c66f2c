//! What is told of the files: to the aggregator, to `files`, and to the metrics.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use naru_proto::ids::FileId;
use naru_proto::wire;

use super::Tailer;
use super::file::TailedFile;
use super::source::{Place, SourceTail};
use crate::channel::Outbound;
use crate::clock;
use crate::files::{FileRow, FileStateName, rows_of, source_name};

/// Sizes remembered of a file that is behind: what is older is thinned out.
const SAMPLES: usize = 32;
/// What a kubelet keeps by default: the live file and the rotated ones, each of 10 MiB.
const KUBELET_FILES: u64 = 5;
const KUBELET_FILE_BYTES: u64 = 10 << 20;
/// A kubelet looks at a container's log so often, and rotates it at most once then.
const KUBELET_INTERVAL: Duration = Duration::from_secs(10);

/// How a file has grown: since when it has the bytes that are not acknowledged.
#[derive(Debug, Default)]
pub(super) struct Growth {
    /// When it was seen to have how many bytes, oldest first.
    samples: VecDeque<(Instant, u64)>,
    /// How far apart they are at least: twice as far each time there are too many.
    spacing: Duration,
}

impl Growth {
    /// Notes a size. What is acknowledged need not be dated any more.
    fn note(&mut self, size: u64, acknowledged: u64, now: Instant) {
        while self.samples.front().is_some_and(|(_, seen)| *seen <= acknowledged) {
            self.samples.pop_front();
        }
        if self.samples.is_empty() {
            self.spacing = Duration::ZERO;
        }
        let soon = |(at, _): &(Instant, u64)| now.saturating_duration_since(*at) < self.spacing;
        if size <= acknowledged
            || self.samples.back().is_some_and(soon)
            || self.samples.back().is_some_and(|(_, seen)| *seen >= size)
        {
            return;
        }
        if self.samples.len() == SAMPLES {
            let mut place = 0;
            self.samples.retain(|_| {
                place += 1;
                place % 2 == 1
            });
            self.spacing = (self.spacing * 2).max(Duration::from_secs(2));
        }
        self.samples.push_back((now, size));
    }

    /// For how long at least the oldest byte that is not acknowledged has been there.
    fn behind(&self, acknowledged: u64, now: Instant) -> Duration {
        let oldest = self.samples.iter().find(|(_, seen)| *seen > acknowledged);
        oldest.map_or(Duration::ZERO, |(since, _)| now.saturating_duration_since(*since))
    }
}

/// How fast a source has been written to.
#[derive(Debug, Default)]
pub(super) struct Written {
    since: Option<(Instant, u64)>,
    bytes_per_second: f64,
}

impl Written {
    /// Takes the bytes ever seen of a source; averages over about a minute.
    fn note(&mut self, total: u64, now: Instant) {
        if let Some((since, before)) = self.since {
            let seconds = now.saturating_duration_since(since).as_secs_f64();
            if seconds < 1.0 {
                return;
            }
            // A file that was forgotten is no writing backwards.
            if let Some(written) = total.checked_sub(before) {
                let weight = (seconds / 60.0).min(1.0);
                self.bytes_per_second +=
                    (written as f64 / seconds - self.bytes_per_second) * weight;
            }
        }
        self.since = Some((now, total));
    }
}

/// When the kubelet will delete a file of this rank (0: the live one, 1: the last rotated, …), if it goes on like this.
fn seconds_to_deletion(rank: u64, live_bytes: u64, rotated_bytes: u64, per_second: f64) -> f64 {
    if per_second < 1.0 {
        return f64::INFINITY;
    }
    let rotations = KUBELET_FILES.saturating_sub(rank);
    let file = rotated_bytes.max(KUBELET_FILE_BYTES);
    let bytes = (rotations * file).saturating_sub(live_bytes.min(file));
    let at_least = KUBELET_INTERVAL.as_secs_f64() * rotations.saturating_sub(1) as f64;
    (bytes as f64 / per_second).max(at_least)
}

impl SourceTail {
    /// In how many seconds its oldest file that is not read will be deleted; infinite when nothing says so.
    fn seconds_to_loss(&self) -> f64 {
        let Place::Container { .. } = self.place else { return f64::INFINITY };
        let unread = |file: &TailedFile| !file.gone && file.size > file.read;
        let Some(oldest) = self.files.iter().position(unread) else { return f64::INFINITY };
        let rank = self.files.iter().skip(oldest + 1).filter(|file| !file.gone).count();
        let live = self.files.last().map_or(0, |file| file.size);
        let rotated = self.files.iter().rev().nth(1).map_or(0, |file| file.size);
        seconds_to_deletion(rank as u64, live, rotated, self.written.bytes_per_second)
    }

    fn state_of(&self, at: usize) -> FileStateName {
        let Some(file) = self.files.get(at) else { return FileStateName::Read };
        let later = at + 1 < self.files.len();
        match file {
            _ if self.left_out => FileStateName::Excluded,
            _ if self.resuming.is_some() => FileStateName::Resuming,
            file if file.passed && file.is_settled() => FileStateName::Read,
            file if file.passed => FileStateName::Sent,
            file if !file.is_open() => FileStateName::Closed,
            file if file.id.is_none() => FileStateName::NoLine,
            file if file.gone => FileStateName::Deleted,
            file if file.is_gzip() => FileStateName::Compressed,
            _ if later => FileStateName::Rotated,
            _ => FileStateName::Live,
        }
    }
}

impl Tailer {
    /// Tells the aggregator of the files that changed.
    pub(super) fn send_status(&mut self) {
        // What was noted as told has to be told: the next time says what has changed until then.
        if self.notices.iter().any(|notice| matches!(notice, Outbound::Status(_))) {
            return;
        }
        let mut files = Vec::new();
        for source in self.sources.values_mut() {
            for file in &mut source.files {
                let Some(id) = file.id else { continue };
                let state = (file.size, file.read, file.acknowledged);
                if file.told.replace(state) == Some(state) {
                    continue;
                }
                files.push(wire::FileStatus {
                    source: Some(source.source.clone().into()),
                    file_id: id.0.to_vec().into(),
                    size: file.size,
                    read: file.read,
                    acknowledged: file.acknowledged,
                });
            }
        }
        for files in files.chunks(1000) {
            self.notices.push_back(Outbound::Status(wire::Status { files: files.to_vec() }));
        }
    }

    /// Notes how far everything is, for the metrics and for those who ask.
    pub(super) fn measure(&mut self, now: Instant) {
        let (mut lag_bytes, mut behind, mut held) = (0, Duration::ZERO, 0);
        let mut to_loss = f64::INFINITY;
        let mut states = HashMap::new();
        for source in self.sources.values_mut() {
            let mut total = 0;
            for file in &mut source.files {
                total += file.size;
                if source.left_out {
                    continue;
                }
                lag_bytes += lag(file);
                file.growth.note(file.size, file.acknowledged, now);
                behind = behind.max(file.growth.behind(file.acknowledged, now));
            }
            source.written.note(total, now);
            if !source.left_out {
                to_loss = to_loss.min(source.seconds_to_loss());
                held += source
                    .cutter
                    .held()
                    .flat_map(|held| held.extents.iter())
                    .map(|e| e.length)
                    .sum::<u64>();
            }
        }
        for source in self.sources.values() {
            for at in 0..source.files.len() {
                *states.entry(source.state_of(at)).or_default() += 1;
            }
        }
        let (closed, passed) = self.asleep.files();
        *states.entry(FileStateName::Closed).or_default() += closed as i64;
        *states.entry(FileStateName::Read).or_default() += passed as i64;
        let metrics = &self.outgoing.metrics;
        metrics.lag_bytes.set(i64::try_from(lag_bytes).unwrap_or(i64::MAX));
        metrics.lag_seconds.set(behind.as_secs_f64());
        metrics.held_bytes.set(i64::try_from(held).unwrap_or(i64::MAX));
        metrics.loss_in_seconds.set(to_loss);
        metrics.files(&states);
    }

    pub(super) fn answer_requests(&mut self) {
        while let Ok(request) = self.requests.try_recv() {
            self.measure(clock::now());
            // Whoever asked may have gone.
            request.send(self.rows()).ok();
        }
    }

    pub(super) fn rows(&self) -> Vec<FileRow> {
        let now = clock::now();
        let mut rows: Vec<FileRow> = Vec::new();
        for source in self.sources.values() {
            let to_loss = source.seconds_to_loss();
            let rows_of = source.files.iter().enumerate();
            rows.extend(rows_of.map(|(at, file)| {
                self.note_refused(&source.source, self.row(source, at, file, to_loss, now))
            }));
        }
        rows.extend(self.states_asleep().flat_map(|state| rows_of(&state).collect::<Vec<_>>()));
        for (path, error) in &self.unreadable {
            rows.push(FileRow::unreadable(&path.display().to_string(), error));
        }
        rows.sort_by(|a, b| (&a.source, &a.name).cmp(&(&b.source, &b.name)));
        rows
    }

    fn row(
        &self,
        source: &SourceTail,
        at: usize,
        file: &TailedFile,
        to_loss: f64,
        now: Instant,
    ) -> FileRow {
        let unread = file.size > file.read && !file.gone;
        FileRow {
            source: source_name(&source.source),
            name: file.name.clone(),
            file: file.id.map(|id| id.to_string()).unwrap_or_default(),
            state: source.state_of(at),
            size: file.size,
            read: file.read,
            acknowledged: file.acknowledged,
            lag: lag(file),
            behind_seconds: file.growth.behind(file.acknowledged, now).as_secs(),
            held: held_in(source, file.id),
            loss_in_seconds: (unread && to_loss.is_finite()).then_some(to_loss as u64),
            refused_at: None,
            error: None,
        }
    }
}

/// Bytes of a file that wait for the end of their record.
fn held_in(source: &SourceTail, id: Option<FileId>) -> u64 {
    let extents = source.cutter.held().flat_map(|held| held.extents.iter());
    extents.filter(|extent| Some(extent.file) == id).map(|extent| extent.length).sum()
}

fn lag(file: &TailedFile) -> u64 {
    file.size.saturating_sub(file.acknowledged)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b28_a_file_is_behind_by_the_age_of_its_oldest_unacknowledged_byte() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut growth = Growth::default();
        growth.note(100, 100, at(0));
        assert_eq!(growth.behind(100, at(5)), Duration::ZERO);
        for second in 1..=1000 {
            growth.note(100 + second * 10, 100, at(second));
        }
        assert!(growth.samples.len() <= SAMPLES);
        assert_eq!(growth.behind(100, at(1000)), Duration::from_secs(999));
        growth.note(10_100, 5_100, at(1000));
        let behind = growth.behind(5_100, at(1000));
        assert!((400..=500).contains(&behind.as_secs()), "{behind:?}");
        growth.note(10_100, 10_100, at(1001));
        assert_eq!(growth.behind(10_100, at(1001)), Duration::ZERO);
    }

    #[test]
    fn b28_the_time_to_loss_is_that_to_the_rotation_that_deletes() {
        let check = |rank, live, rotated, rate, expected: f64| {
            let found = seconds_to_deletion(rank, live, rotated, rate);
            assert!(found == expected, "{rank} {live} {rotated} {rate}: {found}, not {expected}");
        };
        let mib = f64::from(1 << 20);
        check(0, 0, 0, 0.0, f64::INFINITY);
        // The live file: five times ten MiB are to be written.
        check(0, 0, 0, mib, 50.0);
        check(0, 10 << 20, 10 << 20, mib, 40.0);
        check(4, 0, 10 << 20, mib, 10.0);
        check(4, 10 << 20, 10 << 20, mib, 0.0);
        // Never more than a rotation in ten seconds, however fast.
        check(1, 0, 0, 1000.0 * mib, 30.0);
    }
}
