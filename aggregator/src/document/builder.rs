//! Frames into documents: each record becomes exactly one, whatever its bytes are. Pure; memory is reused.
//!
//! A document's `_source`, one JSON object in one line:
//!
//! | field | what it is |
//! | --- | --- |
//! | `@timestamp` | when the program wrote it (plain files: when it was read), nine fraction digits, UTC |
//! | `log` | the text as written: joined, without envelopes and without the last newline |
//! | `stream` | `stdout` or `stderr`, where known |
//! | `level` | `trace` … `fatal`, where the text says it in a known form |
//! | `json` | the text, if it is one JSON object that Elasticsearch takes |
//! | `tag`, `docker.container_id`, `kubernetes.*` | see [`super::origin`] |
//! | `naru.node`, `naru.source`, `naru.file`, `naru.offset` | the byte it begins at |
//! | `naru.incomplete` | cut while waiting for its end |
//! | `naru.continued` | goes on where the record before it reached the cap |
//! | `naru.malformed` | a line has no readable envelope, and is in `log` as it was |
//! | `naru.encoding_errors` | how many U+FFFD in `log` stand for bytes that are not UTF-8 |
//! | `naru.json` | why a JSON object is not under `json`: see [`json::Refusal`] |

use naru_proto::frame::{Frame, IoStream, Record};
use naru_proto::ids::{ClusterKey, FileDocumentIds, FileId, IdTime};
use naru_proto::time::format_rfc3339_ns;

use super::escape::{push_escaped, push_number};
use super::{Documents, Identity, origin};
use crate::decode::json::{self, Body};
use crate::decode::{self, Decoded, encoding, level};

/// Turns frames into documents.
pub struct Builder {
    key: ClusterKey,
    file: Option<File>,
    /// What the documents of the frame have in common.
    origin: Vec<u8>,
    joined: Vec<u8>,
    repaired: String,
    keys: json::Scratch,
    tally: Tally,
}

/// The file of the record before.
struct File {
    node: String,
    id: FileId,
    hex: String,
    document_ids: FileDocumentIds,
}

/// How far [`Builder::append`] came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Progress {
    /// The record to go on with; None when the frame is done.
    pub next_record: Option<usize>,
}

/// What was built so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Documents.
    pub documents: u64,
    /// Those with a line that has no readable envelope.
    pub malformed: u64,
    /// Those with bytes that are not UTF-8.
    pub encoding_errors: u64,
    /// Those with a spliced body.
    pub json: u64,
    /// Those whose JSON body stayed text.
    pub json_refused: u64,
}

impl Builder {
    /// For the documents of one cluster.
    #[must_use]
    pub fn new(key: ClusterKey) -> Self {
        Self {
            key,
            file: None,
            origin: Vec::new(),
            joined: Vec::new(),
            repaired: String::new(),
            keys: json::Scratch::default(),
            tally: Tally::default(),
        }
    }

    /// Appends the documents of a frame, from a record on, until `out` holds `max_output_bytes`.
    ///
    /// The last document may go over: a record of 960 KiB can become 7 MiB, so the memory needed is that much more than
    /// the limit. An empty `out` always gets one, so a caller that empties it between calls comes to the end.
    ///
    /// `frame.source.node` must be the authenticated node: batches with others are refused before they are acknowledged.
    pub fn append(
        &mut self,
        frame: &Frame,
        resume_from_record: usize,
        max_output_bytes: usize,
        out: &mut Documents,
    ) -> Progress {
        self.origin.clear();
        origin::push(&mut self.origin, &frame.source, &frame.container_id);
        let incomplete = frame.flags.incomplete.then(|| frame.record_count().saturating_sub(1));
        for (index, record) in frame.records().enumerate().skip(resume_from_record) {
            if out.json_bytes() >= max_output_bytes && !out.is_empty() {
                return Progress { next_record: Some(index) };
            }
            self.append_record(frame, &record, incomplete == Some(index), out);
        }
        Progress { next_record: None }
    }

    /// What was built so far.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.tally
    }

    fn append_record(
        &mut self,
        frame: &Frame,
        record: &Record<'_>,
        incomplete: bool,
        out: &mut Documents,
    ) {
        let decoded = decode::record(frame, record, &mut self.joined);
        let (text, encoding_errors) = encoding::utf8(decoded.text, &mut self.repaired);
        let body = json::body(text, &mut self.keys);
        self.tally.count(&decoded, encoding_errors, body);

        let current = self
            .file
            .take()
            .filter(|file| file.id == record.file && file.node == frame.source.node)
            .unwrap_or_else(|| File::new(self.key, &frame.source.node, record.file));
        let file = self.file.insert(current);
        let id_time = IdTime::new(decoded.id_time_ns);
        let identity = Identity {
            id: file.document_ids.id(id_time, record.offset, record.raw),
            id_time,
            timestamp_ns: decoded.timestamp_ns,
            file: record.file,
            offset: record.offset,
        };
        let marks = Marks {
            incomplete,
            continued: record.first && frame.flags.continued,
            malformed: decoded.malformed,
            encoding_errors,
            json: match body {
                Body::Refused { refusal, .. } => Some(refusal),
                Body::Object { .. } | Body::Text => None,
            },
        };
        out.push(identity, |source| {
            push_content(source, &decoded, text, body);
            source.extend_from_slice(&self.origin);
            source.extend_from_slice(file.hex.as_bytes());
            source.extend_from_slice(b"\",\"offset\":");
            push_number(source, record.offset);
            marks.push(source);
            source.extend_from_slice(b"}}");
        });
    }
}

impl File {
    fn new(key: ClusterKey, node: &str, id: FileId) -> Self {
        Self {
            node: node.to_owned(),
            id,
            hex: id.to_string(),
            document_ids: FileDocumentIds::new(key, node, id),
        }
    }
}

impl Tally {
    fn count(&mut self, decoded: &Decoded<'_>, encoding_errors: usize, body: Body<'_>) {
        self.documents += 1;
        self.malformed += u64::from(decoded.malformed);
        self.encoding_errors += u64::from(encoding_errors > 0);
        match body {
            Body::Object { .. } => self.json += 1,
            Body::Refused { .. } => self.json_refused += 1,
            Body::Text => {}
        }
    }
}

/// From the opening brace to the last field that is the record's own.
fn push_content(source: &mut Vec<u8>, decoded: &Decoded<'_>, text: &str, body: Body<'_>) {
    source.extend_from_slice(b"{\"@timestamp\":\"");
    source.extend_from_slice(&format_rfc3339_ns(decoded.timestamp_ns));
    source.extend_from_slice(b"\",\"log\":\"");
    push_escaped(source, text);
    source.extend_from_slice(match decoded.iostream {
        Some(IoStream::Stdout) => b"\",\"stream\":\"stdout\"",
        Some(IoStream::Stderr) => b"\",\"stream\":\"stderr\"",
        Some(IoStream::Unspecified) | None => b"\"",
    });
    let level = match body {
        Body::Text => level::text(text),
        Body::Object { level, .. } | Body::Refused { level, .. } => level,
    };
    if let Some(level) = level {
        source.extend_from_slice(b",\"level\":\"");
        source.extend_from_slice(level.as_str().as_bytes());
        source.push(b'"');
    }
    if let Body::Object { json, .. } = body {
        source.extend_from_slice(b",\"json\":");
        push_one_line(source, json.as_bytes());
    }
}

/// JSON has newlines only between its tokens.
fn push_one_line(source: &mut Vec<u8>, json: &[u8]) {
    let mut rest = json;
    while let Some(newline) = memchr::memchr2(b'\n', b'\r', rest) {
        let (line, after) = rest.split_at(newline);
        source.extend_from_slice(line);
        rest = after.get(1..).unwrap_or_default();
    }
    source.extend_from_slice(rest);
}

/// What is not the rule about one document.
struct Marks {
    incomplete: bool,
    continued: bool,
    malformed: bool,
    encoding_errors: usize,
    json: Option<json::Refusal>,
}

impl Marks {
    /// Appends to the object `naru`.
    fn push(&self, source: &mut Vec<u8>) {
        if self.incomplete {
            source.extend_from_slice(b",\"incomplete\":true");
        }
        if self.continued {
            source.extend_from_slice(b",\"continued\":true");
        }
        if self.malformed {
            source.extend_from_slice(b",\"malformed\":true");
        }
        if self.encoding_errors > 0 {
            source.extend_from_slice(b",\"encoding_errors\":");
            push_number(source, self.encoding_errors as u64);
        }
        if let Some(refusal) = self.json {
            source.extend_from_slice(b",\"json\":\"");
            source.extend_from_slice(refusal.as_str().as_bytes());
            source.push(b'"');
        }
    }
}

#[cfg(test)]
mod tests;
