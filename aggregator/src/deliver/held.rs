//! Which indices take nothing, since when, and why. A holder.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::elasticsearch::Index;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Held {
    indices: Mutex<BTreeMap<Index, Why>>,
}

#[derive(Debug)]
struct Why {
    since: Instant,
    /// In a sentence.
    reason: String,
    /// Where its documents are.
    place: String,
}

impl Held {
    /// It takes nothing.
    pub(super) fn hold(&self, index: Index, reason: String) {
        let mut indices = self.lock();
        let held = indices.entry(index).or_insert_with(|| Why {
            since: Instant::now(),
            reason: String::new(),
            place: String::new(),
        });
        held.reason = reason;
    }

    /// Where its documents are, or why they are not parked.
    pub(super) fn place(&self, index: Index, place: &str) {
        if let Some(held) = self.lock().get_mut(&index) {
            place.clone_into(&mut held.place);
        }
    }

    /// It takes documents.
    pub(super) fn release(&self, index: Index) {
        self.lock().remove(&index);
    }

    /// For how long it has taken nothing.
    pub(super) fn since(&self, index: Index) -> Duration {
        self.lock().get(&index).map_or(Duration::ZERO, |held| held.since.elapsed())
    }

    /// All of that in one line.
    pub(super) fn sentence(&self) -> Option<String> {
        let indices = self.lock();
        let first = indices.values().next()?;
        let mut sentence = first.reason.clone();
        if !first.place.is_empty() {
            sentence.push_str("; ");
            sentence.push_str(&first.place);
        }
        let more = indices.len() - 1;
        Some(if more == 0 { sentence } else { format!("{sentence}; and {more} more indices") })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Index, Why>> {
        self.indices.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
