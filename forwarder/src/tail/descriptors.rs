//! More files than descriptors: those that are read and acknowledged are closed, so that others can be opened.
//!
//! Only where the limit is reached; else one descriptor a file is kept, which survives the file's deletion. A file that was
//! closed is opened again when it is written to, or when something happens in its directory.

use std::time::Instant;

use rustix::process::{Resource, getrlimit};

use super::Tailer;
use super::file::{Content, TailedFile};
use super::source::{Place, SourceTail};
use crate::identity;

/// For connections, the checkpoint, directories and the runtime.
const RESERVED: u64 = 40;
/// Below this nothing would go on at all.
const OPEN_FILES_MIN: u64 = 8;

/// How many container files may be open at once, as the process's limit says.
pub(super) fn open_files_max() -> usize {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(limit.saturating_sub(RESERVED).max(OPEN_FILES_MIN)).unwrap_or(usize::MAX)
}

impl Tailer {
    /// Whether no more files may be opened now.
    pub(super) fn is_crowded(&self) -> bool {
        self.open_files >= self.open_files_max
    }

    /// Closes what need not be open, as long as directories wait for it, and looks into them.
    pub(super) fn let_others_in(&mut self, now: Instant) {
        if self.crowded_out.is_empty() {
            return;
        }
        // Without events a closed file is never seen to grow.
        if !self.discovery.must_poll() {
            let closed: usize = self.sources.values_mut().map(SourceTail::close_idle).sum();
            self.open_files = self.open_files.saturating_sub(closed);
        }
        for directory in std::mem::take(&mut self.crowded_out) {
            self.look_into(&directory, now);
        }
    }
}

impl SourceTail {
    /// Closes its files that are read to their ends and acknowledged; returns how many.
    fn close_idle(&mut self) -> usize {
        let idle = matches!(self.place, Place::Container { .. })
            && self.docker.is_none()
            && self.resuming.is_none()
            && self.caught_up
            && !self.queued
            && self.cutter.held().next().is_none();
        if !idle {
            return 0;
        }
        let mut closed = 0;
        for file in self.files.iter_mut().filter(|file| is_idle(file)) {
            // As any file that was read and is looked at again when it grows.
            (file.passed, file.content) = (true, Content::Closed);
            closed += 1;
        }
        self.unsaved |= closed > 0;
        closed
    }
}

fn is_idle(file: &TailedFile) -> bool {
    let Content::Plain(handle) = &file.content else { return false };
    file.id.is_some()
        && !file.gone
        && file.is_settled()
        && !file.late_waits()
        && identity::stat(handle).is_ok_and(|stat| stat.size == file.read)
}
