//! Receives what the forwarders send, queues it durably, turns records into documents and delivers them.

pub mod document;
pub mod search;
pub mod store;
pub mod web;
