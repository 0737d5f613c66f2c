//! Containers that have been silent: what the checkpoint has of them is all that is kept, no descriptor either.
//!
//! Only where events tell of every write, and only when everything is read, acknowledged and told. A write, or a change in
//! its directory, wakes a container: it goes on as after a restart. A file that is gone by then, and that nothing was
//! written to since, has lost nothing; one that was written to, before it was gone or while its writer still has it, is a
//! declared gap.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::time::{Duration, Instant};

use naru_proto::wire::GapReason;

use super::Tailer;
use super::file::{Content, TailedFile};
use super::gaps::Loss;
use super::missed::Names;
use super::source::{Place, SourceTail};
use crate::checkpoint::SourceState;
use crate::discover::ContainerDirectory;
use crate::discover::pods::{self, Order};
use crate::{identity, memory};

/// How long nothing was written. Waking costs what reading a hundred lines does, so at most once in so long.
const SILENT: Duration = Duration::from_secs(60);

/// Which runs of which containers sleep.
#[derive(Default)]
pub(super) struct Asleep {
    containers: HashMap<ContainerDirectory, Vec<Run>>,
    /// Files of theirs that are not passed, and those that are.
    closed: usize,
    passed: usize,
}

/// One that sleeps: what the checkpoint does not have of it.
struct Run {
    restart: u32,
    closed: u32,
    passed: u32,
    names: Option<Box<Names>>,
}

impl Asleep {
    /// Files of theirs: those that may be written to, and those that were passed.
    pub(super) fn files(&self) -> (usize, usize) {
        (self.closed, self.passed)
    }

    pub(super) fn has(&self, directory: &ContainerDirectory, run: u32) -> bool {
        self.containers.get(directory).is_some_and(|runs| runs.iter().any(|of| of.restart == run))
    }

    fn directories(&self) -> Vec<ContainerDirectory> {
        self.containers.keys().cloned().collect()
    }

    /// One in so many of the containers, the same in the same turn.
    fn some(&self, turn: usize, share: usize) -> Vec<ContainerDirectory> {
        let hash = |directory: &ContainerDirectory| {
            self.containers.hasher().hash_one(directory) % share as u64
        };
        let its_turn = |directory: &&ContainerDirectory| hash(directory) == turn as u64;
        self.containers.keys().filter(its_turn).cloned().collect()
    }

    fn put(&mut self, directory: &ContainerDirectory, run: Run) {
        self.closed += run.closed as usize;
        self.passed += run.passed as usize;
        let runs = self.containers.entry(directory.clone()).or_default();
        runs.reserve_exact(1);
        runs.push(run);
    }

    fn take(&mut self, directory: &ContainerDirectory) -> Vec<Run> {
        let runs = self.containers.remove(directory).unwrap_or_default();
        for run in &runs {
            self.closed -= run.closed as usize;
            self.passed -= run.passed as usize;
        }
        runs
    }
}

impl Tailer {
    /// Keeps of silent containers what the checkpoint has.
    pub(super) fn put_to_sleep(&mut self, now: Instant) {
        if self.discovery.must_poll() {
            // No event would wake them.
            for directory in self.asleep.directories() {
                self.look_into(&directory, now);
            }
            self.disturb_all();
            return;
        }
        let silent = self.sources.iter().filter(|(_, source)| source.may_sleep(now));
        let silent: Vec<usize> = silent.map(|(index, _)| index).collect();
        if silent.is_empty() {
            return;
        }
        for index in silent {
            self.attention.remove(&index);
            let Some(source) = self.sources.remove(index) else { continue };
            let Some(directory) = source.directory() else { continue };
            let Place::Container { restart, .. } = source.place else { continue };
            self.checkpoint.put(&source.saved());
            let passed = source.files.iter().filter(|file| file.passed).count() as u32;
            let closed = source.files.len() as u32 - passed;
            let directory = directory.clone();
            let names = source.names.kept(self.changes).map(Box::new);
            self.asleep.put(&directory, Run { restart, closed, passed, names });
        }
        self.sources.shrink();
        memory::give_back();
    }

    /// Goes on with what sleeps of a container, before its directory is looked into.
    pub(super) fn wake(&mut self, directory: &ContainerDirectory, now: Instant) {
        for Run { restart, names, .. } in self.asleep.take(directory) {
            let of = pods::source(&self.config.node, directory, restart);
            let Some(state) = of.and_then(|of| self.checkpoint.state(&of)) else { continue };
            let mut source = SourceTail::restored(&state, now);
            // The same names, shared.
            source.place = Place::Container { directory: directory.clone(), restart };
            source.undisturbed = true;
            source.names = names.map(|names| *names).unwrap_or_default();
            let index = self.insert(source);
            self.attention.insert(index);
        }
    }

    /// Something was written to a run that may sleep, or have slept; true when it did.
    pub(super) fn disturb(
        &mut self,
        directory: &ContainerDirectory,
        run: u32,
        now: Instant,
    ) -> bool {
        let slept = self.asleep.has(directory, run);
        if slept {
            self.look_into(directory, now);
        }
        let index = self.sources.run(directory, run);
        if let Some(source) = index.and_then(|index| self.sources.get_mut(index)) {
            source.undisturbed = false;
        }
        slept
    }

    /// Events were lost: anything may have been written to.
    pub(super) fn wake_all(&mut self, now: Instant) {
        for directory in self.asleep.directories() {
            self.look_into(&directory, now);
        }
        self.disturb_all();
        let out_of_sight = |source: &SourceTail| source.files.iter().any(|file| file.out_of_sight);
        let sources = self.sources.iter().filter(|(_, source)| out_of_sight(source));
        for index in sources.map(|(index, _)| index).collect::<Vec<_>>() {
            self.declare_out_of_sight(index);
        }
    }

    /// Something was written to a source: it may be to what was deleted while it slept.
    pub(super) fn declare_out_of_sight(&mut self, index: usize) {
        let Some(source) = self.sources.get_mut(index) else { return };
        let Some(file) = source.files.iter_mut().find(|file| file.out_of_sight) else { return };
        file.out_of_sight = false;
        let loss = Loss {
            file: file.id,
            start: file.read,
            end_exclusive: None,
            last_known_size: file.size,
            reason: GapReason::Deleted,
        };
        self.attention.insert(index);
        self.lost(index, &loss);
    }

    /// Nobody writes to what was deleted in a silence any more: there is a file or a run after it, or no directory.
    pub(super) fn forget_out_of_sight(&mut self, index: usize) {
        let Some(source) = self.sources.get(index) else { return };
        let Place::Container { directory, restart } = &source.place else { return };
        if !source.files.iter().any(|file| file.out_of_sight) {
            return;
        }
        let live = source.files.iter().any(|file| !file.gone && file.order == Order::Live);
        let later = self.sources.runs(directory).iter().any(|(run, _)| run > restart);
        if (live || later || !self.discovery.has(directory))
            && let Some(source) = self.sources.get_mut(index)
        {
            source.files.iter_mut().for_each(|file| file.out_of_sight = false);
        }
    }

    fn disturb_all(&mut self) {
        self.sources.values_mut().for_each(|source| source.undisturbed = false);
    }

    /// Wakes those of one in so many containers that have grown without an event, as on a network file system.
    pub(super) fn look_at_asleep(&mut self, turn: usize, share: usize, now: Instant) {
        for directory in self.asleep.some(turn, share) {
            let runs = self.asleep.containers.get(&directory).into_iter().flatten();
            for run in runs.map(|run| run.restart).collect::<Vec<_>>() {
                if self.has_changed(&directory, run) {
                    self.disturb(&directory, run, now);
                }
            }
        }
    }

    fn has_changed(&self, directory: &ContainerDirectory, run: u32) -> bool {
        let Some(containers) = &self.config.containers else { return false };
        let of = pods::source(&self.config.node, directory, run);
        let state = of.and_then(|of| self.checkpoint.state(&of));
        state.into_iter().flat_map(|state| state.files).filter(|file| !file.finished).any(|file| {
            let path = containers.path.join(directory.path()).join(&file.name);
            identity::stat_path(&path).is_ok_and(|stat| stat.size != file.acknowledged)
        })
    }

    /// What the checkpoint has of those that sleep.
    pub(super) fn states_asleep(&self) -> impl Iterator<Item = SourceState> + '_ {
        let runs = self.asleep.containers.iter();
        let runs = runs.flat_map(|(directory, runs)| runs.iter().map(move |run| (directory, run)));
        runs.filter_map(|(directory, run)| {
            self.checkpoint.state(&pods::source(&self.config.node, directory, run.restart)?)
        })
    }
}

impl SourceTail {
    /// Nothing of it would be lost if the process ended now, and nothing has happened for long.
    fn may_sleep(&self, now: Instant) -> bool {
        let silent = |file: &TailedFile| match &file.content {
            Content::Closed => file.passed,
            Content::Plain(handle) => {
                !file.passed
                    && now.saturating_duration_since(file.grew) >= SILENT
                    // Nobody could open a deleted file again, and somebody may still write to it.
                    && identity::stat(handle)
                        .is_ok_and(|stat| stat.size == file.read && !stat.unlinked)
            }
            Content::Gzip(..) => false,
        };
        let done = |file: &TailedFile| {
            file.id.is_some()
                && !file.gone
                && file.is_settled()
                && file.is_told()
                && !file.late_waits()
        };
        matches!(self.place, Place::Container { .. })
            && self.docker.is_none()
            && self.resuming.is_none()
            && self.caught_up
            && !(self.queued || self.is_new || self.left_out)
            && self.gaps.is_empty()
            && self.cutter.held().next().is_none()
            && self.committed.held().next().is_none()
            && self.committed.state == self.cutter.state()
            && !self.files.is_empty()
            && self.files.iter().all(|file| done(file) && silent(file))
    }
}
