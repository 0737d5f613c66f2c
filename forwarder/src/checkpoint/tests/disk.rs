//! A disk that is full or read-only. Skipped by name where a small one cannot be mounted.

use std::process::Command;

use super::*;

#[test]
fn b14_a_full_disk_is_an_error_until_it_is_not() {
    let directory = scratch();
    let Some(mount) = Tmpfs::mount(directory.path(), "size=1600k") else { return };
    let (mut checkpoint, _) = open(mount.path);
    checkpoint.put(&full(0, 1));
    checkpoint.sync().unwrap();
    let ballast = mount.path.join("ballast");
    fs::write(&ballast, vec![1; 2 << 20]).unwrap_err();
    // What was preallocated takes appends for a while.
    for step in 0..100 {
        checkpoint.journal(&full(0, step)).unwrap();
    }
    let mut saved = 100;
    let error = loop {
        match checkpoint.journal(&full(0, saved)) {
            Ok(()) => saved += 1,
            Err(error) => break error,
        }
        assert!(saved < 100_000, "the disk is full");
    };
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert_eq!(open(mount.path).1.sources, sources(&[&full(0, saved - 1)]));
    checkpoint.put(&full(1, 7));
    checkpoint.sync().unwrap_err();
    checkpoint.sync().unwrap_err();
    fs::remove_file(ballast).unwrap();
    assert!(checkpoint.sync().unwrap());
    let (_, loaded) = open(mount.path);
    assert!(loaded.damage.is_empty());
    assert_eq!(loaded.sources, sources(&[&full(0, saved), &full(1, 7)]));
}

#[test]
fn b14_a_read_only_disk_is_an_error_until_it_is_not() {
    let directory = scratch();
    let Some(mount) = Tmpfs::mount(directory.path(), "size=8m") else { return };
    let (mut checkpoint, _) = open(mount.path);
    checkpoint.put(&full(0, 1));
    checkpoint.sync().unwrap();
    drop(checkpoint);
    assert!(mount.remount("ro"));
    let (mut checkpoint, loaded) = open(mount.path);
    assert_eq!(loaded.sources, sources(&[&full(0, 1)]));
    checkpoint.put(&full(0, 2));
    assert_eq!(checkpoint.sync().unwrap_err().kind(), io::ErrorKind::ReadOnlyFilesystem);
    assert!(mount.remount("rw"));
    assert!(checkpoint.sync().unwrap());
    assert_eq!(open(mount.path).1.sources, sources(&[&full(0, 2)]));
}

/// A small disk of its own; needs root.
pub(crate) struct Tmpfs<'a> {
    path: &'a Path,
}

impl<'a> Tmpfs<'a> {
    /// None, by name, where mounting is not allowed.
    pub(crate) fn mount(path: &'a Path, options: &str) -> Option<Self> {
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(path)
            .output()
            .is_ok_and(|output| output.status.success());
        if !mounted {
            assert!(std::env::var_os("CI").is_none(), "mount -t tmpfs is missing");
            eprintln!("skipped: mount -t tmpfs is not possible here");
        }
        mounted.then_some(Self { path })
    }

    pub(crate) fn remount(&self, mode: &str) -> bool {
        let options = format!("remount,{mode}");
        let status = Command::new("mount").args(["-o", &options]).arg(self.path).status();
        status.is_ok_and(|status| status.success())
    }
}

impl Drop for Tmpfs<'_> {
    fn drop(&mut self) {
        let status = Command::new("umount").arg("-l").arg(self.path).status();
        assert!(status.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}
