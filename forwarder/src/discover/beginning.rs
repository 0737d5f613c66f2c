//! Where the reading of a file begins that the checkpoint does not know.
//!
//! At its start, unless another collector has read it before: Fluentd's `pos_file` says how far, one
//! `path TAB offset TAB inode` a line, both in 16 hexadecimal digits (`fluentd/lib/fluent/plugin/in_tail/position_file.rb`).
//! Or unless it was last written to before a given time: then at its end.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use naru_proto::frame::{Container, Source, Writer};

use crate::identity::Identity;

/// An entry that Fluentd will drop: nothing is known of the file.
const UNWATCHED: u64 = u64::MAX;

/// How far Fluentd has read a file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Position {
    path: PathBuf,
    offset: u64,
    /// When its `pos_file` was last written: a file that was made later is not the one.
    written_ns: i64,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Beginning {
    /// By inode.
    positions: HashMap<u64, Vec<Position>>,
    /// Nanoseconds since 1970.
    since_ns: Option<i64>,
}

impl Beginning {
    /// At the end of files that were last written to before this; None: of none.
    #[must_use]
    pub fn since(since_ns: Option<i64>) -> Self {
        Self { positions: HashMap::new(), since_ns }
    }

    /// Whether every file begins at its start.
    #[must_use]
    pub fn is_always_the_start(&self) -> bool {
        self.positions.is_empty() && self.since_ns.is_none()
    }

    /// Adds the positions of a `pos_file`; gives what is wrong with which of its lines, counted from 1.
    pub fn take_over(&mut self, text: &[u8], written_ns: i64) -> Vec<(usize, &'static str)> {
        let mut wrong = Vec::new();
        let mut last = HashMap::new();
        for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.is_empty() {
                continue;
            }
            match parse(line) {
                // The later of two lines for one path counts.
                Ok((path, offset, inode)) => drop(last.insert(path, (offset, inode))),
                Err(reason) => wrong.push((index + 1, reason)),
            }
        }
        for (path, (offset, inode)) in last {
            if offset != UNWATCHED {
                let position = Position { path, offset, written_ns };
                self.positions.entry(inode).or_default().push(position);
            }
        }
        wrong
    }

    /// How far another collector has read a file of a source; None when it is not known to have read it.
    #[must_use]
    pub fn position(&self, source: &Source, identity: Identity, size: u64) -> Option<u64> {
        let found = self.positions.get(&identity.inode)?.iter().find(|position| {
            position.offset <= size
                && identity.birth_ns <= position.written_ns
                && is_of(&position.path, source)
        });
        found.map(|position| position.offset)
    }

    /// The file that another collector has read under a host path, and when that was written down.
    #[must_use]
    pub fn inode_of(&self, path: &Path) -> Option<(u64, i64)> {
        self.positions.iter().find_map(|(inode, of)| {
            let found = of.iter().find(|position| position.path == path)?;
            Some((*inode, found.written_ns))
        })
    }

    /// Whether a file is too old to be read.
    #[must_use]
    pub fn is_too_old(&self, modified_ns: i64) -> bool {
        self.since_ns.is_some_and(|since_ns| modified_ns < since_ns)
    }
}

fn parse(line: &[u8]) -> Result<(PathBuf, u64, u64), &'static str> {
    let text = std::str::from_utf8(line).map_err(|_| "it is not UTF-8")?;
    let mut fields = text.rsplitn(3, '\t');
    let (inode, offset, path) = (fields.next(), fields.next(), fields.next());
    let number = |field: Option<&str>| {
        let digits = field.filter(|field| field.len() == 16)?;
        u64::from_str_radix(digits, 16).ok()
    };
    let path = path.filter(|path| path.starts_with('/')).ok_or("it is not path, offset, inode")?;
    let offset = number(offset).ok_or("its offset is not 16 hexadecimal digits")?;
    let inode = number(inode).ok_or("its inode is not 16 hexadecimal digits")?;
    Ok((path.into(), offset, inode))
}

/// Whether a path that Fluentd tails is one of a source: a host's own, or a link `<pod>_<namespace>_<container>-<id>.log`.
fn is_of(path: &Path, source: &Source) -> bool {
    match &source.writer {
        Writer::HostFile { path: own } => path == Path::new(own),
        Writer::Container(Container { namespace, pod, container, pod_uid, .. }) => {
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return false };
            let link = name.strip_prefix(&format!("{pod}_{namespace}_{container}-"));
            let directory = format!("/{namespace}_{pod}_{pod_uid}/{container}/");
            link.is_some_and(|id| id.ends_with(".log"))
                || path.to_str().is_some_and(|path| path.contains(&directory))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container() -> Source {
        let writer = Writer::Container(Container {
            namespace: "shop".into(),
            pod: "web-0".into(),
            pod_uid: "u1".into(),
            container: "c".into(),
            restart: 3,
        });
        Source { node: "n".into(), writer }
    }

    #[test]
    fn a_pos_file_says_how_far_a_file_was_read() {
        let mut beginning = Beginning::default();
        assert!(beginning.is_always_the_start());
        let text = b"\
/var/log/containers/web-0_shop_c-0ff1ce.log\t0000000000000010\t000000000000002a
/var/log/containers/web-0_shop_c-dead.log\tffffffffffffffff\t000000000000002b
broken
/var/log/kubelet.log\t0000000000000001\t000000000000002c
/var/log/kubelet.log\t0000000000000020\t000000000000002d
/var/log/x.log\t20\t000000000000002d
/var/log/x.log\t0000000000000020\t00000000000000zz
\xff\t0000000000000020\t0000000000000020
/var/log/with\ttab\t0000000000000005\t000000000000002e
";
        let wrong = beginning.take_over(text, 1000);
        let lines: Vec<usize> = wrong.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [3, 6, 7, 8]);
        let host = |path: &str| Source {
            node: "n".into(),
            writer: Writer::HostFile { path: path.into() },
        };
        let check = |source: &Source, inode, birth_ns, size, expected| {
            let identity = Identity { device: 1, inode, birth_ns, handle: None };
            let found = beginning.position(source, identity, size);
            assert_eq!(found, expected, "{source:?} {inode}");
        };
        check(&container(), 0x2a, 10, 100, Some(16));
        check(&container(), 0x2a, 0, 100, Some(16));
        check(&container(), 0x2a, 1001, 100, None);
        check(&container(), 0x2a, 10, 15, None);
        check(&container(), 0x2b, 10, 100, None);
        check(&host("/var/log/kubelet.log"), 0x2c, 10, 100, None);
        check(&host("/var/log/kubelet.log"), 0x2d, 10, 100, Some(32));
        check(&host("/var/log/other.log"), 0x2d, 10, 100, None);
        check(&host("/var/log/with\ttab"), 0x2e, 10, 100, Some(5));
        check(&host("/var/log/kubelet.log"), 0x2a, 10, 100, None);
    }
}
