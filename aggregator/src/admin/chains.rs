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

/// The index whose side chain this is.
pub(super) fn parked_index(data_dir: &Path, chain: &Path) -> Option<String> {
    let is_parked = chain.parent() == Some(&data_dir.join("parked"));
    is_parked.then(|| chain.file_name().unwrap_or_default().to_string_lossy().into_owned())
}

/// Whether a chain cannot be read because it was deleted since it was found: all that was parked is delivered.
pub(super) fn is_gone(chain: &Path, error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound && !is_chain(chain)
}

fn is_chain(dir: &Path) -> bool {
    dir.join("sealed").is_dir() && dir.join("open").is_dir()
}

fn look(dir: &Path, depth: usize, found: &mut Vec<PathBuf>) -> io::Result<()> {
    let entries = match fs::read_dir(dir) {
        // A chain that is deleted meanwhile.
        Err(error) if depth < DEPTH && error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        if is_chain(&path) {
            found.push(path);
        } else if depth > 1 && path.is_dir() {
            look(&path, depth - 1, found)?;
        }
    }
    Ok(())
}
