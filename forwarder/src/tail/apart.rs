//! What comes back from the session: what is acknowledged, and what never will be.
//!
//! A record that an aggregator will never take is kept by the session. Here it holds its source's position: everything
//! before it is acknowledged, and what came after it is sent again by a restart. Other sources go on.

use std::collections::{BTreeMap, BTreeSet};

use naru_proto::frame::Source;

use super::Tailer;
use super::source::Point;
use crate::channel::SetApart;
use crate::clock;
use crate::files::FileRow;

impl Tailer {
    /// Takes what the session has heard.
    pub(super) fn take_answers(&mut self) {
        let mut numbers = Vec::new();
        while let Ok(acked) = self.end.acked.try_recv() {
            numbers.extend(acked);
        }
        if !numbers.is_empty() {
            let reached = self.flight.land(&numbers, clock::now());
            self.commit(reached);
        }
        self.take_apart();
        self.take_told();
    }

    fn take_apart(&mut self) {
        // The session may have ended.
        if !self.end.apart.has_changed().unwrap_or(false) {
            return;
        }
        let (mut bytes, mut of) = (0, BTreeMap::<u64, BTreeSet<usize>>::new());
        for (number, apart) in self.end.apart.borrow_and_update().iter() {
            bytes += apart.bytes;
            let known = apart.refused.iter().filter_map(|at| self.sources.of(&at.writer));
            of.insert(*number, known.collect());
        }
        let reached = self.flight.set_apart(of, bytes);
        self.commit(reached);
    }

    fn commit(&mut self, reached: BTreeMap<usize, Point>) {
        for (index, point) in reached {
            if let Some(source) = self.sources.get_mut(index) {
                source.commit(point);
                self.attention.insert(index);
            }
        }
    }

    /// Says of a file's row what of it will never be taken.
    pub(super) fn note_refused(&self, source: &Source, mut row: FileRow) -> FileRow {
        let apart = self.end.apart.borrow();
        let of_file = |batch: &SetApart| {
            let here = batch.refused.iter().filter(|at| at.writer == source.writer);
            let mut here = here.filter(|at| at.file.to_string() == row.file);
            here.next().map(|at| (at.offset, batch.reason.clone()))
        };
        if let Some((offset, reason)) = apart.values().filter_map(of_file).min() {
            row.refused_at = Some(offset);
            row.error = Some(format!("the record at {offset} will never be taken: {reason}"));
        }
        row
    }
}
