//! Tails container logs and host files, and streams whole records to an aggregator.
//!
//! A line's way: [`discover`] finds its file, [`identity`] says which it is, [`tail`] reads it, [`cut`] says where records
//! end, [`batch`] gathers them, [`session`] sends them. Acknowledgements come back the same way and end in the
//! [`checkpoint`]. [`app`] wires the stages and knows them all; where another forwarder still runs, [`standby`] waits for it
//! to end.
//!
//! The forwarder does not parse lines beyond finding their ends, keeps no second copy of them on the node, and never asks
//! the Kubernetes API for anything.

pub mod discover;
pub mod identity;
pub mod tail;

pub mod cut;

pub mod batch;
pub mod channel;
pub mod session;

pub mod backoff;
pub mod connect;
pub mod credentials;

pub mod checkpoint;

pub mod standby;

pub mod app;
pub mod config;
pub mod files;
pub mod health;
pub mod metrics;

mod chance;
mod clock;
mod memory;
