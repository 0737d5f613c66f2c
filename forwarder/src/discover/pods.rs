//! The kubelet's layout: `<root>/<namespace>_<pod>_<uid>/<container>/<restart>.log[.<rotation>[.gz]]`.
//!
//! Source: `kubernetes/pkg/kubelet/kuberuntime/helpers.go` (`BuildContainerLogsDirectory`) and
//! `pkg/kubelet/logs/container_log_manager.go` (rotated names, `.gz`, `.tmp`).

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use naru_proto::frame::{Container, Source, Writer};

use super::ContainerDirectory;
#[cfg(test)]
use crate::identity;

/// The parts of a pod directory's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodName<'a> {
    /// Holds no underscore.
    pub namespace: &'a str,
    /// Holds no underscore.
    pub pod: &'a str,
    /// The API's uid, or a static pod's hash.
    pub uid: &'a str,
}

/// Reads a pod directory's name; None for what the kubelet did not make.
#[must_use]
pub fn pod_directory(name: &str) -> Option<PodName<'_>> {
    let mut parts = name.split('_');
    let parts = (parts.next()?, parts.next()?, parts.next()?, parts.next());
    match parts {
        (namespace, pod, uid, None) if [namespace, pod, uid].into_iter().all(is_name) => {
            Some(PodName { namespace, pod, uid })
        }
        _ => None,
    }
}

/// Whether Kubernetes could have given this name: others may hold what would confuse a terminal, a log or an index.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let in_names = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    !text.is_empty() && text.bytes().all(in_names)
}

/// The source of one run of a container.
#[must_use]
pub fn source(node: &str, directory: &ContainerDirectory, restart: u32) -> Option<Source> {
    let name = pod_directory(&directory.pod)?;
    Some(Source {
        node: node.to_owned(),
        writer: Writer::Container(Container {
            namespace: name.namespace.to_owned(),
            pod: name.pod.to_owned(),
            pod_uid: name.uid.to_owned(),
            container: directory.container.to_string(),
            restart,
        }),
    })
}

/// A container's log file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFile {
    /// The name in its directory.
    pub name: String,
    /// Which of the source's files it is.
    pub order: Order,
    /// Compressed by the kubelet.
    pub gzip: bool,
    /// A link, as far as the directory says.
    pub link: bool,
}

/// The order in which a source's files were written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Order {
    /// By the time in the rotated name.
    Rotated(String),
    /// Being written.
    Live,
}

/// Reads a file's name: which run of the container it belongs to, and which of its files it is.
#[must_use]
pub fn log_file(name: &str) -> Option<(u32, LogFile)> {
    let (restart, rest) = name.split_once(".log")?;
    let number = restart.parse().ok().filter(|n: &u32| n.to_string() == restart)?;
    let (rotation, gzip) = match rest.strip_suffix(".gz") {
        Some(rotation) => (rotation, true),
        None => (rest, false),
    };
    let order = match rotation {
        "" if !gzip => Order::Live,
        "" => return None,
        rotation if rotation.ends_with(".tmp") => return None,
        rotation => Order::Rotated(rotation.strip_prefix('.')?.to_owned()),
    };
    Some((number, LogFile { name: name.to_owned(), order, gzip, link: false }))
}

/// The run that a log file is of, by its name.
#[must_use]
pub fn run_of(name: &str) -> Option<u32> {
    // Asked for each write: the name itself is not needed.
    let (run, rest) = name.split_once(".log")?;
    let number = run.parse().ok()?;
    let canonical = run.len() == 1 || !run.starts_with(['0', '+']);
    (canonical && (rest.is_empty() || log_file(name).is_some())).then_some(number)
}

/// The log files of a container, by run, each in the order they were written; a plain file precedes its `.gz`.
///
/// # Errors
/// Those of reading the directory; a directory that is not there is empty.
pub fn list(
    root: &Path,
    directory: &ContainerDirectory,
) -> io::Result<BTreeMap<u32, Vec<LogFile>>> {
    let mut runs = BTreeMap::<u32, Vec<LogFile>>::new();
    #[cfg(test)]
    identity::refused::check()?;
    let entries = match std::fs::read_dir(root.join(directory.path())) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(runs),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        if let Some((restart, mut file)) = name.to_str().and_then(log_file) {
            file.link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
            runs.entry(restart).or_default().push(file);
        }
    }
    for files in runs.values_mut() {
        files.sort_by(|a, b| (&a.order, a.gzip).cmp(&(&b.order, b.gzip)));
    }
    Ok(runs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pod_directories() {
        let check = |name, expected: Option<(&str, &str, &str)>| {
            let found = pod_directory(name).map(|p| (p.namespace, p.pod, p.uid));
            assert_eq!(found, expected, "{name}");
        };
        check("shop_web-0_7c1f", Some(("shop", "web-0", "7c1f")));
        check("shop_web-0", None);
        check("shop_web-0_", None);
        check("a_b_c_d", None);
        check("..", None);
    }

    #[test]
    fn file_names() {
        let check = |name: &str, expected: Option<(u32, Order, bool)>| {
            let found = log_file(name).map(|(n, f)| (n, f.order, f.gzip));
            assert_eq!(found, expected, "{name}");
            assert_eq!(run_of(name), found.map(|(run, ..)| run), "{name}");
        };
        let rotated = |text: &str| Order::Rotated(text.to_owned());
        check("0.log", Some((0, Order::Live, false)));
        check("12.log.20261122-093000", Some((12, rotated("20261122-093000"), false)));
        check("0.log.20261122-093000.gz", Some((0, rotated("20261122-093000"), true)));
        check("0.log.20261122-093000.tmp", None);
        check("0.log.gz", None);
        check("00.log", None);
        check("+1.log", None);
        check("-0.log", None);
        check(".log", None);
        check("x.log", None);
        check("0.logs", None);
        assert!(rotated("99999999-999999") < Order::Live);
    }
}
