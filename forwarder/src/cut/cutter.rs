//! The cutter of one source: runs of whole lines on the fast path, everything else piece by piece.

use std::sync::Arc;

use naru_proto::frame::{Extent, IoStream};
use naru_proto::ids::FileId;

use super::fragment::Fragment;
use super::line::{Reach, reach};
use super::waiting::{End, Piece, Rules, Waiting};
use super::{
    Caps, CutJournal, CutRecord, Format, Inside, JournaledCut, Position, ResumeState, Rule, Sink,
};

/// Cuts the files of one source into records. Holds at most a record's cap for each of two iostreams.
#[derive(Debug)]
pub struct Cutter {
    format: Format,
    caps: Caps,
    /// The next byte.
    position: Option<Position>,
    /// Of the current file.
    last_time_ns: Option<i64>,
    inside: Option<Inside>,
    /// Which lines continue a record; None: every line is one.
    rule: Option<Arc<Rule>>,
    /// The id-time of the plain bytes that come.
    dated_ns: Option<i64>,
    /// Of stdout, or of a plain file.
    stdout: Waiting,
    stderr: Waiting,
}

/// What waits for its end.
#[derive(Debug, Clone, Copy)]
pub struct Held<'a> {
    /// Unspecified for a plain file.
    pub iostream: IoStream,
    /// Its last line is not whole.
    pub inside_line: bool,
    /// Nothing of its iostream waits behind it.
    pub last: bool,
    /// Where it stands; never empty.
    pub extents: &'a [Extent],
    /// A copy of it.
    pub bytes: &'a [u8],
    /// Physical lines.
    pub lines: u32,
}

impl Cutter {
    /// A cutter before the first byte of a source.
    #[must_use]
    pub fn new(format: Format) -> Self {
        Self::with_caps(format, Caps::CONTRACT)
    }

    /// The same with a multi-line rule, or without one. Changed while something waits, a re-read may cut elsewhere.
    #[must_use]
    pub fn with_rule(self, rule: Option<Arc<Rule>>) -> Self {
        Self { rule, ..self }
    }

    /// A cutter of the same kind before the first byte of another file.
    #[must_use]
    pub fn fresh(&self) -> Self {
        Self::with_caps(self.format, self.caps).with_rule(self.rule.clone())
    }

    /// The multi-line rule.
    #[must_use]
    pub fn rule(&self) -> Option<&Arc<Rule>> {
        self.rule.as_ref()
    }

    /// The id-time of the plain bytes that are offered next: a record that waits keeps that of its first byte.
    pub fn date(&mut self, id_time_ns: Option<i64>) {
        self.dated_ns = id_time_ns;
    }

    /// How the files are written.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// Goes on from a saved state. `held_bytes` reads a held extent again, None if it is gone.
    ///
    /// Returns the extents that are gone: what is left of their record stays held, the caller declares the gap.
    pub fn resume(
        state: ResumeState,
        held_bytes: impl FnMut(&Extent) -> Option<Vec<u8>>,
    ) -> (Self, Vec<Extent>) {
        Self::resume_with_caps(state, Caps::CONTRACT, held_bytes)
    }

    /// Cuts what can be cut of `chunk`, which begins at `offset` of `file`; returns how many bytes were consumed.
    ///
    /// `offset` is where the last call's consumed bytes ended, or a new file's start. What is not consumed is the
    /// beginning of a line: it is offered again with more behind it, up to [`naru_proto::limits::RECORD_MAX_BYTES`],
    /// which are always enough.
    pub fn cut(
        &mut self,
        file: FileId,
        offset: u64,
        chunk: &[u8],
        cuts: &CutJournal,
        sink: &mut impl Sink,
    ) -> usize {
        self.enter((file, offset));
        self.cut_due(cuts, sink);
        let mut next_cut = cuts.next_end(file, offset);
        let mut run = Run::default();
        let mut at = 0;
        while let Some(rest) = chunk.get(at..).filter(|rest| !rest.is_empty()) {
            let start = offset + at as u64;
            let reach = reach(rest, self.caps.bytes);
            let seen = match reach {
                Reach::Newline(length) => length,
                Reach::Cap(_) | Reach::Unknown => rest.len().min(self.caps.bytes),
            };
            let journalled = next_cut.is_some_and(|end| end <= start + seen as u64);
            if let Reach::Newline(length) = reach
                && !journalled
                && self.inside.is_none()
                && let Some(line) = rest.get(..length)
                && let Some(kind) = self.whole_line(line)
            {
                if run.kind != kind {
                    run.flush((file, offset), chunk, at, sink);
                    run = Run { kind, start: at, records: 0 };
                }
                run.records += 1;
                at += length;
                continue;
            }
            run.flush((file, offset), chunk, at, sink);
            let stop = if journalled {
                self.journalled_stop((file, start), rest, seen, cuts)
            } else {
                None
            };
            let (length, end) = match (stop, reach) {
                (Some(length), _) => (length, End::Cut),
                (None, Reach::Newline(length)) => (length, End::Newline),
                (None, Reach::Cap(length)) => (length, End::Cap),
                (None, Reach::Unknown) => break,
            };
            let Some(piece) = rest.get(..length) else { break };
            self.piece((file, start), piece, end, sink);
            at += length;
            run.start = at;
            if journalled {
                self.cut_due(cuts, sink);
                next_cut = cuts.next_end(file, offset + at as u64);
            }
        }
        run.flush((file, offset), chunk, at, sink);
        self.position = Some((file, offset + at as u64));
        at
    }

    /// What waits for its end, for whoever decides how long.
    pub fn held(&self) -> impl Iterator<Item = Held<'_>> {
        [&self.stdout, &self.stderr].into_iter().flat_map(|waiting| {
            let last = waiting.iter().count().saturating_sub(1);
            waiting.iter().enumerate().map(move |(at, fragment)| Held {
                iostream: fragment.state.iostream,
                inside_line: fragment.state.progress.is_none_or(|progress| progress.inside_line),
                last: at == last,
                extents: &fragment.state.extents,
                bytes: &fragment.bytes,
                lines: fragment.state.lines,
            })
        })
    }

    /// The cut that [`Self::cut_held`] would make, to be journalled before. Something may wait behind it: ask again.
    ///
    /// Only for who has read everything that is written of the source: a run before this one may have read it, and
    /// ended the record by it.
    #[must_use]
    pub fn pending_cut(&self, iostream: IoStream) -> Option<JournaledCut> {
        self.waiting(iostream).pending_cut(self.rules())
    }

    /// Cuts what waits, as journalled; false when it is not what waits now.
    pub fn cut_held(&mut self, cut: &JournaledCut, sink: &mut impl Sink) -> bool {
        let iostream = cut.iostream.unwrap_or(IoStream::Unspecified);
        if self.pending_cut(iostream) != Some(*cut) {
            return false;
        }
        let (rules, waiting) = self.parts(iostream);
        waiting.cut(rules, cut, sink);
        true
    }

    /// The cut that [`Self::cut_tail`] would make, to be journalled before. None without bytes.
    ///
    /// Likewise. `bytes` is what [`Self::cut`] left unconsumed: the unterminated last line of a file, or the rest of it.
    #[must_use]
    pub fn pending_tail_cut(
        &self,
        file: FileId,
        offset: u64,
        bytes: &[u8],
    ) -> Option<JournaledCut> {
        if bytes.is_empty() {
            return None;
        }
        let line = self.line_at((file, offset), bytes);
        Some(JournaledCut {
            iostream: line.iostream,
            first: self.opening((file, offset), line, bytes),
            end_exclusive: (file, offset + bytes.len() as u64),
        })
    }

    /// Cuts the unterminated last line of a file whose life has ended, with what of its iostream waits.
    pub fn cut_tail(&mut self, file: FileId, offset: u64, bytes: &[u8], sink: &mut impl Sink) {
        let consumed = self.cut(file, offset, bytes, &CutJournal::default(), sink);
        if let Some(tail) = bytes.get(consumed..).filter(|tail| !tail.is_empty()) {
            self.piece((file, offset + consumed as u64), tail, End::Cut, sink);
            self.position = Some((file, offset + bytes.len() as u64));
        }
    }

    /// What is saved when everything cut so far is acknowledged.
    #[must_use]
    pub fn state(&self) -> ResumeState {
        ResumeState {
            format: self.format,
            position: self.position,
            last_time_ns: self.last_time_ns,
            inside: self.inside,
            held: [&self.stdout, &self.stderr]
                .into_iter()
                .flat_map(Waiting::iter)
                .map(|fragment| fragment.state.clone())
                .collect(),
        }
    }

    pub(super) fn with_caps(format: Format, caps: Caps) -> Self {
        Self {
            format,
            caps,
            position: None,
            last_time_ns: None,
            inside: None,
            rule: None,
            dated_ns: None,
            stdout: Waiting::default(),
            stderr: Waiting::default(),
        }
    }

    pub(super) fn resume_with_caps(
        state: ResumeState,
        caps: Caps,
        mut held_bytes: impl FnMut(&Extent) -> Option<Vec<u8>>,
    ) -> (Self, Vec<Extent>) {
        let format = state.format;
        let mut cutter = Self {
            position: state.position,
            last_time_ns: state.last_time_ns,
            inside: state.inside,
            ..Self::with_caps(format, caps)
        };
        let mut gone = Vec::new();
        for held in state.held {
            let (iostream, is_record) = (held.iostream, held.progress.is_some());
            let fragment = Fragment::restore(format, held, &mut held_bytes, &mut gone);
            let (_, waiting) = cutter.parts(iostream);
            *(if is_record { &mut waiting.record } else { &mut waiting.line }) =
                fragment.map(Box::new);
        }
        (cutter, gone)
    }

    fn enter(&mut self, at: Position) {
        if self.position == Some(at) {
            return;
        }
        // Another file, or bytes in between that nobody will read: no line goes on over that.
        self.inside = None;
        if self.position.is_none_or(|(file, _)| file != at.0) {
            self.last_time_ns = None;
        }
        self.position = Some(at);
    }

    /// Repeats the journalled cuts of what waits, once it has reached them.
    fn cut_due(&mut self, cuts: &CutJournal, sink: &mut impl Sink) {
        if cuts.is_empty() {
            return;
        }
        for iostream in [IoStream::Stdout, IoStream::Stderr] {
            let (rules, waiting) = self.parts(iostream);
            while let Some(cut) = waiting.due(rules, cuts) {
                waiting.cut(rules, &cut, sink);
            }
        }
    }

    /// The kind of run that a whole line can be part of. None: it joins, or waits.
    fn whole_line(&mut self, line: &[u8]) -> Option<RunKind> {
        if self.format == Format::Plain {
            let whole = self.rule.is_none() && self.stdout.is_empty();
            return whole.then_some(RunKind::Readable);
        }
        let Some(envelope) = self.format.envelope(line) else {
            return Some(RunKind::Malformed { id_time_ns: self.last_time_ns });
        };
        let joins = self.rule.is_some() || !self.waiting(envelope.iostream).is_empty();
        if envelope.partial || joins {
            return None;
        }
        self.last_time_ns = Some(envelope.time_ns);
        Some(RunKind::Readable)
    }

    /// The length of what a journalled cut ends inside the line that `rest` begins with, of which `seen` bytes are known.
    fn journalled_stop(
        &self,
        at: Position,
        rest: &[u8],
        seen: usize,
        cuts: &CutJournal,
    ) -> Option<usize> {
        cuts.ending_after(at.0, at.1).find_map(|cut| {
            let length = usize::try_from(cut.end_exclusive.1 - at.1).ok().filter(|l| *l <= seen)?;
            let piece = rest.get(..length).filter(|piece| !piece.ends_with(b"\n"))?;
            let line = self.line_at(at, piece);
            (self.opening(at, line, piece) == cut.first).then_some(length)
        })
    }

    /// The line that a piece belongs to: the one that the position is inside, else one that begins with the piece.
    fn line_at(&self, (file, offset): Position, piece: &[u8]) -> Inside {
        if let Some(line) = self.inside.filter(|_| self.position.is_some_and(|p| p.0 == file)) {
            return line;
        }
        let envelope = self.format.envelope(piece);
        Inside {
            line_start: offset,
            iostream: envelope.map(|envelope| envelope.iostream),
            partial: envelope.is_some_and(|envelope| envelope.partial),
            malformed: self.format != Format::Plain && envelope.is_none(),
            rule_state: None,
        }
    }

    /// Where the record begins that ends with this piece, if nothing more is waited for.
    fn opening(&self, at: Position, line: Inside, bytes: &[u8]) -> Position {
        let Some(iostream) = self.joined_iostream(line) else { return at };
        // Rare: a file's end, or a cut that is repeated.
        let mut waiting = self.waiting(iostream).clone();
        let begins = self.inside.is_none();
        let time_ns = self.format.envelope(bytes).map(|envelope| envelope.time_ns);
        let id_time_ns = if begins { time_ns } else { self.last_time_ns };
        let piece = Piece { at, bytes, end: End::Cut, line, begins, id_time_ns };
        let mut last = Opening(at);
        waiting.push(self.rules(), piece, &mut last);
        last.0
    }

    /// Where the pieces of a line are joined; None for lines that are records by themselves.
    fn joined_iostream(&self, line: Inside) -> Option<IoStream> {
        let plain =
            self.format == Format::Plain && (self.rule.is_some() || !self.stdout.is_empty());
        line.iostream.or(plain.then_some(IoStream::Unspecified))
    }

    /// A line, or a piece of one, that is not part of a run.
    fn piece(&mut self, at: Position, bytes: &[u8], end: End, sink: &mut impl Sink) {
        let line = self.line_at(at, bytes);
        let begins = self.inside.is_none();
        if begins && line.iostream.is_some() {
            self.last_time_ns = self.format.envelope(bytes).map(|envelope| envelope.time_ns);
        }
        self.inside = (end != End::Newline).then_some(line);
        let id_time_ns = match self.format {
            Format::Plain => self.dated_ns,
            Format::Cri | Format::JsonFile => self.last_time_ns,
        };
        if let Some(iostream) = self.joined_iostream(line) {
            let (rules, waiting) = self.parts(iostream);
            let whole = end != End::Newline || !line.partial;
            if rules.rule.is_some() || !waiting.is_empty() || !whole {
                let piece = Piece { at, bytes, end, line, begins, id_time_ns };
                let rule_state = waiting.push(rules, piece, sink);
                if let Some(inside) = &mut self.inside {
                    inside.rule_state = rule_state;
                }
                return;
            }
        }
        sink.record(CutRecord {
            extents: &[Extent { file: at.0, start: at.1, length: bytes.len() as u64 }],
            bytes,
            iostream: line.iostream,
            id_time_ns: id_time_ns.filter(|_| self.format != Format::Plain),
            line_start: (!begins).then_some(line.line_start),
            incomplete: end == End::Cut,
            continued: !begins,
            malformed: line.malformed,
        });
    }

    fn rules(&self) -> Rules<'_> {
        Rules { format: self.format, caps: self.caps, rule: self.rule.as_deref() }
    }

    fn waiting(&self, iostream: IoStream) -> &Waiting {
        match iostream {
            IoStream::Stdout | IoStream::Unspecified => &self.stdout,
            IoStream::Stderr => &self.stderr,
        }
    }

    fn parts(&mut self, iostream: IoStream) -> (Rules<'_>, &mut Waiting) {
        let rules = Rules { format: self.format, caps: self.caps, rule: self.rule.as_deref() };
        let waiting = match iostream {
            IoStream::Stdout | IoStream::Unspecified => &mut self.stdout,
            IoStream::Stderr => &mut self.stderr,
        };
        (rules, waiting)
    }
}

/// Where the last record began.
struct Opening(Position);

impl Sink for Opening {
    fn lines(&mut self, _: FileId, _: u64, _: &[u8], _: u32, _: bool, _: Option<i64>) {}

    fn record(&mut self, record: CutRecord<'_>) {
        if let Some(first) = record.extents.first() {
            self.0 = (first.file, first.start);
        }
    }
}

/// Whole lines of a chunk that are handed on as one slice.
#[derive(Debug, Default)]
struct Run {
    kind: RunKind,
    /// Where it begins in the chunk.
    start: usize,
    records: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum RunKind {
    /// Each line carries its time, or needs none.
    #[default]
    Readable,
    Malformed {
        id_time_ns: Option<i64>,
    },
}

impl Run {
    /// Hands on what it has, which ends at `end` of the chunk.
    fn flush(&mut self, chunk_at: Position, chunk: &[u8], end: usize, sink: &mut impl Sink) {
        if self.records == 0 {
            return;
        }
        let (malformed, id_time_ns) = match self.kind {
            RunKind::Readable => (false, None),
            RunKind::Malformed { id_time_ns } => (true, id_time_ns),
        };
        let bytes = chunk.get(self.start..end).unwrap_or_default();
        let start = chunk_at.1 + self.start as u64;
        sink.lines(chunk_at.0, start, bytes, self.records, malformed, id_time_ns);
        self.records = 0;
    }
}
