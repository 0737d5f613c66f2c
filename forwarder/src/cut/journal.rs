//! The cuts that the bytes do not decide: made once, written down before they are sent, repeated on every re-read.

use naru_proto::frame::IoStream;
use naru_proto::ids::FileId;

use super::{Position, ResumeState};

/// A record that ended because it was not waited for any longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournaledCut {
    /// Of the record; None for plain and for malformed lines.
    pub iostream: Option<IoStream>,
    /// The record's first byte.
    pub first: Position,
    /// The byte after its last.
    pub end_exclusive: Position,
}

/// The journalled cuts of one source that a re-read may still meet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CutJournal {
    /// By end: file, then offset.
    cuts: Vec<JournaledCut>,
}

impl CutJournal {
    /// Adds a cut; the same one twice is one.
    pub fn insert(&mut self, cut: JournaledCut) {
        let at = self.cuts.partition_point(|known| known.end_exclusive < cut.end_exclusive);
        let same_end =
            self.cuts.iter().skip(at).take_while(|c| c.end_exclusive == cut.end_exclusive);
        if !same_end.clone().any(|known| *known == cut) {
            self.cuts.insert(at, cut);
        }
    }

    /// Forgets the cuts that no restart can meet again: those that end at or before the acknowledged offset of their
    /// file (`acknowledged`; None for a file that is gone) and do not end what `state`, the state there, still holds.
    pub fn prune(&mut self, acknowledged: impl Fn(FileId) -> Option<u64>, state: &ResumeState) {
        self.cuts.retain(|cut| {
            let (file, end) = cut.end_exclusive;
            acknowledged(file).is_some_and(|offset| offset < end)
                || state.held.iter().any(|held| held.first() == Some(cut.first))
        });
    }

    /// The cuts, in the order of their ends.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &JournaledCut> {
        self.cuts.iter()
    }

    /// Nothing was cut.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cuts.is_empty()
    }

    /// The first end in a file after an offset.
    pub(super) fn next_end(&self, file: FileId, after: u64) -> Option<u64> {
        self.ending_after(file, after).next().map(|cut| cut.end_exclusive.1)
    }

    /// The cuts that end in a file after an offset, in that order.
    pub(super) fn ending_after(
        &self,
        file: FileId,
        after: u64,
    ) -> impl Iterator<Item = &JournaledCut> {
        let from = self.cuts.partition_point(|cut| cut.end_exclusive <= (file, after));
        self.cuts.iter().skip(from).take_while(move |cut| cut.end_exclusive.0 == file)
    }

    /// What begins and ends as `pending` does was cut.
    pub(super) fn ends(&self, pending: &JournaledCut) -> bool {
        self.cuts
            .iter()
            .any(|cut| cut.first == pending.first && cut.end_exclusive == pending.end_exclusive)
    }
}

impl FromIterator<JournaledCut> for CutJournal {
    fn from_iter<I: IntoIterator<Item = JournaledCut>>(cuts: I) -> Self {
        let mut journal = Self::default();
        cuts.into_iter().for_each(|cut| journal.insert(cut));
        journal
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Cutter, Format, HeldState};
    use super::*;

    fn cut(first: (u8, u64), end: (u8, u64)) -> JournaledCut {
        JournaledCut {
            iostream: Some(IoStream::Stdout),
            first: (FileId([first.0; 12]), first.1),
            end_exclusive: (FileId([end.0; 12]), end.1),
        }
    }

    #[test]
    fn finds_by_end_and_by_first() {
        let cuts =
            [cut((2, 5), (2, 9)), cut((1, 0), (1, 7)), cut((1, 9), (2, 4)), cut((1, 0), (1, 7))];
        let journal: CutJournal = cuts.into_iter().collect();
        assert_eq!(journal.iter().len(), 3, "the same cut twice is one");
        let (one, two) = (FileId([1; 12]), FileId([2; 12]));
        assert_eq!(journal.next_end(one, 0), Some(7));
        assert_eq!(journal.next_end(one, 7), None);
        assert_eq!(journal.next_end(two, 0), Some(4));
        assert_eq!(journal.next_end(two, 4), Some(9));
        assert!(journal.ends(&cut((1, 9), (2, 4))));
        assert!(!journal.ends(&cut((1, 8), (2, 4))));
    }

    #[test]
    fn forgets_only_what_no_restart_meets() {
        let all: CutJournal = [cut((1, 0), (1, 7)), cut((1, 9), (2, 4))].into_iter().collect();
        let mut state = Cutter::new(Format::Cri).state();
        let left = |offset_one, offset_two, state: &ResumeState| {
            let mut journal = all.clone();
            journal.prune(|file| if file.0[0] == 1 { offset_one } else { offset_two }, state);
            journal.iter().len()
        };
        assert_eq!(left(Some(6), Some(0), &state), 2);
        assert_eq!(left(Some(7), Some(3), &state), 1);
        assert_eq!(left(Some(20), Some(4), &state), 0);
        assert_eq!(left(None, None, &state), 0);
        let file = FileId([1; 12]);
        state.held.push(HeldState {
            iostream: IoStream::Stdout,
            extents: vec![naru_proto::frame::Extent { file, start: 0, length: 7 }],
            lines: 1,
            id_time_ns: Some(0),
            line_start: None,
            continued: false,
            progress: None,
        });
        assert_eq!(left(Some(20), Some(4), &state), 1, "still held where it was acknowledged");
    }
}
