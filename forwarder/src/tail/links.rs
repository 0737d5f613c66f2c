//! The ids of containers whose runtime is not docker, as the kubelet's links name them.

use super::Tailer;
use super::source::{Place, SourceTail};

impl Tailer {
    /// Reads the links that are new, and tells the sources that are there already.
    pub(super) fn look_at_links(&mut self) {
        let directory = self.config.containers.as_ref().and_then(|found| found.links.as_ref());
        let Some(directory) = directory else { return };
        let runs = match self.links.look(directory) {
            Ok(runs) => runs,
            Err(error) => {
                tracing::warn!(%error, path = %directory.display(), "read the links to containers");
                return;
            }
        };
        for (directory, restart) in runs {
            if let Some(index) = self.sources.run(&directory, restart) {
                self.name_container(index);
            }
        }
    }

    /// Gives a source the id of its container, where a link says it. docker's own directory says it better.
    pub(super) fn name_container(&mut self, index: usize) {
        let Some(SourceTail { place, container_id, docker: None, .. }) =
            self.sources.get_mut(index)
        else {
            return;
        };
        let Place::Container { directory, restart } = place else { return };
        if let Some(id) = self.links.id_of(&(directory.clone(), *restart)) {
            id.clone_into(container_id);
        }
    }
}
