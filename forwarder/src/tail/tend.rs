//! What time alone changes: fragments that have waited, files that are over, positions to be saved, things to be told.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use naru_proto::wire::GapReason;

use super::Tailer;
use super::file::TailedFile;
use super::gaps::Loss;
use super::source::{End, Place, SourceTail};
use super::sources::Sources;
use crate::clock;
use crate::cut::{Held, JournaledCut};
use crate::files::source_name;

/// How long a line waits for its end before it is cut.
const IDLE: Duration = Duration::from_secs(10);
/// How long a record of a multi-line rule waits for more lines: they are at most 2 s younger by their own times.
const SILENT: Duration = Duration::from_secs(3);
/// The same for host files, whose lines carry no times: as Fluentd's `multiline_flush_interval` for them.
const HOST_SILENT: Duration = Duration::from_secs(5);
/// A name may be missing while it is being changed.
const MISSING_GRACE: Duration = Duration::from_secs(2);

impl Tailer {
    /// Looks after the sources that need it.
    pub(super) fn tend(&mut self, now: Instant) {
        self.resume(now);
        let indices: Vec<usize> = self.attention.iter().copied().collect();
        let due = indices.iter().filter_map(|index| self.what_waited(*index, now));
        let due = due.flatten().collect();
        self.cut_idle(due);
        for index in indices {
            if self.sources.get(index).is_some_and(|source| source.left_out) {
                self.attention.remove(&index);
                continue;
            }
            self.cut_late_tails(index, now);
            self.declare_missing(index, now);
            self.forget_out_of_sight(index);
            let Some(source) = self.sources.get_mut(index) else {
                self.attention.remove(&index);
                continue;
            };
            let listed = source.directory().is_none_or(|of| self.discovery.has(of));
            if source.release(now, listed) {
                source.unsaved = true;
            }
            if source.is_over() {
                let source = self.sources.remove(index);
                self.attention.remove(&index);
                if let Some(source) = source {
                    self.checkpoint.remove(&source.source);
                }
                continue;
            }
            // What time cannot change waits for an event.
            if source.caught_up && !source.queued && !source.needs_attention() {
                self.attention.remove(&index);
            } else if source.next_file().is_some() {
                self.heat(index);
            }
        }
        self.keep_to_budget(now);
        self.open_files = self.sources.values().map(SourceTail::open_files).sum();
        self.let_others_in(now);
        self.outgoing.metrics.open_files.set(self.open_files as i64);
    }

    /// Lets restarted sources go on whose files are found; looks again for those of the others.
    ///
    /// A file that is being renamed, or that cannot be opened for once, is not gone.
    pub(super) fn resume(&mut self, now: Instant) {
        let resuming = |sources: &Sources| -> Vec<usize> {
            let waiting = sources.iter().filter(|(_, s)| s.resuming.is_some() && !s.left_out);
            waiting.map(|(index, _)| index).collect()
        };
        for index in resuming(&self.sources) {
            self.declare_missing(index, now);
            let Some(source) = self.sources.get_mut(index).filter(|s| s.can_resume(now)) else {
                continue;
            };
            let gone = source.resume_cutter();
            self.lost_extents(index, gone);
            self.heat(index);
        }
        let mut host = false;
        for index in resuming(&self.sources) {
            self.attention.insert(index);
            match self.sources.get(index).map(|source| source.place.clone()) {
                Some(Place::Container { directory, .. }) => self.look_into(&directory, now),
                Some(Place::Host { .. }) => host = true,
                None => {}
            }
        }
        if host {
            self.look_at_host_files(now);
        }
    }

    /// What of a source has waited long enough to be cut.
    fn what_waited(&mut self, index: usize, now: Instant) -> Option<Vec<(usize, JournaledCut)>> {
        let source = self.sources.get_mut(index)?;
        source.note_held(now);
        // More of it may stand in what is not read yet.
        if source.left_out || source.queued || !source.caught_up {
            return None;
        }
        let silent = if source.is_host() { HOST_SILENT } else { SILENT };
        let is_due = |held: &Held<'_>| {
            let patience = if held.inside_line { IDLE } else { silent };
            held.last
                && held.extents.last().is_some_and(|end| {
                    let since = source.held_since.iter().find(|(extent, _)| extent == end);
                    since.is_some_and(|(_, since)| now.duration_since(*since) >= patience)
                })
        };
        let due = source.cutter.held().filter(is_due).map(|held| held.iostream);
        Some(due.filter_map(|io| source.cutter.pending_cut(io)).map(|cut| (index, cut)).collect())
    }

    /// The last lines of files that were passed and that nobody will end any more.
    fn cut_late_tails(&mut self, index: usize, now: Instant) {
        let Some(source) = self.sources.get(index) else { return };
        let waits = |file: &TailedFile| file.size > file.read || file.late_waits();
        let is_due = |at: &usize| {
            source.files.get(*at).is_some_and(|f| f.passed && f.is_open() && waits(f))
                && source.tail_is_final(*at, now)
                && source.end(*at, now) == End::Over
        };
        let due: Vec<usize> = (0..source.files.len()).filter(is_due).collect();
        for at in due {
            self.cut_tail(index, at);
            self.finish_late(index, at);
        }
    }

    /// A file that was not read to its end and has no name left anywhere.
    fn declare_missing(&mut self, index: usize, now: Instant) {
        let Some(source) = self.sources.get_mut(index) else { return };
        let mut losses = Vec::new();
        for file in &mut source.files {
            let missing = file.missing_since.is_some_and(|since| now >= since + MISSING_GRACE);
            if !missing || file.passed || file.is_open() {
                continue;
            }
            file.passed = true;
            if source.undisturbed {
                file.out_of_sight = true;
                source.unsaved = true;
                continue;
            }
            losses.push(Loss {
                file: file.id,
                start: file.read,
                end_exclusive: None,
                last_known_size: file.size,
                reason: GapReason::Deleted,
            });
        }
        if !losses.is_empty() {
            source.unsaved = true;
        }
        for loss in losses {
            self.lost(index, &loss);
        }
    }

    /// Writes a source's state down before something that depends on it is sent; false when that failed.
    pub(super) fn journal(&mut self, index: usize) -> bool {
        let Some(source) = self.sources.get(index) else { return true };
        let saved = self.checkpoint.journal(&source.saved());
        self.saved(saved.map(|()| true))
    }

    /// Saves the acknowledged positions that are not.
    pub(super) fn save(&mut self) {
        for source in self.sources.values_mut().filter(|source| source.unsaved) {
            self.checkpoint.put(&source.saved());
            source.unsaved = false;
        }
        let synced = self.checkpoint.sync();
        if matches!(synced, Ok(true)) {
            self.outgoing.metrics.checkpoint_syncs.inc();
        }
        self.saved(synced);
        self.measure(clock::now());
    }

    /// Says once when saving begins to fail, and when it works again.
    fn saved(&mut self, result: io::Result<bool>) -> bool {
        let was_well = self.outgoing.metrics.checkpoint_saved.get() == 1;
        match result {
            Ok(_) if self.checkpoint.is_saved() => {
                self.outgoing.metrics.checkpoint_saved.set(1);
                self.health.checkpoint(None);
                true
            }
            Ok(_) => {
                self.outgoing.metrics.checkpoint_saved.set(0);
                false
            }
            Err(error) => {
                if was_well {
                    tracing::error!(%error, "the checkpoint cannot be written; host files wait");
                }
                self.outgoing.metrics.checkpoint_saved.set(0);
                self.health.checkpoint(Some(error.to_string()));
                false
            }
        }
    }

    /// As a look at its directory names it.
    pub(super) fn log_path(&self, index: usize, at: usize) -> PathBuf {
        let Some(source) = self.sources.get(index) else { return PathBuf::new() };
        let name = source.files.get(at).map(|file| file.name.as_str()).unwrap_or_default();
        match &source.place {
            Place::Container { directory, .. } => directory.path().join(name),
            Place::Host { path, .. } => Path::new(path).with_file_name(name),
        }
    }

    pub(super) fn path_of(&self, index: usize, at: usize) -> String {
        let Some(source) = self.sources.get(index) else { return String::new() };
        let file = source.files.get(at).map(|file| file.name.as_str()).unwrap_or_default();
        format!("{} {file}", source_name(&source.source))
    }
}
