//! forwarder

pub mod checkpoint;
pub mod cut;
