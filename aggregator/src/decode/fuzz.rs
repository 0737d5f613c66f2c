//! Any bytes at all are decoded: nothing panics, and what was written is there. Seeded mutations of records.
//!
//! `NARU_FUZZ_INPUTS=10000000 cargo test -p naru-aggregator --lib fuzz -- --nocapture` tries more of them.

use bytes::Bytes;
use fastrand::Rng;
use naru_proto::frame::{Ends, Extent, Flags, Format, Frame, Source, Writer};
use naru_proto::ids::FileId;

use super::{encoding, json, level, record};

/// In a run of all tests, over all seeds.
const INPUTS: usize = 1_000_000;
const SEEDS: [u64; 3] = [2, 0xdec0de, 20_261_122];

const LINES: &[&[u8]] = &[
    b"2026-11-22T00:30:00.123456789Z stdout F {\"level\":\"warn\",\"a\":{\"b\":[1,2.5e3]}}\n",
    b"2026-11-22T00:30:01+08:00 stderr P half of it\n",
    b"2026-11-22T00:30:02Z stderr F:x:y the rest\n",
    b"2026-03-10T15:48:15.2+08:00 stdout 2026-03-10T16:03:15.2+08:00 stdout F + true\n",
    br#"{"log":"hello\n","stream":"stdout","time":"2026-11-22T00:30:00.123456789Z"}
"#,
    br#"{"log":"{\"a\":\"\u003c\\\"\ud83e\udd80\ud83e","stream":"stderr","time":"2026-11-22T00:30:01Z"}
"#,
    b"E1122 00:30:00.1 1 a.go:1] x\n",
    b"\0\0\0\0\0\0\0\0",
    b"\n",
    "[ERROR] 주문🦀\n".as_bytes(),
];

/// A few lines, damaged.
fn damaged(random: &mut Rng) -> Vec<u8> {
    let mut input = Vec::new();
    for _ in 0..=random.usize(..3) {
        input
            .extend_from_slice(LINES.get(random.usize(..LINES.len())).copied().unwrap_or_default());
    }
    for _ in 0..random.usize(..5) {
        let at = random.usize(..input.len().max(1));
        match (random.usize(..4), input.get_mut(at)) {
            (0, Some(byte)) => *byte = random.usize(..256) as u8,
            (1, Some(_)) => drop(input.remove(at)),
            (2, _) => input.truncate(at),
            _ => input.insert(
                at.min(input.len()),
                b"\n \\\"{:Pu\0\xff".get(random.usize(..10)).copied().unwrap_or_default(),
            ),
        }
    }
    input
}

#[test]
fn b10_any_bytes_are_decoded() {
    let inputs = std::env::var("NARU_FUZZ_INPUTS").ok().and_then(|n| n.parse().ok());
    let inputs: usize = inputs.unwrap_or(INPUTS);
    let (mut joined, mut repaired, mut scratch) =
        (Vec::new(), String::new(), json::Scratch::default());
    let mut malformed = 0;
    for seed in SEEDS {
        let mut random = Rng::with_seed(seed);
        for _ in 0..inputs / SEEDS.len() {
            let bytes = damaged(&mut random);
            let length = bytes.len();
            let format = match random.usize(..3) {
                0 => Format::Cri,
                1 => Format::JsonFile,
                _ => Format::Plain,
            };
            let frame = Frame {
                source: Source { node: "n".into(), writer: Writer::HostFile { path: "/v".into() } },
                format,
                extents: vec![Extent { file: FileId([1; 12]), start: 9, length: length as u64 }],
                ends: Ends::One,
                id_time_ns: None,
                read_time_ns: None,
                iostream: None,
                line_start: (random.usize(..4) == 0).then_some(3),
                container_id: String::new(),
                flags: Flags::default(),
                bytes: Bytes::from(bytes),
            };
            let Some(whole) = frame.records().next() else { continue };
            let decoded = record(&frame, &whole, &mut joined);
            assert!(decoded.text.len() <= length, "{:?}", frame.bytes);
            assert!(decoded.timestamp_ns >= 0);
            malformed += usize::from(decoded.malformed);
            let (text, _) = encoding::utf8(decoded.text, &mut repaired);
            let body = json::body(text, &mut scratch);
            assert!(!matches!(body, json::Body::Object { json, .. } if json.len() > text.len()));
            let _level = level::text(text);
        }
    }
    println!("{inputs} inputs over {} seeds, {malformed} malformed", SEEDS.len());
}
