//! forwarder

pub mod cut;
