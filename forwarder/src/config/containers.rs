//! Container logs.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::Environment;
use super::exclude::{self, RawExclude};
use super::files;
use super::multiline::{self, ContainerRules, RawMultiline};
use super::wrong::Wrong;
use crate::discover::ContainerDirectory;
use crate::discover::exclude::Exclusions;
use crate::discover::host::HostPattern;

/// A log directory of Kubernetes.
pub(super) const PODS_PATH: &str = "/var/log/pods";
/// Where docker keeps what it knows of containers, their logs among it.
const DOCKER_PATH: &str = "/var/lib/docker/containers";

/// Which container logs are read.
#[derive(Debug, Clone)]
pub struct Containers {
    /// The kubelet's log directory.
    pub path: PathBuf,
    /// docker's directory of containers, which the kubelet's may have links to; None: no link is followed.
    pub docker: Option<PathBuf>,
    /// Where the kubelet has links that name the containers' ids; None: ids are known for docker's logs only.
    pub links: Option<PathBuf>,
    /// Where the Fluentd that is replaced has written down how far it has read them.
    pub pos_file: Option<HostPattern>,
    /// Which of them are not read.
    pub exclude: Exclusions,
    /// Whose lines are joined.
    pub multiline: ContainerRules,
}

impl Containers {
    /// Those in a directory, everything else as it is by default.
    #[must_use]
    pub fn at(path: &Path) -> Self {
        Self {
            path: path.to_path_buf(),
            docker: Some(DOCKER_PATH.into()),
            links: Some(links_beside(path)),
            pos_file: None,
            exclude: Exclusions::default(),
            multiline: ContainerRules::default(),
        }
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
    /// docker's directory of containers: links to the logs in it are followed, and no others; `""` follows none. Default:
    /// /var/lib/docker/containers.
    docker: Option<Spanned<String>>,
    /// The kubelet's directory of links to container logs, whose names have the containers' ids: names and texts of links are
    /// read, and no link is followed; `""` reads none. Default: `containers` beside `path`, so /var/log/containers.
    links: Option<Spanned<String>>,
    /// The `pos_file` of the Fluentd that is replaced, or a pattern of several: files that are new to the checkpoint are
    /// read from where it was.
    pos_file: Option<Spanned<String>>,
    /// Containers whose logs are not read.
    exclude: Option<Vec<Spanned<RawExclude>>>,
    /// Whether Naru's own logs are not read: the pods `naru-forwarder-*` and `naru-aggregator-*`, in the namespace that
    /// POD_NAMESPACE names or, without it, in any. Default: true.
    exclude_own: Option<bool>,
    /// Containers whose lines are joined into records, and how: the first that matches counts.
    multiline: Option<Vec<Spanned<RawMultiline>>>,
}

impl RawContainers {
    pub(super) fn checked(self, environment: Environment<'_>) -> Result<Option<Containers>, Wrong> {
        let rules = self.exclude.into_iter().flatten().map(RawExclude::checked);
        let mut rules = rules.collect::<Result<Vec<_>, _>>()?;
        if self.exclude_own.unwrap_or(true) {
            rules.extend(exclude::own(environment));
        }
        let pos_file =
            self.pos_file.as_ref().map(|path| files::pattern("pos_file", path)).transpose()?;
        let docker = directory("docker", self.docker.as_ref(), DOCKER_PATH)?;
        let multiline = multiline::rules(self.multiline.unwrap_or_default())?;
        let Some(path) = directory("path", self.path.as_ref(), PODS_PATH)? else { return Ok(None) };
        let links = match self.links.as_ref() {
            Some(found) => directory("links", Some(found), "")?,
            None => Some(links_beside(&path)),
        };
        let exclude = Exclusions::new(rules);
        Ok(Some(Containers { path, docker, links, pos_file, exclude, multiline }))
    }
}

fn links_beside(path: &Path) -> PathBuf {
    path.with_file_name("containers")
}

/// An absolute path, or None where it is empty.
fn directory(
    key: &'static str,
    found: Option<&Spanned<String>>,
    default: &str,
) -> Result<Option<PathBuf>, Wrong> {
    match found {
        None => Ok(Some(default.into())),
        Some(path) if path.value.is_empty() => Ok(None),
        Some(path) if path.value.starts_with('/') => Ok(Some(PathBuf::from(&path.value))),
        Some(path) => Err(Wrong::new(key, path, format!("{} is not absolute", path.value))),
    }
}
