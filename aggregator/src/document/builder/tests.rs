//! Documents against golden ones (`UPDATE=1` rewrites them), and against hostile bytes.

use std::fmt::Write;
use std::path::Path;

use bytes::Bytes;
use naru_proto::frame::{Container, Ends, Extent, Flags, Format, Source, Writer};
use naru_proto::limits::RECORD_MAX_LINES;
use serde_json::Value;

use super::*;
use crate::document::Document;

const ID_TIME_NS: i64 = 1_795_307_400_120_000_000;

fn container() -> Source {
    let container = Container {
        namespace: "shop".into(),
        pod: "web-5d4f8c7b9-x2x4z".into(),
        pod_uid: "0f0e8b9e-6d3b-4c0e-9d53-0123456789ab".into(),
        container: "web".into(),
        restart: 2,
    };
    Source { node: "node-1".into(), writer: Writer::Container(container) }
}

fn host_file() -> Source {
    let path = "/var/log/nginx/access.log".into();
    Source { node: "node-1".into(), writer: Writer::HostFile { path } }
}

fn frame(source: Source, format: Format, ends: Ends, bytes: impl Into<Bytes>) -> Frame {
    let bytes = bytes.into();
    Frame {
        source,
        format,
        extents: vec![Extent { file: FileId([0xab; 12]), start: 100, length: bytes.len() as u64 }],
        ends,
        id_time_ns: Some(ID_TIME_NS),
        read_time_ns: Some(ID_TIME_NS + 5_000_000_000),
        iostream: None,
        line_start: None,
        container_id: String::new(),
        flags: Flags::default(),
        bytes,
    }
}

fn cri(text: &str, ends: Ends) -> Frame {
    let text = text.replace("{T}", "2026-11-22T09:30:00.123456789+09:00");
    frame(container(), Format::Cri, ends, text)
}

fn build(frames: &[Frame], max_output_bytes: usize) -> Documents {
    let mut builder = Builder::new(ClusterKey::of("default"));
    let (mut all, mut some) = (Documents::default(), Documents::default());
    for frame in frames {
        let mut next = Some(0);
        while let Some(record) = next {
            next = builder.append(frame, record, max_output_bytes, &mut some).next_record;
            assert!(next.is_none_or(|next| next > record), "no progress at {record}");
            for document in some.iter() {
                let Document { id, id_time, timestamp_ns, file, offset, source } = document;
                all.push(Identity { id, id_time, timestamp_ns, file, offset }, |json| {
                    json.extend_from_slice(source);
                });
            }
            some.clear();
        }
    }
    assert_eq!(builder.tally().documents, all.len() as u64);
    all
}

fn golden_frames() -> Vec<(&'static str, Frame)> {
    let mut known =
        cri("{T} stdout F hello, \"주문\"\\\u{1}\u{2028}\n{T} stderr F \n", Ends::Lines);
    known.container_id = "c0ffee".into();
    let mut continued = cri("the rest of a line\n{T} stderr P more\n", Ends::One);
    continued.line_start = Some(40);
    continued.iostream = Some(IoStream::Stderr);
    continued.flags = Flags { incomplete: true, continued: true, malformed: false };
    let mut flagged = cri("{T} stdout F one\n{T} stdout F two\n{T} stdout F three\n", Ends::Lines);
    flagged.flags = Flags { incomplete: true, continued: true, malformed: false };
    let mut timeless = frame(host_file(), Format::Plain, Ends::One, "no time at all");
    timeless.id_time_ns = None;
    timeless.read_time_ns = None;
    let hostile = Container {
        namespace: "a\"b".into(),
        pod: "p\n".into(),
        pod_uid: "\\".into(),
        container: "\u{1b}[0m".into(),
        restart: u32::MAX,
    };
    let hostile = Source { node: "<n>".into(), writer: Writer::Container(hostile) };
    vec![
        ("a container with a known id", known),
        (
            "fragments, and a multi-line record",
            cri(
                "{T} stdout P one \n{T} stdout F two\n{T} stdout F Exception\n{T} stdout F  at x\n",
                Ends::Lengths(vec![99, 106]),
            ),
        ),
        ("a continued and incomplete record", continued),
        ("the first is continued, the last incomplete", flagged),
        ("a malformed line", cri("not an envelope\n", Ends::Lines)),
        (
            "bodies",
            cri(
                "{T} stdout F {\"level\":\"WARN\",\"msg\":\"hm\",\"n\":[1,2.5]}\n\
                 {T} stdout F  {\"a\": 1}\t\n\
                 {T} stdout F {\"a\":1,\"a\":2}\n\
                 {T} stdout F {\"severity\":\"error\",\"big\":1e400}\n\
                 {T} stdout F {not json}\n",
                Ends::Lines,
            ),
        ),
        (
            "a body over several lines",
            cri("{T} stdout F {\"a\":\n{T} stdout F \"b\\nc\"}\n", Ends::One),
        ),
        (
            "levels of text",
            cri("{T} stderr F E1122 09:30:00.1 1 a.go:1] x\n{T} stdout F [warn] x\n", Ends::Lines),
        ),
        (
            "bytes that are not UTF-8",
            frame(
                container(),
                Format::Cri,
                Ends::One,
                &b"2026-11-22T00:30:00Z stdout P \xec\xa3\n2026-11-22T00:30:00Z stdout F \xbc \xff\n"[..],
            ),
        ),
        ("a host file", frame(host_file(), Format::Plain, Ends::Lines, "GET /\r\n\nERROR x\n")),
        ("a host file without a time", timeless),
        ("hostile names", frame(hostile, Format::Plain, Ends::One, "x")),
    ]
}

#[test]
fn documents_are_the_golden_ones() {
    let mut found = String::new();
    for (name, frame) in golden_frames() {
        writeln!(found, "# {name}").unwrap();
        for document in build(&[frame], usize::MAX).iter() {
            let source = std::str::from_utf8(document.source).unwrap();
            serde_json::from_str::<Value>(source).unwrap();
            writeln!(found, "{} {} {source}", document.id, document.index()).unwrap();
        }
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/documents/golden.txt");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &found).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    for (found, expected) in found.lines().zip(expected.lines()) {
        assert_eq!(found, expected);
    }
    assert_eq!(found.len(), expected.len());
}

#[test]
fn ids_are_those_of_the_raw_records() {
    let [first, second] = ["{T} stdout P a\n{T} stdout F b\n", "{T} stdout F c\n"];
    let text = format!("{first}{second}").replace("{T}", "2026-11-22T00:30:00.12Z");
    let length = text.len() - "2026-11-22T00:30:00.12Z stdout F c\n".len();
    let ends = Ends::Lengths(vec![length as u32, (text.len() - length) as u32]);
    let mut frame = frame(container(), Format::Cri, ends, text.clone());
    let split = length as u64;
    let (one, other) = (FileId([1; 12]), FileId([2; 12]));
    frame.extents = vec![
        Extent { file: one, start: 7, length: split },
        Extent { file: other, start: 0, length: text.len() as u64 - split },
    ];
    let documents = build(&[frame], usize::MAX);
    let found: Vec<_> = documents.iter().map(|d| (d.file, d.offset, d.id)).collect();
    let id = |file, offset, raw: &str| {
        FileDocumentIds::new(ClusterKey::of("default"), "node-1", file).id(
            IdTime::new(Some(ID_TIME_NS)),
            offset,
            raw.as_bytes(),
        )
    };
    let (head, tail) = text.split_at(length);
    assert_eq!(found, [(one, 7, id(one, 7, head)), (other, 0, id(other, 0, tail))]);
}

#[test]
fn output_is_bounded_and_the_same_wherever_it_stops() {
    let frames: Vec<_> = golden_frames().into_iter().map(|(_, frame)| frame).collect();
    let whole = build(&frames, usize::MAX);
    for max_output_bytes in [0, 1, 500, 1000, 5000] {
        let parts = build(&frames, max_output_bytes);
        assert!(parts.iter().eq(whole.iter()), "{max_output_bytes}");
    }

    let lines = frame(container(), Format::Cri, Ends::Lines, "x\n".repeat(100_000));
    let mut builder = Builder::new(ClusterKey::of("default"));
    let mut out = Documents::default();
    let progress = builder.append(&lines, 10, 1_000_000, &mut out);
    let next = progress.next_record.unwrap();
    assert_eq!(next, 10 + out.len());
    assert!((1_000_000..1_001_000).contains(&out.json_bytes()), "{}", out.json_bytes());
    let again = builder.append(&lines, next, 1_000_000, &mut out);
    assert_eq!(again, Progress { next_record: Some(next) }, "a full one takes no more");
}

/// splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % below as u64) as usize
    }
}

/// Pieces that get far into the decoders, glued in any order.
fn hostile_line(random: &mut Random) -> Vec<u8> {
    const PIECES: &[&[u8]] = &[
        b"2026-11-22T00:30:00.123456789Z stdout F ",
        b"2026-11-22T00:30:00Z stderr P ",
        b"2026-11-22T00:30:00Z stdout F:x ",
        b"2026-11-22T00:30:00Z stdout F",
        b"9999-99-99T99:99:99Z stdout F ",
        b"{\"level\":\"info\",\"a\":{\"b\":[1,2,",
        b"{\"a\":1}",
        b"{\"\":1}",
        b"{\"a\":1e999}",
        b"]}}",
        b"\"\\u00",
        b"\\ud800\"",
        b"E1122 09:30:00.1",
        b"level=warn ",
        b"[ERROR] ",
        b"\xec\xa3\xbc",
        b"\xec\xa3",
        b"\xff\xfe",
        b"\x00\x1b[0m\r",
        b"\\\"",
        b" ",
        b"=",
    ];
    let mut line = Vec::new();
    for _ in 0..random.next(6) {
        line.extend_from_slice(PIECES[random.next(PIECES.len())]);
        if random.next(8) == 0 {
            line.extend((0..random.next(70)).map(|_| match random.next(256) as u8 {
                b'\n' => b' ',
                byte => byte,
            }));
        }
    }
    line.push(b'\n');
    line
}

fn hostile_frame(random: &mut Random) -> Frame {
    let records: Vec<Vec<u8>> = (0..=random.next(5))
        .map(|_| (0..=random.next(3)).flat_map(|_| hostile_line(random)).collect())
        .collect();
    let bytes = records.concat();
    let lengths = records.iter().map(|r| r.len() as u32).collect();
    let ends = match random.next(3) {
        0 => Ends::Lines,
        1 if memchr::memchr_iter(b'\n', &bytes).count() < RECORD_MAX_LINES => Ends::One,
        _ => Ends::Lengths(lengths),
    };
    let source = if random.next(2) == 0 { container() } else { host_file() };
    let format = if random.next(4) == 0 { Format::Plain } else { Format::Cri };
    let mut frame = frame(source, format, ends, bytes);
    let mut maybe = |value: i64| (random.next(2) == 0).then_some(value);
    frame.id_time_ns = maybe(i64::MIN).or(frame.id_time_ns);
    frame.read_time_ns = maybe(i64::MAX);
    frame.line_start = maybe(3).map(|start| start as u64);
    frame.iostream = maybe(0).map(|_| IoStream::Stderr);
    let mut flag = || random.next(2) == 0;
    frame.flags = Flags { incomplete: flag(), continued: flag(), malformed: flag() };
    frame
}

/// By the rules of the format, line by line, as slowly as they read.
fn expected_log(frame: &Frame, record: &Record<'_>) -> String {
    let raw = record.raw.strip_suffix(b"\n").unwrap_or(record.raw);
    if frame.format == Format::Plain {
        return String::from_utf8_lossy(raw).into_owned();
    }
    let mut text = Vec::new();
    let mut glue: &[u8] = b"";
    for (number, line) in raw.split(|b| *b == b'\n').enumerate() {
        text.extend_from_slice(glue);
        let inside = number == 0 && record.first && frame.line_start.is_some();
        match naru_proto::cri::envelope(line).filter(|_| !inside) {
            Some(envelope) => {
                text.extend_from_slice(&line[envelope.content_start..]);
                glue = if envelope.partial { b"" } else { b"\n" };
            }
            None => {
                text.extend_from_slice(line);
                glue = if inside { b"" } else { b"\n" };
            }
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// What is parked, replayed or retried alone is parts of frames.
#[test]
fn documents_of_parts_are_those_of_the_whole() {
    let mut random = Random(20_261_130);
    let golden = golden_frames().into_iter().map(|(_, frame)| frame);
    let hostile: Vec<_> = (0..2_000).map(|_| hostile_frame(&mut random)).collect();
    for (round, mut frame) in golden.chain(hostile).enumerate() {
        let length = frame.bytes.len() as u64;
        if frame.ends != Ends::Lines && length > 1 {
            let at = 1 + random.next(length as usize - 1) as u64;
            let one = Extent { file: FileId([0xcd; 12]), start: 40, length: at };
            let other = Extent { file: FileId([0xef; 12]), start: 0, length: length - at };
            frame.extents = vec![one, other];
        }
        let count = frame.record_count();
        let mut parts = Vec::new();
        let mut start = 0;
        while start < count {
            let end = start + 1 + random.next(count - start);
            parts.push(frame.part(start..end).unwrap());
            start = end;
        }
        let (parts, whole) = (build(&parts, usize::MAX), build(&[frame], usize::MAX));
        assert!(parts.iter().eq(whole.iter()), "round {round}");
    }
}

#[test]
fn hostile_bytes_become_documents() {
    let mut random = Random(20_261_122);
    let mut builder = Builder::new(ClusterKey::of("default"));
    let mut out = Documents::default();
    for round in 0..20_000 {
        let frame = hostile_frame(&mut random);
        out.clear();
        let progress = builder.append(&frame, 0, usize::MAX, &mut out);
        assert_eq!(progress.next_record, None);
        assert_eq!(out.len(), frame.record_count(), "round {round}");
        for (document, record) in out.iter().zip(frame.records()) {
            assert_eq!((document.file, document.offset), (record.file, record.offset));
            assert!(!document.source.contains(&b'\n'), "round {round}");
            let source: Value = serde_json::from_slice(document.source).unwrap();
            let log = expected_log(&frame, &record);
            assert_eq!(source["log"], log.as_str(), "round {round}");
            if let Some(json) = source.get("json") {
                assert_eq!(*json, serde_json::from_str::<Value>(&log).unwrap(), "round {round}");
            }
            assert!(document.timestamp_ns >= 0);
        }
    }
    let tally = builder.tally();
    let each = [tally.malformed, tally.encoding_errors, tally.json, tally.json_refused];
    assert!(each.into_iter().all(|count| count > 100), "the bytes did not get far: {tally:?}");
}
