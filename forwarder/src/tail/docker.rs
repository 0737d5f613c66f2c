//! Container logs that docker writes: the kubelet's directory holds a link, the files lie in docker's.

use std::io;
use std::time::Instant;

use super::Tailer;
use super::adopt::Adopted;
use super::source::SourceTail;
use crate::cut::{Cutter, Format, ResumeState};
use crate::discover::ContainerDirectory;
use crate::discover::docker;
use crate::discover::pods::{LogFile, Order};

impl Tailer {
    /// The docker container that a run's log is a link to, if it is.
    pub(super) fn docker_link(
        &self,
        directory: &ContainerDirectory,
        entries: &[LogFile],
    ) -> Option<String> {
        let containers = self.config.containers.as_ref()?;
        let link = entries.iter().find(|entry| entry.link && entry.order == Order::Live)?;
        let path = containers.path.join(directory.path());
        let target = std::fs::read_link(path.join(&link.name)).ok()?;
        docker::container_of(containers.docker.as_ref()?, &target)
    }

    /// Matches a run with the files of its docker container.
    pub(super) fn adopt_docker(
        &mut self,
        index: usize,
        container: &str,
        now: Instant,
    ) -> io::Result<Adopted> {
        let owner = self.docker.get(container).filter(|owner| self.sources.contains(**owner));
        if owner.is_some_and(|owner| *owner != index) {
            let reason = "a link to the log of another pod's container, which is not followed";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
        }
        let root = self.config.containers.as_ref().and_then(|found| found.docker.clone());
        let (Some(root), Some(source)) = (root, self.sources.get_mut(index)) else {
            return Ok(Adopted::default());
        };
        if !source.is_of_docker(container) {
            let reason = "a link where a file was, which is not followed";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
        }
        self.docker.insert(container.to_owned(), index);
        // Watched, then read: nothing falls between.
        self.discovery.watch_docker(container);
        let entries = docker::list(&root, container)?;
        match self.sources.get_mut(index) {
            Some(source) => Ok(source.adopt(&root, entries, now)),
            None => Ok(Adopted::default()),
        }
    }

    /// Where the links to docker's directories lie that something happened in.
    pub(super) fn look_into_docker(&mut self, container: &str, now: Instant) {
        let index = self.docker.get(container).copied();
        match index.and_then(|index| self.sources.get(index)?.directory().cloned()) {
            Some(directory) => self.look_into(&directory, now),
            None => drop(self.docker.remove(container)),
        }
    }
}

impl SourceTail {
    /// Its files are those of a docker container from here on; false when it has others.
    pub(super) fn is_of_docker(&mut self, container: &str) -> bool {
        if self.docker.is_none() {
            if !self.files.is_empty() {
                return false;
            }
            self.format = Format::JsonFile.into();
            let rule = self.cutter.rule().cloned();
            self.cutter = Cutter::new(Format::JsonFile).with_rule(rule);
            self.committed.state = ResumeState::new(Format::JsonFile);
        }
        if self.docker.as_deref() != Some(container) {
            self.container_id = container.to_owned();
            self.docker = Some(container.to_owned());
        }
        true
    }
}
