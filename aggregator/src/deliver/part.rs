//! Parts of a bulk on their way to their outcomes, and what is next for each. A holder.

use std::time::Duration;

use super::entry::Token;
use super::parked::Label;
use crate::elasticsearch::bulk::Bulk;

/// A part of a bulk that was not settled, and what has happened to it.
pub(super) struct Part {
    pub(super) bulk: Bulk<Token>,
    pub(super) tries: u32,
    /// Bulks accepted when it was first refused as malformed.
    pub(super) accepted_before: Option<u64>,
    /// The side chain that it comes from.
    pub(super) chain: Option<Label>,
}

/// What is still to be done for a part.
pub(super) enum Next {
    Send(Part),
    /// To be sent again after a pause, in its place.
    Again(Part, Duration),
    /// To be sent again after a pause; others have its place meanwhile.
    Hold(Part, Duration),
    /// The same, and its index alone is to blame: it may be parked.
    Blocked(Part, Duration),
}

impl Part {
    /// Before it was sent.
    pub(super) fn new(bulk: Bulk<Token>, chain: Option<Label>) -> Self {
        Self { bulk, tries: 0, accepted_before: None, chain }
    }

    /// Splits off what follows the first `count` documents.
    pub(super) fn split_off(&mut self, count: usize) -> Self {
        let bulk = self.bulk.split_off(count);
        let Self { tries, accepted_before, .. } = *self;
        Self { bulk, tries, accepted_before, chain: self.chain.clone() }
    }

    /// In two, to be sent one after the other.
    pub(super) fn halves(mut self) -> Vec<Next> {
        let second = self.split_off(self.bulk.len() / 2);
        vec![Next::Send(second), Next::Send(self)]
    }
}

impl Next {
    pub(super) fn is_send(&self) -> bool {
        matches!(self, Self::Send(_))
    }
}
