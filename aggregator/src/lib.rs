//! Receives what the forwarders send, queues it durably, turns records into documents and delivers them.
//!
//! A batch's way: [`ingest`] checks it, [`queue`] makes it durable (and only then is it acknowledged), [`decode`] and
//! [`enrich`] read its records, [`document`] writes them as JSON, [`deliver`] sees to it that each has an outcome,
//! [`store`] keeps and [`search`] finds them. [`web`] serves, [`standalone`] wires it all in one process.

pub mod config;

pub mod ingest;

pub mod queue;

pub mod decode;
pub mod enrich;

pub mod document;

pub mod deliver;

pub mod elasticsearch;

pub mod store;

pub mod search;

pub mod standalone;
pub mod web;

mod clock;
