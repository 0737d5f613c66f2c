//! What a person does with damaged segments: looks at them, and has them deleted. Nothing else deletes them.

use std::io;
use std::path::PathBuf;

use super::Queue;
use super::entry::Sequence;
use super::layout::State;
use super::segment::disk_bytes;

/// A segment in quarantine, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discarded {
    /// Where it lay.
    pub path: PathBuf,
    /// Its name: the first sequence that it should hold.
    pub first: Sequence,
    /// What it took of the disk.
    pub bytes: u64,
    /// It stays: entries of it wait for delivery.
    pub waits: bool,
}

impl Queue {
    /// Deletes a damaged segment, or all; one that still has entries to deliver stays. Blocking.
    ///
    /// # Errors
    /// The disk.
    pub fn discard(&self, only: Option<Sequence>) -> io::Result<Vec<Discarded>> {
        let chain = &self.shared.chain;
        let mut found = Vec::new();
        for first in chain.layout.list(State::Quarantine)? {
            if only.is_some_and(|only| only != first) {
                continue;
            }
            let path = chain.layout.segment(State::Quarantine, first);
            let summary = chain.summaries().into_iter().find(|summary| summary.first == first);
            let waits = summary.is_some_and(|summary| {
                let mut all = (summary.first.0..=summary.last.0).map(Sequence);
                all.any(|sequence| !self.shared.leases.is_delivered(sequence))
            });
            let bytes = disk_bytes(&path);
            if !waits {
                // One of which nothing is readable is not in the chain.
                if summary.is_some() {
                    chain.remove(first)?;
                } else {
                    chain.layout.delete(State::Quarantine, first)?;
                }
                chain.forget(first);
                tracing::warn!(path = %path.display(), %first, bytes, "a damaged segment was deleted, as it was asked");
            }
            found.push(Discarded { path, first, bytes, waits });
        }
        Ok(found)
    }
}
