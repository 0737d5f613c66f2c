//! Which log files there are: directories are watched by one inotify instance and read again when they change.
//!
//! It says where something happened; what it means for a file is the tailer's business. Without inotify, or when its
//! queue overflows, everything is looked at again. An error while looking is never taken for absence.

pub mod beginning;
mod directory;
pub mod docker;
pub mod exclude;
pub mod host;
pub mod links;
pub mod pods;
pub mod rotated;
mod watch;

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use rustix::fs::inotify::{ReadFlags, WatchFlags};

use crate::identity;
use directory::{child, is_child};
use watch::Watcher;

pub use directory::{Changes, ContainerDirectory, Directory};

/// Finds directories and what happens in them.
pub struct Discovery {
    pods_root: Option<PathBuf>,
    docker_root: Option<PathBuf>,
    links_root: Option<PathBuf>,
    host_directories: HashSet<PathBuf>,
    watcher: Option<Watcher>,
    watched: HashMap<i32, Directory>,
    /// Some directory could not be watched.
    unwatched: bool,
    /// Every directory that is known, and when its entries last changed.
    known: HashMap<Directory, i64>,
    changes: Changes,
    /// Directories that were known and are gone: events of their making may still wait in the queue.
    left: Left,
    /// Directories that were refused and reported.
    refused: HashSet<PathBuf>,
}

/// Those forgotten since the queue was last read, and those forgotten between that and the time before.
#[derive(Debug, Default)]
struct Left {
    lately: HashSet<Directory>,
    before: HashSet<Directory>,
}

/// Whoever makes more of them is not told of each.
const REFUSED_MAX: usize = 100;

impl Discovery {
    /// Watches nothing yet: the first [`Self::reconcile`] does.
    #[must_use]
    pub fn new(pods_root: Option<PathBuf>) -> Self {
        let watcher = Watcher::new()
            .inspect_err(|error| {
                tracing::warn!(%error, "inotify is refused; directories are read every second");
            })
            .ok();
        Self {
            pods_root,
            docker_root: None,
            links_root: None,
            host_directories: HashSet::new(),
            watcher,
            watched: HashMap::new(),
            unwatched: false,
            known: HashMap::new(),
            changes: Changes::default(),
            left: Left::default(),
            refused: HashSet::new(),
        }
    }

    /// Where the directories of docker containers are.
    #[must_use]
    pub fn with_docker(self, docker_root: Option<PathBuf>) -> Self {
        Self { docker_root, ..self }
    }

    /// Where the links to container logs are.
    #[must_use]
    pub fn with_links(self, links_root: Option<PathBuf>) -> Self {
        Self { links_root, ..self }
    }

    /// Adds the directory of a docker container.
    pub fn watch_docker(&mut self, container: &str) {
        let directory = Directory::Docker(container.to_owned());
        if !self.known.contains_key(&directory) {
            self.look(directory);
        }
    }

    /// As where inotify is refused.
    #[cfg(test)]
    pub(crate) fn without_inotify(&mut self) {
        self.watcher = None;
        self.watched.clear();
    }

    /// As where no watch is left.
    #[cfg(test)]
    pub(crate) fn without_watches(&mut self) {
        if let Some(watcher) = &mut self.watcher {
            watcher.exhausted = true;
        }
    }

    /// What becomes readable when something happens; None without inotify.
    #[must_use]
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.watcher.as_ref().map(Watcher::descriptor)
    }

    /// Whether changes are only found by [`Self::reconcile`].
    #[must_use]
    pub fn must_poll(&self) -> bool {
        let root_missing = self.pods_root.is_some() && !self.known.contains_key(&Directory::Root);
        self.watcher.is_none() || self.unwatched || root_missing
    }

    /// Adds a directory of host files.
    pub fn watch_host(&mut self, directory: PathBuf) {
        if self.host_directories.insert(directory.clone()) {
            self.look(Directory::Host(directory));
        }
    }

    /// Whether a container's directory is there.
    #[must_use]
    pub fn has(&self, directory: &ContainerDirectory) -> bool {
        self.known.contains_key(&Directory::Container(directory.clone()))
    }

    /// The container directories that are known.
    pub fn containers(&self) -> impl Iterator<Item = &ContainerDirectory> {
        self.known.keys().filter_map(|directory| match directory {
            Directory::Container(of) => Some(of),
            Directory::Root
            | Directory::Pod(_)
            | Directory::Docker(_)
            | Directory::Host(_)
            | Directory::Links => None,
        })
    }

    /// Takes what happened since the last call.
    pub fn changes(&mut self) -> Changes {
        self.read_events();
        std::mem::take(&mut self.changes)
    }

    /// Looks at every directory's time, and into those that changed.
    pub fn reconcile(&mut self) {
        if self.pods_root.is_some() {
            self.look(Directory::Root);
        }
        let known: Vec<_> = self.known.keys().cloned().collect();
        for directory in known {
            let unmanaged = directory == Directory::Root || directory == Directory::Links;
            if !unmanaged && !self.is_as_before(&directory) {
                self.look(directory);
            }
        }
        for directory in self.host_directories.clone() {
            self.look(Directory::Host(directory));
        }
        if self.links_root.is_some() {
            self.look(Directory::Links);
        }
    }

    /// Whether a directory that is watched is as it was at the last look: one call instead of two, for each of many.
    fn is_as_before(&self, directory: &Directory) -> bool {
        let before = self.known.get(directory).filter(|_| !self.unwatched).copied();
        !directory.is_configured()
            && before.is_some_and(|before| {
                identity::directory_changed_ns(&self.path(directory), false)
                    .is_ok_and(|changed_ns| changed_ns == before && !recent(changed_ns))
            })
    }

    fn path(&self, directory: &Directory) -> PathBuf {
        let root = self.pods_root.as_deref().unwrap_or(Path::new("/"));
        match directory {
            Directory::Root => root.to_path_buf(),
            Directory::Pod(pod) => root.join(&**pod),
            Directory::Container(of) => root.join(of.path()),
            Directory::Docker(container) => {
                self.docker_root.as_deref().unwrap_or(Path::new("/")).join(container)
            }
            Directory::Host(path) => path.clone(),
            Directory::Links => self.links_root.clone().unwrap_or_default(),
        }
    }

    /// Watches a directory, then reads it if its entries changed since the last time: in this order, so that nothing
    /// falls between.
    fn look(&mut self, directory: Directory) {
        let path = self.path(&directory);
        self.watch(&directory, &path);
        let changed_ns = match identity::directory_changed_ns(&path, directory.is_configured()) {
            Ok(changed_ns) => changed_ns,
            // Also what stands where a directory would: a file, or a link that is not followed.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                self.forget(&directory);
                return;
            }
            Err(error) => {
                tracing::warn!(%error, path = %path.display(), "look at directory");
                // Known, so that the next reconcile looks again.
                self.known.entry(directory).or_insert(0);
                return;
            }
        };
        if self.known.get(&directory) == Some(&changed_ns) && !recent(changed_ns) {
            return;
        }
        let seen_ns = if self.enter(&directory, &path) { changed_ns } else { 0 };
        self.known.insert(directory, seen_ns);
    }

    /// Reads a directory; false when that failed and must be tried again.
    fn enter(&mut self, directory: &Directory, path: &Path) -> bool {
        match directory {
            Directory::Container(of) => {
                self.changes.containers.insert(of.clone());
                true
            }
            Directory::Docker(container) => {
                self.changes.docker.insert(container.clone());
                true
            }
            Directory::Host(_) => {
                self.changes.host = true;
                true
            }
            Directory::Links => {
                self.changes.links = true;
                true
            }
            Directory::Root | Directory::Pod(_) => match subdirectories(path) {
                Ok(names) => {
                    // Known before its children, so that a child can ask.
                    self.known.entry(directory.clone()).or_insert(0);
                    for name in names {
                        match name.to_str().and_then(|name| child(directory, name)) {
                            Some(child) if self.known.contains_key(&child) => {}
                            Some(child) => self.look(child),
                            None => self.refuse(path.join(name)),
                        }
                    }
                    true
                }
                Err(error) => {
                    tracing::warn!(%error, path = %path.display(), "read directory");
                    false
                }
            },
        }
    }

    /// Says once of a directory that the kubelet did not make it: nothing in it is read.
    fn refuse(&mut self, path: PathBuf) {
        if self.refused.len() < REFUSED_MAX && !self.refused.contains(&path) {
            // As Rust would write it: the name may hold anything but a slash.
            tracing::warn!(?path, "not a directory of Kubernetes; left out");
            self.refused.insert(path);
        }
    }

    fn watch(&mut self, directory: &Directory, path: &Path) {
        let Some(watcher) = &self.watcher else { return };
        let follow =
            if directory.is_configured() { WatchFlags::empty() } else { WatchFlags::DONT_FOLLOW };
        let flags = follow
            | match directory {
                Directory::Root | Directory::Pod(_) | Directory::Links => watch::ENTRIES,
                Directory::Container(_) | Directory::Docker(_) | Directory::Host(_) => {
                    watch::ENTRIES | WatchFlags::MODIFY
                }
            };
        match watcher.add(path, flags) {
            Ok(watch) => {
                self.watched.insert(watch, directory.clone());
            }
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) => {}
            Err(error) => {
                if !std::mem::replace(&mut self.unwatched, true) {
                    tracing::warn!(%error, path = %path.display(),
                        "a directory cannot be watched; all are read every second");
                }
            }
        }
    }

    fn forget(&mut self, directory: &Directory) {
        if self.known.remove(directory).is_none() {
            return;
        }
        self.left.lately.insert(directory.clone());
        match directory {
            Directory::Container(of) => {
                self.changes.containers.insert(of.clone());
            }
            Directory::Docker(container) => {
                self.changes.docker.insert(container.clone());
            }
            Directory::Host(_) => self.changes.host = true,
            Directory::Links => self.changes.links = true,
            Directory::Root | Directory::Pod(_) => {
                let children: Vec<_> =
                    self.known.keys().filter(|known| is_child(directory, known)).cloned().collect();
                for child in children {
                    self.look(child);
                }
            }
        }
    }

    fn read_events(&mut self) {
        let Some(watcher) = &mut self.watcher else { return };
        // What was forgotten before the last reading has no event left in the queue.
        self.left.before = std::mem::take(&mut self.left.lately);
        let mut events = Vec::new();
        if let Err(error) = watcher.read(&mut events) {
            tracing::warn!(%error, "read inotify events");
        }
        for event in events {
            if event.flags.contains(ReadFlags::QUEUE_OVERFLOW) {
                self.overflow();
                continue;
            }
            let Some(directory) = self.watched.get(&event.watch).cloned() else { continue };
            if event.flags.contains(ReadFlags::IGNORED) {
                self.watched.remove(&event.watch);
                self.look(directory);
            } else if event.flags.contains(ReadFlags::MODIFY) {
                self.changes.written.insert((directory, event.name));
            } else {
                self.known.entry(directory.clone()).and_modify(|changed_ns| *changed_ns = 0);
                self.note_deleted(&directory, &event);
                match event.name.to_str().and_then(|name| child(&directory, name)) {
                    Some(child) => self.look_at_child(child, event.flags),
                    None => self.look(directory),
                }
            }
        }
    }

    /// Events were lost: nothing that is known holds.
    pub(crate) fn overflow(&mut self) {
        tracing::warn!("the inotify queue overflowed; every directory is read again");
        self.known.values_mut().for_each(|changed_ns| *changed_ns = 0);
        self.changes.overflowed = true;
        self.reconcile();
    }

    /// Counts a directory that was made and is gone already: what was in it was never seen.
    fn look_at_child(&mut self, child: Directory, flags: ReadFlags) {
        self.look(child.clone());
        let made = flags.contains(ReadFlags::CREATE) && flags.contains(ReadFlags::ISDIR);
        let was_known = self.left.lately.contains(&child) || self.left.before.contains(&child);
        if made && !was_known && !self.known.contains_key(&child) {
            tracing::debug!(directory = ?child, "gone before it could be looked into");
            self.changes.missed += 1;
        }
    }

    fn note_deleted(&mut self, directory: &Directory, event: &watch::Event) {
        if let Directory::Container(of) = directory
            && event.flags.contains(ReadFlags::DELETE)
            && let Some((run, file)) = event.name.to_str().and_then(pods::log_file)
        {
            match file.order {
                pods::Order::Live => drop(self.changes.deleted.insert((of.clone(), run))),
                pods::Order::Rotated(stamp) => {
                    self.changes.deleted_rotated.insert((of.clone(), run, stamp));
                }
            }
        }
    }
}

/// The time of a directory has the granularity of a timer tick: what happened within it may not show.
fn recent(changed_ns: i64) -> bool {
    crate::clock::now_ns().saturating_sub(changed_ns) < 2_000_000_000
}

/// The directories in one, by names of any bytes.
fn subdirectories(path: &Path) -> io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            names.push(entry.file_name());
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests;
