//! The contract between a forwarder and an aggregator.
//!
//! Everything that both ends must agree on, and nothing else: the messages ([`wire`]), what they may hold ([`limits`]),
//! the identity of files and documents ([`ids`]), the container runtimes' line formats ([`cri`], [`json_file`]), a frame and its records
//! ([`frame`]), and a batch's body ([`body`]) with the checks that precede its acknowledgement ([`batch`]),
//! the words for refusals and losses ([`reasons`]), and the names of [`capabilities`].
//!
//! It is not a shared crate for convenience: no I/O, no clock, no tokio, no tracing.

pub mod batch;
pub mod body;
pub mod capabilities;
pub mod cri;
pub mod frame;
pub mod ids;
pub mod json_file;
pub mod limits;
pub mod reasons;
pub mod time;

/// The generated messages and the service; they stop at [`frame`] and [`batch`].
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::allow_attributes_without_reason,
    reason = "generated code"
)]
pub mod wire {
    include!("gen/naru.v1.rs");
}
