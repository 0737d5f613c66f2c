//! Files that were there and gone before they could be opened: nobody knows what they held, so they are counted. Those of a
//! container that is being read are a declared loss besides: what it wrote between two times is not known.

use std::collections::{HashMap, VecDeque};

use naru_proto::wire::GapReason;

use super::Tailer;
use super::file::TailedFile;
use super::gaps::Loss;
use super::source::SourceTail;
use crate::discover::pods::{LogFile, Order};
use crate::discover::{Changes, pods};

/// Rotated files that were forgotten last, whose deletion may still be told: a kubelet keeps four.
const FORGOTTEN: usize = 16;

/// What of a source's deleted files is known: not every one had its last name when it was seen last.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// Of files that were forgotten, and of what is no log.
    forgotten: VecDeque<String>,
    /// Files that were live when they were seen last, and were deleted under a rotated name.
    unnamed: usize,
    /// After which changes the source was looked at last, and when its files had been written to last before that.
    looked: Option<(u64, Option<i64>)>,
}

impl Names {
    /// When the source was written to last, before it was looked at and before the changes of this number were told.
    ///
    /// What is told now may have happened before the look that followed the changes before: that has seen what came after.
    fn before(&self, changes: u64, now_ns: Option<i64>) -> Option<i64> {
        match self.looked {
            Some((number, Some(before_ns))) if number + 1 == changes => Some(before_ns),
            _ => now_ns,
        }
    }

    /// What must be known of a source that sleeps after the changes of this number, if anything.
    pub(super) fn kept(self, changes: u64) -> Option<Self> {
        let lately = self.looked.is_some_and(|(number, _)| number == changes);
        (lately || self.unnamed > 0 || !self.forgotten.is_empty()).then_some(self)
    }

    /// A file was live when it was seen last, and is gone while later ones are there.
    pub(super) fn deleted_unnamed(&mut self) {
        self.unnamed += 1;
    }

    /// It is not: a look at a directory may miss what is being renamed.
    fn found_again(&mut self) {
        self.unnamed = self.unnamed.saturating_sub(1);
    }

    /// A file is not kept any more.
    pub(super) fn forget(&mut self, file: &TailedFile) {
        if let Some(stamp) = stamp(file) {
            self.note(stamp);
        }
    }

    /// What has this name is no log.
    pub(super) fn is_no_log(&mut self, order: &Order) {
        if let Order::Rotated(stamp) = order {
            self.note(stamp.clone());
        }
    }

    fn note(&mut self, stamp: String) {
        if !self.forgotten.contains(&stamp) {
            self.forgotten.truncate(FORGOTTEN - 1);
            self.forgotten.push_front(stamp);
        }
    }
}

/// The rotated name that it was seen under last.
fn stamp(file: &TailedFile) -> Option<String> {
    match pods::log_file(&file.name)?.1.order {
        Order::Rotated(stamp) => Some(stamp),
        Order::Live => None,
    }
}

impl SourceTail {
    /// A file has another name, or that of its twin.
    pub(super) fn rename(&mut self, index: usize, entry: &LogFile) {
        let Some(file) = self.files.get_mut(index) else { return };
        if file.order != Order::Live && stamp(file).is_none() {
            self.names.found_again();
            file.order.clone_from(&entry.order);
        }
        file.rename(entry);
    }

    /// It is looked at after the changes of this number.
    pub(super) fn is_looked_at(&mut self, changes: u64) {
        if self.names.looked.is_none_or(|(number, _)| number != changes) {
            self.names.looked = Some((changes, self.modified_ns()));
        }
    }

    /// When it was written to last, as far as was seen.
    fn modified_ns(&self) -> Option<i64> {
        self.files.iter().map(|file| file.modified_ns).max()
    }

    /// How many of these deleted files nobody has seen.
    fn unseen(&mut self, stamps: &[&String]) -> usize {
        let known = |deleted: &String| {
            self.names.forgotten.contains(deleted)
                || self.files.iter().any(|file| stamp(file).as_ref() == Some(deleted))
        };
        let unknown = stamps.iter().filter(|stamp| !known(stamp)).count();
        let unnamed = unknown.min(self.names.unnamed);
        self.names.unnamed -= unnamed;
        unknown - unnamed
    }
}

impl Tailer {
    /// Counts what was gone too soon; a file that is or was open is read to its end and is none of them.
    pub(super) fn count_missed(&mut self, changes: &Changes) {
        let mut missed = changes.missed;
        for (directory, run) in &changes.deleted {
            let index = self.sources.run(directory, *run);
            let opened = index
                .and_then(|index| self.sources.get(index))
                .is_some_and(|source| !source.files.is_empty() || source.docker.is_some());
            let opened = opened || self.asleep.has(directory, *run);
            if !opened && !self.is_excluded(directory) {
                tracing::debug!(?directory, run, "a log file was gone before it could be opened");
                missed += 1;
            }
        }
        self.outgoing.metrics.missed_files.inc_by(missed);
    }

    /// When the sources whose rotated files were deleted were written to last, as far as was seen.
    pub(super) fn before_deletions(&self, changes: &Changes) -> HashMap<usize, i64> {
        let of = changes.deleted_rotated.iter().filter_map(|(directory, run, _)| {
            let index = self.sources.run(directory, *run)?;
            let source = self.sources.get(index)?;
            Some((index, source.names.before(self.changes, source.modified_ns())?))
        });
        of.collect()
    }

    /// Declares what a container wrote into files that were rotated and deleted between two looks.
    pub(super) fn declare_unseen(&mut self, changes: &Changes, before: &HashMap<usize, i64>) {
        let mut deleted: HashMap<usize, Vec<&String>> = HashMap::new();
        for (directory, run, stamp) in &changes.deleted_rotated {
            let index = self.sources.run(directory, *run);
            if let Some(index) = index.filter(|_| !self.is_excluded(directory)) {
                deleted.entry(index).or_default().push(stamp);
            }
        }
        for (index, stamps) in deleted {
            let Some(source) = self.sources.get_mut(index) else { continue };
            let unseen = source.unseen(&stamps);
            self.outgoing.metrics.missed_files.inc_by(unseen as u64);
            // Without a file that was seen there is no time to begin with: it is only counted.
            let Some(since_ns) = before.get(&index).filter(|_| unseen > 0) else { continue };
            let loss = Loss {
                file: None,
                start: 0,
                end_exclusive: None,
                last_known_size: 0,
                reason: GapReason::Deleted,
            };
            self.lost_since(index, &loss, *since_ns);
        }
    }
}
