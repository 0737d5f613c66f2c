//! Where a data directory has its chains of segments.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// How deep a chain may lie: one of a kind of its own lies in that kind's directory.
const DEPTH: usize = 2;

/// Every directory that holds a chain, in the order of their names.
///
/// # Errors
/// The data directory cannot be read.
pub(super) fn chains(data_dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    look(data_dir, DEPTH, &mut found)?;
    found.sort();
    Ok(found)
}

fn look(dir: &Path, depth: usize, found: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.join("sealed").is_dir() && path.join("open").is_dir() {
            found.push(path);
        } else if depth > 1 && path.is_dir() {
            look(&path, depth - 1, found)?;
        }
    }
    Ok(())
}
