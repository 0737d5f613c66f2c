//! Container logs.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::Environment;
use super::exclude::{self, RawExclude};
use super::wrong::Wrong;
use crate::discover::ContainerDirectory;
use crate::discover::exclude::Exclusions;

/// A log directory of Kubernetes.
pub(super) const PODS_PATH: &str = "/var/log/pods";

/// Which container logs are read.
#[derive(Debug, Clone)]
pub struct Containers {
    /// The kubelet's log directory.
    pub path: PathBuf,
    /// Which of them are not read.
    pub exclude: Exclusions,
}

impl Containers {
    /// Those in a directory, everything else as it is by default.
    #[must_use]
    pub fn at(path: &Path) -> Self {
        Self { path: path.to_path_buf(), exclude: Exclusions::default() }
    }

    /// Whether a container's logs are not read.
    #[must_use]
    pub fn excludes(&self, directory: &ContainerDirectory) -> bool {
        self.exclude.excludes(&self.path, directory)
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawContainers {
    /// The kubelet's log directory; `""` turns container logs off. Default: /var/log/pods.
    path: Option<Spanned<String>>,
    /// Containers whose logs are not read.
    exclude: Option<Vec<Spanned<RawExclude>>>,
    /// Whether Naru's own logs are not read: the pods `naru-forwarder-*` and `naru-aggregator-*`, in the namespace that
    /// POD_NAMESPACE names or, without it, in any. Default: true.
    exclude_own: Option<bool>,
}

impl RawContainers {
    pub(super) fn checked(self, environment: Environment<'_>) -> Result<Option<Containers>, Wrong> {
        let rules = self.exclude.into_iter().flatten().map(RawExclude::checked);
        let mut rules = rules.collect::<Result<Vec<_>, _>>()?;
        if self.exclude_own.unwrap_or(true) {
            rules.extend(exclude::own(environment));
        }
        let path = match &self.path {
            Some(path) if path.value.is_empty() => return Ok(None),
            Some(path) if !path.value.starts_with('/') => {
                return Err(Wrong::new("path", path, format!("{} is not absolute", path.value)));
            }
            Some(path) => Path::new(&path.value),
            None => Path::new(PODS_PATH),
        };
        Ok(Some(Containers { exclude: Exclusions::new(rules), ..Containers::at(path) }))
    }
}
