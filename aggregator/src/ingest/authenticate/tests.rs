//! The decision, as a table.
