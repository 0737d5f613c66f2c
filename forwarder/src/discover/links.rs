//! The kubelet's links: `/var/log/containers/<pod>_<namespace>_<container>-<container id>.log` leads to
//! `…/<namespace>_<pod>_<uid>/<container>/<restart>.log`. They are the one place on a node that says a container's id without
//! asking its runtime.
//!
//! Only a link's name and its text are read: nothing is opened through it, and what it says is an id and nothing else.
//!
//! Source: `kubernetes/pkg/kubelet/kuberuntime/legacy.go` (`logSymlink`).

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Component, Path};

use super::ContainerDirectory;
use super::pods::{self, Order};

const ID_BYTES: usize = 64;
/// More links than a node has containers, a hundred times over: whoever makes more is not read further.
const LINKS_MAX: usize = 50_000;

/// One run of a container.
pub type Run = (ContainerDirectory, u32);

/// What the links say. A holder: a link is read once, for it never changes.
#[derive(Debug, Default)]
pub struct Links {
    /// By name; None of what says nothing.
    known: HashMap<OsString, Option<(Run, String)>>,
    ids: HashMap<Run, String>,
}

impl Links {
    /// The id of the container that ran then.
    #[must_use]
    pub fn id_of(&self, run: &Run) -> Option<&str> {
        self.ids.get(run).map(String::as_str)
    }

    /// Reads the links that are new in a directory and forgets those that are gone; gives the runs that are told of anew.
    ///
    /// # Errors
    /// Those of reading the directory; one that is not there is empty.
    pub fn look(&mut self, directory: &Path) -> io::Result<Vec<Run>> {
        let entries = match std::fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                *self = Self::default();
                return Ok(Vec::new());
            }
            Err(error) => return Err(error),
        };
        let mut before = std::mem::take(&mut self.known);
        let mut found = Vec::new();
        for entry in entries.take(LINKS_MAX) {
            let name = entry?.file_name();
            let says = match before.remove(&name) {
                Some(says) => says,
                None => {
                    let target = std::fs::read_link(directory.join(&name)).ok();
                    let says = target.and_then(|target| container_of(&name, &target));
                    found.extend(says.iter().map(|(run, _)| run.clone()));
                    says
                }
            };
            self.known.insert(name, says);
        }
        self.ids = self.known.values().flatten().cloned().collect();
        Ok(found)
    }
}

/// What a link says, if its name and its text agree.
fn container_of(name: &OsStr, target: &Path) -> Option<(Run, String)> {
    let (named, id) = name.to_str()?.strip_suffix(".log")?.rsplit_once('-')?;
    let hexadecimal = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if id.len() != ID_BYTES || !id.bytes().all(hexadecimal) {
        return None;
    }
    // The root may be mounted elsewhere here: the last three names say all.
    let mut parts = target.components().rev();
    let mut part = || match parts.next()? {
        Component::Normal(part) => part.to_str(),
        _ => None,
    };
    let (file, container, pod) = (part()?, part()?, part()?);
    let of = pods::pod_directory(pod)?;
    let (restart, log) = pods::log_file(file).filter(|(_, log)| log.order == Order::Live)?;
    let agree = named == format!("{}_{}_{container}", of.pod, of.namespace);
    let directory = ContainerDirectory { pod: pod.into(), container: container.into() };
    (agree && pods::is_name(container) && !log.gzip).then(|| ((directory, restart), id.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn id(digit: char) -> String {
        digit.to_string().repeat(ID_BYTES)
    }

    #[test]
    fn b7_a_link_says_an_id_where_its_name_and_its_text_agree() {
        let check = |name: &str, target: &str, expected: Option<u32>| {
            let name = name.replace("ID", &id('a'));
            let found = container_of(OsStr::new(&name), Path::new(target));
            assert_eq!(found.map(|((_, restart), _)| restart), expected, "{name} {target}");
        };
        let name = "web-0_shop_web-ID.log";
        check(name, "/var/log/pods/shop_web-0_7c1f/web/3.log", Some(3));
        check(name, "/host/pods/shop_web-0_7c1f/web/0.log", Some(0));
        check(name, "../pods/shop_web-0_7c1f/web/0.log", Some(0));
        check(name, "/var/log/pods/shop_web-1_7c1f/web/0.log", None);
        check(name, "/var/log/pods/shop_web-0_7c1f/other/0.log", None);
        check(name, "/var/log/pods/shop_web-0_7c1f/web/0.log.20261122-000001", None);
        check(name, "/var/log/pods/shop_web-0_7c1f/web/../web/0.log", None);
        check(name, "/var/log/pods/shop_web-0_7c1f/../web/0.log", None);
        check(name, "/etc/shadow", None);
        check("web-0_shop_web-abc.log", "/var/log/pods/shop_web-0_7c1f/web/0.log", None);
        check("web-0_shop_web.log", "/var/log/pods/shop_web-0_7c1f/web/0.log", None);
        let upper = format!("web-0_shop_web-{}.log", id('A'));
        check(&upper, "/var/log/pods/shop_web-0_7c1f/web/0.log", None);
    }

    #[test]
    fn links_come_and_go_and_are_read_once() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("containers");
        let mut links = Links::default();
        assert_eq!(links.look(&directory).unwrap(), []);
        std::fs::create_dir(&directory).unwrap();
        let link = |restart: u32, digit| {
            let name = directory.join(format!("web-0_shop_web-{}.log", id(digit)));
            symlink(format!("/var/log/pods/shop_web-0_7c1f/web/{restart}.log"), &name).unwrap();
            name
        };
        let run = |restart| {
            let (pod, container) = ("shop_web-0_7c1f".to_owned(), "web".to_owned());
            (ContainerDirectory { pod: pod.into(), container: container.into() }, restart)
        };
        let first = link(0, 'a');
        std::fs::write(directory.join(format!("x_y_z-{}.log", id('c'))), "no link").unwrap();
        assert_eq!(links.look(&directory).unwrap(), [run(0)]);
        link(1, 'b');
        assert_eq!(links.look(&directory).unwrap(), [run(1)]);
        std::fs::remove_file(first).unwrap();
        assert_eq!(links.look(&directory).unwrap(), []);
        assert_eq!(links.id_of(&run(0)), None);
        assert_eq!(links.id_of(&run(1)), Some(id('b').as_str()));
        std::fs::remove_dir_all(&directory).unwrap();
        assert_eq!(links.look(&directory).unwrap(), []);
        assert_eq!(links.id_of(&run(1)), None);
    }
}
