//! Log files held open while another forwarder reads them. A holder: it reads no line and saves nothing.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use naru_proto::ids::FileId;

use crate::checkpoint::{Binding, Checkpoint};
use crate::clock;
use crate::config::Config;
use crate::discover::pods::{self, LogFile, Order};
use crate::discover::{ContainerDirectory, Discovery, docker};
use crate::identity::{self, Key};

/// How often what no event tells of is looked at: host files, and everything where inotify is refused.
const LOOK: Duration = Duration::from_secs(1);
/// Deleted files are held for so long: the one that reads them has had its time. It is about as long as a node may be
/// without an answer from its aggregator before somebody looks.
const DELETED_MAX_AGE: Duration = Duration::from_secs(15 * 60);
/// Bytes of deleted files that are held; the other process may hold the same ones.
const DELETED_MAX_BYTES: u64 = 1 << 30;

/// Where a held file was found.
#[derive(Debug, Clone)]
pub enum Whose {
    /// In a container's directory.
    Container {
        /// Which.
        directory: ContainerDirectory,
        /// The run.
        restart: u32,
        /// By its last name.
        entry: LogFile,
        /// Of docker's, in whose directory it is; None: in the kubelet's own.
        docker: Option<String>,
    },
    /// At a path of the host.
    Host(PathBuf),
}

/// A file that is held.
#[derive(Debug)]
pub struct Held {
    /// Where it was last.
    pub whose: Whose,
    /// Its descriptor.
    pub file: File,
    /// Since when it has no name left, as far as that was seen.
    deleted: Option<Instant>,
}

/// See the module.
pub struct Holder {
    config: Config,
    discovery: Discovery,
    /// Where the links to docker's containers are, and of which run.
    docker: HashMap<String, (ContainerDirectory, u32)>,
    files: HashMap<Key, Held>,
    finished: HashSet<FileId>,
    next_look: Instant,
}

impl Holder {
    /// Holds nothing yet.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self {
            discovery: Discovery::new(
                config.containers.as_ref().map(|containers| containers.path.clone()),
            )
            .with_docker(
                config.containers.as_ref().and_then(|containers| containers.docker.clone()),
            ),
            docker: HashMap::new(),
            config: config.clone(),
            files: HashMap::new(),
            finished: HashSet::new(),
            next_look: clock::now(),
        }
    }

    /// Readable when something happened to a container's files.
    #[must_use]
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.discovery.descriptor()
    }

    /// How many files are held.
    #[must_use]
    pub fn count(&self) -> usize {
        self.files.len()
    }

    /// Opens what is new, and lets go of what nobody will need.
    pub fn look(&mut self) {
        let now = clock::now();
        let due = now >= self.next_look;
        if due {
            self.next_look = now + LOOK;
            self.discovery.reconcile();
            self.look_at_host_files();
        }
        let changes = self.discovery.changes();
        for directory in changes.containers {
            self.look_into(&directory);
        }
        for container in changes.docker {
            self.look_into_docker(&container);
        }
        if due {
            self.let_go(now);
        }
    }

    /// Looks at everything, whenever it did last.
    #[cfg(test)]
    pub(crate) fn look_now(&mut self) {
        self.next_look = clock::now();
        self.look();
    }

    /// What is held, and the files that were seen to be read to their end.
    #[must_use]
    pub fn into_parts(self) -> (Vec<Held>, HashSet<FileId>) {
        (self.files.into_values().collect(), self.finished)
    }

    fn look_into(&mut self, directory: &ContainerDirectory) {
        let Some(containers) = &self.config.containers else { return };
        if containers.excludes(directory) {
            return;
        }
        let root = containers.path.clone();
        // What cannot be looked at now is looked at again with the next change.
        let Ok(runs) = pods::list(&root, directory) else { return };
        let relative = directory.path();
        for (restart, entries) in runs {
            for entry in entries {
                let path = relative.join(&entry.name);
                if entry.link && entry.order == Order::Live {
                    self.follow(&root.join(path), directory, restart);
                    continue;
                }
                let directory = directory.clone();
                let whose = Whose::Container { directory, restart, entry, docker: None };
                self.hold(&root, &path, whose);
            }
        }
    }

    /// Holds the files of the docker container that a link leads to, and of no other.
    fn follow(&mut self, link: &Path, directory: &ContainerDirectory, restart: u32) {
        let root = self.config.containers.as_ref().and_then(|found| found.docker.as_ref());
        let target = std::fs::read_link(link).ok();
        let Some((root, target)) = root.zip(target) else { return };
        let Some(container) = docker::container_of(root, &target) else { return };
        if self.docker.contains_key(&container) {
            return;
        }
        self.docker.insert(container.clone(), (directory.clone(), restart));
        // Watched, then read: nothing falls between.
        self.discovery.watch_docker(&container);
        self.look_into_docker(&container);
    }

    fn look_into_docker(&mut self, container: &str) {
        let root = self.config.containers.as_ref().and_then(|found| found.docker.clone());
        let of = self.docker.get(container).cloned();
        let Some((root, (directory, restart))) = root.zip(of) else { return };
        let Ok(entries) = docker::list(&root, container) else { return };
        if entries.is_empty() {
            self.docker.remove(container);
        }
        for entry in entries {
            let path = Path::new(container).join(&entry.name);
            let (directory, docker) = (directory.clone(), Some(container.to_owned()));
            self.hold(&root, &path, Whose::Container { directory, restart, entry, docker });
        }
    }

    fn look_at_host_files(&mut self) {
        for input in self.config.files.clone() {
            for path in input.pattern.files() {
                if let (Some(directory), Some(name)) = (path.parent(), path.file_name()) {
                    self.hold(directory, Path::new(name), Whose::Host(path.clone()));
                }
            }
        }
    }

    fn hold(&mut self, root: &Path, relative: &Path, whose: Whose) {
        if let Ok(stat) = identity::stat_path(&root.join(relative))
            && let Some(held) = self.files.get_mut(&stat.identity.key())
        {
            held.whose = whose;
            return;
        }
        if let Ok((file, stat)) = identity::open_beneath(root, relative) {
            self.files.insert(stat.identity.key(), Held { whose, file, deleted: None });
        }
    }

    /// Notes what was read to its end, and keeps deleted files within their bounds, the newest of them.
    fn let_go(&mut self, now: Instant) {
        let mut deleted = Vec::new();
        for (identity, held) in &mut self.files {
            match identity::stat(&held.file) {
                Ok(stat) if stat.unlinked => {
                    deleted.push((*held.deleted.get_or_insert(now), *identity, stat.size));
                }
                _ => held.deleted = None,
            }
        }
        if deleted.is_empty() {
            return;
        }
        self.note_finished();
        deleted.sort_by_key(|(since, ..)| std::cmp::Reverse(*since));
        let mut bytes = 0;
        for (since, identity, size) in deleted {
            bytes += size;
            if bytes > DELETED_MAX_BYTES || now.duration_since(since) > DELETED_MAX_AGE {
                self.files.remove(&identity);
            }
        }
    }

    /// A file that is read and gone is forgotten by its reader: it must not be taken for one that nobody read.
    fn note_finished(&mut self) {
        let Config { cluster, node, data_dir, .. } = &self.config;
        let binding = Binding { cluster: cluster.clone(), node: node.clone() };
        let Ok((_, loaded)) = Checkpoint::open(&data_dir.join("checkpoint"), binding) else {
            return;
        };
        let files = loaded.sources.values().flat_map(|source| &source.files);
        self.finished.extend(files.filter(|file| file.finished).map(|file| file.id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn b21_what_is_deleted_while_another_reads_is_held_under_its_last_name() {
        let directory = tempfile::tempdir().unwrap();
        let container = directory.path().join("pods/shop_web-0_7c1f/web");
        std::fs::create_dir_all(&container).unwrap();
        let root = directory.path().display();
        let text = format!(
            "aggregator: {{address: localhost:1}}\ndata_dir: {root}/state\ncontainers: {{path: {root}/pods}}\n"
        );
        let config = Config::parse("f.yaml", &text, &|_| None).unwrap();
        let mut holder = Holder::new(&config);
        std::fs::write(container.join("0.log"), "a line\n").unwrap();
        holder.look();
        let rotated = container.join("0.log.20261122-000001");
        std::fs::rename(container.join("0.log"), &rotated).unwrap();
        holder.look_now();
        std::fs::remove_file(&rotated).unwrap();
        holder.look_now();
        assert_eq!(holder.count(), 1);
        let (files, finished) = holder.into_parts();
        assert!(finished.is_empty());
        let mut held = files.into_iter().next().unwrap();
        let Whose::Container { entry, .. } = &held.whose else { panic!("{:?}", held.whose) };
        assert_eq!(entry.name, "0.log.20261122-000001");
        let mut text = String::new();
        held.file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "a line\n");
    }
}
