//! One source's turn: its next bytes are read and cut, until its share is used up or there is nothing more.

use std::time::Instant;

use naru_proto::frame::IoStream;
use naru_proto::ids::FileId;
use naru_proto::limits::RECORD_MAX_BYTES;
use naru_proto::wire::GapReason;

use super::Tailer;
use super::file::{Content, Filled};
use super::gaps::Loss;
use super::source::{End, READ_BYTES, SourceTail};
use crate::checkpoint::Guard;
use crate::cut::JournaledCut;
use crate::{chance, clock};

/// A source's share of a round.
const QUANTUM_BYTES: usize = 256 << 10;
/// No line needs more to be cut.
const WANT_MAX_BYTES: usize = RECORD_MAX_BYTES + READ_BYTES;
/// How often a host file's id-time moves on.
const STEP_NS: i64 = 60_000_000_000;
/// Decompressors open at once: each costs 80 KiB.
const DECOMPRESSORS: usize = 8;

/// Why a turn ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// Its share is used up.
    More,
    /// There is nothing to read now.
    Nothing,
    /// The window is full.
    Full,
    /// It cannot go on now, and must be asked again soon.
    Wait,
}

/// What one step of a turn did.
enum Step {
    Cut(usize),
    /// All that there was.
    CutAll,
    /// The file ended, was passed or turned out to be another.
    Again,
    End(Turn),
}

impl Tailer {
    /// Gives a source its turn.
    pub(super) fn turn(&mut self, index: usize, now: Instant) -> Turn {
        let mut used = 0;
        if let Some(source) = self.sources.get_mut(index) {
            source.look_at_passed();
            used = std::mem::take(&mut source.owed);
        }
        while used < QUANTUM_BYTES {
            if !self.has_room() {
                return Turn::Full;
            }
            match self.step(index, now) {
                Step::Cut(count) => used += count,
                Step::CutAll => return Turn::Nothing,
                Step::Again => {}
                Step::End(turn) => return turn,
            }
        }
        if let Some(source) = self.sources.get_mut(index) {
            source.owed = used - QUANTUM_BYTES;
        }
        Turn::More
    }

    fn step(&mut self, index: usize, now: Instant) -> Step {
        let next = self.sources.get(index).and_then(|source| {
            let at = source.next_file()?;
            Some((at, source.files.get(at)?.needs_decompressor()))
        });
        let Some((at, needs_decompressor)) = next else { return Step::End(Turn::Nothing) };
        if needs_decompressor && self.decompressors() >= DECOMPRESSORS {
            return Step::End(Turn::Wait);
        }
        let Some(source) = self.sources.get_mut(index) else { return Step::End(Turn::Nothing) };
        let want = source.want;
        let Some(file) = source.files.get_mut(at) else { return Step::End(Turn::Nothing) };
        if file.id.is_none() {
            return self.identify(index, at, now);
        }
        let filled = file.fill(&mut self.buffer, want);
        let (start, read) = match filled {
            Ok(Filled::From(start)) => (start, file.read),
            Ok(Filled::Truncated) => {
                self.truncated(index, at, now);
                return Step::Again;
            }
            Ok(Filled::Shrunk { from, to }) => {
                let loss = Loss {
                    file: file.id,
                    start: to,
                    end_exclusive: Some(from),
                    last_known_size: from,
                    reason: GapReason::Truncated,
                };
                self.lost(index, &loss);
                return Step::Again;
            }
            Err(error) => {
                self.unreadable(index, at, &error);
                return Step::Again;
            }
        };
        let available = self.buffer.len() - start;
        if available == 0 {
            return self.at_end(index, at, now);
        }
        let Some((limit, step_ns)) = self.date(index, at, read, available) else {
            return Step::End(Turn::Wait);
        };
        let limit = self.up_to_late(index, at, limit);
        if limit == 0 {
            return Step::Again;
        }
        let consumed = self.cut(index, at, start..start + limit, step_ns);
        let Some(source) = self.sources.get_mut(index) else { return Step::End(Turn::Nothing) };
        if consumed > 0 {
            source.want = READ_BYTES;
            // Whatever is written from here on is an event of its own: looking again would find nothing.
            let all = consumed == available && available < want && source.is_at_live_end(at, now);
            return if all { Step::CutAll } else { Step::Cut(consumed) };
        }
        if limit < available
            && let Some(file) = source.files.get_mut(at)
            && file.late_from.is_some_and(|from| from == file.read + limit as u64)
        {
            // No cut was made there: whatever wrote that down was not this file's reader.
            file.late_from = None;
            return Step::Again;
        }
        if available >= want && want < WANT_MAX_BYTES {
            source.want = (want * 2).min(WANT_MAX_BYTES);
            return Step::Again;
        }
        self.at_end(index, at, now)
    }

    /// Cuts a part of the buffer; returns how much of it was consumed.
    fn cut(
        &mut self,
        index: usize,
        at: usize,
        part: std::ops::Range<usize>,
        step_ns: Option<i64>,
    ) -> usize {
        let Some(source) = self.sources.get_mut(index) else { return 0 };
        let SourceTail { cutter, cuts, files, source: of, container_id, format, .. } = source;
        let (Some(file), Some(chunk)) = (files.get_mut(at), self.buffer.get(part.clone())) else {
            return 0;
        };
        let Some(id) = file.id else { return 0 };
        let read = file.read;
        let cutter = file.cutter(cutter);
        let mut sink = self.outgoing.sink((of, container_id), *format, step_ns);
        cutter.date(step_ns);
        let consumed = cutter.cut(id, read, chunk, cuts, &mut sink);
        if consumed > 0 {
            self.outgoing.metrics.read_bytes.inc_by(consumed as u64);
            let up_to = self.buffer.get(..part.start + consumed).unwrap_or_default();
            file.consume(consumed, up_to);
            self.outgoing.reached(index, source.point());
        }
        consumed
    }

    /// Finds a file's id, once its first line says it.
    fn identify(&mut self, index: usize, at: usize, now: Instant) -> Step {
        let Some(source) = self.sources.get(index) else { return Step::End(Turn::Nothing) };
        let Some(file) = source.files.get(at) else { return Step::End(Turn::Nothing) };
        let salt = file.salt;
        let head = match file.bytes_up_to(0, source.cutter.format().head_max_bytes()) {
            Ok(head) => head,
            Err(error) => {
                self.unreadable(index, at, &error);
                return Step::Again;
            }
        };
        if head.is_empty() {
            return self.at_end(index, at, now);
        }
        if source.is_host() && self.is_copy_at(index) {
            // It was empty when it was found. The file that it was copied of is another source's.
            self.sources.get_mut(index).map(|source| source.files.remove(at));
            return Step::Again;
        }
        if source.may_have_missed_copies(at) && self.take_missed_copies(index, at, now) {
            return Step::Again;
        }
        let Some(source) = self.sources.get(index) else { return Step::End(Turn::Nothing) };
        let over = source.end(at, now) == End::Over;
        let id = if source.is_host() {
            Some(FileId(chance::bytes()))
        } else {
            let format = source.cutter.format();
            format
                .head(&head)
                .or(over.then_some(&head[..]))
                .map(|head| source.container_file_id(head, salt))
        };
        let Some(id) = id else { return self.at_end(index, at, now) };
        let taken = source.files.iter().any(|file| file.id == Some(id));
        let host = source.is_host();
        let Some(file) = self.sources.get_mut(index).and_then(|s| s.files.get_mut(at)) else {
            return Step::End(Turn::Nothing);
        };
        if taken {
            // It was empty when it was found and has another's first line now.
            return self.tell_apart(index, at, id);
        }
        let salted = file.salt > 0;
        file.id = Some(id);
        file.head = Guard::of(head.get(..Guard::MAX_BYTES).unwrap_or(&head));
        let written = !(host || salted) || self.journal(index);
        if host && !written {
            // It must be the same after a restart, and nobody can derive it again.
            if let Some(file) = self.sources.get_mut(index).and_then(|s| s.files.get_mut(at)) {
                file.id = None;
            }
            return Step::End(Turn::Wait);
        }
        Step::Again
    }

    /// Whether a file held something else before it was read first, which is read before it.
    fn take_missed_copies(&mut self, index: usize, at: usize, now: Instant) -> bool {
        let others = self.other_hosts();
        let Some(source) = self.sources.get_mut(index) else { return false };
        let (files, damaged) = source.take_missed_copies(at, &others, index, now);
        self.declare_damaged(index, damaged);
        files > 0
    }

    /// Two files of a source begin with the same line: the later one is a copy, or gets another id.
    fn tell_apart(&mut self, index: usize, at: usize, id: FileId) -> Step {
        let path = self.path_of(index, at);
        let Some(source) = self.sources.get_mut(index) else { return Step::End(Turn::Nothing) };
        let copy = source.is_copy_of(id, at);
        let Some(file) = source.files.get_mut(at) else { return Step::End(Turn::Nothing) };
        if copy {
            tracing::warn!(%path, "a copy of another log file; skipped");
            file.passed = true;
            (file.read, file.acknowledged) = (file.size, file.size);
            file.content = Content::Closed;
        } else {
            file.salt += 1;
        }
        Step::Again
    }

    /// How much of what is available may be cut at once, and its id-time; None while that cannot be written down.
    fn date(
        &mut self,
        index: usize,
        at: usize,
        offset: u64,
        available: usize,
    ) -> Option<(usize, Option<i64>)> {
        let source = self.sources.get_mut(index)?;
        if !source.is_host() {
            return Some((available, None));
        }
        let file = source.files.get_mut(at)?;
        let (current, next) = file.step_at(offset);
        if let Some(next) = next {
            let before = usize::try_from(next - offset).unwrap_or(usize::MAX);
            return Some((available.min(before), current));
        }
        let now_ns = clock::now_ns();
        if let Some(current) = current {
            if file.dated_before == u64::MAX {
                // Nobody knows how much of what stood there the run before has sent under that time.
                file.dated_before = file.size.max(offset + available as u64);
            }
            let before = usize::try_from(file.dated_before.saturating_sub(offset)).unwrap_or(0);
            if before > 0 || now_ns.abs_diff(current) < STEP_NS as u64 {
                let limit = if before > 0 { available.min(before) } else { available };
                return Some((limit, Some(current)));
            }
        }
        file.steps.push((offset, now_ns));
        // What is acknowledged is never dated again.
        let (acknowledged, steps) = (file.acknowledged, &mut file.steps);
        let keep_from = steps.partition_point(|(from, _)| *from <= acknowledged).saturating_sub(1);
        steps.drain(..keep_from);
        if self.journal(index) {
            return Some((available, Some(now_ns)));
        }
        self.sources.get_mut(index)?.files.get_mut(at)?.steps.pop();
        None
    }

    /// A file was read to its end, but for a line that is not.
    fn at_end(&mut self, index: usize, at: usize, now: Instant) -> Step {
        let Some(source) = self.sources.get_mut(index) else { return Step::End(Turn::Nothing) };
        source.want = READ_BYTES;
        let end = source.end(at, now);
        let Some(file) = source.files.get_mut(at) else { return Step::End(Turn::Nothing) };
        if file.passed && end != End::Over {
            // Late lines: the last of them may still be written.
            file.looked_at = file.size;
            return Step::Again;
        }
        if end != End::Over {
            return Step::End(Turn::Nothing);
        }
        if source.tail_is_final(at, now) && !self.cut_tail(index, at) {
            return Step::End(Turn::Wait);
        }
        let Some(file) = self.sources.get_mut(index).and_then(|s| s.files.get_mut(at)) else {
            return Step::End(Turn::Nothing);
        };
        if let Some(error) = file.damage() {
            self.unreadable(index, at, &error);
            return Step::Again;
        }
        if file.is_gzip() {
            // What its trailer says is the size of its last member.
            file.size = file.read;
        }
        // What a host file's writer has not ended stays unread; it is looked at again when it grows.
        file.looked_at = file.size;
        file.drop_decompressor();
        file.passed = true;
        Step::Again
    }

    /// Cuts the unterminated last line of a file that has ended; false when that cannot be written down and must be.
    pub(super) fn cut_tail(&mut self, index: usize, at: usize) -> bool {
        let Some(source) = self.sources.get_mut(index) else { return true };
        let Some(file) = source.files.get_mut(at) else { return true };
        let Some(id) = file.id else { return true };
        let Ok(Filled::From(start)) = file.fill(&mut self.buffer, WANT_MAX_BYTES) else {
            return true;
        };
        let offset = file.read;
        let Some(tail) = self.buffer.get(start..).filter(|tail| !tail.is_empty()) else {
            return true;
        };
        let step_ns = file.step_at(offset).0;
        let cutter = file.cutter(&mut source.cutter);
        if let Some(cut) = cutter.pending_tail_cut(id, offset, tail) {
            source.cuts.insert(cut);
            let host = source.is_host();
            if !self.journal(index) && host {
                return false;
            }
        }
        let Some(source) = self.sources.get_mut(index) else { return true };
        let SourceTail { cutter, files, source: of, container_id, format, .. } = source;
        let Some(file) = files.get_mut(at) else { return true };
        let mut sink = self.outgoing.sink((of, container_id), *format, step_ns);
        let tail = self.buffer.get(start..).unwrap_or_default();
        let cutter = file.cutter(cutter);
        cutter.date(step_ns);
        cutter.cut_tail(id, offset, tail, &mut sink);
        file.consume(tail.len(), &self.buffer);
        self.outgoing.reached(index, source.point());
        true
    }

    /// Cuts what the late lines of a passed file left waiting: its end is not in any later file.
    pub(super) fn finish_late(&mut self, index: usize, at: usize) {
        let iostreams = [IoStream::Stdout, IoStream::Stderr];
        while let Some(source) = self.sources.get_mut(index) {
            let late = source.files.get(at).and_then(|file| file.late.as_deref());
            let cut = late.and_then(|late| iostreams.iter().find_map(|io| late.pending_cut(*io)));
            let Some(cut) = cut else { break };
            source.cuts.insert(cut);
            self.journal(index);
            let Some(source) = self.sources.get_mut(index) else { return };
            let SourceTail { files, source: of, container_id, format, .. } = source;
            let mut sink = self.outgoing.sink((of, container_id), *format, None);
            if let Some(late) = files.get_mut(at).and_then(|file| file.late.as_mut()) {
                late.cut_held(&cut, &mut sink);
            }
            self.outgoing.reached(index, source.point());
        }
    }

    /// How much of what is available the cutter whose turn it is may have: where late lines begin is written down before
    /// the first of them is cut, for a re-read must give them to their own cutter again. 0: the file is passed there.
    fn up_to_late(&mut self, index: usize, at: usize, available: usize) -> usize {
        let Some(source) = self.sources.get_mut(index) else { return available };
        let container = !source.is_host();
        let Some(file) = source.files.get_mut(at).filter(|_| container) else { return available };
        match file.late_from {
            None if file.passed => {
                file.late_from = Some(file.read);
                // Container logs ship on without a checkpoint.
                self.journal(index);
                available
            }
            Some(from) if !file.passed && from >= file.read => {
                file.passed = from == file.read;
                available.min(usize::try_from(from - file.read).unwrap_or(usize::MAX))
            }
            Some(_) | None => available,
        }
    }

    /// Cuts what has waited long enough: all of it is written down at once, then cut.
    pub(super) fn cut_idle(&mut self, due: Vec<(usize, JournaledCut)>) {
        let Some(&(last, _)) = due.last() else { return };
        for (index, cut) in &due {
            let Some(source) = self.sources.get_mut(*index) else { continue };
            source.cuts.insert(*cut);
            self.checkpoint.put(&source.saved());
        }
        let written = self.journal(last);
        for (index, cut) in due {
            let Some(source) = self.sources.get_mut(index) else { continue };
            // Container logs ship on without a checkpoint: the line may be cut elsewhere after a restart, it is not lost.
            if source.is_host() && !written {
                continue;
            }
            let SourceTail { cutter, source: of, container_id, format, .. } = source;
            let mut sink = self.outgoing.sink((of, container_id), *format, None);
            cutter.cut_held(&cut, &mut sink);
            self.outgoing.reached(index, source.point());
        }
    }

    fn decompressors(&self) -> usize {
        self.sources
            .values()
            .flat_map(|source| &source.files)
            .filter(|file| file.has_decompressor())
            .count()
    }
}
