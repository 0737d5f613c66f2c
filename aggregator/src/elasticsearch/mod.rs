//! Elasticsearch and OpenSearch: everything that is said to them.
//!
//! [`client`] sends one request to one of the hosts.

pub mod client;
mod credentials;
mod settings;

pub use settings::{Credentials, Host, Settings};
