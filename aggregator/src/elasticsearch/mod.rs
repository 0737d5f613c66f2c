//! Elasticsearch and OpenSearch: everything that is said to them.
//!
//! [`client`] sends one request to one of the hosts. [`search`] asks for documents.

pub mod client;
mod credentials;
pub mod search;
mod settings;

pub use settings::{Credentials, Host, Settings};
