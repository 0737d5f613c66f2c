//! Where records end. Pure: no clock, file, log or tokio.
//!
//! A [`Cutter`] is fed the bytes of one source's files, in order, and says which of them are a record. What it says is a
//! function of those bytes and of the journalled cuts ([`CutJournal`]) alone: how the bytes were read, batched or read
//! again after a restart changes nothing, because a record that is cut elsewhere the second time is indexed twice.
//!
//! - Every line is a record; a CRI line tagged `P` waits for the `F` of its iostream, also in the next file, and a docker
//!   line whose text lacks its newline waits for the one that has it.
//! - Where a source has a multi-line [`Rule`], a line continues the record before it in its iostream if the rule says so and
//!   the line is at most 2 s younger by its own time.
//! - A line whose envelope cannot be read is a record by itself, and touches nothing else.
//! - A record ends at the caps: a joined one before the line that would take it over, a longer line in pieces.
//! - Whatever else ends a record (idleness, the end of a file's life) is a journalled cut.
//!
//! Every byte is in exactly one record. It does not decide when to wait no longer, and does not decode.
#![deny(clippy::indexing_slicing)]

mod cutter;
mod fragment;
mod journal;
mod line;
mod presets;
mod rule;
mod state;
#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "a test may panic")]
mod tests;
mod waiting;

use naru_proto::cri;
use naru_proto::frame::{Extent, IoStream};
use naru_proto::ids::{self, FileId};
use naru_proto::json_file;
use naru_proto::limits::{RECORD_MAX_BYTES, RECORD_MAX_LINES};

pub use self::cutter::{Cutter, Held};
pub use self::journal::{CutJournal, JournaledCut};
pub use self::rule::{PatternError, Rule};
pub use self::state::{HeldState, Inside, Progress, ResumeState};

/// A byte of a source: its file and its offset there.
pub type Position = (FileId, u64);

/// How the files of a source are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Lines with the kubelet's envelope.
    Cri,
    /// docker's: one JSON object a line.
    JsonFile,
    /// Any text.
    Plain,
}

/// What a line says of itself, as far as cutting needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Envelope {
    time_ns: i64,
    iostream: IoStream,
    partial: bool,
}

impl Format {
    /// What identifies a container's file of this format by its start; None while too little is there, and for plain.
    #[must_use]
    pub fn head(self, file_start: &[u8]) -> Option<&[u8]> {
        match self {
            Self::Cri => ids::container_head(file_start),
            Self::JsonFile => ids::json_file_head(file_start),
            Self::Plain => None,
        }
    }

    /// That many bytes are always enough for [`Self::head`].
    #[must_use]
    pub fn head_max_bytes(self) -> usize {
        match self {
            Self::Cri | Self::Plain => ids::HEAD_MAX_BYTES,
            Self::JsonFile => ids::JSON_FILE_HEAD_MAX_BYTES,
        }
    }

    /// What the program wrote in a line: no text of a docker line, which is escaped.
    fn content(self, line: &[u8]) -> &[u8] {
        let start = match self {
            Self::Cri => cri::envelope(line).map_or(0, |envelope| envelope.content_start),
            Self::JsonFile | Self::Plain => 0,
        };
        line.get(start..).unwrap_or_default()
    }

    /// Adds what the program wrote in a line, as much as rules look at.
    fn add_text(self, line: &[u8], text: &mut Vec<u8>) {
        // Six bytes of an escape are at least one of text.
        const ESCAPED_MAX_BYTES: usize = 6 * rule::MATCHED_MAX_BYTES;
        let short = |bytes: &'_ [u8]| bytes.len().min(ESCAPED_MAX_BYTES);
        match Some(self)
            .filter(|format| *format == Self::JsonFile)
            .and_then(|_| json_file::envelope(line))
        {
            Some(envelope) => {
                let log = envelope.log.get(..short(envelope.log)).unwrap_or_default();
                json_file::unescape(log, text);
            }
            None => {
                let content = self.content(line);
                text.extend_from_slice(content.get(..short(content)).unwrap_or_default());
            }
        }
    }

    /// Of the line, or the part of one, that the bytes begin with. None: it has none, or none that can be read.
    fn envelope(self, line: &[u8]) -> Option<Envelope> {
        match self {
            Self::Cri => cri::envelope(line).map(|envelope| Envelope {
                time_ns: envelope.time_ns,
                iostream: envelope.iostream,
                partial: envelope.partial,
            }),
            Self::JsonFile => json_file::envelope(line).map(|envelope| Envelope {
                time_ns: envelope.time_ns,
                iostream: envelope.iostream,
                partial: envelope.partial,
            }),
            Self::Plain => None,
        }
    }
}

impl From<Format> for naru_proto::frame::Format {
    fn from(format: Format) -> Self {
        match format {
            Format::Cri => Self::Cri,
            Format::JsonFile => Self::JsonFile,
            Format::Plain => Self::Plain,
        }
    }
}

/// Receives what was cut, in order. Each call is one frame, or part of one.
pub trait Sink {
    /// Consecutive whole lines, each of them a record: `records` of them, the first at `start`.
    ///
    /// `id_time_ns` is for malformed lines only; the others carry their own.
    fn lines(
        &mut self,
        file: FileId,
        start: u64,
        bytes: &[u8],
        records: u32,
        malformed: bool,
        id_time_ns: Option<i64>,
    );

    /// One record that is not simply a whole line.
    fn record(&mut self, record: CutRecord<'_>);
}

/// A record that is not simply a whole line: joined, cut at the cap, or cut while it waited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CutRecord<'a> {
    /// Where its bytes stood, in order; adjacent ones of a file are one.
    pub extents: &'a [Extent],
    /// Envelopes and newlines included.
    pub bytes: &'a [u8],
    /// None for plain and for malformed lines.
    pub iostream: Option<IoStream>,
    /// The envelope time of its first line; for a malformed one the last readable before it in the file; for plain lines
    /// that were held what [`Cutter::date`] said of the first of them, for others None.
    pub id_time_ns: Option<i64>,
    /// Where the line begins that the record begins inside; None when it begins with a line.
    pub line_start: Option<u64>,
    /// It was cut while it waited for its end.
    pub incomplete: bool,
    /// It continues the record before it, which was cut at a cap or, inside its last line, at a journalled cut.
    pub continued: bool,
    /// Its line has no readable envelope.
    pub malformed: bool,
}

/// The bounds of a record, envelopes and newlines included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Caps {
    bytes: usize,
    lines: usize,
}

impl Caps {
    const CONTRACT: Self = Self { bytes: RECORD_MAX_BYTES, lines: RECORD_MAX_LINES };
}
