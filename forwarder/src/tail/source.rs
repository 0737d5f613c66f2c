//! One source: its files in the order they were written, and where each of them is read to.
//!
//! The first file that is not passed is the current one. A file is passed when it was read to its end and its writer
//! has gone on to the next, or when it is gone; what is written to it later is still read as long as it is open.

use std::sync::Arc;
use std::time::{Duration, Instant};

use naru_proto::frame::{Extent, Source, Writer};
use naru_proto::ids::FileId;

use super::file::{Content, TailedFile};
use super::missed::Names;
use super::report::Written;
use crate::checkpoint::{DeclaredGap, Guard};
use crate::cut::{CutJournal, Cutter, Format, ResumeState, Rule};
use crate::discover::ContainerDirectory;
use crate::identity;

/// How long a file must be quiet, and its successor exist, before the successor is read: the container runtime's old
/// writer may flush its last lines while the new one already writes (milliseconds; a starved node gets some more).
pub(super) const ROTATION_GRACE: Duration = Duration::from_millis(500);
/// How long a passed file is kept open for lines that come late.
pub(super) const CONTAINER_LATE: Duration = Duration::from_secs(10);
/// A daemon writes to its renamed log until it is told to reopen it.
const HOST_LATE: Duration = Duration::from_secs(600);
/// How long a restarted source waits for files that cannot be looked at, before it goes on without them.
const RESUME_PATIENCE: Duration = Duration::from_secs(30);

/// Where a source's files are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Place {
    Container { directory: ContainerDirectory, restart: u32 },
    Host { path: String, skip_binary: bool },
}

/// A point that a restart may go on from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Point {
    pub(super) state: ResumeState,
    /// Of the cutters of late lines.
    pub(super) late: Vec<ResumeState>,
    pub(super) files: Vec<FilePoint>,
}

impl Point {
    /// What waits there for its end.
    pub(super) fn held(&self) -> impl Iterator<Item = &Extent> {
        let late = self.late.iter().flat_map(|state| &state.held);
        self.state.held.iter().chain(late).flat_map(|held| &held.extents)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FilePoint {
    pub(super) file: FileId,
    pub(super) offset: u64,
    /// Of the bytes before it.
    pub(super) guard: Guard,
}

/// A source being tailed.
pub(super) struct SourceTail {
    pub(super) source: Source,
    /// The container runtime's; empty where it is not known.
    pub(super) container_id: String,
    /// The docker container in whose directory its files are.
    pub(super) docker: Option<String>,
    pub(super) place: Place,
    pub(super) format: naru_proto::frame::Format,
    pub(super) cutter: Cutter,
    pub(super) cuts: CutJournal,
    pub(super) files: Vec<TailedFile>,
    pub(super) committed: Point,
    /// Restarted then, and not all of its files are open or declared missing yet: nothing is read, for the order of
    /// files decides how records are cut.
    pub(super) resuming: Option<Instant>,
    /// Nobody has read it before, as far as the checkpoint knows.
    pub(super) is_new: bool,
    /// It slept, and nothing was written since it was read to its end: a file that is gone has lost nothing.
    pub(super) undisturbed: bool,
    /// Excluded: nothing of it is open.
    pub(super) left_out: bool,
    /// Read at once; grows while a line is longer.
    pub(super) want: usize,
    pub(super) written: Written,
    /// Bytes that its last turn read beyond its share, for a long line: the next one is shorter.
    pub(super) owed: usize,
    /// Waits for its turn.
    pub(super) queued: bool,
    /// Its last turn found nothing more to cut.
    pub(super) caught_up: bool,
    /// The committed state is not in the checkpoint yet.
    pub(super) unsaved: bool,
    /// Host files: when the directory had changed last at the first look. What is older was there before.
    pub(super) first_look_ns: i64,
    /// What waits for its end, and since when it has not grown.
    pub(super) held_since: Vec<(Extent, Instant)>,
    /// Of files that were deleted.
    pub(super) names: Names,
    /// Declared and not known to an aggregator, with the number that it was told under.
    pub(super) gaps: Vec<(u64, DeclaredGap)>,
}

/// Bytes read at once: an idle line's page stays in the cache, a hot file costs few calls.
pub(super) const READ_BYTES: usize = 64 << 10;

impl SourceTail {
    pub(super) fn new(source: Source, place: Place) -> Self {
        let format = format_of(&source);
        Self {
            container_id: String::new(),
            docker: None,
            source,
            place,
            format: format.into(),
            cutter: Cutter::new(format),
            cuts: CutJournal::default(),
            files: Vec::new(),
            committed: Point {
                state: ResumeState::new(format),
                late: Vec::new(),
                files: Vec::new(),
            },
            resuming: None,
            is_new: true,
            undisturbed: false,
            left_out: false,
            want: READ_BYTES,
            written: Written::default(),
            owed: 0,
            queued: false,
            caught_up: false,
            unsaved: false,
            first_look_ns: 0,
            held_since: Vec::new(),
            names: Names::default(),
            gaps: Vec::new(),
        }
    }

    /// Sets the multi-line rule, before anything is read.
    pub(super) fn join_lines(&mut self, rule: Option<Arc<Rule>>) {
        self.cutter = Cutter::new(self.cutter.format()).with_rule(rule);
    }

    pub(super) fn is_host(&self) -> bool {
        matches!(self.place, Place::Host { .. })
    }

    /// Where the kubelet keeps its logs, or links to them.
    pub(super) fn directory(&self) -> Option<&ContainerDirectory> {
        match &self.place {
            Place::Container { directory, .. } => Some(directory),
            Place::Host { .. } => None,
        }
    }

    /// The file to read next.
    pub(super) fn next_file(&self) -> Option<usize> {
        if self.resuming.is_some() {
            return None;
        }
        let readable = |file: &TailedFile| {
            let more = file.size > file.read.max(file.looked_at);
            file.is_open() && (!file.passed || more)
        };
        self.files.iter().position(readable)
    }

    /// How many of its files are open.
    pub(super) fn open_files(&self) -> usize {
        self.files.iter().filter(|file| file.is_open()).count()
    }

    /// Whether what is read next will be deleted before long: its name is gone, or it is a rotated file's.
    pub(super) fn is_at_risk(&self) -> bool {
        self.next_file().is_some_and(|at| {
            at + 1 < self.files.len() || self.files.get(at).is_some_and(|file| file.gone)
        })
    }

    /// Whether a restarted source has what it can go on from.
    pub(super) fn can_resume(&self, now: Instant) -> bool {
        self.resuming.is_some_and(|since| {
            self.files.iter().all(|file| file.passed || file.is_open())
                || now.saturating_duration_since(since) >= RESUME_PATIENCE
        })
    }

    /// Notices what was written to files that were passed.
    pub(super) fn look_at_passed(&mut self) {
        for file in self.files.iter_mut().filter(|file| file.passed) {
            if let Content::Plain(handle) = &file.content
                && let Ok(stat) = identity::stat(handle)
            {
                file.seen_size(stat.size);
            }
        }
    }

    /// Whether a file's writer has gone on, or nobody can write to it any more, long enough ago.
    pub(super) fn end(&self, index: usize, now: Instant) -> End {
        let Some(file) = self.files.get(index) else { return End::Open };
        // Whole before it has its name. Waiting for a successor would keep its decompressor from others.
        if file.is_gzip() {
            return End::Over;
        }
        let next = self.files.get(index + 1..).and_then(|later| later.iter().find(|f| !f.passed));
        let over = match next {
            Some(next) => now.saturating_duration_since(next.appeared) >= ROTATION_GRACE,
            None if file.gone => true,
            None => return End::Open,
        };
        let quiet = || {
            now.saturating_duration_since(file.grew) >= ROTATION_GRACE
                || file.is_quiet_for(ROTATION_GRACE)
        };
        if over && quiet() { End::Over } else { End::Soon }
    }

    /// Whether a file that was just read to its end is the one that is being written to.
    pub(super) fn is_at_live_end(&self, index: usize, now: Instant) -> bool {
        let live = |file: &TailedFile| !file.passed && !file.is_gzip() && !file.gone;
        self.files.get(index).is_some_and(live) && self.end(index, now) == End::Open
    }

    /// Whether the unterminated last line of a file that ends must be cut: not while a daemon may still end it.
    pub(super) fn tail_is_final(&self, index: usize, now: Instant) -> bool {
        self.files.get(index).is_some_and(|file| {
            !self.is_host() || file.gone || now.saturating_duration_since(file.grew) >= HOST_LATE
        })
    }

    /// Where everything is read to.
    pub(super) fn point(&self) -> Point {
        let mut files = Vec::with_capacity(self.files.len());
        files.extend(self.files.iter().filter_map(|file| {
            let guard = Guard::of(&file.guard);
            file.id.map(|id| FilePoint { file: id, offset: file.read, guard })
        }));
        let late = self.files.iter().filter_map(|file| file.late.as_deref().map(Cutter::state));
        Point { state: self.cutter.state(), late: late.collect(), files }
    }

    /// Everything up to a point is acknowledged.
    pub(super) fn commit(&mut self, point: Point) {
        for at in &point.files {
            if let Some(file) = self.files.iter_mut().find(|file| file.id == Some(at.file)) {
                file.acknowledged = at.offset;
            }
        }
        let offset =
            |id| self.files.iter().find(|file| file.id == Some(id)).map(|file| file.acknowledged);
        // What late lines left waiting is cut again like the rest.
        let mut waiting = point.state.clone();
        waiting.held.extend(point.late.iter().flat_map(|late| late.held.iter().cloned()));
        self.cuts.prune(offset, &waiting);
        self.committed = point;
        self.unsaved = true;
    }

    /// Forgets files that are gone and acknowledged, closes those that need not be open; true when something changed
    /// that a checkpoint keeps. `listed`: its directory is there.
    pub(super) fn release(&mut self, now: Instant, listed: bool) -> bool {
        let late = if self.is_host() { HOST_LATE } else { CONTAINER_LATE };
        let held: Vec<FileId> = self.held_files();
        for file in self.files.iter_mut().filter(|f| f.passed && f.is_settled() && f.is_open()) {
            let quiet = now.saturating_duration_since(file.grew) >= late;
            if (quiet || file.is_gzip())
                && file.size <= file.read
                && !file.late_waits()
                && !(file.gone && file.must_wait(listed))
            {
                file.content = Content::Closed;
            }
        }
        let before = self.files.len();
        self.files.retain(|file| {
            let needed = file.out_of_sight || file.id.is_some_and(|id| held.contains(&id));
            let over = file.passed && file.gone && file.is_settled() && !file.is_open();
            let keep = !(over && file.is_told()) || needed;
            if !keep {
                self.names.forget(file);
            }
            keep
        });
        self.files.len() != before
    }

    /// Nothing is left of it, here and on disk.
    pub(super) fn is_over(&self) -> bool {
        self.files.is_empty() && self.cutter.held().next().is_none() && self.gaps.is_empty()
    }

    /// Whether time alone may change something: a fragment waits, a file ends or is kept open for late lines.
    pub(super) fn needs_attention(&self) -> bool {
        let waiting = |file: &TailedFile| {
            !(file.waits || file.out_of_sight) && (file.gone || (file.passed && file.is_open()))
        };
        self.files.iter().any(waiting)
            || self.files.iter().filter(|file| !file.passed).count() > 1
            || self.cutter.held().next().is_some()
            || self.resuming.is_some()
    }

    /// Since when what waits has not grown; forgets what does not wait any more.
    pub(super) fn note_held(&mut self, now: Instant) {
        let ends: Vec<Extent> =
            self.cutter.held().filter_map(|held| held.extents.last().copied()).collect();
        self.held_since.retain(|(extent, _)| ends.contains(extent));
        for end in ends {
            if !self.held_since.iter().any(|(extent, _)| *extent == end) {
                self.held_since.push((end, now));
            }
        }
    }

    fn held_files(&self) -> Vec<FileId> {
        let live = self.cutter.held().flat_map(|held| held.extents.iter());
        live.chain(self.committed.held()).map(|extent| extent.file).collect()
    }
}

/// Whether a file is at its end for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// More may be written.
    Open,
    /// It looks so; time will tell.
    Soon,
    /// Nothing more comes.
    Over,
}

pub(super) fn format_of(source: &Source) -> Format {
    match source.writer {
        Writer::Container(_) => Format::Cri,
        Writer::HostFile { .. } => Format::Plain,
    }
}
