//! The answers to a bulk turned into outcomes: what is settled, what is dead, what goes again.

use super::bury::Refused;
use super::entry::Token;
use crate::elasticsearch::answer::ItemAnswer;
use crate::elasticsearch::bulk::{Bulk, Sifted};
use crate::elasticsearch::decide::{self, Verdict};

/// A bulk after its answer. Tokens of what is indexed are settled.
pub(super) struct Sorted {
    pub(super) indexed: u64,
    pub(super) duplicates: u64,
    pub(super) dead: Vec<Refused>,
    /// What has no outcome yet, repaired where that is the way.
    pub(super) again: Bulk<Token>,
    pub(super) overloaded: bool,
    pub(super) failed: bool,
    /// What has to wait for something to change, and for what.
    pub(super) waiting: Bulk<Token>,
    pub(super) why_waiting: Option<Waiting>,
}

/// What documents wait for, with the server's reason.
pub(super) enum Waiting {
    /// Their index takes nothing.
    Blocked(String),
    /// The credentials do not suffice.
    Denied(String),
    /// There is no such index.
    Missing(String),
}

/// `items` has one answer for each document.
pub(super) fn sort_out(bulk: Bulk<Token>, items: &[ItemAnswer], index: &str) -> Sorted {
    // A missing one would complete an entry whose document is nowhere.
    assert_eq!(bulk.len(), items.len(), "the answers are not one a document");
    let verdicts: Vec<Verdict> = items
        .iter()
        .enumerate()
        .map(|(place, item)| match decide::item(item.status, item.error.as_ref()) {
            Verdict::Unmappable if !bulk.is_repairable(place) => Verdict::Dead,
            verdict => verdict,
        })
        .collect();
    let mut sorted = Sorted {
        indexed: 0,
        duplicates: 0,
        dead: Vec::new(),
        again: bulk.emptied(),
        overloaded: false,
        failed: false,
        waiting: bulk.emptied(),
        why_waiting: None,
    };
    let (again, waiting) = bulk.sift(|place, mut item| {
        // There is one for each: it was asserted.
        let (Some(answer), Some(verdict)) = (items.get(place), verdicts.get(place)) else {
            return Sifted::First(item);
        };
        let why = || answer.error.as_ref().map_or_else(String::new, ToString::to_string);
        match verdict {
            Verdict::Indexed => {
                sorted.indexed += 1;
                item.token.settle();
                return Sifted::Gone;
            }
            Verdict::Duplicate => {
                sorted.duplicates += 1;
                item.token.settle();
                return Sifted::Gone;
            }
            Verdict::Dead => {
                sorted.dead.push(Refused::new(item, index, format!("{} {}", answer.status, why())));
                return Sifted::Gone;
            }
            Verdict::Unmappable => item.refusals += 1,
            Verdict::Overloaded => sorted.overloaded = true,
            Verdict::Failed => sorted.failed = true,
            Verdict::Blocked => sorted.why_waiting = Some(Waiting::Blocked(why())),
            Verdict::Denied => sorted.why_waiting = Some(Waiting::Denied(why())),
            Verdict::Missing => sorted.why_waiting = Some(Waiting::Missing(why())),
        }
        match verdict {
            Verdict::Blocked | Verdict::Denied | Verdict::Missing => {
                // It may wait for long, and a part of a batch keeps all of it.
                item.record = bytes::Bytes::copy_from_slice(&item.record);
                Sifted::Second(item)
            }
            _ => Sifted::First(item),
        }
    });
    sorted.waiting = waiting;
    // Only those that were refused now and have not been repaired yet.
    sorted.again = again.repaired(|item| item.refusals > 0 && !item.repaired);
    sorted
}
