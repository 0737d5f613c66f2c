//! The borders of cutting, by example, and with the contract's own caps.

use naru_proto::frame::{Extent, Frame, IoStream};
use naru_proto::ids::FileId;
use naru_proto::limits::{RECORD_MAX_BYTES, RECORD_MAX_LINES};
use naru_proto::wire;

use super::super::{Caps, CutJournal, CutRecord, Cutter, Format, Inside, ResumeState, Sink};
use super::harness::{Cut, Recorder, assert_covers, file_id};

const CAPS: Caps = Caps { bytes: 100, lines: 3 };
const HEAD: &str = "2026-11-22T00:30:0";

/// `1o P text` for a CRI line of second 1 on stdout, `e` for stderr; any other line stays.
fn expand(short: &str) -> String {
    let expand = |line: &str| match line.as_bytes() {
        [second, b'o', b' ', ..] => {
            format!("{HEAD}{}Z stdout{}", *second as char, line.split_at(2).1)
        }
        [second, b'e', b' ', ..] => {
            format!("{HEAD}{}Z stderr{}", *second as char, line.split_at(2).1)
        }
        _ => line.to_owned(),
    };
    short.split_inclusive('\n').map(expand).collect()
}

/// A record as `flags|text`, the text as [`expand`] takes it.
fn show(cut: &Cut, files: &[String]) -> String {
    let text = |(file, start, end): &(u8, u64, u64)| {
        let bytes = files[usize::from(*file) - 1].as_bytes();
        String::from_utf8_lossy(&bytes[*start as usize..*end as usize])
    };
    let text: String = cut.extents.iter().map(text).collect::<Vec<_>>().concat();
    let text = text.replace(HEAD, "").replace("Z stdout", "o").replace("Z stderr", "e");
    format!("{}|{text}", cut.flags)
}

fn cut_files(cutter: &mut Cutter, files: &[String], recorder: &mut Recorder) {
    for (number, file) in files.iter().enumerate() {
        let (id, bytes) = (file_id(number as u8 + 1), file.as_bytes());
        cutter.cut(id, 0, bytes, &CutJournal::default(), recorder);
    }
}

fn check(format: Format, files: &[&str], expected: &[&str]) {
    let files: Vec<String> = files.iter().map(|file| expand(file)).collect();
    let (mut cutter, mut recorder) = (Cutter::with_caps(format, CAPS), Recorder::new(format));
    cut_files(&mut cutter, &files, &mut recorder);
    let shown: Vec<String> = recorder.cuts.iter().map(|cut| show(cut, &files)).collect();
    assert_eq!(shown, expected);
}

#[test]
fn lines_are_records() {
    check(Format::Cri, &["1o F a\n2e F \n3o F\n"], &["|1o F a\n", "|2e F \n", "|3o F\n"]);
    check(Format::Cri, &["\nno\n1o F a\n"], &["M|\n", "M|no\n", "|1o F a\n"]);
    check(Format::Plain, &["\nno\n1o P a\n"], &["|\n", "|no\n", "|1o P a\n"]);
    check(Format::Plain, &["a\nwaits"], &["|a\n"]);
}

#[test]
fn fragments_wait_for_the_end_of_their_iostream() {
    check(
        Format::Cri,
        &["1o P a\n2e F x\n3o P b\n4e P y\n5o F c\n6e F z\n"],
        &["|2e F x\n", "|1o P a\n3o P b\n5o F c\n", "|4e P y\n6e F z\n"],
    );
    check(Format::Cri, &["1o P a\n2o P b\n", "", "3o F c\n"], &["|1o P a\n2o P b\n3o F c\n"]);
    check(Format::Cri, &["1o P a\nno\n2o F b\n"], &["M|no\n", "|1o P a\n2o F b\n"]);
    // The four lines of VictoriaLogs#1215.
    check(
        Format::Cri,
        &["1o P a\n1e F b\n2o F 15.2+08:00 stdout F + true\n2o F d\n"],
        &["|1e F b\n", "|1o P a\n2o F 15.2+08:00 stdout F + true\n", "|2o F d\n"],
    );
}

#[test]
fn docker_lines_wait_for_the_one_with_the_newline() {
    let line = |log: &str, stream: &str| {
        format!("{{\"log\":\"{log}\",\"stream\":\"{stream}\",\"time\":\"{HEAD}1Z\"}}\n")
    };
    let (half, other) = (line("a", "stdout"), line("x\\n", "stderr"));
    let rest = line("b\\n", "stdout");
    let files = [[half.as_str(), &other, "torn\n"].concat(), rest.clone()];
    let caps = Caps { bytes: 300, lines: 3 };
    let mut cutter = Cutter::with_caps(Format::JsonFile, caps);
    let mut recorder = Recorder::new(Format::JsonFile);
    cut_files(&mut cutter, &files, &mut recorder);
    let shown: Vec<_> = recorder.cuts.iter().map(|cut| show(cut, &files)).collect();
    let clean = |text: &str| text.replace(HEAD, "");
    assert_eq!(
        shown,
        [
            format!("|{}", clean(&other)),
            "M|torn\n".to_owned(),
            format!("|{}{}", clean(&half), clean(&rest))
        ]
    );
    let seconds = |cut: &Cut| cut.id_time_ns.map(|ns| ns / 1_000_000_000 % 10);
    assert!(recorder.cuts.iter().all(|cut| seconds(cut) == Some(1)));
}

#[test]
fn the_caps_end_a_record() {
    check(
        Format::Cri,
        &["1o P a\n2o P b\n3o P c\n4o P d\n5o F e\n6o F f\n"],
        &["|1o P a\n2o P b\n3o P c\n", "C|4o P d\n5o F e\n", "|6o F f\n"],
    );
    let (forty, thirty) = ("x".repeat(40), "x".repeat(30));
    let line = |tag: &str, text: &str| format!("1o {tag} {text}\n");
    check(
        Format::Cri,
        &[&[line("P", &thirty), line("F", "12345678"), line("P", &thirty), line("F", "123456789")]
            .concat()],
        &[
            &format!("|{}{}", line("P", &thirty), line("F", "12345678")),
            &format!("|{}", line("P", &thirty)),
            &format!("C|{}", line("F", "123456789")),
        ],
    );
    // 30 bytes of envelope; the newline counts.
    let fits = format!("1o F {forty}{}\n", "x".repeat(29));
    check(Format::Cri, &[&fits], &[&format!("|{fits}")]);
    let over = format!("1o F {forty}{thirty}");
    check(Format::Cri, &[&format!("{over}\n")], &[&format!("|{over}"), "C|\n"]);
    check(
        Format::Cri,
        &[&format!("{over}yz\n2o F a\n")],
        &[&format!("|{over}"), "C|yz\n", "|2o F a\n"],
    );
    let partial = format!("1o P {forty}{thirty}");
    check(
        Format::Cri,
        &[&format!("0o P a\n{partial}yz\n2e F a\n2o F b\n")],
        &["|0o P a\n", &format!("C|{partial}"), "|2e F a\n", "C|yz\n2o F b\n"],
    );
    let no = "n".repeat(100);
    check(
        Format::Cri,
        &[&format!("1o P a\n{no}{no}!\n2o F b\n")],
        &[&format!("M|{no}"), &format!("CM|{no}"), "CM|!\n", "|1o P a\n2o F b\n"],
    );
    check(Format::Plain, &[&format!("{no}\n")], &[&format!("|{no}"), "C|\n"]);
    let split = format!("{}주문\n", "n".repeat(98));
    check(Format::Plain, &[&split], &[&format!("|{}", "n".repeat(98)), "C|주문\n"]);
}

#[test]
fn a_malformed_line_takes_the_last_time_before_it_in_its_file() {
    let files = ["no\n1o P a\nno\n2e F b\nno\n", "no\n3o F c\nno\n"].map(expand);
    let (mut cutter, mut recorder) =
        (Cutter::with_caps(Format::Cri, CAPS), Recorder::new(Format::Cri));
    cut_files(&mut cutter, &files, &mut recorder);
    let malformed = recorder.cuts.iter().filter(|cut| cut.flags == "M");
    let seconds: Vec<_> =
        malformed.map(|cut| cut.id_time_ns.map(|ns| ns / 1_000_000_000 % 10)).collect();
    assert_eq!(seconds, [None, Some(1), Some(2), None, Some(3)]);
}

#[test]
fn what_waits_can_be_cut() {
    let files = [expand("1o P a\n2e P x\n3o F b")];
    let bytes = files[0].as_bytes();
    let (mut cutter, mut recorder) =
        (Cutter::with_caps(Format::Cri, CAPS), Recorder::new(Format::Cri));
    let consumed = cutter.cut(file_id(1), 0, bytes, &CutJournal::default(), &mut recorder);
    assert_eq!(consumed, 64);
    let held: Vec<_> = cutter.held().map(|h| (h.iostream, h.extents.len(), h.lines)).collect();
    assert_eq!(held, [(IoStream::Stdout, 1, 1), (IoStream::Stderr, 1, 1)]);
    let stderr = cutter.pending_cut(IoStream::Stderr).unwrap();
    assert_eq!((stderr.first, stderr.end_exclusive), ((file_id(1), 32), (file_id(1), 64)));
    assert!(cutter.cut_held(&stderr, &mut recorder));
    assert!(!cutter.cut_held(&stderr, &mut recorder), "once");
    assert_eq!(cutter.pending_cut(IoStream::Stderr), None);
    // The torn end belongs to what waits of its iostream.
    assert_eq!(cutter.pending_tail_cut(file_id(1), 64, b""), None);
    let tail = cutter.pending_tail_cut(file_id(1), 64, &bytes[64..]).unwrap();
    assert_eq!(tail.iostream, Some(IoStream::Stdout));
    assert_eq!((tail.first, tail.end_exclusive), ((file_id(1), 0), (file_id(1), 95)));
    cutter.cut_tail(file_id(1), 64, &bytes[64..], &mut recorder);
    let inside = Inside {
        line_start: 64,
        iostream: tail.iostream,
        partial: false,
        malformed: false,
        rule_state: None,
    };
    assert_eq!(cutter.state().inside, Some(inside));
    // The file lived after all.
    cutter.cut(file_id(1), 95, b"c\n", &CutJournal::default(), &mut recorder);
    assert_eq!(cutter.state().inside, None);
    let shown: Vec<_> = recorder.cuts.iter().map(|c| (c.flags.as_str(), c.line_start)).collect();
    assert_eq!(shown, [("I", None), ("I", None), ("C", Some(64))]);
    assert_covers(&recorder.cuts, &[(1, 97)]);
}

#[test]
fn what_is_gone_of_a_fragment_is_told() {
    let files = ["1o P a\n", "2o P b\n3o P c\n", "4o F d\n"].map(expand);
    let mut recorder = Recorder::new(Format::Cri);
    let mut cutter = Cutter::new(Format::Cri);
    cut_files(&mut cutter, &files[..2], &mut recorder);
    let state = cutter.state();
    let read = |extent: &Extent| {
        let bytes = files[usize::from(extent.file.0[0]) - 1].as_bytes();
        Some(bytes[extent.start as usize..extent.end_exclusive() as usize].to_vec())
    };
    let (all, gone) = Cutter::resume(state.clone(), read);
    assert_eq!((all.state(), gone), (state.clone(), vec![]));
    let (nothing, gone) = Cutter::resume(state.clone(), |_| None);
    assert_eq!(gone, state.held[0].extents);
    assert_eq!(nothing.held().count(), 0);
    // A read that is too short is none.
    let rest =
        |extent: &Extent| if extent.file == file_id(1) { Some(vec![0]) } else { read(extent) };
    let (mut rest, gone) = Cutter::resume(state.clone(), rest);
    assert_eq!(gone, state.held[0].extents[..1]);
    rest.cut(file_id(3), 0, files[2].as_bytes(), &CutJournal::default(), &mut recorder);
    let [cut] = &recorder.cuts[..] else { panic!("{:?}", recorder.cuts) };
    assert_eq!(show(cut, &files), "C|2o P b\n3o P c\n4o F d\n");
    assert_eq!(cut.id_time_ns.map(|ns| ns / 1_000_000_000 % 10), Some(2));
}

#[test]
fn bytes_that_nobody_reads_end_a_line() {
    let mut recorder = Recorder::new(Format::Plain);
    let mut cutter = Cutter::with_caps(Format::Plain, CAPS);
    let cuts = CutJournal::default();
    assert_eq!(cutter.cut(file_id(1), 0, &[b'x'; 150], &cuts, &mut recorder), 100);
    assert_eq!(cutter.cut(file_id(1), 200, b"y\n", &cuts, &mut recorder), 2);
    let lines: Vec<_> = recorder.cuts.iter().map(|c| (c.flags.as_str(), c.line_start)).collect();
    assert_eq!(lines, [("", None), ("", None)]);
}

/// Makes a frame of each call, as the batch will.
struct Frames {
    frames: Vec<Frame>,
}

impl Frames {
    fn push(&mut self, ends: wire::Ends, extents: &[Extent], bytes: &[u8]) {
        let source = wire::Source {
            node: "n".into(),
            writer: Some(wire::source::Writer::HostFile(wire::HostFile { path: "/v".into() })),
        };
        let frame = wire::Frame {
            source: Some(source),
            format: wire::Format::Cri.into(),
            extents: extents.iter().map(wire::Extent::from).collect(),
            ends: ends.into(),
            bytes: bytes.to_vec().into(),
            ..wire::Frame::default()
        };
        self.frames.push(Frame::try_from(frame).unwrap());
    }
}

impl Sink for Frames {
    fn lines(&mut self, file: FileId, start: u64, bytes: &[u8], _: u32, _: bool, _: Option<i64>) {
        let extent = Extent { file, start, length: bytes.len() as u64 };
        self.push(wire::Ends::Lines, &[extent], bytes);
    }

    fn record(&mut self, record: CutRecord<'_>) {
        self.push(wire::Ends::One, record.extents, record.bytes);
    }
}

#[test]
fn whatever_is_cut_is_a_frame_of_the_contract() {
    let envelope = format!("{HEAD}1Z stdout P ");
    let long = |bytes: usize| format!("{envelope}{}\n", "x".repeat(bytes - envelope.len() - 1));
    let mut log = String::new();
    for bytes in
        [RECORD_MAX_BYTES - 1, RECORD_MAX_BYTES, RECORD_MAX_BYTES + 1, 3 * RECORD_MAX_BYTES]
    {
        log.push_str(&long(bytes));
        log.push_str(&long(16 << 10).replace("stdout", "stderr"));
        log.push_str(&long(bytes).replace("Z stdout P", "Z nowhere "));
    }
    for line in 0..3 * RECORD_MAX_LINES {
        log.push_str(&expand(if line % 2 == 0 { "1o P a\n" } else { "1e P b\n" }));
    }
    log.push_str(&expand("1o F a\n1e F b\n"));
    let (mut cutter, mut frames) = (Cutter::new(Format::Cri), Frames { frames: Vec::new() });
    let cuts = CutJournal::default();
    let mut at = 0;
    while at < log.len() {
        let chunk = &log.as_bytes()[at..log.len().min(at + RECORD_MAX_BYTES)];
        let consumed = cutter.cut(file_id(1), at as u64, chunk, &cuts, &mut frames);
        assert!(consumed > 0, "a cap's bytes are always enough");
        at += consumed;
        assert!(cutter.held().all(|held| held.bytes.len() <= RECORD_MAX_BYTES));
    }
    let bytes: usize = frames.frames.iter().map(|frame| frame.bytes.len()).sum();
    assert_eq!(bytes, log.len());
    let lines = |frame: &Frame| frame.bytes.iter().filter(|byte| **byte == b'\n').count();
    assert_eq!(frames.frames.iter().map(lines).max(), Some(RECORD_MAX_LINES));
    assert_eq!(
        cutter.state(),
        ResumeState {
            position: Some((file_id(1), log.len() as u64)),
            last_time_ns: Some(1_795_307_401_000_000_000),
            ..ResumeState::new(Format::Cri)
        }
    );
}
