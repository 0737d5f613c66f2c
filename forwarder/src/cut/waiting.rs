//! What waits of one iostream: the record that a multi-line rule has not ended, and behind it the line of which it is not
//! known yet whether it continues that record. Without a rule there is only the line, while its pieces come.

use std::borrow::Cow;

use super::fragment::{Fragment, first_line};
use super::rule::{MATCHED_MAX_BYTES, Rule};
use super::{Caps, CutJournal, Format, Inside, JournaledCut, Position, Progress, Sink};
use naru_proto::frame::IoStream;

/// A line continues the record of one that is at most so much older.
const CONTINUES_WITHIN_NS: i64 = 2_000_000_000;

/// How records end in a source.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules<'a> {
    pub(super) format: Format,
    pub(super) caps: Caps,
    pub(super) rule: Option<&'a Rule>,
}

/// A line, or a piece of one, and what is known of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece<'a> {
    pub(super) at: Position,
    pub(super) bytes: &'a [u8],
    pub(super) end: End,
    pub(super) line: Inside,
    /// It is the first of its line.
    pub(super) begins: bool,
    pub(super) id_time_ns: Option<i64>,
}

/// Why a piece ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Newline,
    Cap,
    /// Not waited for any longer.
    Cut,
}

/// See the module. Nearly always empty: ten thousand idle files must not take the room of what may wait.
#[derive(Debug, Clone, Default)]
pub(super) struct Waiting {
    pub(super) record: Option<Box<Fragment>>,
    pub(super) line: Option<Box<Fragment>>,
}

impl Waiting {
    pub(super) fn is_empty(&self) -> bool {
        self.record.is_none() && self.line.is_none()
    }

    /// Both, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Fragment> {
        self.record.iter().chain(&self.line).map(|fragment| &**fragment)
    }

    /// Takes a piece in; gives what ends by it to `sink`. Returns the rule's state where the line goes on in another
    /// record.
    pub(super) fn push(
        &mut self,
        rules: Rules<'_>,
        piece: Piece<'_>,
        sink: &mut impl Sink,
    ) -> Option<u8> {
        let Some(rule) = rules.rule else {
            // Held by a rule that is not there any more.
            if let Some(record) = self.record.take() {
                record.emit(false, sink);
            }
            self.push_line(rules, piece, sink);
            return None;
        };
        if !piece.begins {
            self.go_on(rules, rule, piece);
        } else if self.record.as_ref().is_some_and(|record| record.is_inside_line()) {
            self.extend(rules, piece, sink);
        } else {
            let full = |line: &mut Box<Fragment>| !line.has_room(piece.bytes.len(), rules.caps);
            if self.line.as_mut().is_some_and(full) {
                self.settle(rules, rule, sink);
                self.extend(rules, piece, sink);
            } else {
                self.line_mut(piece).push(piece.at, piece.bytes);
                let known = self
                    .line
                    .as_ref()
                    .is_some_and(|line| line.bytes.len() >= 2 * MATCHED_MAX_BYTES);
                if piece.end != End::Newline || !piece.line.partial || known {
                    self.settle(rules, rule, sink);
                    self.set_inside_line(piece.line.partial);
                }
            }
        }
        if piece.end == End::Newline {
            return None;
        }
        let record = self.record.take()?;
        record.emit(piece.end == End::Cut, sink);
        record.state.progress.map(|progress| progress.state)
    }

    /// Without a rule: fragments of a line are joined, and it is a record when it is whole.
    fn push_line(&mut self, rules: Rules<'_>, piece: Piece<'_>, sink: &mut impl Sink) {
        // A line longer than the cap takes any record over it.
        let full = |held: &mut Box<Fragment>| {
            piece.end == End::Cap || !held.has_room(piece.bytes.len(), rules.caps)
        };
        let continued = match self.line.take_if(full) {
            Some(held) => {
                held.emit(false, sink);
                true
            }
            None => !piece.begins,
        };
        let line = self.line_mut(piece);
        if line.bytes.is_empty() {
            line.state.continued = continued;
        }
        line.push(piece.at, piece.bytes);
        if (piece.end != End::Newline || !piece.line.partial)
            && let Some(line) = self.line.take()
        {
            line.emit(piece.end == End::Cut, sink);
        }
    }

    /// The rest of a line whose beginning is in a record already.
    fn go_on(&mut self, rules: Rules<'_>, rule: &Rule, piece: Piece<'_>) {
        let mut rest = fragment(piece);
        rest.push(piece.at, piece.bytes);
        let state = piece.line.rule_state.unwrap_or_else(|| rule.first(&rules.text(piece.bytes)));
        let last_time_ns = piece.id_time_ns;
        rest.state.progress =
            Some(Progress { state, last_time_ns, inside_line: piece.line.partial });
        // Nothing comes between the pieces of a line: no record waits.
        self.record = Some(Box::new(rest));
    }

    /// One more piece of the line that the record ends with.
    fn extend(&mut self, rules: Rules<'_>, piece: Piece<'_>, sink: &mut impl Sink) {
        let full = |record: &mut Box<Fragment>| {
            piece.end == End::Cap || !record.has_room(piece.bytes.len(), rules.caps)
        };
        if let Some(record) = self.record.take_if(full) {
            record.emit(false, sink);
            let mut rest = fragment(piece);
            rest.state.continued = true;
            rest.state.progress = record.state.progress;
            self.record = Some(Box::new(rest));
        }
        if let Some(record) = &mut self.record {
            record.push(piece.at, piece.bytes);
        }
        self.set_inside_line(piece.line.partial);
    }

    /// Decides about the line: it is added to the record, or the record ends and it is the next.
    fn settle(&mut self, rules: Rules<'_>, rule: &Rule, sink: &mut impl Sink) {
        let next = self.continues(rules, rule);
        let Some(mut line) = self.line.take() else { return };
        let last_time_ns = line.state.id_time_ns;
        let state = next.unwrap_or_else(|| rule.first(&rules.text(&line.bytes)));
        line.state.progress = Some(Progress { state, last_time_ns, inside_line: true });
        let Some(mut record) = self.record.take() else {
            self.record = Some(line);
            return;
        };
        if next.is_some() && record.has_room_for(&line, rules.caps) {
            record.append(*line);
            self.record = Some(record);
        } else {
            record.emit(false, sink);
            line.state.continued = next.is_some();
            self.record = Some(line);
        }
    }

    /// The state of the record if the line continues it.
    fn continues(&self, rules: Rules<'_>, rule: &Rule) -> Option<u8> {
        let (record, line) = (self.record.as_ref()?, self.line.as_ref()?);
        let progress = record.state.progress?;
        if let (Some(time_ns), Some(last_ns)) = (line.state.id_time_ns, progress.last_time_ns)
            && rules.format != Format::Plain
            && !(0..=CONTINUES_WITHIN_NS).contains(&time_ns.saturating_sub(last_ns))
        {
            return None;
        }
        rule.next(progress.state, &rules.text(&line.bytes))
    }

    /// What is cut when nothing is waited for any longer; asked again for what waits behind it.
    pub(super) fn pending_cut(&self, rules: Rules<'_>) -> Option<JournaledCut> {
        let (first, last) = match (&self.record, &self.line) {
            (Some(record), Some(line)) => {
                let joins = rules.rule.is_some_and(|rule| self.continues(rules, rule).is_some());
                let joins = joins && record.has_room_for(line, rules.caps);
                (record, if joins { line } else { record })
            }
            (Some(one), None) | (None, Some(one)) => (one, one),
            (None, None) => return None,
        };
        Some(JournaledCut { end_exclusive: last.end_exclusive()?, ..journalled(first)? })
    }

    /// The journalled cut that is to be repeated now: of the record alone, whatever is known of the line behind it by
    /// now, or of all that waits.
    pub(super) fn due(&self, rules: Rules<'_>, cuts: &CutJournal) -> Option<JournaledCut> {
        let alone = self.record.as_deref().and_then(journalled);
        alone.into_iter().chain(self.pending_cut(rules)).find(|cut| cuts.ends(cut))
    }

    /// Makes the cut that [`Self::pending_cut`] or [`Self::due`] says.
    pub(super) fn cut(&mut self, rules: Rules<'_>, cut: &JournaledCut, sink: &mut impl Sink) {
        let joins = self.record.is_some()
            && self
                .line
                .as_ref()
                .is_some_and(|line| line.end_exclusive() == Some(cut.end_exclusive));
        if joins && let Some(rule) = rules.rule {
            self.settle(rules, rule, sink);
        }
        if let Some(record) = self.record.take() {
            record.emit(record.is_inside_line(), sink);
        } else if let Some(line) = self.line.take() {
            line.emit(true, sink);
        }
    }

    fn line_mut(&mut self, piece: Piece<'_>) -> &mut Fragment {
        self.line.get_or_insert_with(|| Box::new(fragment(piece)))
    }

    fn set_inside_line(&mut self, inside_line: bool) {
        let progress = self.record.as_mut().and_then(|record| record.state.progress.as_mut());
        if let Some(progress) = progress {
            progress.inside_line = inside_line;
        }
    }
}

/// The cut behind a fragment.
fn journalled(fragment: &Fragment) -> Option<JournaledCut> {
    Some(JournaledCut {
        iostream: Some(fragment.state.iostream).filter(|io| *io != IoStream::Unspecified),
        first: fragment.first()?,
        end_exclusive: fragment.end_exclusive()?,
    })
}

/// An empty one that begins with this piece.
fn fragment(piece: Piece<'_>) -> Fragment {
    let line_start = (!piece.begins).then_some(piece.line.line_start);
    let iostream = piece.line.iostream.unwrap_or(IoStream::Unspecified);
    Fragment::new(iostream, piece.id_time_ns, line_start, !piece.begins)
}

impl Rules<'_> {
    /// What the program wrote in a line, or in pieces of one: as much of it as rules look at.
    fn text<'b>(&self, bytes: &'b [u8]) -> Cow<'b, [u8]> {
        let line = first_line(bytes);
        if line.len() + 1 >= bytes.len() && self.format != Format::JsonFile {
            return Cow::Borrowed(trimmed(self.format.content(line)));
        }
        let mut text = Vec::new();
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            if text.len() >= MATCHED_MAX_BYTES {
                break;
            }
            self.format.add_text(line.strip_suffix(b"\n").unwrap_or(line), &mut text);
        }
        text.truncate(trimmed(&text).len());
        Cow::Owned(text)
    }
}

/// Without the end of a line as Windows writes it, and docker's newline.
fn trimmed(text: &[u8]) -> &[u8] {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    text.strip_suffix(b"\r").unwrap_or(text)
}
