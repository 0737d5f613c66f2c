//! Container logs.

use std::path::PathBuf;

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::wrong::Wrong;

/// A log directory of Kubernetes.
pub(super) const PODS_PATH: &str = "/var/log/pods";

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawContainers {
    /// The kubelet's log directory; `""` turns container logs off. Default: /var/log/pods.
    path: Option<Spanned<String>>,
}

impl RawContainers {
    pub(super) fn checked(self) -> Result<Option<PathBuf>, Wrong> {
        let Some(path) = self.path else { return Ok(Some(PODS_PATH.into())) };
        match path.value.as_str() {
            "" => Ok(None),
            absolute if absolute.starts_with('/') => Ok(Some(absolute.into())),
            other => Err(Wrong::new("path", &path, format!("{other} is not absolute"))),
        }
    }
}
