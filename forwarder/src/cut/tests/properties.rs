//! However the files are read, batched, acknowledged, cut and read again: the records are those of the model.

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};

use naru_proto::frame::Extent;
use proptest::collection::vec;
use proptest::prelude::*;

use super::super::{Caps, CutJournal, Cutter, Format, JournaledCut, ResumeState, Rule};
use super::harness::{Cut, Recorder, assert_covers, file_id, iostream};
use super::model::{File, Model};
use super::tokens::{Token, render, token, token_within};

#[derive(Debug, Clone)]
enum Action {
    /// The writer adds bytes, or goes on in the next file.
    Write(u16),
    /// The reader offers this many of them.
    Read(u16),
    /// What waits is waited for no longer. With a crash before it was sent.
    CutHeld { stderr: bool, crash: bool },
    /// The file is taken for finished.
    CutTail { crash: bool },
    /// A batch ends.
    Batch,
    /// Some batch is acknowledged.
    Acknowledge(u8),
    /// Back to what is acknowledged.
    Crash,
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        5 => (1..200_u16).prop_map(Action::Write),
        6 => prop_oneof![1..8_u16, 1..300_u16].prop_map(Action::Read),
        1 => (any::<bool>(), prop::bool::weighted(0.2))
            .prop_map(|(stderr, crash)| Action::CutHeld { stderr, crash }),
        1 => prop::bool::weighted(0.2).prop_map(|crash| Action::CutTail { crash }),
        2 => Just(Action::Batch),
        2 => any::<u8>().prop_map(Action::Acknowledge),
        1 => Just(Action::Crash),
    ]
}

/// A forwarder and a writer, one source.
struct Node<'a> {
    files: &'a [File],
    format: Format,
    caps: Caps,
    rule: Option<Arc<Rule>>,
    /// How many files there are, and how long the last of them is.
    written: (usize, usize),
    cutter: Cutter,
    /// The file and offset that are read next.
    at: (usize, usize),
    unacknowledged: Vec<ResumeState>,
    acknowledged: ResumeState,
    /// What the checkpoint has.
    journal: CutJournal,
    /// Everything that was ever journalled.
    all_cuts: Vec<JournaledCut>,
    sent: BTreeSet<Cut>,
}

impl<'a> Node<'a> {
    fn new(files: &'a [File], format: Format, caps: Caps, rule: Option<Arc<Rule>>) -> Self {
        Self {
            files,
            format,
            caps,
            written: (0, 0),
            cutter: Cutter::with_caps(format, caps).with_rule(rule.clone()),
            rule,
            at: (0, 0),
            unacknowledged: Vec::new(),
            acknowledged: ResumeState::new(format),
            journal: CutJournal::default(),
            all_cuts: Vec::new(),
            sent: BTreeSet::new(),
        }
    }

    fn act(&mut self, action: &Action) {
        match action {
            Action::Write(bytes) => {
                let (file, length) = self.written;
                if length < self.files[file].1.len() {
                    self.written.1 = (length + usize::from(*bytes)).min(self.files[file].1.len());
                } else if file + 1 < self.files.len() {
                    self.written = (file + 1, 0);
                }
            }
            Action::Read(bytes) => self.read(usize::from(*bytes)),
            Action::CutHeld { stderr, crash } => {
                self.read_all();
                let Some(cut) = self.cutter.pending_cut(iostream(*stderr)) else { return };
                self.journal(cut);
                if *crash {
                    return self.crash();
                }
                self.send(|cutter, recorder| assert!(cutter.cut_held(&cut, recorder)));
            }
            Action::CutTail { crash } => {
                self.read_all();
                self.cut_tail(*crash);
            }
            Action::Batch => self.unacknowledged.push(self.cutter.state()),
            Action::Acknowledge(which) => self.acknowledge(usize::from(*which)),
            Action::Crash => self.crash(),
        }
    }

    /// What is written of the file that is read, from there on.
    fn unread(&self) -> &'a [u8] {
        let (file, offset) = self.at;
        let bytes = &self.files[file].1[..];
        if file == self.written.0 { &bytes[offset..self.written.1] } else { &bytes[offset..] }
    }

    fn read(&mut self, bytes: usize) {
        let rest = self.unread();
        let mut length = bytes.min(rest.len());
        while length > 0 {
            let (file, offset) = self.at;
            let (id, journal) = (file_id(self.files[file].0), self.journal.clone());
            let consumed = self.send(|cutter, recorder| {
                cutter.cut(id, offset as u64, &rest[..length], &journal, recorder)
            });
            assert!(consumed > 0 || length < self.caps.bytes, "enough was offered");
            self.at.1 += consumed;
            if consumed > 0 || length == rest.len() {
                break;
            }
            length = (length * 2).min(rest.len());
        }
        if self.at.0 < self.written.0 && (rest.is_empty() || length == rest.len()) {
            self.cut_tail(false);
            self.at = (self.at.0 + 1, 0);
        }
    }

    /// Nobody has waited before everything was read.
    fn read_all(&mut self) {
        loop {
            let before = self.at;
            self.read(usize::MAX);
            if self.at == before {
                break;
            }
        }
    }

    fn cut_tail(&mut self, crash: bool) {
        let (file, mut offset) = self.at;
        let (id, rest) = (file_id(self.files[file].0), self.unread());
        let journal = self.journal.clone();
        let consumed =
            self.send(|cutter, recorder| cutter.cut(id, offset as u64, rest, &journal, recorder));
        offset += consumed;
        self.at.1 = offset;
        let tail = &rest[consumed..];
        let Some(cut) = self.cutter.pending_tail_cut(id, offset as u64, tail) else { return };
        self.journal(cut);
        if crash {
            return self.crash();
        }
        self.send(|cutter, recorder| cutter.cut_tail(id, offset as u64, tail, recorder));
        self.at.1 += tail.len();
    }

    fn journal(&mut self, cut: JournaledCut) {
        self.journal.insert(cut);
        self.all_cuts.push(cut);
    }

    fn acknowledge(&mut self, which: usize) {
        if self.unacknowledged.is_empty() {
            return;
        }
        let which = which % self.unacknowledged.len();
        if let Some(state) = self.unacknowledged.drain(..=which).next_back() {
            self.acknowledged = state;
        }
        let (at, offset) = self.position(&self.acknowledged);
        let files = self.files;
        let acknowledged = |id| {
            let file = files.iter().position(|(number, _)| file_id(*number) == id)?;
            (file >= at).then_some(if file == at { offset as u64 } else { 0 })
        };
        self.journal.prune(acknowledged, &self.acknowledged);
    }

    fn crash(&mut self) {
        self.unacknowledged.clear();
        let files = self.files;
        let read = |extent: &Extent| {
            let (_, bytes) = files.iter().find(|(number, _)| file_id(*number) == extent.file)?;
            Some(bytes[extent.start as usize..extent.end_exclusive() as usize].to_vec())
        };
        let (cutter, gone) = Cutter::resume_with_caps(self.acknowledged.clone(), self.caps, read);
        assert!(gone.is_empty());
        assert_eq!(cutter.state(), self.acknowledged);
        self.at = self.position(&self.acknowledged);
        self.cutter = cutter.with_rule(self.rule.clone());
    }

    fn position(&self, state: &ResumeState) -> (usize, usize) {
        state.position.map_or((0, 0), |(id, offset)| {
            let file = self.files.iter().position(|(number, _)| file_id(*number) == id);
            (file.unwrap_or_default(), offset as usize)
        })
    }

    fn send<T>(&mut self, cut: impl FnOnce(&mut Cutter, &mut Recorder) -> T) -> T {
        let mut recorder = Recorder::new(self.format);
        let result = cut(&mut self.cutter, &mut recorder);
        self.sent.extend(recorder.cuts);
        for held in self.cutter.held() {
            assert!(held.bytes.len() <= self.caps.bytes && held.lines as usize <= self.caps.lines);
        }
        result
    }

    /// Everything is written, read and cut.
    fn finish(&mut self) {
        let last = self.files.len() - 1;
        self.written = (last, self.files[last].1.len());
        self.act(&Action::CutTail { crash: false });
        assert!(self.unread().is_empty());
        for stderr in [false, true] {
            while self.cutter.pending_cut(iostream(stderr)).is_some() {
                self.act(&Action::CutHeld { stderr, crash: false });
            }
        }
        assert_eq!(self.cutter.held().count(), 0);
    }
}

fn check(format: Format, caps: Caps, contents: &[Vec<Token>], actions: &[Action]) {
    check_with(None, format, caps, contents, actions);
}

fn check_with(
    rule: Option<Arc<Rule>>,
    format: Format,
    caps: Caps,
    contents: &[Vec<Token>],
    actions: &[Action],
) {
    let files: Vec<File> = contents
        .iter()
        .enumerate()
        .map(|(n, tokens)| (n as u8 + 1, render(format, tokens)))
        .collect();
    let mut node = Node::new(&files, format, caps, rule.clone());
    for action in actions {
        node.act(action);
    }
    node.finish();
    // Once more from what is acknowledged, and once more from the start.
    node.crash();
    node.finish();
    let all_cuts = node.all_cuts.clone();
    let mut again = Node::new(&files, format, caps, rule.clone());
    again.journal = all_cuts.iter().copied().collect();
    again.finish();
    let expected = match rule {
        None => Model::cut(format, caps, &files, &node.all_cuts).into_iter().collect(),
        // Another model says which lines belong together: here, that nothing else decides.
        Some(_) => again.sent.clone(),
    };
    let cuts: Vec<_> = expected.iter().cloned().collect();
    let lengths: Vec<_> = files.iter().map(|(file, bytes)| (*file, bytes.len() as u64)).collect();
    assert_covers(&cuts, &lengths);
    assert_same(&node.sent, &expected);
    assert_same(&again.sent, &expected);
    assert!(again.all_cuts.iter().all(|cut| all_cuts.contains(cut)), "cut elsewhere");
}

fn assert_same(sent: &BTreeSet<Cut>, expected: &BTreeSet<Cut>) {
    let missing: Vec<_> = expected.difference(sent).collect();
    let surplus: Vec<_> = sent.difference(expected).collect();
    assert!(missing.is_empty() && surplus.is_empty(), "missing {missing:#?}, surplus {surplus:#?}");
}

/// A line that begins with a letter of the alphabet's first half begins a record.
fn rule() -> Arc<Rule> {
    static RULE: LazyLock<Arc<Rule>> =
        LazyLock::new(|| Arc::new(Rule::start_pattern("^[a-m]").unwrap()));
    Arc::clone(&RULE)
}

/// Lines of stderr or stdout, perhaps `P`, so many seconds after the one before, and their text.
fn groups_as_the_model(lines: &[(bool, bool, u8, String)], chunk: usize) {
    let (mut second, mut bytes) = (0, Vec::new());
    // The lines of the open records, and the time of their last.
    let mut open: [Option<(Vec<usize>, u32)>; 2] = [None, None];
    let mut expected = Vec::new();
    // Pieces of a line that is not whole yet: its first number, time and text.
    let mut pieces: [Option<(Vec<usize>, u32, String)>; 2] = [None, None];
    let mut offsets = Vec::new();
    for (number, (stderr, partial, later, text)) in lines.iter().enumerate() {
        second += u32::from(*later);
        offsets.push(bytes.len());
        let (minute, within) = (second / 60, second % 60);
        let (stream, tag) =
            (if *stderr { "stderr" } else { "stdout" }, if *partial { "P" } else { "F" });
        bytes.extend(
            format!("2026-11-22T00:{minute:02}:{within:02}Z {stream} {tag} {text}\n").into_bytes(),
        );
        let side = usize::from(*stderr);
        let line = pieces[side].get_or_insert((Vec::new(), second, String::new()));
        line.0.push(number);
        line.2.push_str(text);
        if *partial {
            continue;
        }
        let Some((numbers, time, text)) = pieces[side].take() else { continue };
        let starts = text.starts_with(|c| ('a'..='m').contains(&c));
        match &mut open[side] {
            Some((record, last)) if !starts && time - *last <= 2 => {
                record.extend(numbers);
                *last = time;
            }
            open => expected.extend(open.replace((numbers, time)).map(|(record, _)| record)),
        }
    }
    let files = [(1, bytes)];
    let caps = Caps { bytes: 100_000, lines: 1000 };
    let mut node = Node::new(&files, Format::Cri, caps, Some(rule()));
    node.written = (0, files[0].1.len());
    while !node.unread().is_empty() {
        node.read(chunk);
    }
    let starts = |cut: &Cut| -> Vec<usize> {
        let lines = offsets.iter().enumerate().filter(|(_, at)| {
            let at = **at as u64;
            cut.extents.iter().any(|(_, start, end)| (*start..*end).contains(&at))
        });
        lines.map(|(number, _)| number).collect()
    };
    let mut found: Vec<_> = node.sent.iter().map(starts).collect();
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
    assert!(node.sent.iter().all(|cut| cut.flags.is_empty()));
}

#[test]
fn a_record_is_cut_where_it_was_however_much_is_known_of_the_line_behind_it() {
    let line = |stderr, partial, second, text: &str| Token::Line {
        stderr,
        partial,
        second,
        text: text.to_owned(),
    };
    let contents = [vec![
        line(true, true, 3, ""),
        line(true, false, 0, ""),
        // With what is read of it when the state is saved, it has room in the record; with what comes, it has not.
        line(true, true, 3, "n"),
        line(false, false, 0, ""),
        line(true, true, 0, ""),
        line(false, false, 0, "quiet"),
        line(true, false, 0, "n"),
    ]];
    let actions = [
        Action::Write(94),
        Action::Read(1),
        Action::Read(1),
        Action::Read(1),
        Action::Batch,
        Action::Acknowledge(0),
        Action::Write(62),
        Action::CutHeld { stderr: true, crash: false },
    ];
    let caps = Caps { bytes: 97, lines: 3 };
    check_with(Some(rule()), Format::Cri, caps, &contents, &actions);
}

fn caps() -> impl Strategy<Value = Caps> {
    (prop_oneof![8..40_usize, 40..200_usize], 1..6_usize)
        .prop_map(|(bytes, lines)| Caps { bytes, lines })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 3_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn records_are_a_function_of_the_bytes_and_the_journal(
        caps in caps(),
        contents in vec(vec(token(), 0..14), 1..4),
        actions in vec(action(), 0..60),
    ) {
        check(Format::Cri, caps, &contents, &actions);
    }

    #[test]
    fn so_are_those_of_docker_files(
        caps in caps(),
        contents in vec(vec(token(), 0..10), 1..4),
        actions in vec(action(), 0..60),
    ) {
        check(Format::JsonFile, Caps { bytes: caps.bytes + 60, ..caps }, &contents, &actions);
    }

    #[test]
    fn so_are_those_of_plain_files(
        caps in caps(),
        contents in vec(vec(token(), 0..8), 1..3),
        actions in vec(action(), 0..40),
    ) {
        check(Format::Plain, caps, &contents, &actions);
    }

    #[test]
    fn so_are_those_of_a_multi_line_rule(
        format in prop_oneof![4 => Just(Format::Cri), 2 => Just(Format::JsonFile), 2 => Just(Format::Plain)],
        caps in caps(),
        contents in vec(vec(token_within(6), 0..14), 1..4),
        actions in vec(action(), 0..60),
    ) {
        let more = if format == Format::JsonFile { 60 } else { 30 };
        let caps = Caps { bytes: caps.bytes + more, ..caps };
        check_with(Some(rule()), format, caps, &contents, &actions);
    }

    #[test]
    fn a_multi_line_rule_groups_the_lines_of_an_iostream(
        lines in vec((any::<bool>(), prop::bool::weighted(0.2), 0..3_u8, "[a-z]{0,4}"), 0..40),
        chunk in 1..400_usize,
    ) {
        groups_as_the_model(&lines, chunk);
    }

    #[test]
    fn hostile_bytes_are_records(
        caps in caps(),
        pieces in vec(prop_oneof![
            Just(b"2026-11-22T00:30:00Z stdout P ".to_vec()),
            Just(b"2026-11-22T00:30:00.999999999+09:00 stderr F:x ".to_vec()),
            Just(b"\n".to_vec()),
            Just(vec![0; 30]),
            vec(any::<u8>(), 0..40),
        ], 0..30),
        actions in vec(action(), 0..30),
    ) {
        let contents = [vec![Token::Bytes(pieces.concat())]];
        check(Format::Cri, caps, &contents, &actions);
        check_with(Some(rule()), Format::Cri, caps, &contents, &actions);
    }
}
