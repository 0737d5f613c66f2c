//! The rules of cutting once more, as plainly as they can be said: over whole files, with nothing carried along but
//! lists of parts.

use naru_proto::frame::{Extent, IoStream};

use super::super::{Caps, CutRecord, Envelope, Format, JournaledCut, Position};
use super::harness::{Cut, file_id};

/// A file's number and bytes.
pub(super) type File = (u8, Vec<u8>);

#[derive(Debug, Clone, Copy, PartialEq)]
enum Ending {
    Newline,
    Cap,
    Journal,
}

/// Some consecutive bytes of one line.
#[derive(Debug, Clone)]
struct Part {
    file: u8,
    start: u64,
    bytes: Vec<u8>,
}

#[derive(Debug, Clone)]
struct Joined {
    parts: Vec<Part>,
    iostream: IoStream,
    time_ns: i64,
    line_start: Option<u64>,
    continued: bool,
}

impl Joined {
    fn bytes(&self) -> Vec<u8> {
        self.parts.iter().flat_map(|part| part.bytes.clone()).collect()
    }

    fn first(&self) -> Position {
        (file_id(self.parts[0].file), self.parts[0].start)
    }

    fn end(&self) -> Position {
        let last = &self.parts[self.parts.len() - 1];
        (file_id(last.file), last.start + last.bytes.len() as u64)
    }

    fn fits(&self, more: usize, caps: Caps) -> bool {
        self.bytes().len() + more <= caps.bytes && self.parts.len() < caps.lines
    }

    fn cut(&self, incomplete: bool) -> Cut {
        let mut extents: Vec<Extent> = Vec::new();
        for part in &self.parts {
            let (file, length) = (file_id(part.file), part.bytes.len() as u64);
            match extents.last_mut() {
                Some(last) if last.file == file && last.start + last.length == part.start => {
                    last.length += length;
                }
                _ => extents.push(Extent { file, start: part.start, length }),
            }
        }
        Cut::new(CutRecord {
            extents: &extents,
            bytes: &self.bytes(),
            iostream: Some(self.iostream),
            id_time_ns: Some(self.time_ns),
            line_start: self.line_start,
            incomplete,
            continued: self.continued,
            malformed: false,
        })
    }
}

pub(super) struct Model<'a> {
    format: Format,
    caps: Caps,
    journal: &'a [JournaledCut],
    held: Vec<Joined>,
    cuts: Vec<Cut>,
}

impl<'a> Model<'a> {
    /// Every record of the files, cut as journalled.
    pub(super) fn cut(
        format: Format,
        caps: Caps,
        files: &[File],
        journal: &'a [JournaledCut],
    ) -> Vec<Cut> {
        let mut model = Self { format, caps, journal, held: Vec::new(), cuts: Vec::new() };
        for (file, bytes) in files {
            let mut start = 0;
            let mut last_time_ns = None;
            for line in bytes.split_inclusive(|b| *b == b'\n') {
                model.line(*file, start, line, &mut last_time_ns);
                start += line.len() as u64;
            }
        }
        model.cuts
    }

    fn line(&mut self, file: u8, line_start: u64, line: &[u8], last_time_ns: &mut Option<i64>) {
        let mut at = 0;
        let mut envelope = None;
        while at < line.len() {
            let rest = &line[at..];
            let Some((length, ending)) = self.ending(file, line_start, line, at, envelope) else {
                return;
            };
            let bytes = rest[..length].to_vec();
            if at == 0 {
                envelope = self.format.envelope(&bytes);
                *last_time_ns = envelope.map(|e| e.time_ns).or(*last_time_ns);
            }
            let part = Part { file, start: line_start + at as u64, bytes };
            let inside = (at > 0).then_some(line_start);
            match envelope {
                Some(envelope) => {
                    let time_ns = envelope.time_ns;
                    self.join(part, envelope.iostream, envelope.partial, time_ns, inside, ending);
                }
                None => self.cuts.push(Cut::new(CutRecord {
                    extents: &[Extent {
                        file: file_id(file),
                        start: part.start,
                        length: length as u64,
                    }],
                    bytes: &part.bytes,
                    iostream: None,
                    id_time_ns: *last_time_ns,
                    line_start: inside,
                    incomplete: ending == Ending::Journal,
                    continued: at > 0,
                    malformed: self.format != Format::Plain,
                })),
            }
            at += length;
        }
    }

    /// The next part of a line, or None while its end is not known.
    fn ending(
        &self,
        file: u8,
        line_start: u64,
        line: &[u8],
        at: usize,
        envelope: Option<Envelope>,
    ) -> Option<(usize, Ending)> {
        let rest = &line[at..];
        let start = line_start + at as u64;
        for length in 1..=rest.len().min(self.caps.bytes) {
            let part = &rest[..length];
            if part.ends_with(b"\n") {
                return Some((length, Ending::Newline));
            }
            let own = if at > 0 { envelope } else { self.format.envelope(part) };
            let first = own
                .and_then(|own| self.held.iter().find(|held| held.iostream == own.iostream))
                .filter(|held| held.fits(length, self.caps))
                .map_or((file_id(file), start), Joined::first);
            let end_exclusive = (file_id(file), start + length as u64);
            if self.journal.iter().any(|c| c.first == first && c.end_exclusive == end_exclusive) {
                return Some((length, Ending::Journal));
            }
        }
        if rest.len() < self.caps.bytes {
            return None;
        }
        // A character that has only begun goes to the next piece.
        let cap = self.caps.bytes;
        let begun = (1..=3).find(|back| {
            let error = str::from_utf8(&rest[cap - back..cap]).err();
            error.is_some_and(|e| e.valid_up_to() == 0 && e.error_len().is_none())
        });
        Some((cap - begun.unwrap_or(0), Ending::Cap))
    }

    fn join(
        &mut self,
        part: Part,
        iostream: IoStream,
        partial: bool,
        time_ns: i64,
        line_start: Option<u64>,
        ending: Ending,
    ) {
        let mut continued = line_start.is_some();
        let held = self.held.iter().position(|held| held.iostream == iostream);
        let mut joined = held.map(|held| self.held.remove(held));
        if let Some(full) =
            joined.take_if(|j| ending == Ending::Cap || !j.fits(part.bytes.len(), self.caps))
        {
            self.cuts.push(full.cut(false));
            continued = true;
        }
        let parts = Vec::new();
        let mut joined =
            joined.unwrap_or(Joined { parts, iostream, time_ns, line_start, continued });
        joined.parts.push(part);
        let journalled = ending == Ending::Newline
            && self
                .journal
                .iter()
                .any(|cut| cut.first == joined.first() && cut.end_exclusive == joined.end());
        match ending {
            Ending::Newline if partial && !journalled => self.held.push(joined),
            Ending::Newline if partial => self.cuts.push(joined.cut(true)),
            Ending::Newline | Ending::Cap => self.cuts.push(joined.cut(false)),
            Ending::Journal => self.cuts.push(joined.cut(true)),
        }
    }
}
