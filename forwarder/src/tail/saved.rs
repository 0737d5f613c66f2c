//! A source as the checkpoint keeps it, and back.

use std::time::Instant;

use naru_proto::frame::{Source, Writer};
use naru_proto::ids::FileId;

use super::file::TailedFile;
use super::source::{FilePoint, Place, Point, SourceTail};
use crate::checkpoint::{FileState, Guard, SourceState, TimeStep};
use crate::cut::Cutter;
use crate::discover::ContainerDirectory;
use crate::discover::docker;
use crate::discover::pods::{self, Order};
use crate::identity::Identity;
use crate::identity::handle::Handle;

const NOWHERE: Identity = Identity { device: 0, inode: 0, birth_ns: 0, handle: None };

impl SourceTail {
    /// What a restart goes on from: the committed point, never what is only read.
    pub(super) fn saved(&self) -> SourceState {
        let held = |id: FileId| self.committed.held().any(|extent| extent.file == id);
        let newest = self.files.iter().rev().find_map(|file| file.id);
        let files = self.files.iter().filter_map(|file| {
            let at = self.committed.files.iter().find(|at| Some(at.file) == file.id);
            let id = file.id?;
            let identity = file.identity.or(file.gzip_identity).unwrap_or(NOWHERE);
            Some(FileState {
                id,
                device: identity.device,
                inode: identity.inode,
                birth_time_ns: Some(identity.birth_ns).filter(|birth| *birth != 0),
                handle: identity.handle.map(|h| h.as_bytes().to_vec()).unwrap_or_default(),
                name: file.name.clone().into(),
                salt: file.salt,
                size: file.size,
                acknowledged: file.acknowledged,
                // What is held of it is read again after a restart. The next file is not saved before it has a line; it
                // may come and go while nobody runs, and this one with it: only that this one is gone tells of it then.
                finished: file.passed
                    && file.is_settled()
                    && !held(id)
                    && (file.gone || newest != Some(id)),
                guard: match at {
                    Some(at) if at.guard.length > 0 => at.guard,
                    _ => file.restored_guard,
                },
                steps: file
                    .steps
                    .iter()
                    .map(|&(from_offset, time_ns)| TimeStep { from_offset, time_ns })
                    .collect(),
                head: file.head,
                modified_ns: file.last_write_ns(),
                late_from: file.late_from,
                given_up: file.given_up,
            })
        });
        SourceState {
            source: self.source.clone(),
            files: files.collect(),
            cutter: self.committed.state.clone(),
            cuts: self.cuts.clone(),
            gaps: self.gaps.iter().map(|(_, gap)| gap.clone()).collect(),
            late: self.committed.late.clone(),
        }
    }

    /// A source as it was saved; its files are not open yet, and what it held is not read again yet.
    pub(super) fn restored(state: &SourceState, now: Instant) -> Self {
        let place = place_of(&state.source);
        let mut source = Self::new(state.source.clone(), place);
        let docker = |file: &FileState| Some(docker::log_file(file.name.to_str()?)?.0.to_owned());
        if let Some(container) = state.files.iter().rev().find_map(docker) {
            source.is_of_docker(&container);
        }
        source.files = state.files.iter().map(|file| restored_file(file, now)).collect();
        // What is older than the last write that was seen was there before, or was judged by the run before.
        let written = source.files.iter().map(|file| file.modified_ns);
        source.first_look_ns = written.max().unwrap_or(0);
        source.resuming = Some(now);
        source.is_new = false;
        source.cuts.clone_from(&state.cuts);
        source.gaps = state.gaps.iter().map(|gap| (0, gap.clone())).collect();
        source.committed = Point {
            state: state.cutter.clone(),
            late: state.late.clone(),
            files: state
                .files
                .iter()
                .map(|file| FilePoint {
                    file: file.id,
                    offset: file.acknowledged,
                    guard: Guard::default(),
                })
                .collect(),
        };
        source
    }

    /// Reads again what the cutter held, when the files are open; gives the extents that are gone.
    pub(super) fn resume_cutter(&mut self) -> Vec<naru_proto::frame::Extent> {
        let files = &self.files;
        let held_bytes = |extent: &naru_proto::frame::Extent| {
            let file = files.iter().find(|file| file.id == Some(extent.file))?;
            let length = usize::try_from(extent.length).ok()?;
            file.bytes_at(extent.start, length).ok().flatten()
        };
        let (cutter, mut gone) = Cutter::resume(self.committed.state.clone(), held_bytes);
        let rule = self.cutter.rule().cloned();
        let mut late = Vec::new();
        for state in &self.committed.late {
            let Some((of, _)) = state.position else { continue };
            let (cutter, gone_too) = Cutter::resume(state.clone(), held_bytes);
            late.push((of, cutter.with_rule(rule.clone())));
            gone.extend(gone_too);
        }
        for (of, cutter) in late {
            if let Some(file) = self.files.iter_mut().find(|file| file.id == Some(of)) {
                file.late = Some(Box::new(cutter));
            }
        }
        self.cutter = cutter.with_rule(rule);
        self.resuming = None;
        self.undisturbed = false;
        gone
    }
}

fn restored_file(state: &FileState, now: Instant) -> TailedFile {
    let name = state.name.to_string_lossy().into_owned();
    let order = pods::log_file(&name).map(|(_, file)| file.order);
    let order = order.or_else(|| docker::log_file(&name).map(|(_, file)| file.order));
    let order = order.unwrap_or(Order::Live);
    let mut file = TailedFile::new(name, order, now);
    file.id = Some(state.id);
    file.salt = state.salt;
    file.identity = Some(Identity {
        device: state.device,
        inode: state.inode,
        birth_ns: state.birth_time_ns.unwrap_or(0),
        handle: Handle::from_bytes(&state.handle),
    });
    file.read = state.acknowledged;
    file.acknowledged = state.acknowledged;
    file.size = state.size;
    file.saved_guard = Some(state.guard);
    file.restored_guard = state.guard;
    // How far is known once it is open.
    file.dated_before = u64::MAX;
    // What a late cutter cuts is behind what the source's own has passed.
    let late = state.late_from.is_some_and(|from| state.acknowledged >= from);
    file.passed = state.finished || late;
    file.late_from = state.late_from;
    file.given_up = state.given_up;
    file.head = state.head;
    file.modified_ns = state.modified_ns;
    file.steps = state.steps.iter().map(|step| (step.from_offset, step.time_ns)).collect();
    file
}

fn place_of(source: &Source) -> Place {
    match &source.writer {
        Writer::Container(container) => Place::Container {
            directory: ContainerDirectory {
                pod: format!("{}_{}_{}", container.namespace, container.pod, container.pod_uid)
                    .into(),
                container: container.container.as_str().into(),
            },
            restart: container.restart,
        },
        Writer::HostFile { path } => Place::Host { path: path.clone(), skip_binary: false },
    }
}
