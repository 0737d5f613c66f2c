//! Containers that are not read: nothing of them is opened, and what was read of them keeps its position.

use super::Tailer;
use super::file::Content;
use crate::clock;
use crate::discover::ContainerDirectory;
use crate::discover::exclude::ExcludedContainer;

impl Tailer {
    /// Takes the aggregator's policy for the one before: what it excludes is not read any further, what it does not
    /// exclude any more is read on from where it was left, as far as it is still there.
    pub fn set_policy(&mut self, excluded: impl IntoIterator<Item = ExcludedContainer>) {
        let known: Vec<_> = self.discovery.containers().cloned().collect();
        let before: Vec<bool> = known.iter().map(|directory| self.is_excluded(directory)).collect();
        let Some(containers) = &mut self.config.containers else { return };
        containers.exclude.set_policy(excluded);
        let now = clock::now();
        for (directory, before) in known.into_iter().zip(before) {
            if self.is_excluded(&directory) != before {
                self.look_into(&directory, now);
            }
        }
    }

    pub(super) fn is_excluded(&self, directory: &ContainerDirectory) -> bool {
        let containers = self.config.containers.as_ref();
        containers.is_some_and(|containers| containers.excludes(directory))
    }

    /// Closes what is open of a container, and forgets it when its directory is gone: what it has lost is not missed.
    pub(super) fn leave_out(&mut self, directory: &ContainerDirectory) {
        let Some(containers) = &self.config.containers else { return };
        let path = containers.path.join(directory.path());
        let gone = path
            .symlink_metadata()
            .is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound);
        for (_, index) in self.sources.runs(directory) {
            let Some(source) = self.sources.get_mut(index) else { continue };
            source.left_out = true;
            for file in &mut source.files {
                file.content = Content::Closed;
                file.missing_since = None;
            }
            self.attention.remove(&index);
            if gone && let Some(source) = self.sources.remove(index) {
                self.checkpoint.remove(&source.source);
            }
        }
    }
}
