//! Container logs.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::wrong::Wrong;

/// A log directory of Kubernetes.
pub(super) const PODS_PATH: &str = "/var/log/pods";

/// Which container logs are read.
#[derive(Debug, Clone)]
pub struct Containers {
    /// The kubelet's log directory.
    pub path: PathBuf,
}

impl Containers {
    /// Those in a directory, everything else as it is by default.
    #[must_use]
    pub fn at(path: &Path) -> Self {
        Self { path: path.to_path_buf() }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawContainers {
    /// The kubelet's log directory; `""` turns container logs off. Default: /var/log/pods.
    path: Option<Spanned<String>>,
}

impl RawContainers {
    pub(super) fn checked(self) -> Result<Option<Containers>, Wrong> {
        let path = match &self.path {
            Some(path) if path.value.is_empty() => return Ok(None),
            Some(path) if !path.value.starts_with('/') => {
                return Err(Wrong::new("path", path, format!("{} is not absolute", path.value)));
            }
            Some(path) => Path::new(&path.value),
            None => Path::new(PODS_PATH),
        };
        Ok(Some(Containers::at(path)))
    }
}
