//! Files that were there and gone before they could be opened: nobody knows what they held, so they are counted.

use super::Tailer;
use crate::discover::{Changes, pods};

impl Tailer {
    /// Counts what was gone too soon; a file that is or was open is read to its end and is none of them.
    pub(super) fn count_missed(&mut self, changes: &Changes) {
        let mut missed = changes.missed;
        for (directory, run) in &changes.deleted {
            let Some(source) = pods::source(&self.config.node, directory, *run) else { continue };
            let index = self.by_writer.get(&source.writer);
            let opened = index
                .and_then(|index| self.sources.get(index))
                .is_some_and(|source| !source.files.is_empty() || source.docker.is_some());
            if !opened && !self.is_excluded(directory) {
                tracing::debug!(?directory, run, "a log file was gone before it could be opened");
                missed += 1;
            }
        }
        self.outgoing.metrics.missed_files.inc_by(missed);
    }
}
