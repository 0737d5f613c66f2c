//! What a cutter knows at a position, as it is saved there: enough to go on as if it had never stopped.

use naru_proto::frame::{Extent, IoStream};

use super::{Format, Position};

/// The state of a cutter behind the last byte that it consumed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResumeState {
    /// How the files are written.
    pub format: Format,
    /// The next byte to read; None before the first.
    pub position: Option<Position>,
    /// The last readable envelope time in that file before the position, nanoseconds since 1970.
    pub last_time_ns: Option<i64>,
    /// The line that the position is inside, when a part of it is already a record.
    pub inside: Option<Inside>,
    /// What waits for its end, in order for each iostream: a record that a rule has not ended, then a line of which it is
    /// not known whether it belongs to that.
    pub held: Vec<HeldState>,
}

/// A line of which a part is already a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inside {
    /// The line's first byte.
    pub line_start: u64,
    /// None for plain and for malformed lines.
    pub iostream: Option<IoStream>,
    /// Tagged `P`.
    pub partial: bool,
    /// Its envelope cannot be read.
    pub malformed: bool,
    /// Of the record that the part is in, where a multi-line rule may continue it.
    pub rule_state: Option<u8>,
}

/// A record that waits for its end; its bytes are in the files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldState {
    /// Unspecified for plain files.
    pub iostream: IoStream,
    /// Never empty; adjacent ones of a file are one.
    pub extents: Vec<Extent>,
    /// Physical lines, or parts of them.
    pub lines: u32,
    /// The envelope time of its first line, or a plain file's at its first byte; nanoseconds since 1970.
    pub id_time_ns: Option<i64>,
    /// Where the line begins that it begins inside.
    pub line_start: Option<u64>,
    /// It continues a record that reached a cap.
    pub continued: bool,
    /// How far a multi-line rule is with it; None: it is a line whose pieces come, and not more yet.
    pub progress: Option<Progress>,
}

/// How far a multi-line rule is with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The rule's own.
    pub state: u8,
    /// The envelope time of its last line.
    pub last_time_ns: Option<i64>,
    /// That line is not whole.
    pub inside_line: bool,
}

impl ResumeState {
    /// Before the first byte.
    #[must_use]
    pub fn new(format: Format) -> Self {
        Self { format, position: None, last_time_ns: None, inside: None, held: Vec::new() }
    }
}

impl HeldState {
    /// Its first byte.
    #[must_use]
    pub fn first(&self) -> Option<Position> {
        self.extents.first().map(|extent| (extent.file, extent.start))
    }
}
