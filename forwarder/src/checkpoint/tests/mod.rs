//! What the tests of the checkpoint share, and what it is without damage.

mod damage;
pub(crate) mod disk;

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use naru_proto::frame::{Container, Extent, IoStream, Writer};
use naru_proto::ids::FileId;
use naru_proto::wire::GapReason;

use super::*;
use crate::cut::{CutJournal, Format, HeldState, Inside, JournaledCut, Progress, ResumeState};

/// What this release writes.
const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/checkpoint-v1-2.bin");
/// What the one before wrote.
const BEFORE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/checkpoint-v1.bin");

type Sources = HashMap<SourceKey, SourceState>;

fn binding() -> Binding {
    Binding { cluster: "default".into(), node: "node-1".into() }
}

/// In memory where that is possible: what is tested is not the disk.
fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn open(directory: &Path) -> (Checkpoint, Loaded) {
    Checkpoint::open(directory, binding()).unwrap()
}

fn container(restart: u32) -> Source {
    let container = Container {
        namespace: "shop".into(),
        pod: "web-0".into(),
        pod_uid: "9b6c2f5e-1d52-4a8e-9e55-0c8a3a1f7d21".into(),
        container: "web".into(),
        restart,
    };
    Source { node: "node-1".into(), writer: Writer::Container(container) }
}

/// Every field differs from its default.
fn full(restart: u32, acknowledged: u64) -> SourceState {
    let (old, new) = (FileId([1; 12]), FileId([2; 12]));
    let file = |id, acknowledged, finished| FileState {
        id,
        device: 66_305,
        inode: 1_234_567,
        birth_time_ns: Some(1_795_307_400_000_000_000),
        handle: vec![7; 8],
        name: "0.log".into(),
        salt: 3,
        size: acknowledged + 500,
        acknowledged,
        finished,
        guard: Guard::of(&acknowledged.to_le_bytes()),
        steps: vec![TimeStep { from_offset: 10, time_ns: 1_795_307_400_000_000_000 }],
        head: Guard::of(b"head"),
        modified_ns: 1_795_307_400_000_000_003,
        late_from: Some(1200),
        given_up: true,
    };
    let held = HeldState {
        iostream: IoStream::Stderr,
        extents: vec![
            Extent { file: old, start: 900, length: 100 },
            Extent { file: new, start: 0, length: 50 },
        ],
        lines: 2,
        id_time_ns: Some(1_795_307_400_000_000_001),
        line_start: Some(800),
        continued: true,
        progress: None,
    };
    let inside = Inside {
        line_start: 60,
        iostream: Some(IoStream::Stdout),
        partial: true,
        malformed: true,
        rule_state: None,
    };
    let cut = JournaledCut {
        iostream: Some(IoStream::Stdout),
        first: (old, 700),
        end_exclusive: (new, acknowledged + 20),
    };
    let gap = DeclaredGap {
        file: Some(old),
        start: 100,
        end_exclusive: Some(200),
        last_known_size: 300,
        reason: GapReason::Budget,
        from_time_ns: 1,
        until_time_ns: 2,
    };
    SourceState {
        source: container(restart),
        files: vec![file(old, 1000, true), file(new, acknowledged, false)],
        cutter: ResumeState {
            format: Format::Cri,
            position: Some((new, acknowledged)),
            last_time_ns: Some(1_795_307_400_000_000_002),
            inside: Some(inside),
            held: vec![held],
        },
        cuts: [cut].into_iter().collect(),
        gaps: vec![gap],
        late: vec![ResumeState { position: Some((old, 1500)), ..ResumeState::new(Format::Cri) }],
    }
}

fn small(restart: u32, acknowledged: u64) -> SourceState {
    let mut state = full(restart, acknowledged);
    state.files.truncate(1);
    state.files[0].steps.clear();
    state.files[0].acknowledged = acknowledged;
    state.cutter = ResumeState::new(Format::Plain);
    state.cuts = CutJournal::default();
    state.gaps.clear();
    state.late.clear();
    state
}

fn sources(states: &[&SourceState]) -> Sources {
    states.iter().map(|state| (state.source.clone(), (*state).clone())).collect()
}

fn log_of(directory: &Path) -> Vec<u8> {
    fs::read(directory.join("checkpoint")).unwrap()
}

#[test]
fn what_is_saved_is_loaded() {
    let directory = scratch();
    let (mut checkpoint, loaded) = open(&directory.path().join("a/b"));
    assert!(loaded.fresh && loaded.damage.is_empty() && loaded.sources.is_empty());
    assert!(checkpoint.is_saved());
    assert!(!checkpoint.sync().unwrap(), "nothing to save");
    let host = SourceState {
        source: Source { node: "node-1".into(), writer: Writer::HostFile { path: "/v".into() } },
        ..small(0, 7)
    };
    for state in [&full(0, 10), &full(1, 20), &host] {
        checkpoint.put(state);
    }
    assert!(checkpoint.sync().unwrap());
    assert!(!checkpoint.sync().unwrap(), "nothing new");
    checkpoint.put(&full(0, 10));
    assert!(!checkpoint.sync().unwrap(), "nothing new");
    checkpoint.put(&full(0, 11));
    checkpoint.remove(&container(1));
    checkpoint.remove(&container(99));
    assert!(checkpoint.sync().unwrap());
    checkpoint.put(&full(2, 30));
    checkpoint.remove(&container(2));
    assert!(!checkpoint.sync().unwrap(), "put and removed in between");
    let (_, loaded) = open(&directory.path().join("a/b"));
    assert!(!loaded.fresh && loaded.damage.is_empty() && loaded.other.is_none());
    assert_eq!(loaded.sources, sources(&[&full(0, 11), &host]));
}

#[test]
fn what_a_multi_line_rule_waits_for_is_saved() {
    let directory = scratch();
    let mut state = full(0, 10);
    let mut host = small(0, 7);
    host.source.writer = Writer::HostFile { path: "/v".into() };
    let progress = Progress { state: 2, last_time_ns: Some(7), inside_line: true };
    state.cutter.held[0].progress = Some(progress);
    state.cutter.inside = state.cutter.inside.map(|i| Inside { rule_state: Some(3), ..i });
    host.cutter.held = state.cutter.held.clone();
    host.cutter.held[0].iostream = IoStream::Unspecified;
    host.cutter.held[0].id_time_ns = None;
    host.cutter.held[0].progress = Some(Progress { last_time_ns: None, ..progress });
    let (mut checkpoint, _) = open(directory.path());
    checkpoint.put(&state);
    checkpoint.put(&host);
    assert!(checkpoint.sync().unwrap());
    let (_, loaded) = open(directory.path());
    assert_eq!(loaded.sources, sources(&[&state, &host]));
}

#[test]
fn a_log_is_gone_on_with() {
    let directory = scratch();
    let (mut checkpoint, _) = open(directory.path());
    checkpoint.put(&full(0, 1));
    checkpoint.sync().unwrap();
    let before = log_of(directory.path());
    let (mut checkpoint, _) = open(directory.path());
    // Saved once already, it is now written twice more.
    checkpoint.journal(&full(0, 1)).unwrap();
    let after = log_of(directory.path());
    assert!(after.starts_with(&before));
    let state = StoredSource::from(&full(0, 1));
    let item = encode(stored_item::Kind::Source(state));
    assert_eq!(after[before.len()..], [&item[..], &item[..]].concat());
}

#[test]
fn b14_the_format_never_changes() {
    let directory = scratch();
    let (mut checkpoint, _) = open(directory.path());
    checkpoint.journal(&full(0, 10)).unwrap();
    checkpoint.put(&small(1, 20));
    checkpoint.sync().unwrap();
    checkpoint.remove(&container(1));
    checkpoint.sync().unwrap();
    let written = log_of(directory.path());
    if std::env::var_os("UPDATE").is_some() {
        fs::write(GOLDEN, &written).unwrap();
    }
    assert_eq!(written, fs::read(GOLDEN).unwrap());
    // What another release wrote is read.
    let other = scratch();
    fs::copy(GOLDEN, other.path().join("checkpoint")).unwrap();
    let (_, loaded) = open(other.path());
    assert!(loaded.damage.is_empty());
    assert_eq!(loaded.sources, sources(&[&full(0, 10)]));
    fs::copy(BEFORE, other.path().join("checkpoint")).unwrap();
    let (_, loaded) = open(other.path());
    assert!(loaded.damage.is_empty());
    let mut before = full(0, 10);
    before.late.clear();
    for file in &mut before.files {
        (file.head, file.modified_ns) = (Guard::default(), 0);
        (file.late_from, file.given_up) = (None, false);
    }
    assert_eq!(loaded.sources, sources(&[&before]), "what it did not know is as if it were not");
}

#[test]
fn opening_changes_nothing() {
    let directory = scratch();
    realistic(directory.path());
    let torn = [&log_of(directory.path())[..], b"torn"].concat();
    for name in ["checkpoint", "checkpoint.tmp"] {
        let copy = scratch();
        fs::write(copy.path().join(name), &torn).unwrap();
        for _ in 0..2 {
            assert!(matches!(open(copy.path()).1.damage[..], [Damage::Torn { bytes: 4, .. }]));
            assert_eq!(fs::read(copy.path().join(name)).unwrap(), torn);
            assert_eq!(fs::read_dir(copy.path()).unwrap().count(), 1);
        }
    }
}

#[test]
fn another_cluster_or_node_is_told_and_left_alone() {
    let directory = scratch();
    realistic(directory.path());
    let torn = [&log_of(directory.path())[..], b"torn"].concat();
    fs::write(directory.path().join("checkpoint"), &torn).unwrap();
    for (cluster, node) in [("default", "node-2"), ("other", "node-1")] {
        let other = Binding { cluster: cluster.into(), node: node.into() };
        let (mut checkpoint, loaded) = Checkpoint::open(directory.path(), other).unwrap();
        assert_eq!(loaded.other, Some(binding()));
        assert!(!checkpoint.is_saved());
        checkpoint.journal(&full(8, 8)).unwrap();
        assert_eq!(log_of(directory.path()), torn);
    }
    assert_eq!(open(directory.path()).1.other, None);
}

#[test]
fn unsaved_is_told() {
    let file = tempfile::NamedTempFile::new().unwrap();
    assert!(Checkpoint::open(file.path(), binding()).is_err(), "no directory");
    let mut checkpoint = Checkpoint::unsaved(binding());
    assert!(!checkpoint.is_saved());
    checkpoint.put(&full(0, 1));
    checkpoint.journal(&full(1, 1)).unwrap();
    assert!(!checkpoint.sync().unwrap());
    checkpoint.remove(&container(0));
    assert!(!checkpoint.sync().unwrap());
    assert_eq!((checkpoint.sources.len(), checkpoint.log_bytes()), (1, 0));
}

/// Four sources as a node's life leaves them: two generations, a journalled state, a removal.
fn realistic(directory: &Path) -> Vec<Sources> {
    let (mut checkpoint, _) = open(directory);
    checkpoint.put(&small(3, 1));
    checkpoint.put(&small(4, 1));
    checkpoint.sync().unwrap();
    checkpoint.log = None;
    let mut history = vec![];
    for step in 0..4 {
        checkpoint.put(&small(0, step));
        checkpoint.put(&full(1, step));
        checkpoint.sync().unwrap();
        history.push(sources(&[&small(0, step), &full(1, step), &small(3, 1), &small(4, 1)]));
    }
    checkpoint.remove(&container(4));
    checkpoint.sync().unwrap();
    history.push(sources(&[&small(0, 3), &full(1, 3), &small(3, 1)]));
    checkpoint.journal(&full(2, 9)).unwrap();
    history.push(sources(&[&small(0, 3), &full(1, 3), &full(2, 9), &small(3, 1)]));
    history
}
