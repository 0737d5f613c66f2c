//! A checked frame and its records: the domain side of [`crate::wire::Frame`]. Pure.
//!
//! A [`Frame`] cannot be built from contradictory parts, so whoever holds one can cut it into records without errors.

mod part;

use bytes::Bytes;
use thiserror::Error;

use crate::ids::FileId;
use crate::limits::{FRAME_MAX_EXTENTS, NAME_MAX_BYTES, RECORD_MAX_BYTES, RECORD_MAX_LINES};
use crate::wire;

pub use crate::wire::{Format, IoStream};

/// What one writer writes over time, on one node.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Source {
    /// The node's name.
    pub node: String,
    /// Which writer of the node.
    pub writer: Writer,
}

/// A container instance or a host path.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Writer {
    /// One run of a container: a restart is another source.
    Container(Container),
    /// A file of the host, by its path.
    HostFile {
        /// Absolute.
        path: String,
    },
}

/// A container instance, as the path of its log names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Container {
    /// Never empty.
    pub namespace: String,
    /// Never empty.
    pub pod: String,
    /// The API's uid, or a static pod's hash.
    pub pod_uid: String,
    /// Never empty.
    pub container: String,
    /// How often the container was restarted before.
    pub restart: u32,
}

/// A range of one uncompressed file; never empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Which file.
    pub file: FileId,
    /// The first byte.
    pub start: u64,
    /// Bytes.
    pub length: u64,
}

impl Extent {
    /// The byte after the last.
    #[must_use]
    pub fn end_exclusive(&self) -> u64 {
        self.start + self.length
    }
}

/// Where a frame's records end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ends {
    /// Every line is a record.
    Lines,
    /// The whole frame is one.
    One,
    /// Their lengths in bytes; none is 0.
    Lengths(Vec<u32>),
}

/// What is not the rule about a frame's records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags {
    /// Cut while waiting for its end.
    pub incomplete: bool,
    /// The first record continues the one before it, which reached the cap.
    pub continued: bool,
    /// No line has a readable envelope.
    pub malformed: bool,
}

/// Records of one source, as they were in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Whose.
    pub source: Source,
    /// Never unspecified.
    pub format: Format,
    /// Where the bytes stood, in order.
    pub extents: Vec<Extent>,
    /// Where records end.
    pub ends: Ends,
    /// For records without a readable envelope of their own, nanoseconds since 1970.
    pub id_time_ns: Option<i64>,
    /// When it was read, nanoseconds since 1970.
    pub read_time_ns: Option<i64>,
    /// Of the line that the first record begins inside.
    pub iostream: Option<IoStream>,
    /// Where the line begins that the first record begins inside.
    pub line_start: Option<u64>,
    /// Empty when not known.
    pub container_id: String,
    /// See [`Flags`].
    pub flags: Flags,
    /// The records, envelopes and newlines included.
    pub bytes: Bytes,
}

/// One record of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// The file of its first byte.
    pub file: FileId,
    /// The offset of its first byte in that file.
    pub offset: u64,
    /// As it stood there.
    pub raw: &'a [u8],
    /// It is the frame's first, to which `line_start` and `continued` apply.
    pub first: bool,
}

/// Why a frame is not one.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum FrameError {
    /// Nothing says whose it is.
    #[error("the frame has no source")]
    NoSource,
    /// A name is empty or longer than a path can be.
    #[error("{0} is empty or too long")]
    BadName(&'static str),
    /// A format of another version.
    #[error("format {0} is not known")]
    UnknownFormat(i32),
    /// Where records end is not said.
    #[error("ends {0} is not known")]
    UnknownEnds(i32),
    /// A file id is not 12 bytes long.
    #[error("a file id has {0} bytes, not 12")]
    BadFileId(usize),
    /// Extents that are none, too many, empty, over the end of offsets, or not as long as the bytes.
    #[error("the extents do not describe {0} bytes")]
    BadExtents(usize),
    /// Lengths that are none, zero, or not as long as the bytes; or lines that do not end.
    #[error("the records do not fill the frame")]
    BadEnds,
    /// Over the cap.
    #[error("a record has {bytes} bytes in {lines} lines")]
    RecordTooLarge {
        /// Its bytes.
        bytes: usize,
        /// Its lines.
        lines: usize,
    },
}

impl Frame {
    /// The number of records.
    #[must_use]
    pub fn record_count(&self) -> usize {
        match &self.ends {
            Ends::Lines => memchr::memchr_iter(b'\n', &self.bytes).count(),
            Ends::One => 1,
            Ends::Lengths(lengths) => lengths.len(),
        }
    }

    /// The records, in order.
    #[must_use]
    pub fn records(&self) -> Records<'_> {
        Records { frame: self, at: 0, index: 0, extent: 0, extent_at: 0 }
    }

    fn check_ends(&self) -> Result<(), FrameError> {
        match &self.ends {
            Ends::Lines => self.check_lines(),
            Ends::One => check_record(&self.bytes),
            Ends::Lengths(lengths) => {
                let mut rest = &self.bytes[..];
                for length in lengths {
                    let (record, after) = rest
                        .split_at_checked(*length as usize)
                        .filter(|_| *length > 0)
                        .ok_or(FrameError::BadEnds)?;
                    check_record(record)?;
                    rest = after;
                }
                if rest.is_empty() { Ok(()) } else { Err(FrameError::BadEnds) }
            }
        }
    }

    /// Lines end within their extent: a record over two extents travels in a frame of its own.
    fn check_lines(&self) -> Result<(), FrameError> {
        let mut end = 0;
        for extent in &self.extents {
            end += extent.length as usize;
            if self.bytes.get(end.wrapping_sub(1)) != Some(&b'\n') {
                return Err(FrameError::BadEnds);
            }
        }
        let mut start = 0;
        for newline in memchr::memchr_iter(b'\n', &self.bytes) {
            let bytes = newline + 1 - start;
            if bytes > RECORD_MAX_BYTES {
                return Err(FrameError::RecordTooLarge { bytes, lines: 1 });
            }
            start = newline + 1;
        }
        Ok(())
    }
}

fn check_record(record: &[u8]) -> Result<(), FrameError> {
    let inner = record.strip_suffix(b"\n").unwrap_or(record);
    let lines = memchr::memchr_iter(b'\n', inner).count() + 1;
    if record.len() > RECORD_MAX_BYTES || lines > RECORD_MAX_LINES {
        return Err(FrameError::RecordTooLarge { bytes: record.len(), lines });
    }
    Ok(())
}

/// The records of a frame, in order.
#[derive(Debug, Clone)]
pub struct Records<'a> {
    frame: &'a Frame,
    at: usize,
    index: usize,
    extent: usize,
    /// Where in the bytes the extent begins.
    extent_at: usize,
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        let rest = self.frame.bytes.get(self.at..).filter(|rest| !rest.is_empty())?;
        let length = match &self.frame.ends {
            Ends::Lines => memchr::memchr(b'\n', rest).map_or(rest.len(), |newline| newline + 1),
            Ends::One => rest.len(),
            Ends::Lengths(lengths) => *lengths.get(self.index)? as usize,
        };
        let raw = rest.get(..length)?;
        let mut extent = self.frame.extents.get(self.extent)?;
        while self.at >= self.extent_at + extent.length as usize {
            self.extent_at += extent.length as usize;
            self.extent += 1;
            extent = self.frame.extents.get(self.extent)?;
        }
        let record = Record {
            file: extent.file,
            offset: extent.start + (self.at - self.extent_at) as u64,
            raw,
            first: self.index == 0,
        };
        self.at += length;
        self.index += 1;
        Some(record)
    }
}

impl TryFrom<wire::Frame> for Frame {
    type Error = FrameError;

    fn try_from(wire: wire::Frame) -> Result<Self, FrameError> {
        let source = Source::try_from(wire.source.ok_or(FrameError::NoSource)?)?;
        let format = Format::try_from(wire.format)
            .ok()
            .filter(|format| *format != Format::Unspecified)
            .ok_or(FrameError::UnknownFormat(wire.format))?;
        let ends = match wire::Ends::try_from(wire.ends) {
            Ok(wire::Ends::Lines) => Ends::Lines,
            Ok(wire::Ends::One) => Ends::One,
            Ok(wire::Ends::Lengths) => Ends::Lengths(wire.lengths),
            Ok(wire::Ends::Unspecified) | Err(_) => {
                return Err(FrameError::UnknownEnds(wire.ends));
            }
        };
        if wire.container_id.len() > NAME_MAX_BYTES {
            return Err(FrameError::BadName("container_id"));
        }
        let iostream = IoStream::try_from(wire.iostream).ok();
        let frame = Self {
            source,
            format,
            extents: checked_extents(wire.extents, wire.bytes.len())?,
            ends,
            id_time_ns: wire.id_time_ns,
            read_time_ns: wire.read_time_ns,
            iostream: iostream.filter(|iostream| *iostream != IoStream::Unspecified),
            line_start: wire.line_start,
            container_id: wire.container_id,
            flags: Flags {
                incomplete: wire.incomplete,
                continued: wire.continued,
                malformed: wire.malformed,
            },
            bytes: wire.bytes,
        };
        frame.check_ends()?;
        Ok(frame)
    }
}

fn checked_extents(wire: Vec<wire::Extent>, bytes: usize) -> Result<Vec<Extent>, FrameError> {
    if wire.is_empty() || wire.len() > FRAME_MAX_EXTENTS {
        return Err(FrameError::BadExtents(bytes));
    }
    let mut left = bytes as u64;
    let mut extents = Vec::with_capacity(wire.len());
    for extent in wire {
        let file = FileId::from_bytes(&extent.file_id)
            .ok_or(FrameError::BadFileId(extent.file_id.len()))?;
        left = left
            .checked_sub(extent.length)
            .filter(|_| extent.length > 0 && extent.start.checked_add(extent.length).is_some())
            .ok_or(FrameError::BadExtents(bytes))?;
        extents.push(Extent { file, start: extent.start, length: extent.length });
    }
    if left == 0 { Ok(extents) } else { Err(FrameError::BadExtents(bytes)) }
}

impl From<Frame> for wire::Frame {
    fn from(frame: Frame) -> Self {
        let (ends, lengths) = match frame.ends {
            Ends::Lines => (wire::Ends::Lines, Vec::new()),
            Ends::One => (wire::Ends::One, Vec::new()),
            Ends::Lengths(lengths) => (wire::Ends::Lengths, lengths),
        };
        Self {
            source: Some(frame.source.into()),
            format: frame.format.into(),
            extents: frame.extents.iter().map(wire::Extent::from).collect(),
            ends: ends.into(),
            lengths,
            id_time_ns: frame.id_time_ns,
            read_time_ns: frame.read_time_ns,
            iostream: frame.iostream.unwrap_or(IoStream::Unspecified).into(),
            line_start: frame.line_start,
            container_id: frame.container_id,
            incomplete: frame.flags.incomplete,
            continued: frame.flags.continued,
            malformed: frame.flags.malformed,
            bytes: frame.bytes,
        }
    }
}

impl From<&Extent> for wire::Extent {
    fn from(extent: &Extent) -> Self {
        Self {
            file_id: Bytes::copy_from_slice(&extent.file.0),
            start: extent.start,
            length: extent.length,
        }
    }
}

impl TryFrom<wire::Source> for Source {
    type Error = FrameError;

    fn try_from(wire: wire::Source) -> Result<Self, FrameError> {
        let writer = match wire.writer.ok_or(FrameError::NoSource)? {
            wire::source::Writer::Container(container) => Writer::Container(Container {
                namespace: name(container.namespace, "namespace")?,
                pod: name(container.pod, "pod")?,
                pod_uid: name(container.pod_uid, "pod_uid")?,
                container: name(container.container, "container")?,
                restart: container.restart,
            }),
            wire::source::Writer::HostFile(file) => {
                Writer::HostFile { path: name(file.path, "path")? }
            }
        };
        Ok(Self { node: name(wire.node, "node")?, writer })
    }
}

impl From<Source> for wire::Source {
    fn from(source: Source) -> Self {
        let writer = match source.writer {
            Writer::Container(container) => wire::source::Writer::Container(wire::Container {
                namespace: container.namespace,
                pod: container.pod,
                pod_uid: container.pod_uid,
                container: container.container,
                restart: container.restart,
            }),
            Writer::HostFile { path } => wire::source::Writer::HostFile(wire::HostFile { path }),
        };
        Self { node: source.node, writer: Some(writer) }
    }
}

fn name(text: String, what: &'static str) -> Result<String, FrameError> {
    if text.is_empty() || text.len() > NAME_MAX_BYTES {
        return Err(FrameError::BadName(what));
    }
    Ok(text)
}

#[cfg(test)]
mod tests;
