//! Enriching: what is known of a source beyond its bytes. So far that is what its path says.

pub mod path;
