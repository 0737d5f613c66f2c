//! The tailer against a kubelet, a daemon and an aggregator that the test plays. No thread, no sleep: the test calls the
//! rounds and moves the clock. The judge is a ledger: every line that was written is in exactly one document.

mod apart;
mod asleep;
mod beginning;
mod budget;
mod clock_steps;
mod containers;
mod copies;
mod discovery;
mod docker;
mod excluded;
mod fairness;
mod handover;
mod hosts;
mod identities;
mod node;
mod policy;
mod random;
mod records;
mod rotation;
mod told;
mod unsaved;
mod unseen;
