//! What is found is matched with what is known: changes make sources hot, new files join theirs, trouble is told once.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use naru_proto::frame::{Source, Writer};
use naru_proto::wire;

use super::source::{Place, SourceTail};
use super::{Loss, RECONCILE, RECONCILE_POLLING, Tailer, adopt};
use crate::discover::host::HostPattern;
use crate::discover::{Changes, ContainerDirectory, Directory, pods};

impl Tailer {
    pub(super) fn reconcile(&mut self, now: Instant) {
        self.discovery.reconcile();
        for directory in std::mem::take(&mut self.look_again) {
            self.look_into(&directory, now);
        }
        self.look_at_host_files(now);
        // A write that no event told of: on a network file system, or without inotify.
        for (index, source) in &mut self.sources {
            source.look_at_passed();
            if !source.queued && source.next_file().is_some() {
                source.queued = true;
                self.hot.push_back(*index);
            }
        }
        let again = if self.discovery.must_poll() { RECONCILE_POLLING } else { RECONCILE };
        self.timers.reconcile = now + again;
    }

    pub(super) fn apply(&mut self, changes: Changes, now: Instant) {
        if changes.is_empty() {
            return;
        }
        for directory in &changes.containers {
            self.look_into(directory, now);
        }
        if changes.host {
            self.look_at_host_files(now);
        }
        for (directory, name) in changes.written {
            match directory {
                Directory::Container(directory) => {
                    let run = name.to_str().and_then(pods::log_file).map(|(restart, _)| restart);
                    let source =
                        run.and_then(|run| pods::source(&self.config.node, &directory, run));
                    self.heat_writer(source.map(|source| source.writer));
                }
                Directory::Host(directory) => {
                    let path = directory.join(name).to_string_lossy().into_owned();
                    match self.by_writer.contains_key(&Writer::HostFile { path: path.clone() }) {
                        true => self.heat_writer(Some(Writer::HostFile { path })),
                        // A renamed file: whose, only the descriptors know.
                        false => self.heat_host_sources(),
                    }
                }
                Directory::Root | Directory::Pod(_) => {}
            }
        }
    }

    fn heat_writer(&mut self, writer: Option<Writer>) {
        if let Some(index) = writer.and_then(|writer| self.by_writer.get(&writer).copied()) {
            self.heat(index);
        }
    }

    fn heat_host_sources(&mut self) {
        let hosts = self.sources.iter().filter(|(_, source)| {
            source.is_host() && source.files.iter().any(|file| file.passed && file.is_open())
        });
        for index in hosts.map(|(index, _)| *index).collect::<Vec<_>>() {
            self.heat(index);
        }
    }

    pub(super) fn heat(&mut self, index: usize) {
        if let Some(source) = self.sources.get_mut(&index)
            && !std::mem::replace(&mut source.queued, true)
        {
            self.hot.push_back(index);
        }
    }

    /// Matches a container's sources with what its directory holds.
    pub(super) fn look_into(&mut self, directory: &ContainerDirectory, now: Instant) {
        if self.is_excluded(directory) {
            self.leave_out(directory);
            return;
        }
        let Some(containers) = &self.config.containers else { return };
        let root = containers.path.clone();
        let mut runs = match pods::list(&root, directory) {
            Ok(runs) => runs,
            Err(error) => {
                let path = root.join(&directory.pod).join(&directory.container);
                self.report(path, &error);
                self.look_again.insert(directory.clone());
                return;
            }
        };
        for source in self.sources.values_mut() {
            match &source.place {
                Place::Container { directory: of, restart } if of == directory => {
                    if std::mem::take(&mut source.left_out) {
                        source.resuming = source.resuming.map(|_| now);
                    }
                    runs.entry(*restart).or_default();
                }
                Place::Container { .. } | Place::Host { .. } => {}
            }
        }
        for (restart, entries) in runs {
            let Some(source) = pods::source(&self.config.node, directory, restart) else {
                continue;
            };
            let place = Place::Container { directory: directory.clone(), restart };
            let index = self.index_of(source, place);
            let Some(source) = self.sources.get_mut(&index) else { continue };
            let adopted = source.adopt(&root, entries, now);
            self.note(index, adopted);
            self.heat(index);
            self.attention.insert(index);
        }
    }

    pub(super) fn index_of(&mut self, source: Source, place: Place) -> usize {
        match self.by_writer.get(&source.writer) {
            Some(index) => *index,
            None => self.insert(SourceTail::new(source, place)),
        }
    }

    fn note(&mut self, index: usize, adopted: adopt::Adopted) {
        for path in adopted.fine {
            self.readable(&path);
        }
        for trouble in adopted.troubles {
            if trouble.damaged {
                let path = trouble.path.display();
                tracing::error!(%path, error = %trouble.error, "a compressed log file is damaged");
                self.lost(
                    index,
                    &Loss {
                        file: None,
                        start: 0,
                        end_exclusive: None,
                        last_known_size: 0,
                        reason: wire::GapReason::Damaged,
                    },
                );
            } else {
                self.report(trouble.path, &trouble.error);
                self.look_again(index);
            }
        }
        if adopted.salted {
            self.journal(index);
        }
    }

    /// At the next reconcile, whatever the directory's times say.
    pub(super) fn look_again(&mut self, index: usize) {
        if let Some(source) = self.sources.get(&index)
            && let Place::Container { directory, .. } = &source.place
        {
            self.look_again.insert(directory.clone());
        }
    }

    pub(super) fn look_at_host_files(&mut self, now: Instant) {
        for input in self.config.files.clone() {
            let pattern = &input.pattern;
            let files = pattern.files();
            for directory in pattern.directories(&files) {
                self.discovery.watch_host(directory);
            }
            for path in files {
                self.host_source(&path.to_string_lossy(), pattern);
            }
        }
        // One that the configuration names no more keeps its position, and is not read.
        let named = |place: &Place| match place {
            Place::Host { path, .. } => {
                let mut inputs = self.config.files.iter();
                inputs.any(|input| input.pattern.matches(Path::new(path)))
            }
            Place::Container { .. } => false,
        };
        let hosts: Vec<usize> = self
            .sources
            .iter()
            .filter(|(_, source)| named(&source.place))
            .map(|(index, _)| *index)
            .collect();
        let mut owners = adopt::Owners::new();
        for index in &hosts {
            let files = self.sources.get(index).into_iter().flat_map(|source| &source.files);
            let identities = files.filter_map(|file| file.identity);
            owners.extend(identities.map(|identity| (adopt::physical(identity), *index)));
        }
        for index in hosts {
            let Some(source) = self.sources.get_mut(&index) else { continue };
            let result = source.adopt_host(now, &owners, index);
            let Place::Host { path, .. } = &source.place else { continue };
            let path = PathBuf::from(path);
            match result {
                Ok(()) => self.readable(&path),
                Err(error) => self.report(path, &error),
            }
            self.heat(index);
            self.attention.insert(index);
        }
    }

    fn host_source(&mut self, path: &str, pattern: &HostPattern) {
        let writer = Writer::HostFile { path: path.to_owned() };
        let source = Source { node: self.config.node.clone(), writer };
        let skip_binary = pattern.is_wildcard();
        self.index_of(source, Place::Host { path: path.to_owned(), skip_binary });
    }

    /// Reports a file that cannot be read, once until the reason changes.
    pub(super) fn report(&mut self, path: PathBuf, error: &io::Error) {
        let reason = error.to_string();
        if self.unreadable.get(&path) != Some(&reason) {
            tracing::warn!(path = %path.display(), reason, "a log file cannot be read");
            self.unreadable.insert(path, reason);
        }
        self.outgoing.metrics.unreadable_files.set(self.unreadable.len() as i64);
    }

    pub(super) fn readable(&mut self, path: &PathBuf) {
        if self.unreadable.remove(path).is_some() {
            tracing::info!(path = %path.display(), "a log file can be read again");
            self.outgoing.metrics.unreadable_files.set(self.unreadable.len() as i64);
        }
    }
}
