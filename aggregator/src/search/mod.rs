//! Search: one query language and one interface, whatever holds the documents.
//!
//! In the order of a search: [`request`] reads what was asked (the query by [`parse`], a tree of [`query`]; its times by
//! [`time`]), [`backend`] has it answered off the runtime, [`command`] asks over HTTP and prints. [`words`] and
//! [`number`] say what equality means. [`histogram`] counts over time. Nothing here but [`backend`] knows who answers.

pub mod backend;
mod chart;
pub mod command;
mod fields;
pub mod histogram;
pub mod number;
pub mod parse;
pub(crate) mod print;
pub mod query;
pub mod request;
pub mod time;
pub mod words;
