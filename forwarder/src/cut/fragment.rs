//! A record that waits for its end, with a copy of its bytes: passive, bounded by the caps.

use memchr::{memchr, memchr_iter};
use naru_proto::frame::{Extent, IoStream};

use super::{Caps, CutRecord, Format, HeldState, Position, Sink};

/// Never without a byte once the first was pushed.
#[derive(Debug, Clone)]
pub(super) struct Fragment {
    pub(super) bytes: Vec<u8>,
    /// The extents describe `bytes`.
    pub(super) state: HeldState,
}

impl Fragment {
    pub(super) fn new(
        iostream: IoStream,
        id_time_ns: Option<i64>,
        line_start: Option<u64>,
        continued: bool,
    ) -> Self {
        let state = HeldState {
            iostream,
            extents: Vec::with_capacity(1),
            lines: 0,
            id_time_ns,
            line_start,
            continued,
            progress: None,
        };
        Self { bytes: Vec::new(), state }
    }

    /// Reads its bytes again. None when none of them are left; what is gone is added to `gone`.
    ///
    /// When its head is gone the rest begins with a line, and is dated by that one.
    pub(super) fn restore(
        format: Format,
        mut state: HeldState,
        mut held_bytes: impl FnMut(&Extent) -> Option<Vec<u8>>,
        gone: &mut Vec<Extent>,
    ) -> Option<Self> {
        let first = state.first();
        let mut bytes = Vec::new();
        state.extents.retain(|extent| {
            let read = held_bytes(extent).filter(|read| read.len() as u64 == extent.length);
            match &read {
                Some(read) => bytes.extend_from_slice(read),
                None => gone.push(*extent),
            }
            read.is_some()
        });
        let now_first = state.first();
        now_first?;
        if now_first != first {
            state.line_start = None;
            state.continued = true;
            let envelope = format.envelope(first_line(&bytes));
            state.id_time_ns = envelope.map(|e| e.time_ns).or(state.id_time_ns);
        }
        // Whatever is held was pushed with its newline.
        state.lines = memchr_iter(b'\n', &bytes).count() as u32;
        Some(Self { bytes, state })
    }

    pub(super) fn first(&self) -> Option<Position> {
        self.state.first()
    }

    pub(super) fn end_exclusive(&self) -> Option<Position> {
        self.state.extents.last().map(|extent| (extent.file, extent.end_exclusive()))
    }

    /// One more line of that many bytes stays within the caps.
    pub(super) fn has_room(&self, bytes: usize, caps: Caps) -> bool {
        self.bytes.len() + bytes <= caps.bytes && (self.state.lines as usize) < caps.lines
    }

    /// So does all of another.
    pub(super) fn has_room_for(&self, other: &Self, caps: Caps) -> bool {
        self.bytes.len() + other.bytes.len() <= caps.bytes
            && (self.state.lines + other.state.lines) as usize <= caps.lines
    }

    /// More of its last line is to come.
    pub(super) fn is_inside_line(&self) -> bool {
        self.state.progress.is_some_and(|progress| progress.inside_line)
    }

    /// Adds what follows it, of its iostream, and goes on with the other's progress.
    pub(super) fn append(&mut self, other: Self) {
        self.bytes.extend_from_slice(&other.bytes);
        self.state.lines += other.state.lines;
        for extent in other.state.extents {
            self.extend(extent);
        }
        self.state.progress = other.state.progress;
    }

    /// Adds a line, or the last piece of one.
    pub(super) fn push(&mut self, at: Position, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.state.lines += 1;
        let (file, start) = at;
        self.extend(Extent { file, start, length: bytes.len() as u64 });
    }

    fn extend(&mut self, more: Extent) {
        match self.state.extents.last_mut() {
            Some(last) if (last.file, last.end_exclusive()) == (more.file, more.start) => {
                last.length += more.length;
            }
            _ => self.state.extents.push(more),
        }
    }

    pub(super) fn emit(&self, incomplete: bool, sink: &mut impl Sink) {
        sink.record(CutRecord {
            extents: &self.state.extents,
            bytes: &self.bytes,
            iostream: Some(self.state.iostream).filter(|io| *io != IoStream::Unspecified),
            id_time_ns: self.state.id_time_ns,
            line_start: self.state.line_start,
            incomplete,
            continued: self.state.continued,
            malformed: false,
        });
    }
}

/// Without its newline.
pub(super) fn first_line(bytes: &[u8]) -> &[u8] {
    memchr(b'\n', bytes).and_then(|newline| bytes.get(..newline)).unwrap_or(bytes)
}
