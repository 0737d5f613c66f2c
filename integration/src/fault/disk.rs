//! A small disk of its own, which can be full. It needs root and `mount`.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A tmpfs; dropping it unmounts it.
#[derive(Debug)]
pub struct SmallDisk {
    at: PathBuf,
}

impl SmallDisk {
    /// None, by the story's name, where nothing may be mounted; with CI=true root must be able to.
    #[must_use]
    pub fn mount(story: &str, at: &Path, bytes: usize) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let size = format!("size={bytes}");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(at)
            .output()
            .is_ok_and(|output| output.status.success());
        if !mounted {
            let must = rustix::process::geteuid().is_root() && std::env::var_os("CI").is_some();
            assert!(!must, "CI as root, and mount -t tmpfs is not possible");
            println!("skipped: {story}: mount -t tmpfs is not possible here");
        }
        mounted.then(|| Self { at: at.to_owned() })
    }

    /// Not a byte is left.
    pub fn fill(&self) {
        let mut ballast = File::create(self.ballast()).unwrap();
        // The last page goes as well: what is left is less than one.
        for length in [64 << 10, 4 << 10] {
            let bytes = vec![1; length];
            while ballast.write_all(&bytes).is_ok() {}
        }
        assert_eq!(ballast.write_all(&[1; 4 << 10]).unwrap_err().kind(), ErrorKind::StorageFull);
    }

    /// What filled it is deleted.
    pub fn make_room(&self) {
        fs::remove_file(self.ballast()).unwrap();
    }

    fn ballast(&self) -> PathBuf {
        self.at.join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(&self.at).status();
        assert!(unmounted.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}
