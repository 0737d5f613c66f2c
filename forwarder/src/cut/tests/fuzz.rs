//! Any bytes at all: nothing panics, no byte is lost or doubled, memory stays within the caps. Seeded mutations of lines.
//!
//! `NARU_FUZZ_INPUTS=10000000 cargo test -p naru-forwarder --lib fuzz -- --nocapture` tries more of them.

use fastrand::Rng;
use naru_proto::ids::FileId;

use super::super::{Caps, CutJournal, CutRecord, Cutter, Format, Rule, Sink};
use super::harness::file_id;

/// In a run of all tests, over all formats and seeds.
const INPUTS: usize = 1_200_000;
const SEEDS: [u64; 3] = [1, 0x5eed, 20_261_122];
const CAPS: Caps = Caps { bytes: 300, lines: 6 };

const LINES: &[&[u8]] = &[
    b"2026-11-22T00:30:00.123456789Z stdout F hello\n",
    b"2026-11-22T00:30:01+08:00 stderr P half of it\n",
    b"2026-11-22T00:30:01.5Z stdout P\n",
    b"2026-11-22T00:30:02Z stderr F:x:y \tat a.B(C.java:1)\n",
    b"2026-03-10T15:48:15.2+08:00 stdout 2026-03-10T16:03:15.2+08:00 stdout F + true\n",
    br#"{"log":"hello\n","stream":"stdout","time":"2026-11-22T00:30:00.123456789Z"}
"#,
    br#"{"log":"{\"a\":\"\u003c\\\"","stream":"stderr","time":"2026-11-22T00:30:01Z"}
"#,
    br#"{"log":"x\n","stream":"stdout","attrs":{"a":{"b":"}"}},"time":"2026-11-22T00:30:02Z"}
"#,
    b"Traceback (most recent call last):\n  File \"x\", line 1\nKeyError\n",
    b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
    b"\n",
    "주문🦀\n".as_bytes(),
];

/// A few lines, damaged.
fn damaged(random: &mut Rng, input: &mut Vec<u8>) {
    input.clear();
    for _ in 0..=random.usize(..4) {
        input.extend_from_slice(LINES[random.usize(..LINES.len())]);
    }
    for _ in 0..random.usize(..5) {
        let at = random.usize(..input.len().max(1));
        match random.usize(..5) {
            0 if at < input.len() => input[at] = random.usize(..256) as u8,
            1 if at < input.len() => drop(input.remove(at)),
            2 => input.truncate(at),
            3 => input.insert(at.min(input.len()), b"\n \\\"{:PF\0\xff"[random.usize(..10)]),
            _ => {
                let end = at + random.usize(..(input.len() - at.min(input.len()) + 1));
                let piece = input.get(at..end).unwrap_or_default().to_vec();
                input.extend_from_slice(&piece);
            }
        }
    }
}

#[derive(Default)]
struct Sum(usize);

impl Sink for Sum {
    fn lines(&mut self, _: FileId, _: u64, bytes: &[u8], records: u32, _: bool, _: Option<i64>) {
        assert_eq!(memchr::memchr_iter(b'\n', bytes).count(), records as usize);
        self.0 += bytes.len();
    }

    fn record(&mut self, record: CutRecord<'_>) {
        assert!(!record.bytes.is_empty() && record.bytes.len() <= CAPS.bytes);
        let extents: u64 = record.extents.iter().map(|extent| extent.length).sum();
        assert_eq!(extents, record.bytes.len() as u64);
        self.0 += record.bytes.len();
    }
}

fn cut(mut cutter: Cutter, input: &[u8], chunk: usize) {
    let (mut sum, mut at, mut want) = (Sum::default(), 0, chunk);
    let cuts = CutJournal::default();
    while at < input.len() {
        let end = input.len().min(at + want);
        let consumed = cutter.cut(file_id(1), at as u64, &input[at..end], &cuts, &mut sum);
        at += consumed;
        if consumed == 0 && end == input.len() {
            cutter.cut_tail(file_id(1), at as u64, &input[at..], &mut sum);
            at = input.len();
        }
        want = if consumed == 0 { want * 2 } else { chunk };
        assert!(cutter.held().map(|held| held.bytes.len()).sum::<usize>() <= 4 * CAPS.bytes);
    }
    let held: usize = cutter.held().map(|held| held.bytes.len()).sum();
    assert_eq!(sum.0 + held, input.len(), "{:?}", String::from_utf8_lossy(input));
}

#[test]
fn b10_any_bytes_are_cut_into_records() {
    let inputs = std::env::var("NARU_FUZZ_INPUTS").ok().and_then(|n| n.parse().ok());
    let inputs: usize = inputs.unwrap_or(INPUTS);
    let rules = [None, Some(Rule::preset("python").unwrap()), Some(Rule::preset("java").unwrap())];
    let mut input = Vec::new();
    for seed in SEEDS {
        let mut random = Rng::with_seed(seed);
        for _ in 0..inputs / SEEDS.len() {
            damaged(&mut random, &mut input);
            let format = [Format::Cri, Format::JsonFile, Format::Plain][random.usize(..3)];
            let rule = rules[random.usize(..rules.len())].clone();
            let chunk = 1 + random.usize(..400);
            cut(Cutter::with_caps(format, CAPS).with_rule(rule), &input, chunk);
        }
    }
    println!("{inputs} inputs over {} seeds", SEEDS.len());
}

/// 50 MB of one line's pieces, without its end.
#[test]
fn b9_a_line_without_an_end_is_held_within_the_cap() {
    let piece = [&b"2026-11-22T00:30:00Z stdout P "[..], &[b'x'; 16 << 10], b"\n"].concat();
    for rule in [None, Some(Rule::preset("java").unwrap())] {
        let mut cutter = Cutter::new(Format::Cri).with_rule(rule);
        let (mut at, mut most, mut sum) = (0, 0, LongSum::default());
        while at < 50_000_000 {
            at += cutter.cut(file_id(1), at as u64, &piece, &CutJournal::default(), &mut sum);
            most = most.max(cutter.held().map(|held| held.bytes.len()).sum());
        }
        assert!(most <= naru_proto::limits::RECORD_MAX_BYTES, "{most}");
        assert!(sum.records == 51 || sum.records == 52, "{}", sum.records);
        assert_eq!(sum.bytes + cutter.held().map(|held| held.bytes.len()).sum::<usize>(), at);
    }
}

#[derive(Default)]
struct LongSum {
    bytes: usize,
    records: usize,
}

impl Sink for LongSum {
    fn lines(&mut self, _: FileId, _: u64, bytes: &[u8], records: u32, _: bool, _: Option<i64>) {
        self.bytes += bytes.len();
        self.records += records as usize;
    }

    fn record(&mut self, record: CutRecord<'_>) {
        self.bytes += record.bytes.len();
        self.records += 1;
    }
}
