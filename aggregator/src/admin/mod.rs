//! Questions of the operator to a running aggregator, over a Unix socket in its data directory that only its owner can open.
//!
//! [`server`] answers in the running process. [`client`] asks, and where nothing runs reads the data itself, changing
//! nothing but what it is told to purge; what delivers needs a running aggregator.
//! [`command`] prints. Dead letters hold what pods wrote: nothing of it reaches a terminal unescaped, unless it is asked for.

mod chains;
mod client;
pub mod command;
mod filter;
mod report;
mod server;
#[cfg(test)]
mod tests;

pub(crate) use server::{Socket, State};

/// The socket's name in the data directory.
const SOCKET: &str = "admin.sock";
/// Letters in one answer: bounds its memory, at some hundred bytes each.
const LETTERS_MAX: usize = 10_000;
