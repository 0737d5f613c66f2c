//! The directories that matter, and what happened in them. Pure.

use std::collections::HashSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::pods;

/// A directory whose entries matter.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Directory {
    /// Of pods.
    Root,
    /// A pod's.
    Pod(Arc<str>),
    /// A container's.
    Container(ContainerDirectory),
    /// That of a docker container, which a link in a container's directory leads to.
    Docker(String),
    /// One that host files are in.
    Host(PathBuf),
    /// Of the kubelet's links to container logs.
    Links,
}

impl Directory {
    /// Its path is the operator's own; the others are made by whoever runs on the node.
    pub(super) fn is_configured(&self) -> bool {
        matches!(self, Self::Root | Self::Host(_) | Self::Links)
    }
}

/// The directory of one container's logs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ContainerDirectory {
    /// The pod directory's name: `<namespace>_<pod>_<uid>`. Whoever keeps it shares it.
    pub pod: Arc<str>,
    /// The container's name.
    pub container: Arc<str>,
}

impl ContainerDirectory {
    /// Beneath the root of all pods.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        Path::new(&*self.pod).join(&*self.container)
    }
}

/// What happened since the last look.
#[derive(Debug, Default)]
pub struct Changes {
    /// Entries came, went or were renamed.
    pub containers: HashSet<ContainerDirectory>,
    /// The same in directories of docker containers.
    pub docker: HashSet<String>,
    /// The same in directories of host files.
    pub host: bool,
    /// The same among the links to container logs.
    pub links: bool,
    /// Files that were written to.
    pub written: HashSet<(Directory, OsString)>,
    /// Live log files that were deleted, by their container's directory and run.
    pub deleted: HashSet<(ContainerDirectory, u32)>,
    /// Rotated ones, with what their names say of their time.
    pub deleted_rotated: HashSet<(ContainerDirectory, u32, String)>,
    /// Events were lost: anything may have been written to.
    pub overflowed: bool,
    /// How many directories of pods and containers were made and gone before they could be looked into.
    pub missed: u64,
}

impl Changes {
    /// Whether nothing happened.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.containers.is_empty()
            && self.docker.is_empty()
            && !self.host
            && !self.links
            && self.written.is_empty()
            && self.deleted.is_empty()
            && self.deleted_rotated.is_empty()
            && self.missed == 0
            && !self.overflowed
    }
}

/// The directory of a name in another, where one may be.
pub(super) fn child(directory: &Directory, name: &str) -> Option<Directory> {
    match directory {
        Directory::Root => pods::pod_directory(name).map(|_| Directory::Pod(name.into())),
        Directory::Pod(pod) if pods::is_name(name) => {
            Some(Directory::Container(ContainerDirectory {
                pod: pod.clone(),
                container: name.into(),
            }))
        }
        Directory::Pod(_) => None,
        Directory::Container(_) | Directory::Docker(_) | Directory::Host(_) | Directory::Links => {
            None
        }
    }
}

/// Whether one is in the other.
pub(super) fn is_child(directory: &Directory, other: &Directory) -> bool {
    match (directory, other) {
        (Directory::Root, Directory::Pod(_)) => true,
        (Directory::Pod(pod), Directory::Container(of)) => of.pod == *pod,
        _ => false,
    }
}
