//! The simulator is judged before anything is judged by it: what is in the files is what the ledger says.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use naru_proto::cri;
use naru_proto::frame::IoStream::{self, Stderr, Stdout};

use super::*;
use crate::ledger::Indexed;

fn node() -> (tempfile::TempDir, Node) {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::new(&directory.path().join("pods"), Zone::SEOUL);
    (directory, node)
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// A container's files joined, oldest first, as one that reads them all would see them.
fn contents(directory: &Path) -> Vec<u8> {
    let mut paths: Vec<PathBuf> =
        names(directory).iter().map(|name| directory.join(name)).collect();
    // `0.log` sorts before `0.log.<time>` and is the newest.
    paths.rotate_left(1);
    let mut joined = Vec::new();
    for path in paths {
        let mut file = File::open(&path).unwrap();
        if path.extension().unwrap() == "gz" {
            GzDecoder::new(file).read_to_end(&mut joined).unwrap();
        } else {
            file.read_to_end(&mut joined).unwrap();
        }
    }
    joined
}

/// The simplest reader there is: joins each iostream's pieces, and keeps what it cannot read.
fn read(bytes: &[u8], pod: &str) -> Vec<Indexed> {
    let mut held: HashMap<IoStream, (Vec<u8>, i64)> = HashMap::new();
    let mut found = Vec::new();
    let mut push = |text: &[u8], time_ns, iostream: Option<IoStream>| {
        found.push(Indexed {
            id: found.len().to_string(),
            index: "i".into(),
            text: String::from_utf8_lossy(text).into_owned(),
            time_ns,
            iostream: iostream.map(|i| crate::line::iostream_name(i).into()),
            pod: Some(pod.into()),
        });
    };
    for line in bytes.split_inclusive(|b| *b == b'\n').map(|l| l.strip_suffix(b"\n").unwrap()) {
        let Some(envelope) = cri::envelope(line) else {
            push(line, None, None);
            continue;
        };
        let (text, _) =
            held.entry(envelope.iostream).or_insert_with(|| (Vec::new(), envelope.time_ns));
        text.extend_from_slice(&line[envelope.content_start..]);
        if !envelope.partial {
            let (text, time_ns) = held.remove(&envelope.iostream).unwrap();
            push(&text, Some(time_ns), Some(envelope.iostream));
        }
    }
    for (iostream, (text, time_ns)) in held {
        push(&text, Some(time_ns), Some(iostream));
    }
    found
}

#[test]
fn files_hold_what_the_ledger_says() {
    let (_directory, mut node) = node();
    let mut kubelet = Kubelet::default();
    let mut web = node.start("shop", "web-0", "web");
    web.line(Stdout, "하나");
    web.interleaved("a".repeat(40_000), "b".repeat(60_000));
    web.torn(Stderr, 3, "torn");
    web.torn(Stdout, usize::MAX, "torn late");
    web.begin(Stdout, "begun ");
    kubelet.rotate(&mut web, |web| {
        web.line(Stderr, "into the renamed file");
    });
    web.finish(Stdout, "and ended elsewhere");
    kubelet.rotate(&mut web, |_| ());
    kubelet.rotate_in_vain(&mut web, |web| {
        web.line(Stdout, "while it had another name");
    });
    web.garbage(b"\x00\xff\xfe no envelope");
    web.line(Stdout, b"");
    web.exit_in_a_line(Stderr, "panic: ");
    assert_eq!(names(&web.directory()).len(), 3);

    let bytes = contents(&web.directory());
    assert_eq!(bytes.len() as u64, node.ledger().bytes());
    let verdict = node.ledger().judge(read(&bytes, "web-0"));
    assert_eq!(verdict.written, 11);
    verdict.assert_closed();
}

#[test]
fn rotation_is_the_kubelets() {
    let (_directory, mut node) = node();
    let mut kubelet = Kubelet::default();
    let mut web = node.start("shop", "web-0", "web");
    let shape = |web: &Container| -> Vec<bool> {
        names(&web.directory())[1..].iter().map(|name| name.ends_with(".gz")).collect()
    };
    for expected in [
        vec![false],
        vec![true, false],
        vec![true, true, false],
        vec![true, true, true, false],
        // Never more than five files: the oldest went.
        vec![true, true, true, false],
    ] {
        web.line(Stdout, "x");
        kubelet.rotate(&mut web, |_| ());
        assert_eq!(shape(&web), expected);
        assert_eq!(names(&web.directory())[0], "0.log");
    }
    // What a compression that was interrupted left goes at the next rotation.
    let newest = names(&web.directory()).pop().unwrap();
    for suffix in [".gz", ".tmp"] {
        fs::write(web.directory().join(format!("{newest}{suffix}")), "x").unwrap();
    }
    kubelet.rotate(&mut web, |_| ());
    assert!(!names(&web.directory()).iter().any(|name| name.ends_with(".tmp") || *name == newest));
}

#[test]
fn runs_and_pods_come_and_go() {
    let (_directory, mut node) = node();
    let mut web = node.start("shop", "web-0", "web");
    web.exit_in_a_line(Stdout, "first run");
    let mut web = web.restart();
    web.line(Stdout, "second run");
    assert_eq!(names(&web.directory()), ["0.log", "1.log"]);
    assert_eq!(node.ledger().written(), 2);
    let again = node.start("shop", "web-0", "web");
    assert_ne!(again.directory(), web.directory());
    Kubelet::clean(again);
    web.delete_pod();
    assert_eq!(names(node.pods()).len(), 1);
}
