//! Receives what the forwarders send, queues it durably, turns records into documents and delivers them.
//!
//! A batch's way: [`ingest`] checks it, [`queue`] makes it durable (and only then is it acknowledged), [`decode`] and
//! [`enrich`] read its records, [`document`] writes them as JSON, [`deliver`] sees to it that each has an outcome,
//! [`elasticsearch`] takes them or [`store`] keeps them, and [`search`] finds them. [`web`] and [`admin`] answer questions, and
//! `replay` delivers again when it is asked to.
//! [`stages`] wires receiving, queue and delivery for [`app`], which delivers to Elasticsearch, and for [`standalone`], which
//! has a forwarder and a store of its own.

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

pub mod admin;
pub mod web;

mod replay;

pub mod app;
pub mod stages;
pub mod standalone;

mod clock;
mod cluster;
mod metrics;
mod readiness;
