//! The whole, judged by a ledger.
//!
//! A story in `tests/` simulates a [`node`] whose containers write numbered lines into a [`ledger`], runs the real
//! [`programs`] as a [`process`], does them harm with a [`fault`], waits with [`eventually`], reads back what was indexed
//! with [`export`] and lets the ledger judge. [`quiet`] fails a story whose log has a WARN or ERROR that it did not
//! expect. [`hostile`] is a client that lies, and [`sink`] stands in for the aggregator where the forwarder alone is meant;
//! [`receiver`] is the aggregator's real ingest without the rest of it, [`pki`] signs certificates, [`guarded`] is a node that uses them. [`elasticsearch`] starts
//! the real servers, [`bulk_sink`] stands in for one where it has to be faster or to behave worse than a real one can, [`arrivals`] knows what it has, and
//! [`delivery`] is the aggregator's delivery alone. [`scale`] says how long a story is. [`corpus`] writes what the benchmarks read, [`cpu`] weighs them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

pub mod arrivals;
pub mod bulk_sink;
pub mod cluster;
pub mod corpus;
pub mod cpu;
pub mod delivery;
pub mod elasticsearch;
pub mod eventually;
pub mod export;
pub mod fault;
pub mod guarded;
pub mod hostile;
pub mod http;
pub mod ledger;
pub mod line;
pub mod metrics;
pub mod node;
pub mod pace;
pub mod pki;
pub mod ports;
pub mod process;
pub mod programs;
pub mod quiet;
pub mod receiver;
pub mod rig;
pub mod scale;
pub mod seed;
pub mod sink;
