//! The order in which a container's files were written.
//!
//! A rotated name says when its file was rotated, by a clock that may be put back. So names order only what was found
//! together: what was live at the last look, and what has come since it was renamed, is newer than all that had a rotated
//! name by then. Pure but for the source that it orders.

use std::time::Duration;

use super::file::{Content, TailedFile};
use super::source::SourceTail;
use crate::clock;
use crate::discover::pods::{LogFile, Order};
use crate::identity;

impl SourceTail {
    /// The files that were not rotated when they were seen last.
    pub(super) fn live_files(&self) -> Vec<usize> {
        let is_live = |(_, file): &(usize, &TailedFile)| !file.gone && file.order == Order::Live;
        self.files.iter().enumerate().filter(is_live).map(|(index, _)| index).collect()
    }

    /// Orders the first `known` files, those that were live among them, and those that were found since.
    pub(super) fn put_in_order(&mut self, known: usize, live: &[usize]) {
        self.order_deleted(known);
        if self.docker.is_none() {
            self.order_found(known, live);
        }
        self.files.sort_by(|a, b| a.order.cmp(&b.order));
    }

    /// A file that was being written when it was deleted comes before whatever was found since: its name does not say so.
    fn order_deleted(&mut self, known: usize) {
        let Some((before, found)) = self.files.split_at_mut_checked(known) else { return };
        if found.is_empty() {
            return;
        }
        let newest = before.iter().filter_map(stamp).max().unwrap_or_default().to_owned();
        for file in before.iter_mut().filter(|f| f.gone && f.order == Order::Live) {
            // After the newest of its predecessors, and before any later stamp.
            file.order = Order::Rotated(format!("{newest}+"));
            self.names.deleted_unnamed();
        }
    }

    fn order_found(&mut self, known: usize, live: &[usize]) {
        let older = self.files.iter().take(known).enumerate();
        let older = older.filter(|(index, _)| !live.contains(index));
        let newest = older.filter_map(|(_, file)| stamp(file)).max();
        let mut newest = newest.unwrap_or_default().to_owned();
        let is_rotated = |index: &usize| self.files.get(*index).is_some_and(|f| stamp(f).is_some());
        let mut later: Vec<usize> = live.iter().copied().filter(is_rotated).collect();
        if later.is_empty() {
            return;
        }
        let mut found: Vec<usize> = (known..self.files.len()).filter(is_rotated).collect();
        found.sort_by_key(|index| self.files.get(*index).map(|file| file.order.clone()));
        later.extend(found);
        for index in later {
            if let Some(Order::Rotated(stamp)) = self.files.get_mut(index).map(|f| &mut f.order) {
                if *stamp < newest {
                    *stamp = after(&newest);
                }
                newest.clone_from(stamp);
            }
        }
    }
}

impl TailedFile {
    /// It is open and has no name left anywhere.
    pub(super) fn is_unlinked(&self) -> bool {
        match &self.content {
            Content::Plain(handle) | Content::Gzip(handle, _) => {
                identity::stat(handle).is_ok_and(|stat| stat.unlinked)
            }
            Content::Closed => false,
        }
    }

    /// It was not written to for so long, by its own time: what is found late has grown just now, and not been written to.
    pub(super) fn is_quiet_for(&self, time: Duration) -> bool {
        let Content::Plain(handle) = &self.content else { return false };
        let age = |stat: identity::Stat| clock::now_ns().saturating_sub(stat.modified_ns);
        identity::stat(handle)
            .is_ok_and(|stat| u128::try_from(age(stat)).unwrap_or(0) >= time.as_nanos())
    }

    /// It has another name, or its twin's: what was found out about its order holds as long as that stays.
    pub(super) fn rename(&mut self, entry: &LogFile) {
        if !self.is_named(&entry.name) {
            self.order.clone_from(&entry.order);
        }
        self.name.clone_from(&entry.name);
    }

    /// Whether this is its name, or that of its compressed twin.
    pub(super) fn is_named(&self, name: &str) -> bool {
        stem(&self.name) == stem(name)
    }
}

fn stem(name: &str) -> &str {
    name.strip_suffix(".gz").unwrap_or(name)
}

fn stamp(file: &TailedFile) -> Option<&str> {
    match &file.order {
        Order::Rotated(stamp) => Some(stamp),
        Order::Live => None,
    }
}

/// What comes after a stamp, and before the next that a name gives.
fn after(stamp: &str) -> String {
    let (named, count) = stamp.split_once('+').unwrap_or((stamp, ""));
    let count: u64 = count.trim_end_matches('+').parse().unwrap_or(0);
    format!("{named}+{:08}", count + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_after_a_stamp_stays_behind_it() {
        let mut stamp = "20261122-000001".to_owned();
        for _ in 0..3 {
            let deleted = format!("{stamp}+");
            let next = after(&deleted);
            assert!(stamp < deleted && deleted < next && next == after(&stamp), "{next}");
            assert!(*next < *"20261122-000002");
            stamp = next;
        }
        assert_eq!(stamp, "20261122-000001+00000003");
    }
}
