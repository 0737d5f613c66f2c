//! Where segments lie: a segment's state is the directory that it is in.
//!
//! `open/` is written, `sealed/` waits for delivery or is read, `done/` is delivered, and kept or about to
//! be deleted, `quarantine/` was found damaged and is kept for a person. A segment's directory is
//! named by the first sequence in it.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::disk::sync_dir;
use super::entry::Sequence;

/// The state of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Open,
    Sealed,
    Done,
    Quarantine,
}

impl State {
    const ALL: [Self; 4] = [Self::Open, Self::Sealed, Self::Done, Self::Quarantine];

    /// The name of its directory.
    pub(super) fn directory(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Sealed => "sealed",
            Self::Done => "done",
            Self::Quarantine => "quarantine",
        }
    }
}

/// The directories of one chain.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    root: PathBuf,
}

impl Layout {
    /// Makes what is missing below `root`, durably.
    pub(super) fn create(root: &Path) -> io::Result<Self> {
        let layout = Self { root: root.to_owned() };
        fs::create_dir_all(root)?;
        for state in State::ALL {
            fs::create_dir_all(layout.state(state))?;
        }
        sync_dir(root)?;
        if let Some(parent) = root.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            sync_dir(parent)?;
        }
        Ok(layout)
    }

    /// What is below `root`, made or not.
    pub(super) fn at(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn state(&self, state: State) -> PathBuf {
        self.root.join(state.directory())
    }

    pub(super) fn segment(&self, state: State, first: Sequence) -> PathBuf {
        self.state(state).join(format!("{:020}", first.0))
    }

    /// The segments in a state, oldest first. Names that are not ours are left alone.
    pub(super) fn list(&self, state: State) -> io::Result<Vec<Sequence>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(self.state(state))? {
            let name = entry?.file_name();
            let first = name.to_str().filter(|name| name.len() == 20).and_then(|n| n.parse().ok());
            match first {
                Some(first) => found.push(Sequence(first)),
                None => tracing::warn!(?name, "not a segment: left alone"),
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    /// Moves a segment to another state; `sync_move` makes it durable.
    pub(super) fn rename(&self, first: Sequence, from: State, to: State) -> io::Result<()> {
        fs::rename(self.segment(from, first), self.segment(to, first))
    }

    /// Makes moves between two states durable.
    pub(super) fn sync_move(&self, from: State, to: State) -> io::Result<()> {
        sync_dir(&self.state(to))?;
        sync_dir(&self.state(from))
    }

    /// Deletes a segment; one that is not there is deleted.
    pub(super) fn delete(&self, state: State, first: Sequence) -> io::Result<()> {
        match fs::remove_dir_all(self.segment(state, first)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}
