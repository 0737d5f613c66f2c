//! The messages of the log, and their checked conversions. Fields are only ever added, their numbers never reused.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use naru_proto::frame::{Extent, IoStream, Source};
use naru_proto::ids::FileId;
use naru_proto::wire;
use thiserror::Error;

use super::{DeclaredGap, FileState, Guard, SourceState, TimeStep};
use crate::cut::{
    CutJournal, Format, HeldState, Inside, JournaledCut, Position, Progress, ResumeState,
};

/// What an item says cannot be.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("an item has an impossible {0}")]
pub struct Unreadable(pub(super) &'static str);

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct StoredItem {
    #[prost(oneof = "stored_item::Kind", tags = "1, 2, 3")]
    pub(super) kind: Option<stored_item::Kind>,
}

pub(super) mod stored_item {
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub(in super::super) enum Kind {
        #[prost(message, tag = "1")]
        Binding(super::StoredBinding),
        #[prost(message, tag = "2")]
        Source(super::StoredSource),
        #[prost(message, tag = "3")]
        Removed(naru_proto::wire::Source),
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct StoredBinding {
    #[prost(string, tag = "1")]
    pub(super) cluster: String,
    #[prost(string, tag = "2")]
    pub(super) node: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct StoredSource {
    #[prost(message, optional, tag = "1")]
    pub(super) source: Option<wire::Source>,
    #[prost(message, repeated, tag = "2")]
    files: Vec<StoredFile>,
    #[prost(message, optional, tag = "3")]
    cutter: Option<StoredCutter>,
    #[prost(message, repeated, tag = "4")]
    cuts: Vec<StoredCut>,
    /// Without their source, which is this one.
    #[prost(message, repeated, tag = "5")]
    gaps: Vec<wire::Gap>,
    #[prost(message, repeated, tag = "6")]
    late: Vec<StoredCutter>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct StoredFile {
    #[prost(bytes = "vec", tag = "1")]
    id: Vec<u8>,
    #[prost(uint64, tag = "2")]
    device: u64,
    #[prost(uint64, tag = "3")]
    inode: u64,
    #[prost(sfixed64, optional, tag = "4")]
    birth_time_ns: Option<i64>,
    #[prost(bytes = "vec", tag = "5")]
    handle: Vec<u8>,
    #[prost(bytes = "vec", tag = "6")]
    name: Vec<u8>,
    #[prost(uint64, tag = "7")]
    salt: u64,
    #[prost(uint64, tag = "8")]
    size: u64,
    #[prost(uint64, tag = "9")]
    acknowledged: u64,
    #[prost(bool, tag = "10")]
    finished: bool,
    #[prost(uint32, tag = "11")]
    guard_length: u32,
    #[prost(fixed64, tag = "12")]
    guard_hash: u64,
    #[prost(message, repeated, tag = "13")]
    steps: Vec<StoredStep>,
    #[prost(uint32, tag = "14")]
    head_length: u32,
    #[prost(fixed64, tag = "15")]
    head_hash: u64,
    #[prost(sfixed64, tag = "16")]
    modified_ns: i64,
    #[prost(uint64, optional, tag = "17")]
    late_from: Option<u64>,
    #[prost(bool, tag = "18")]
    given_up: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct StoredStep {
    #[prost(uint64, tag = "1")]
    from_offset: u64,
    #[prost(sfixed64, tag = "2")]
    time_ns: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct StoredCutter {
    #[prost(enumeration = "wire::Format", tag = "1")]
    format: i32,
    #[prost(message, optional, tag = "2")]
    position: Option<StoredPosition>,
    #[prost(sfixed64, optional, tag = "3")]
    last_time_ns: Option<i64>,
    #[prost(message, optional, tag = "4")]
    inside: Option<StoredInside>,
    #[prost(message, repeated, tag = "5")]
    held: Vec<StoredHeld>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct StoredPosition {
    #[prost(bytes = "vec", tag = "1")]
    file: Vec<u8>,
    #[prost(uint64, tag = "2")]
    offset: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct StoredInside {
    #[prost(uint64, tag = "1")]
    line_start: u64,
    #[prost(enumeration = "wire::IoStream", tag = "2")]
    iostream: i32,
    #[prost(bool, tag = "3")]
    partial: bool,
    #[prost(bool, tag = "4")]
    malformed: bool,
    #[prost(uint32, optional, tag = "5")]
    rule_state: Option<u32>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct StoredHeld {
    #[prost(enumeration = "wire::IoStream", tag = "1")]
    iostream: i32,
    #[prost(message, repeated, tag = "2")]
    extents: Vec<wire::Extent>,
    #[prost(uint32, tag = "3")]
    lines: u32,
    #[prost(sfixed64, optional, tag = "4")]
    id_time_ns: Option<i64>,
    #[prost(uint64, optional, tag = "5")]
    line_start: Option<u64>,
    #[prost(bool, tag = "6")]
    continued: bool,
    #[prost(message, optional, tag = "7")]
    progress: Option<StoredProgress>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct StoredProgress {
    #[prost(uint32, tag = "1")]
    state: u32,
    #[prost(sfixed64, optional, tag = "2")]
    last_time_ns: Option<i64>,
    #[prost(bool, tag = "3")]
    inside_line: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct StoredCut {
    #[prost(enumeration = "wire::IoStream", tag = "1")]
    iostream: i32,
    #[prost(message, optional, tag = "2")]
    first: Option<StoredPosition>,
    #[prost(message, optional, tag = "3")]
    end_exclusive: Option<StoredPosition>,
}

impl From<&SourceState> for StoredSource {
    fn from(state: &SourceState) -> Self {
        Self {
            source: Some(state.source.clone().into()),
            files: state.files.iter().map(StoredFile::from).collect(),
            cutter: Some(StoredCutter::from(&state.cutter)),
            cuts: state.cuts.iter().map(StoredCut::from).collect(),
            gaps: state.gaps.iter().map(stored_gap).collect(),
            late: state.late.iter().map(StoredCutter::from).collect(),
        }
    }
}

impl TryFrom<StoredSource> for SourceState {
    type Error = Unreadable;

    fn try_from(stored: StoredSource) -> Result<Self, Unreadable> {
        let source = stored.source.ok_or(Unreadable("source"))?;
        Ok(Self {
            source: Source::try_from(source).map_err(|_| Unreadable("source"))?,
            files: stored.files.into_iter().map(FileState::try_from).collect::<Result<_, _>>()?,
            cutter: stored.cutter.ok_or(Unreadable("cutter"))?.try_into()?,
            cuts: stored
                .cuts
                .into_iter()
                .map(JournaledCut::try_from)
                .collect::<Result<CutJournal, _>>()?,
            gaps: stored.gaps.into_iter().map(declared_gap).collect::<Result<_, _>>()?,
            late: stored.late.into_iter().map(ResumeState::try_from).collect::<Result<_, _>>()?,
        })
    }
}

impl From<&FileState> for StoredFile {
    fn from(file: &FileState) -> Self {
        let step =
            |step: &TimeStep| StoredStep { from_offset: step.from_offset, time_ns: step.time_ns };
        Self {
            id: file.id.0.to_vec(),
            device: file.device,
            inode: file.inode,
            birth_time_ns: file.birth_time_ns,
            handle: file.handle.clone(),
            name: file.name.as_os_str().as_bytes().to_vec(),
            salt: file.salt,
            size: file.size,
            acknowledged: file.acknowledged,
            finished: file.finished,
            guard_length: u32::from(file.guard.length),
            guard_hash: file.guard.hash,
            steps: file.steps.iter().map(step).collect(),
            head_length: u32::from(file.head.length),
            head_hash: file.head.hash,
            modified_ns: file.modified_ns,
            late_from: file.late_from,
            given_up: file.given_up,
        }
    }
}

impl TryFrom<StoredFile> for FileState {
    type Error = Unreadable;

    fn try_from(stored: StoredFile) -> Result<Self, Unreadable> {
        let step =
            |step: StoredStep| TimeStep { from_offset: step.from_offset, time_ns: step.time_ns };
        Ok(Self {
            id: file_id(&stored.id)?,
            device: stored.device,
            inode: stored.inode,
            birth_time_ns: stored.birth_time_ns,
            handle: stored.handle,
            name: OsString::from_vec(stored.name).into(),
            salt: stored.salt,
            size: stored.size,
            acknowledged: stored.acknowledged,
            finished: stored.finished,
            guard: guard(stored.guard_length, stored.guard_hash)?,
            steps: stored.steps.into_iter().map(step).collect(),
            head: guard(stored.head_length, stored.head_hash)?,
            modified_ns: stored.modified_ns,
            late_from: stored.late_from,
            given_up: stored.given_up,
        })
    }
}

impl From<&ResumeState> for StoredCutter {
    fn from(state: &ResumeState) -> Self {
        let inside = |inside: Inside| StoredInside {
            line_start: inside.line_start,
            iostream: stored_iostream(inside.iostream),
            partial: inside.partial,
            malformed: inside.malformed,
            rule_state: inside.rule_state.map(u32::from),
        };
        let progress = |progress: Progress| StoredProgress {
            state: progress.state.into(),
            last_time_ns: progress.last_time_ns,
            inside_line: progress.inside_line,
        };
        let held = |held: &HeldState| StoredHeld {
            iostream: held.iostream.into(),
            extents: held.extents.iter().map(wire::Extent::from).collect(),
            lines: held.lines,
            id_time_ns: held.id_time_ns,
            line_start: held.line_start,
            continued: held.continued,
            progress: held.progress.map(progress),
        };
        Self {
            format: naru_proto::frame::Format::from(state.format).into(),
            position: state.position.map(stored_position),
            last_time_ns: state.last_time_ns,
            inside: state.inside.map(inside),
            held: state.held.iter().map(held).collect(),
        }
    }
}

impl TryFrom<StoredCutter> for ResumeState {
    type Error = Unreadable;

    fn try_from(stored: StoredCutter) -> Result<Self, Unreadable> {
        let format = match wire::Format::try_from(stored.format) {
            Ok(wire::Format::Cri) => Format::Cri,
            Ok(wire::Format::Plain) => Format::Plain,
            Ok(wire::Format::JsonFile) => Format::JsonFile,
            Ok(wire::Format::Unspecified) | Err(_) => return Err(Unreadable("format")),
        };
        let inside = |inside: StoredInside| Inside {
            line_start: inside.line_start,
            iostream: iostream(inside.iostream),
            partial: inside.partial,
            malformed: inside.malformed,
            rule_state: inside.rule_state.map(rule_state),
        };
        Ok(Self {
            format,
            position: stored.position.map(position).transpose()?,
            last_time_ns: stored.last_time_ns,
            inside: stored.inside.map(inside),
            held: stored.held.into_iter().map(HeldState::try_from).collect::<Result<_, _>>()?,
        })
    }
}

impl TryFrom<StoredHeld> for HeldState {
    type Error = Unreadable;

    fn try_from(stored: StoredHeld) -> Result<Self, Unreadable> {
        let extents = stored.extents.iter().map(extent).collect::<Result<Vec<_>, _>>()?;
        if extents.is_empty() {
            return Err(Unreadable("fragment"));
        }
        let progress = |progress: StoredProgress| Progress {
            state: rule_state(progress.state),
            last_time_ns: progress.last_time_ns,
            inside_line: progress.inside_line,
        };
        Ok(Self {
            iostream: IoStream::try_from(stored.iostream).map_err(|_| Unreadable("iostream"))?,
            extents,
            lines: stored.lines,
            id_time_ns: stored.id_time_ns,
            line_start: stored.line_start,
            continued: stored.continued,
            progress: stored.progress.map(progress),
        })
    }
}

impl From<&JournaledCut> for StoredCut {
    fn from(cut: &JournaledCut) -> Self {
        Self {
            iostream: stored_iostream(cut.iostream),
            first: Some(stored_position(cut.first)),
            end_exclusive: Some(stored_position(cut.end_exclusive)),
        }
    }
}

impl TryFrom<StoredCut> for JournaledCut {
    type Error = Unreadable;

    fn try_from(stored: StoredCut) -> Result<Self, Unreadable> {
        Ok(Self {
            iostream: iostream(stored.iostream),
            first: position(stored.first.ok_or(Unreadable("cut"))?)?,
            end_exclusive: position(stored.end_exclusive.ok_or(Unreadable("cut"))?)?,
        })
    }
}

fn stored_gap(gap: &DeclaredGap) -> wire::Gap {
    wire::Gap {
        source: None,
        file_id: gap.file.map(|file| file.0.to_vec()).unwrap_or_default().into(),
        start: gap.start,
        end_exclusive: gap.end_exclusive,
        last_known_size: gap.last_known_size,
        reason: gap.reason.into(),
        from_time_ns: gap.from_time_ns,
        until_time_ns: gap.until_time_ns,
    }
}

fn declared_gap(stored: wire::Gap) -> Result<DeclaredGap, Unreadable> {
    let file = Some(&stored.file_id).filter(|id| !id.is_empty());
    Ok(DeclaredGap {
        file: file.map(|id| file_id(id)).transpose()?,
        start: stored.start,
        end_exclusive: stored.end_exclusive,
        last_known_size: stored.last_known_size,
        // One that a newer version knows stays a gap.
        reason: stored.reason(),
        from_time_ns: stored.from_time_ns,
        until_time_ns: stored.until_time_ns,
    })
}

fn stored_position((file, offset): Position) -> StoredPosition {
    StoredPosition { file: file.0.to_vec(), offset }
}

fn position(stored: StoredPosition) -> Result<Position, Unreadable> {
    Ok((file_id(&stored.file)?, stored.offset))
}

fn extent(stored: &wire::Extent) -> Result<Extent, Unreadable> {
    let sound = stored.length > 0 && stored.start.checked_add(stored.length).is_some();
    let file = file_id(&stored.file_id)?;
    if !sound {
        return Err(Unreadable("extent"));
    }
    Ok(Extent { file, start: stored.start, length: stored.length })
}

fn guard(length: u32, hash: u64) -> Result<Guard, Unreadable> {
    let length = u8::try_from(length).ok().filter(|l| usize::from(*l) <= Guard::MAX_BYTES);
    Ok(Guard { length: length.ok_or(Unreadable("guard"))?, hash })
}

fn file_id(bytes: &[u8]) -> Result<FileId, Unreadable> {
    FileId::from_bytes(bytes).ok_or(Unreadable("file id"))
}

fn stored_iostream(iostream: Option<IoStream>) -> i32 {
    iostream.unwrap_or(IoStream::Unspecified).into()
}

/// One of a newer version continues nothing.
fn rule_state(stored: u32) -> u8 {
    u8::try_from(stored).unwrap_or(u8::MAX)
}

fn iostream(stored: i32) -> Option<IoStream> {
    IoStream::try_from(stored).ok().filter(|iostream| *iostream != IoStream::Unspecified)
}
