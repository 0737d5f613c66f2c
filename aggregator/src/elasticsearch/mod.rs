//! Elasticsearch and OpenSearch: everything that is said to them.
//!
//! [`client`] sends one request to one of the hosts, [`template`] says how documents are mapped, [`bulk`] holds documents
//! ready to be sent, [`answer`] reads what came back, and [`decide`] says what becomes of each.
//! [`search`] finds them again.

pub mod answer;
pub mod bulk;
pub mod client;
mod credentials;
pub mod decide;
pub mod search;
mod settings;
pub mod template;

pub use settings::{Credentials, Host, Settings};

use naru_proto::ids::IndexName;

/// An index's name with the configured prefix.
#[must_use]
pub fn index_name(prefix: &str, index: IndexName) -> String {
    let name = index.to_string();
    let suffix = name.strip_prefix("logstash").unwrap_or(&name);
    format!("{prefix}{suffix}")
}
