//! The words for reasons, in metrics and logs: both ends count the same refusal by the same word. Pure.

use crate::wire::{GapReason, RefuseReason};

/// Why a batch was refused.
#[must_use]
pub fn refuse(reason: RefuseReason) -> &'static str {
    match reason {
        RefuseReason::Unspecified => "unspecified",
        RefuseReason::Busy => "busy",
        RefuseReason::NoCredit => "no_credit",
        RefuseReason::Checksum => "checksum",
        RefuseReason::TooLarge => "too_large",
        RefuseReason::Invalid => "invalid",
        RefuseReason::WrongNode => "wrong_node",
        RefuseReason::UnknownFormat => "unknown_format",
        RefuseReason::Draining => "draining",
    }
}

/// Why a range is lost.
#[must_use]
pub fn gap(reason: GapReason) -> &'static str {
    match reason {
        GapReason::Unspecified => "unspecified",
        GapReason::Truncated => "truncated",
        GapReason::Deleted => "deleted",
        GapReason::Damaged => "damaged",
        GapReason::Budget => "budget",
    }
}
