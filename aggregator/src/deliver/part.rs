//! Parts of a bulk on their way to their outcomes, and what is next for each. A holder.

use std::time::Duration;

use super::entry::Token;
use crate::elasticsearch::bulk::Bulk;

/// A part of a bulk that was not settled, and what has happened to it.
pub(super) struct Part {
    pub(super) bulk: Bulk<Token>,
    pub(super) tries: u32,
    /// Bulks accepted when it was first refused as malformed.
    pub(super) accepted_before: Option<u64>,
}

/// What is still to be done for a part.
pub(super) enum Next {
    Send(Part),
    /// To be sent again after a pause, in its place.
    Again(Part, Duration),
    /// To be sent again after a pause; others have its place meanwhile.
    Hold(Part, Duration),
}

impl Next {
    pub(super) fn is_send(&self) -> bool {
        matches!(self, Self::Send(_))
    }
}

/// Cut in two, to be sent one after the other.
pub(super) fn halves(part: Part) -> Vec<Next> {
    let Part { mut bulk, tries, accepted_before } = part;
    let second = bulk.split_off(bulk.len() / 2);
    let part = |bulk| Part { bulk, tries, accepted_before };
    vec![Next::Send(part(second)), Next::Send(part(bulk))]
}
