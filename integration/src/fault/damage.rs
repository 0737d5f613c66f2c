//! Files that a disk or a power cut has harmed.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// One thing done to one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// The file ends here.
    Cut {
        /// Its length from now on.
        length: u64,
    },
    /// One byte is another.
    Flip {
        /// Where.
        at: u64,
        /// Not 0: these bits change.
        bits: u8,
    },
}

impl Damage {
    /// One at random below `length_bytes`, which is more than 0.
    pub fn random(random: &mut fastrand::Rng, length_bytes: u64) -> Self {
        let at = random.u64(..length_bytes);
        if random.bool() {
            Self::Cut { length: at }
        } else {
            Self::Flip { at, bits: random.u8(1..) }
        }
    }

    /// Does it.
    pub fn inflict(self, path: &Path) {
        let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
        match self {
            Self::Cut { length } => {
                assert!(length < file.metadata().unwrap().len(), "nothing to cut");
                file.set_len(length).unwrap();
            }
            Self::Flip { at, bits } => {
                assert_ne!(bits, 0);
                let mut byte = [0];
                file.read_exact_at(&mut byte, at).unwrap();
                file.write_all_at(&[byte[0] ^ bits], at).unwrap();
            }
        }
    }
}

/// Every regular file below a directory, sorted.
#[must_use]
pub fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                directories.push(entry.path());
            } else if kind.is_file() {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    found
}

/// How much of a file is in use: what follows its last byte that is not 0 was only allocated.
#[must_use]
pub fn used_bytes(path: &Path) -> u64 {
    let bytes = fs::read(path).unwrap();
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_harmed_as_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a/b");
        fs::create_dir(path.parent().unwrap()).unwrap();
        fs::write(&path, b"abc\0\0").unwrap();
        assert_eq!(files_below(directory.path()), std::slice::from_ref(&path));
        assert_eq!(used_bytes(&path), 3);
        Damage::Flip { at: 1, bits: 3 }.inflict(&path);
        assert_eq!(fs::read(&path).unwrap(), b"aac\0\0");
        Damage::Cut { length: 2 }.inflict(&path);
        assert_eq!(fs::read(&path).unwrap(), b"aa");
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..1000 {
            fs::write(&path, b"abc").unwrap();
            Damage::random(&mut random, 3).inflict(&path);
            assert_ne!(fs::read(&path).unwrap(), b"abc");
        }
    }
}
