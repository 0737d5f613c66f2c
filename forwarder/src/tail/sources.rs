//! The sources that are tailed, found by number, by where they are, or by their container's directory.

use std::collections::HashMap;

use naru_proto::frame::Writer;

use super::source::{Place, SourceTail};
use crate::discover::ContainerDirectory;

/// See the module.
#[derive(Default)]
pub(super) struct Sources {
    /// Each by itself: a table of them would keep room for nearly twice as many.
    tails: HashMap<usize, Box<SourceTail>>,
    /// The runs of each container, and their numbers.
    containers: HashMap<ContainerDirectory, Vec<(u32, usize)>>,
    hosts: HashMap<String, usize>,
    next: usize,
}

impl Sources {
    /// Adds one, whose place has none; gives its number, which no other ever has.
    pub(super) fn insert(&mut self, source: SourceTail) -> usize {
        let index = self.next;
        self.next += 1;
        match &source.place {
            Place::Container { directory, restart } => {
                let runs = self.containers.entry(directory.clone()).or_default();
                // Most containers never restart.
                runs.reserve_exact(1);
                runs.push((*restart, index));
            }
            Place::Host { path, .. } => {
                self.hosts.insert(path.clone(), index);
            }
        }
        self.tails.insert(index, Box::new(source));
        index
    }

    pub(super) fn remove(&mut self, index: usize) -> Option<SourceTail> {
        let source = *self.tails.remove(&index)?;
        match &source.place {
            Place::Container { directory, .. } => {
                if let Some(runs) = self.containers.get_mut(directory) {
                    runs.retain(|(_, of)| *of != index);
                    if runs.is_empty() {
                        self.containers.remove(directory);
                    }
                }
            }
            Place::Host { path, .. } => drop(self.hosts.remove(path)),
        }
        Some(source)
    }

    /// The number of the source there.
    pub(super) fn at(&self, place: &Place) -> Option<usize> {
        match place {
            Place::Container { directory, restart } => self.run(directory, *restart),
            Place::Host { path, .. } => self.host(path),
        }
    }

    /// The number of what a writer writes, found by looking at all.
    pub(super) fn of(&self, writer: &Writer) -> Option<usize> {
        self.iter().find(|(_, tail)| tail.source.writer == *writer).map(|(index, _)| index)
    }

    /// That of a run of a container.
    pub(super) fn run(&self, directory: &ContainerDirectory, restart: u32) -> Option<usize> {
        let runs = self.containers.get(directory)?;
        runs.iter().find(|(of, _)| *of == restart).map(|(_, index)| *index)
    }

    /// Those of a container: the run and the number of each.
    pub(super) fn runs(&self, directory: &ContainerDirectory) -> Vec<(u32, usize)> {
        self.containers.get(directory).cloned().unwrap_or_default()
    }

    /// That of a host path.
    pub(super) fn host(&self, path: &str) -> Option<usize> {
        self.hosts.get(path).copied()
    }

    pub(super) fn get(&self, index: usize) -> Option<&SourceTail> {
        self.tails.get(&index).map(|tail| &**tail)
    }

    pub(super) fn get_mut(&mut self, index: usize) -> Option<&mut SourceTail> {
        self.tails.get_mut(&index).map(|tail| &mut **tail)
    }

    pub(super) fn contains(&self, index: usize) -> bool {
        self.tails.contains_key(&index)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &SourceTail)> {
        self.tails.iter().map(|(index, tail)| (*index, &**tail))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (usize, &mut SourceTail)> {
        self.tails.iter_mut().map(|(index, tail)| (*index, &mut **tail))
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &SourceTail> {
        self.tails.values().map(|tail| &**tail)
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut SourceTail> {
        self.tails.values_mut().map(|tail| &mut **tail)
    }

    /// Gives back the room of what was removed.
    pub(super) fn shrink(&mut self) {
        self.tails.shrink_to_fit();
        self.containers.shrink_to_fit();
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.tails.len()
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.tails.is_empty()
    }
}
