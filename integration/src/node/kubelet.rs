//! The kubelet's log rotation (`pkg/kubelet/logs/container_log_manager.go`), step by step.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;

use super::container::Container;

/// By so much a clock was put back, and the names do not only run ahead of it.
const PUT_BACK_S: i64 = 6 * 3600;

/// Rotates the logs of running containers.
#[derive(Debug)]
pub struct Kubelet {
    /// `containerLogMaxFiles`: the live file and the rotated ones.
    max_files: usize,
    /// Of each directory, the second that its last rotated file is named by: names have one second's resolution, and the
    /// stories rotate more often than a kubelet does.
    last_s: HashMap<PathBuf, i64>,
}

impl Default for Kubelet {
    /// With the kubelet's own default of 5 files.
    fn default() -> Self {
        Self::new(5)
    }
}

impl Kubelet {
    /// `max_files` is at least 2, as the kubelet demands.
    #[must_use]
    pub fn new(max_files: usize) -> Self {
        assert!(max_files >= 2);
        Self { max_files, last_s: HashMap::new() }
    }

    /// One rotation. `meanwhile` runs when `N.log` does not exist and the container still writes to the renamed file.
    pub fn rotate(&mut self, container: &mut Container, meanwhile: impl FnOnce(&mut Container)) {
        self.rename(container);
        meanwhile(container);
        container.reopen();
    }

    /// A rotation whose last step fails: the file gets its name back.
    pub fn rotate_in_vain(
        &mut self,
        container: &mut Container,
        meanwhile: impl FnOnce(&mut Container),
    ) {
        let rotated = self.rename(container);
        meanwhile(container);
        Self::give_back(container, &rotated);
    }

    /// What it does when the runtime does not reopen: the file gets its name back.
    pub fn give_back(container: &Container, rotated: &Path) {
        fs::rename(rotated, container.live_path()).unwrap();
    }

    /// All of a rotation but the reopening; returns the rotated file's path.
    pub fn rename(&mut self, container: &Container) -> PathBuf {
        let live = container.live_path();
        self.make_room(&live);
        let now_s = container.now_s();
        let last_s = self.last_s.entry(container.directory()).or_default();
        // A clock that was put back names files as if they were older.
        *last_s = if now_s + PUT_BACK_S < *last_s { now_s } else { now_s.max(*last_s + 1) };
        let rotated =
            with_suffix(&live, &format!(".{}", container.zone().rotation_suffix(*last_s)));
        fs::rename(&live, &rotated).unwrap();
        rotated
    }

    fn make_room(&self, live: &Path) {
        let mut rotated = remove_unused(rotated_logs(live));
        // One place is for the live file, one for the file that is rotated next.
        let excess = rotated.len().saturating_sub(self.max_files.saturating_sub(2));
        for oldest in rotated.drain(..excess) {
            fs::remove_file(oldest).unwrap();
        }
        rotated.iter().filter(|path| !has_suffix(path, ".gz")).for_each(|path| compress(path));
    }

    /// What the kubelet's garbage collection leaves of a dead container: nothing that begins with `N.log`.
    pub fn clean(container: Container) {
        let live = container.live_path();
        drop(container);
        Self::clean_run(&live);
    }

    /// The same of a run whose container has been started again.
    pub fn clean_run(live: &Path) {
        rotated_logs(live).into_iter().for_each(|path| fs::remove_file(path).unwrap());
        fs::remove_file(live).unwrap();
    }
}

/// `glob(N.log.*)`, sorted, which is oldest first.
fn rotated_logs(live: &Path) -> Vec<PathBuf> {
    let prefix = with_suffix(live, ".");
    let prefix = prefix.file_name().unwrap().to_str().unwrap().to_owned();
    let mut found: Vec<PathBuf> = fs::read_dir(live.parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(&prefix))
        .collect();
    found.sort();
    found
}

/// Deletes what an interrupted compression left: `*.tmp`, and a plain file that has a `.gz` twin.
fn remove_unused(rotated: Vec<PathBuf>) -> Vec<PathBuf> {
    let (used, unused): (Vec<_>, Vec<_>) = rotated.iter().cloned().partition(|path| {
        !has_suffix(path, ".tmp") && !rotated.contains(&with_suffix(path, ".gz"))
    });
    unused.into_iter().for_each(|path| fs::remove_file(path).unwrap());
    used
}

/// `X` → `X.tmp` → `X.gz`, then `X` is unlinked: for an instant both are there.
fn compress(plain: &Path) {
    let partial = with_suffix(plain, ".tmp");
    let mut encoder = GzEncoder::new(File::create(&partial).unwrap(), Compression::default());
    io::copy(&mut File::open(plain).unwrap(), &mut encoder).unwrap();
    encoder.finish().unwrap();
    fs::rename(&partial, with_suffix(plain, ".gz")).unwrap();
    fs::remove_file(plain).unwrap();
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

fn has_suffix(path: &Path, suffix: &str) -> bool {
    path.to_str().unwrap().ends_with(suffix)
}
