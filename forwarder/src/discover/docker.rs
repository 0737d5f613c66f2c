//! docker's layout: `<root>/<container id>/<container id>-json.log[.<n>[.gz]]`, where a higher number is older.
//!
//! The kubelet makes `/var/log/pods/<pod>/<container>/<restart>.log` a link to it. No other link is followed, and this one
//! only by its text: what it says is opened beneath docker's own root, without following any link.
//!
//! Source: `moby/daemon/logger/loggerutils/logfile.go` (`rotate`: `.1` becomes `.2`, the live file `.1`), and
//! `kubernetes/pkg/kubelet/dockershim/docker_container.go` (`createContainerLogSymlink`).

use std::io;
use std::path::{Component, Path};

use super::pods::{LogFile, Order};

const ID_BYTES: usize = 64;

/// The container whose log a link leads to; None unless it is docker's.
#[must_use]
pub fn container_of(root: &Path, target: &Path) -> Option<String> {
    let beneath = target.strip_prefix(root).ok()?;
    let mut parts = beneath.components();
    let (Some(Component::Normal(id)), Some(Component::Normal(name)), None) =
        (parts.next(), parts.next(), parts.next())
    else {
        return None;
    };
    let (of, file) = log_file(name.to_str()?)?;
    (Some(of) == id.to_str() && file.order == Order::Live).then(|| of.to_owned())
}

/// Reads a file's name: whose log it is, and which of its files.
#[must_use]
pub fn log_file(name: &str) -> Option<(&str, LogFile)> {
    let (id, rest) = name.split_once("-json.log")?;
    let hexadecimal = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if id.len() != ID_BYTES || !id.bytes().all(hexadecimal) {
        return None;
    }
    let (rotation, gzip) = match rest.strip_suffix(".gz") {
        Some(rotation) => (rotation, true),
        None => (rest, false),
    };
    let order = match rotation.strip_prefix('.') {
        Some(digits) => {
            let number = digits.parse().ok().filter(|n: &u32| n.to_string() == digits)?;
            Order::Rotated(format!("{:010}", u32::MAX - number))
        }
        None if rotation.is_empty() && !gzip => Order::Live,
        None => return None,
    };
    Some((id, LogFile { name: name.to_owned(), order, gzip, link: false }))
}

/// The log files of a container, in the order they were written; a plain file precedes its `.gz`.
///
/// # Errors
/// Those of reading the directory; a directory that is not there is empty.
pub fn list(root: &Path, container: &str) -> io::Result<Vec<LogFile>> {
    let entries = match std::fs::read_dir(root.join(container)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut files = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let file = name.to_str().and_then(log_file).filter(|(id, _)| *id == container);
        files.extend(file.map(|(_, file)| file));
    }
    files.sort_by(|a, b| (&a.order, a.gzip).cmp(&(&b.order, b.gzip)));
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_links_to_the_log_of_a_container_are_dockers() {
        let id = "c0ffee00".repeat(8);
        let check = |target: &str, expected: bool| {
            let target = target.replace("ID", &id);
            let found = container_of(Path::new("/docker"), Path::new(&target));
            assert_eq!(found.is_some_and(|found| found == id), expected, "{target}");
        };
        check("/docker/ID/ID-json.log", true);
        check("/docker/ID/ID-json.log.1", false);
        check("/docker/ID/hostname", false);
        check("/docker/other/ID-json.log", false);
        check("/docker/ID/x/../ID-json.log", false);
        check("/docker/../docker/ID/ID-json.log", false);
        check("/dockers/ID/ID-json.log", false);
        check("ID/ID-json.log", false);
        check("/docker/abc/abc-json.log", false);
        check("/etc/shadow", false);
    }

    #[test]
    fn a_higher_number_is_older() {
        let id = "0123456789abcdef".repeat(4);
        let directory = tempfile::tempdir().unwrap();
        let of = directory.path().join(&id);
        std::fs::create_dir(&of).unwrap();
        let names = [".10.gz", ".2.gz", ".2", ".1", ""].map(|end| format!("{id}-json.log{end}"));
        for name in &names {
            std::fs::write(of.join(name), "").unwrap();
        }
        for name in ["hostname", &format!("{id}-json.log.1.tmp"), &format!("{id}-json.log.x")] {
            std::fs::write(of.join(name), "").unwrap();
        }
        let found = list(directory.path(), &id).unwrap().into_iter().map(|file| file.name);
        let expected = [0, 2, 1, 3, 4].map(|at| names[at].clone());
        assert_eq!(found.collect::<Vec<_>>(), expected);
        assert_eq!(list(directory.path(), "gone").unwrap(), []);
    }
}
