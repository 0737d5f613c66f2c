//! Identity on real file systems. One that cannot be mounted here is skipped by name; with CI=true that fails for root.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::*;

/// A file system of a test's own.
struct Mounted {
    scratch: tempfile::TempDir,
    at: PathBuf,
}

fn run(program: &str, arguments: &[&str]) -> bool {
    let output = Command::new(program).args(arguments).output();
    output.is_ok_and(|output| output.status.success())
}

impl Mounted {
    /// In an image made by `mkfs`, or for "overlay" over two directories.
    fn new(kind: &str) -> Option<Self> {
        let scratch = tempfile::tempdir().unwrap();
        let path = |name: &str| scratch.path().join(name).to_str().unwrap().to_owned();
        let at = path("at");
        for name in ["at", "lower", "upper", "work"] {
            std::fs::create_dir(path(name)).unwrap();
        }
        let mounted = if kind == "overlay" {
            let (lower, upper, work) = (path("lower"), path("upper"), path("work"));
            let options = format!("lowerdir={lower},upperdir={upper},workdir={work}");
            run("mount", &["-t", "overlay", "overlay", "-o", &options, &at])
        } else {
            let image = path("image");
            File::create(&image).unwrap().set_len(400 << 20).unwrap();
            run(&format!("mkfs.{kind}"), &["-q", &image])
                && run("mount", &["-o", "loop", &image, &at])
        };
        if !mounted {
            eprintln!("skipped: {kind} cannot be made and mounted here");
            let root = rustix::process::geteuid().is_root();
            assert!(!root || std::env::var_os("CI").is_none(), "{kind} cannot be mounted");
            return None;
        }
        Some(Self { at: at.into(), scratch })
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let gone = run("umount", &["-l", self.at.to_str().unwrap_or_default()]);
        assert!(gone || std::thread::panicking(), "{}", self.scratch.path().display());
    }
}

/// Files that have a path one after the other are told apart, a renamed, truncated or unlinked one is not.
fn check(name: &str, directory: &Path) {
    let path = directory.join("0.log");
    let open = |name: &str| open_beneath(directory, Path::new(name)).unwrap();
    let mut before: Option<Identity> = None;
    let (mut reused, mut evidence) = (0, Evidence::Inode);
    for round in 0..200 {
        std::fs::write(&path, "the same first line\n").unwrap();
        let (file, found) = open("0.log");
        let (_, again) = open("0.log");
        assert!(found.identity.is_surely(&again.identity), "{name}");
        if let Some(before) = before {
            reused += usize::from(before.inode == found.identity.inode);
            assert!(!before.is_same(&found.identity), "{name}: told apart in round {round}");
        }
        std::fs::rename(&path, directory.join("0.log.1")).unwrap();
        let (renamed, _) = open("0.log.1");
        std::fs::write(directory.join("0.log.1"), "").unwrap();
        std::fs::remove_file(directory.join("0.log.1")).unwrap();
        let unlinked =
            Identity { handle: handle::of_descriptor(&renamed), ..stat(&file).unwrap().identity };
        assert!(unlinked.is_surely(&found.identity), "{name}: renamed, truncated, unlinked");
        evidence = unlinked.evidence(&found.identity);
        before = Some(found.identity);
    }
    println!("{name}: known by {evidence:?}, inode reused {reused} of 199");
}

#[test]
fn b1_files_are_told_apart_on_every_file_system() {
    check("the temporary directory", tempfile::tempdir().unwrap().path());
    if let Ok(memory) = tempfile::tempdir_in("/dev/shm") {
        check("tmpfs", memory.path());
    }
    for kind in ["ext4", "xfs", "btrfs", "overlay"] {
        if let Some(mounted) = Mounted::new(kind) {
            check(kind, &mounted.at);
        }
    }
}

#[test]
fn b1_each_fallback_is_as_good_as_its_evidence() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x");
    let look = || open_beneath(directory.path(), Path::new("x")).unwrap().1.identity;
    for best in [Evidence::Handle, Evidence::Birth, Evidence::Inode] {
        forced::best(best);
        std::fs::write(&path, "x").unwrap();
        let first = look();
        assert!(first.evidence(&look()) >= best);
        assert!(first.is_same(&look()) && first.is_surely(&look()) == (best != Evidence::Inode));
        forced::reboot();
        assert_eq!(first.is_same(&look()), best != Evidence::Inode, "the device is another");
        let mut other = first;
        (other.birth_ns, other.handle) = (first.birth_ns + 1, first.handle);
        assert_eq!(first.is_same(&other), best != Evidence::Birth);
    }
}
