//! Elasticsearch and OpenSearch: everything that is said to them.
//!
//! [`client`] sends one request to one of the hosts, [`greeting`] says what answers there, [`template`] and [`own_template`]
//! how documents are mapped, [`index`] where each goes, [`bulk`] holds documents ready to be sent, [`answer`] reads what came
//! back, and [`decide`] says what becomes of each.
//! [`search`] finds them again.

pub mod answer;
pub mod bulk;
pub mod client;
mod connections;
mod credentials;
pub mod decide;
pub mod greeting;
mod hosts;
pub mod index;
pub mod namespaces;
pub mod network;
pub mod own_template;
pub mod search;
mod settings;
pub mod template;
mod trouble;

pub use index::{Index, IndexPattern, Indices};
pub use settings::{
    ClientCertificate, Credentials, Gzip, Host, MAX_NAMESPACES, Settings, Template,
};
