//! What a side may understand beyond the base protocol, by name, as Hello and Welcome say it.

/// The client takes a Policy, and applies it without a restart.
pub const POLICY: &str = "policy";
