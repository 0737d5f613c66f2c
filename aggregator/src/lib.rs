//! Receives what the forwarders send, queues it durably, turns records into documents and delivers them.

pub mod decode;
pub mod document;
pub mod enrich;
pub mod ingest;
