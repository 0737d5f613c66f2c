//! What was written, and the judgement of what was indexed: as sets, so that a line indexed twice never hides a lost one.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard};

use naru_proto::frame;
use naru_proto::wire;

use crate::line::{LineKey, iostream_name};

/// How many examples of each offence a failed judgement shows.
const EXAMPLES: usize = 5;

/// Who writes: what the path of a container's log says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Writer {
    /// Its pod's namespace.
    pub namespace: String,
    /// Its pod.
    pub pod: String,
    /// Its pod's uid.
    pub uid: String,
    /// Its own name.
    pub container: String,
    /// How often it was restarted before.
    pub restart: u32,
}

impl From<Writer> for frame::Writer {
    fn from(writer: Writer) -> Self {
        Self::Container(frame::Container {
            namespace: writer.namespace,
            pod: writer.pod,
            pod_uid: writer.uid,
            container: writer.container,
            restart: writer.restart,
        })
    }
}

/// One logical line as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// What its document's `log` has to be.
    pub text: String,
    /// The time of its first envelope; None where the line has no readable one.
    pub time_ns: Option<i64>,
}

/// What became of a record, in whatever way it was read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Indexed {
    /// `_id`.
    pub id: String,
    /// `_index`.
    pub index: String,
    /// `log`.
    pub text: String,
    /// `@timestamp`.
    pub time_ns: Option<i64>,
    /// `stream`.
    pub iostream: Option<String>,
    /// `kubernetes.pod_name`.
    pub pod: Option<String>,
}

/// Everything that the containers of a story wrote. A clone is the same ledger.
#[derive(Debug, Clone, Default)]
pub struct Ledger(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    writers: Vec<frame::Writer>,
    lines: HashMap<LineKey, Written>,
    /// Where a line begins in its file, for the lines whose writer says so.
    places: HashMap<LineKey, u64>,
    bytes: u64,
}

impl Ledger {
    /// Enters a container or a host file; its lines carry the number.
    pub fn register(&self, writer: impl Into<frame::Writer>) -> u32 {
        let mut inner = self.lock();
        inner.writers.push(writer.into());
        u32::try_from(inner.writers.len() - 1).unwrap()
    }

    /// Enters a line. Writing one number twice is a fault of the story.
    pub fn write(&self, key: LineKey, written: Written) {
        let before = self.lock().lines.insert(key, written);
        assert!(before.is_none(), "{key} was written before");
    }

    /// Enters where in its file a line begins: a declared gap names such places.
    pub fn place(&self, key: LineKey, offset: u64) {
        self.lock().places.insert(key, offset);
    }

    /// Takes out of a verdict's missing lines those that a gap declared lost, and returns how many that are.
    ///
    /// A line is in a gap when it began in a file of the gap's source at an offset that the gap covers.
    pub fn excuse(&self, verdict: &mut Verdict, gaps: &[wire::Gap]) -> usize {
        let inner = self.lock();
        let before = verdict.missing.len();
        verdict.missing.retain(|key| !gaps.iter().any(|gap| inner.is_in(key, gap)));
        before - verdict.missing.len()
    }

    /// The same where whole files came and went unseen: a gap without an end also has what its source wrote between the
    /// two times that it names.
    pub fn excuse_unseen(&self, verdict: &mut Verdict, gaps: &[wire::Gap]) -> usize {
        let inner = self.lock();
        let before = verdict.missing.len();
        verdict.missing.retain(|key| {
            let declares = |gap: &wire::Gap| {
                (!gap.file_id.is_empty() && inner.is_in(key, gap)) || inner.is_between(key, gap)
            };
            !gaps.iter().any(declares)
        });
        before - verdict.missing.len()
    }

    /// Counts bytes of log files, envelopes and newlines included.
    pub fn count_bytes(&self, bytes: usize) {
        self.lock().bytes += bytes as u64;
    }

    /// Lines so far.
    #[must_use]
    pub fn written(&self) -> usize {
        self.lock().lines.len()
    }

    /// Bytes of log files so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.lock().bytes
    }

    /// Compares what was written with everything that was indexed.
    #[must_use]
    pub fn judge(&self, indexed: impl IntoIterator<Item = Indexed>) -> Verdict {
        let inner = self.lock();
        let mut ids: HashMap<LineKey, Vec<String>> = HashMap::new();
        let mut verdict = Verdict { written: inner.lines.len(), ..Verdict::default() };
        for document in indexed {
            verdict.documents += 1;
            *verdict.indices.entry(document.index.clone()).or_default() += 1;
            let key = LineKey::find(&document.text);
            match key.and_then(|key| inner.lines.get(&key).map(|written| (key, written))) {
                None => verdict.unknown.push(format!("{}: {:?}", document.id, document.text)),
                Some((key, written)) => {
                    verdict.wrong.extend(inner.difference(key, written, &document));
                    ids.entry(key).or_default().push(document.id);
                }
            }
        }
        verdict.indexed = ids.len();
        verdict.twice.extend(
            ids.iter().filter(|(_, ids)| ids.len() > 1).map(|(key, ids)| (*key, ids.clone())),
        );
        verdict.missing.extend(inner.lines.keys().filter(|key| !ids.contains_key(key)).copied());
        verdict.twice.sort();
        verdict.missing.sort();
        verdict
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }
}

impl Inner {
    fn is_of(&self, key: &LineKey, gap: &wire::Gap) -> bool {
        let source = gap.source.clone().and_then(|source| frame::Source::try_from(source).ok());
        source.is_some_and(|source| source.writer == self.writers[key.container as usize])
    }

    fn is_between(&self, key: &LineKey, gap: &wire::Gap) -> bool {
        let time_ns = self.lines.get(key).and_then(|written| written.time_ns);
        let between =
            time_ns.is_some_and(|time| (gap.from_time_ns..=gap.until_time_ns).contains(&time));
        gap.end_exclusive.is_none() && between && self.is_of(key, gap)
    }

    fn is_in(&self, key: &LineKey, gap: &wire::Gap) -> bool {
        let at = self.places.get(key);
        self.is_of(key, gap)
            && at.is_some_and(|at| {
                *at >= gap.start
                    && gap.end_exclusive.is_none_or(|end_exclusive| *at < end_exclusive)
            })
    }

    /// What a document says otherwise than the line was written.
    fn difference(&self, key: LineKey, written: &Written, document: &Indexed) -> Option<String> {
        let writer = &self.writers[key.container as usize];
        let mut out = String::new();
        if document.text != written.text {
            let (found, expected) = first_difference(&document.text, &written.text);
            write!(out, " log {found:?}, written {expected:?};").unwrap();
        }
        if written.time_ns.is_some() && document.time_ns != written.time_ns {
            write!(out, " time {:?}, written {:?};", document.time_ns, written.time_ns).unwrap();
        }
        let iostream = iostream_name(key.iostream);
        if written.time_ns.is_some() && document.iostream.as_deref() != Some(iostream) {
            write!(out, " stream {:?}, written to {iostream};", document.iostream).unwrap();
        }
        let pod = match writer {
            frame::Writer::Container(container) => Some(container.pod.as_str()),
            frame::Writer::HostFile { .. } => None,
        };
        if document.pod.as_deref() != pod {
            write!(out, " pod {:?}, written by {pod:?};", document.pod).unwrap();
        }
        (!out.is_empty()).then(|| format!("{key} as {}:{out}", document.id))
    }
}

/// The two texts from just before the place where they part, shortened.
fn first_difference(found: &str, expected: &str) -> (String, String) {
    let same = found.chars().zip(expected.chars()).take_while(|(a, b)| a == b).count();
    let excerpt = |text: &str| {
        let start = same.saturating_sub(20);
        let length = text.chars().count();
        format!("{}… of {length}", text.chars().skip(start).take(60).collect::<String>())
    };
    (excerpt(found), excerpt(expected))
}

/// A ledger's judgement.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Lines written.
    pub written: usize,
    /// Lines that have a document.
    pub indexed: usize,
    /// Documents read back.
    pub documents: usize,
    /// Documents in each index.
    pub indices: BTreeMap<String, usize>,
    /// Lines without a document.
    pub missing: Vec<LineKey>,
    /// Lines with more than one document, and their ids.
    pub twice: Vec<(LineKey, Vec<String>)>,
    /// Documents of no line.
    pub unknown: Vec<String>,
    /// Documents that do not say what was written.
    pub wrong: Vec<String>,
}

/// What a story sent more than once, and what became of it.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Again {
    /// Bytes of records that were sent when they had been sent before.
    pub bytes: u64,
    /// Documents that were not indexed because they already were.
    pub duplicates: u64,
}

impl Verdict {
    /// Prints the ledger of a story.
    pub fn print(&self, story: &str, again: Option<Again>) {
        println!(
            "\n{:<28}{:>10}{:>10}{:>9}{:>7}{:>9}{:>7}{:>18}{:>20}",
            "ledger",
            "written",
            "indexed",
            "missing",
            "twice",
            "unknown",
            "wrong",
            "bytes sent again",
            "duplicates refused",
        );
        let (bytes, duplicates) = again
            .map_or_else(Default::default, |a| (a.bytes.to_string(), a.duplicates.to_string()));
        println!(
            "{story:<28}{:>10}{:>10}{:>9}{:>7}{:>9}{:>7}{bytes:>18}{duplicates:>20}",
            self.written,
            self.indexed,
            self.missing.len(),
            self.twice.len(),
            self.unknown.len(),
            self.wrong.len(),
        );
    }

    /// Panics unless every line is there once, as it was written, and nothing else.
    pub fn assert_closed(&self) {
        let offences = self.offences();
        assert!(offences.is_empty(), "the ledger does not close:\n{offences}");
    }

    /// Examples of whatever keeps the ledger from closing; empty when it does.
    #[must_use]
    pub fn offences(&self) -> String {
        let mut out = String::new();
        describe(&mut out, "missing", &self.missing, ToString::to_string);
        describe(&mut out, "twice", &self.twice, |(key, ids)| format!("{key}: {}", ids.join(" ")));
        describe(&mut out, "unknown", &self.unknown, |text| text.chars().take(300).collect());
        describe(&mut out, "wrong", &self.wrong, Clone::clone);
        out
    }
}

fn describe<T>(out: &mut String, what: &str, all: &[T], text: impl Fn(&T) -> String) {
    if all.is_empty() {
        return;
    }
    writeln!(out, "{} {what}:", all.len()).unwrap();
    all.iter().take(EXAMPLES).for_each(|one| writeln!(out, "  {}", text(one)).unwrap());
}

#[cfg(test)]
mod tests {
    use super::*;
    use naru_proto::frame::IoStream;

    const FIRST: LineKey = LineKey { container: 0, iostream: IoStream::Stdout, number: 0 };
    const SECOND: LineKey = LineKey { container: 0, iostream: IoStream::Stdout, number: 1 };

    fn ledger_of_two() -> Ledger {
        let ledger = Ledger::default();
        let container = ledger.register(Writer {
            namespace: "shop".into(),
            pod: "web-0".into(),
            uid: "u".into(),
            container: "web".into(),
            restart: 0,
        });
        assert_eq!(container, 0);
        for key in [FIRST, SECOND] {
            ledger.write(key, Written { text: format!("{key} hello"), time_ns: Some(5) });
        }
        ledger
    }

    fn document(id: &str, key: LineKey) -> Indexed {
        Indexed {
            id: id.into(),
            index: "logstash-2026.11.22".into(),
            text: format!("{key} hello"),
            time_ns: Some(5),
            iostream: Some("stdout".into()),
            pod: Some("web-0".into()),
        }
    }

    /// The lengths of missing, twice, unknown and wrong.
    fn check(documents: Vec<Indexed>, expected: (usize, usize, usize, usize)) {
        let verdict = ledger_of_two().judge(documents);
        let found = (
            verdict.missing.len(),
            verdict.twice.len(),
            verdict.unknown.len(),
            verdict.wrong.len(),
        );
        assert_eq!(found, expected, "{}", verdict.offences());
        assert_eq!(verdict.offences().is_empty(), expected == (0, 0, 0, 0));
    }

    #[test]
    fn a_ledger_closes_when_every_line_is_there_once() {
        check(vec![document("a", FIRST), document("b", SECOND)], (0, 0, 0, 0));
    }

    #[test]
    fn a_duplicate_does_not_hide_a_loss() {
        check(vec![document("a", FIRST), document("b", FIRST)], (1, 1, 0, 0));
        check(
            vec![document("a", FIRST), document("a", FIRST), document("b", SECOND)],
            (0, 1, 0, 0),
        );
    }

    #[test]
    fn what_was_never_written_is_unknown() {
        let third = LineKey { number: 2, ..FIRST };
        let mut nameless = document("d", FIRST);
        nameless.text = "hello".into();
        let all = vec![document("a", FIRST), document("b", SECOND), document("c", third), nameless];
        check(all, (0, 0, 2, 0));
    }

    #[test]
    fn what_is_told_otherwise_is_wrong() {
        let changes: [fn(&mut Indexed); 4] = [
            |d| d.text.push(' '),
            |d| d.time_ns = Some(6),
            |d| d.iostream = Some("stderr".into()),
            |d| d.pod = Some("web-1".into()),
        ];
        for change in changes {
            let mut changed = document("b", SECOND);
            change(&mut changed);
            check(vec![document("a", FIRST), changed], (0, 0, 0, 1));
        }
    }
}
