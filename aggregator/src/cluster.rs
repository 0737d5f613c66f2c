//! A data directory belongs to one cluster: its name is part of every document's id.

use std::fs;
use std::io;
use std::path::Path;

use crate::stages::StageError;

/// Writes the cluster's name into a new data directory, or compares it.
///
/// # Errors
/// The directory cannot be used, or is another cluster's.
pub(crate) fn bind(data_dir: &Path, cluster: &str) -> Result<(), StageError> {
    let path = data_dir.join("cluster");
    let failed = |source| StageError::DataDir { path: data_dir.to_path_buf(), source };
    fs::create_dir_all(data_dir).map_err(failed)?;
    match fs::read_to_string(&path) {
        Ok(found) if found.trim_end() == cluster => Ok(()),
        // A crash between creating and writing it.
        Ok(found) if found.is_empty() => write(&path, cluster).map_err(failed),
        Ok(found) => Err(StageError::OtherCluster {
            path: data_dir.to_path_buf(),
            found: found.trim_end().to_owned(),
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            write(&path, cluster).map_err(failed)
        }
        Err(error) => Err(failed(error)),
    }
}

fn write(path: &Path, cluster: &str) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    fs::write(&temporary, format!("{cluster}\n"))?;
    fs::File::open(&temporary)?.sync_all()?;
    fs::rename(&temporary, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_directory_keeps_its_cluster() {
        let dir = tempfile::tempdir().unwrap();
        let data_dir = dir.path().join("data");
        bind(&data_dir, "one").unwrap();
        bind(&data_dir, "one").unwrap();
        assert!(matches!(bind(&data_dir, "two"), Err(StageError::OtherCluster { .. })));
        fs::write(data_dir.join("cluster"), "").unwrap();
        bind(&data_dir, "two").unwrap();
    }
}
