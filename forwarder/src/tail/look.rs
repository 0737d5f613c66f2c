//! What is found is matched with what is known: changes make sources hot, new files join theirs, trouble is told once.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use naru_proto::frame::{Source, Writer};
use naru_proto::ids::FileId;
use naru_proto::wire;

use super::gaps::Loss;
use super::source::{Place, SourceTail};
use super::{RECONCILE, RECONCILE_POLLING, Tailer, adopt, hosts};
use crate::discover::host::HostPattern;
use crate::discover::{Changes, ContainerDirectory, Directory, pods};

/// Of the containers whose directories are watched, a reconcile reads on in one of so many, so that ten thousand idle
/// files cost a thousand reads a minute, and a write whose event got lost is found within ten minutes.
const UNNOTICED_SHARE: usize = 20;

impl Tailer {
    pub(super) fn reconcile(&mut self, now: Instant) {
        self.discovery.reconcile();
        let root = self.config.containers.as_ref().map(|containers| &containers.path);
        if root.is_none_or(|root| root.is_dir()) {
            for directory in std::mem::take(&mut self.look_again) {
                self.look_into(&directory, now);
            }
        }
        self.look_at_host_files(now);
        // A write that no event told of: on a network file system, through a link, or without inotify.
        let share = if self.discovery.must_poll() { 1 } else { UNNOTICED_SHARE };
        let turn = self.timers.reconciled % share;
        self.timers.reconciled = self.timers.reconciled.wrapping_add(1);
        for (index, source) in self.sources.iter_mut() {
            source.look_at_passed();
            let waits = source.waits_for_more();
            if waits {
                self.attention.insert(index);
            }
            let its_turn = waits || source.is_host() || index % share == turn;
            if its_turn && !source.queued && source.next_file().is_some() {
                source.queued = true;
                self.hot.push(index);
            }
        }
        self.look_at_asleep(turn, share, now);
        let again = if self.discovery.must_poll() { RECONCILE_POLLING } else { RECONCILE };
        self.timers.reconcile = now + again;
    }

    pub(super) fn apply(&mut self, changes: Changes, now: Instant) {
        if changes.is_empty() {
            return;
        }
        self.changes += 1;
        if changes.overflowed {
            self.wake_all(now);
        }
        for (directory, ..) in &changes.deleted_rotated {
            // What was known of it says what was not.
            self.wake(directory, now);
        }
        let before = self.before_deletions(&changes);
        for directory in &changes.containers {
            self.look_into(directory, now);
        }
        for container in &changes.docker {
            self.look_into_docker(container, now);
        }
        if changes.host {
            self.look_at_host_files(now);
        }
        if changes.links {
            self.look_at_links();
        }
        self.count_missed(&changes);
        self.declare_unseen(&changes, &before);
        let mut woken = false;
        for (directory, name) in changes.written {
            match directory {
                Directory::Container(directory) => {
                    let run = name.to_str().and_then(pods::run_of);
                    let Some(run) = run else { continue };
                    woken |= self.disturb(&directory, run, now);
                    let Some(index) = self.sources.run(&directory, run) else { continue };
                    self.heat(index);
                    self.declare_out_of_sight(index);
                    if self.was_closed(index, &name) {
                        self.look_into(&directory, now);
                    }
                }
                Directory::Docker(container) => {
                    if let Some(index) = self.docker.get(&container).copied() {
                        self.heat(index);
                    }
                }
                Directory::Host(directory) => {
                    let path = directory.join(name).to_string_lossy().into_owned();
                    match self.sources.host(&path) {
                        Some(index) => self.heat(index),
                        // A renamed file: whose, only the descriptors know.
                        None => self.heat_host_sources(),
                    }
                }
                Directory::Root | Directory::Pod(_) | Directory::Links => {}
            }
        }
        if woken {
            self.resume(now);
        }
    }

    /// A file was written to that was passed and is not open any more.
    fn was_closed(&self, index: usize, name: &OsStr) -> bool {
        let files = self.sources.get(index).into_iter().flat_map(|source| &source.files);
        let closed = files.into_iter().find(|file| name == file.name.as_str());
        closed.is_some_and(|file| file.passed && !file.is_open())
    }

    fn heat_host_sources(&mut self) {
        let hosts = self.sources.iter().filter(|(_, source)| {
            source.is_host() && source.files.iter().any(|file| file.passed && file.is_open())
        });
        for index in hosts.map(|(index, _)| index).collect::<Vec<_>>() {
            self.heat(index);
        }
    }

    pub(super) fn heat(&mut self, index: usize) {
        if let Some(source) = self.sources.get_mut(index)
            && !std::mem::replace(&mut source.queued, true)
        {
            self.hot.push(index);
        }
    }

    /// Matches a container's sources with what its directory holds.
    pub(super) fn look_into(&mut self, directory: &ContainerDirectory, now: Instant) {
        self.wake(directory, now);
        if self.is_excluded(directory) {
            self.leave_out(directory);
            return;
        }
        if self.is_crowded() {
            self.crowded_out.insert(directory.clone());
            return;
        }
        let Some(containers) = &self.config.containers else { return };
        let root = containers.path.clone();
        let mut runs = match pods::list(&root, directory) {
            Ok(runs) => runs,
            Err(error) => {
                let path = root.join(directory.path());
                self.report(path, &error);
                self.look_again.insert(directory.clone());
                return;
            }
        };
        if runs.is_empty() && !root.is_dir() {
            self.wait_for_root(directory);
            return;
        }
        self.forget_unreadable(directory, &runs);
        for (restart, index) in self.sources.runs(directory) {
            let Some(source) = self.sources.get_mut(index) else { continue };
            if std::mem::take(&mut source.left_out) {
                source.resuming = source.resuming.map(|_| now);
            }
            runs.entry(restart).or_default();
        }
        for (restart, entries) in runs {
            let Some(source) = pods::source(&self.config.node, directory, restart) else {
                continue;
            };
            let place = Place::Container { directory: directory.clone(), restart };
            let index = self.index_of(source, place);
            self.name_container(index);
            let linked = self.docker_link(directory, &entries);
            let Some(source) = self.sources.get_mut(index) else { continue };
            let before = source.open_files();
            source.is_looked_at(self.changes);
            let adopted = match linked.or_else(|| source.docker.clone()) {
                Some(container) => self.adopt_docker(index, &container, now),
                None => Ok(source.adopt(&root, entries, now)),
            };
            let after = self.sources.get(index).map_or(0, SourceTail::open_files);
            self.open_files += after.saturating_sub(before);
            match adopted {
                Ok(adopted) => {
                    self.begin(index, adopted.troubles.is_empty());
                    self.note(index, adopted);
                }
                Err(error) => {
                    let directory = root.join(directory.path());
                    self.report(directory.join(format!("{restart}.log")), &error);
                    self.look_again(index);
                }
            }
            self.heat(index);
            self.attention.insert(index);
        }
    }

    /// The log directory itself is not there: what was in it has no name, and is not deleted but for what its descriptor
    /// says.
    fn wait_for_root(&mut self, directory: &ContainerDirectory) {
        for (index, source) in self.sources.iter_mut() {
            if source.directory() != Some(directory) {
                continue;
            }
            for file in &mut source.files {
                file.gone |= file.is_unlinked();
            }
            self.attention.insert(index);
        }
        // When it is back, whatever is in it then.
        self.look_again.insert(directory.clone());
    }

    pub(super) fn index_of(&mut self, source: Source, place: Place) -> usize {
        match self.sources.at(&place) {
            Some(index) => index,
            None => self.insert(SourceTail::new(source, place)),
        }
    }

    fn note(&mut self, index: usize, adopted: adopt::Adopted) {
        for path in adopted.fine {
            self.readable(&path);
        }
        for trouble in adopted.troubles {
            self.report(trouble.path, &trouble.error);
            if trouble.again {
                self.look_again(index);
            }
        }
        for (id, trouble) in adopted.damaged {
            let path = trouble.path.display();
            tracing::error!(%path, error = %trouble.error, "a compressed log file is damaged");
            self.declare_damaged(index, [id]);
        }
        if adopted.salted {
            self.journal(index);
        }
    }

    /// At the next reconcile, whatever the directory's times say.
    pub(super) fn look_again(&mut self, index: usize) {
        if let Some(source) = self.sources.get(index)
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
                self.host_source(&path.to_string_lossy(), pattern, now);
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
            .map(|(index, _)| index)
            .collect();
        let mut others = self.other_hosts();
        for index in hosts {
            others.copied = self.is_copy_at(index);
            let Some(source) = self.sources.get_mut(index) else { continue };
            let (result, damaged) = source.adopt_host(now, &others, index);
            self.declare_damaged(index, damaged);
            self.begin(index, result.is_ok());
            let Some(source) = self.sources.get(index) else { continue };
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

    /// Which host files are whose.
    pub(super) fn other_hosts(&self) -> hosts::Others {
        let mut others =
            hosts::Others { owners: adopt::Owners::new(), paths: HashSet::new(), copied: false };
        for (index, source) in self.sources.iter() {
            let Place::Host { path, .. } = &source.place else { continue };
            others.paths.insert(PathBuf::from(path));
            for file in &source.files {
                // Without a birth the number may be another file's by now.
                let known = [file.identity, file.gzip_identity];
                let known = known.into_iter().flatten();
                let known = known.filter(|known| file.is_open() || known.birth_ns != 0);
                others.owners.extend(known.map(|known| (adopt::physical(known), index)));
            }
        }
        others
    }

    /// Compressed files that cannot be read.
    pub(super) fn declare_damaged(
        &mut self,
        index: usize,
        files: impl IntoIterator<Item = FileId>,
    ) {
        for id in files {
            let loss = Loss {
                file: Some(id),
                start: 0,
                end_exclusive: None,
                last_known_size: 0,
                reason: wire::GapReason::Damaged,
            };
            self.lost(index, &loss);
        }
    }

    fn host_source(&mut self, path: &str, pattern: &HostPattern, now: Instant) {
        let writer = Writer::HostFile { path: path.to_owned() };
        let source = Source { node: self.config.node.clone(), writer };
        let skip_binary = pattern.is_wildcard();
        let is_new = self.sources.host(path).is_none();
        let index = self.index_of(source, Place::Host { path: path.to_owned(), skip_binary });
        if is_new {
            self.begin_host(index, now);
        }
    }

    /// Reports a file that cannot be read, once until the reason changes.
    pub(super) fn report(&mut self, path: PathBuf, error: &io::Error) {
        let reason = match error.kind() {
            // Nothing else is needed: neither to be root nor CAP_DAC_OVERRIDE, which could also write.
            io::ErrorKind::PermissionDenied => {
                format!("{error}; run with the file's group or with CAP_DAC_READ_SEARCH alone")
            }
            _ => error.to_string(),
        };
        if self.unreadable.get(&path) != Some(&reason) {
            tracing::warn!(path = %path.display(), reason, "a log file cannot be read");
            self.unreadable.insert(path, reason);
        }
        self.outgoing.metrics.unreadable_files.set(self.unreadable.len() as i64);
    }

    /// What could not be read and is not there any more.
    fn forget_unreadable(
        &mut self,
        directory: &ContainerDirectory,
        runs: &BTreeMap<u32, Vec<pods::LogFile>>,
    ) {
        let relative = directory.path();
        let listed = |path: &Path| {
            let names = runs.values().flatten().map(|file| Path::new(&file.name));
            path.file_name().is_some_and(|name| names.into_iter().any(|known| known == name))
        };
        let absolute = self.config.containers.as_ref().map(|c| c.path.join(&relative));
        self.unreadable.retain(|path, _| {
            let of = path.parent() == Some(&relative) && !listed(path);
            !(of || absolute.as_deref() == Some(path))
        });
        self.outgoing.metrics.unreadable_files.set(self.unreadable.len() as i64);
    }

    pub(super) fn readable(&mut self, path: &PathBuf) {
        if self.unreadable.remove(path).is_some() {
            tracing::info!(path = %path.display(), "a log file can be read again");
            self.outgoing.metrics.unreadable_files.set(self.unreadable.len() as i64);
        }
    }
}
