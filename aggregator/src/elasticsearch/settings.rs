//! What is configured about Elasticsearch. Values are checked when they are made.

use std::path::PathBuf;
use std::time::Duration;

use super::index::IndexPattern;

/// A host's base URL without a slash at its end, `http://` or `https://`, perhaps with a path prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    url: String,
    name: String,
    port: u16,
}

impl Host {
    /// Checks a URL; the error says what is wrong with it.
    ///
    /// # Errors
    /// It is not a URL of http or https, or holds credentials, a query or a fragment.
    pub fn parse(url: &str) -> Result<Self, &'static str> {
        let parsed = reqwest::Url::parse(url).map_err(|_| "is not a URL")?;
        if !["http", "https"].contains(&parsed.scheme()) || !parsed.has_host() {
            return Err("is not an http:// or https:// URL");
        }
        if !parsed.username().is_empty() || parsed.password().is_some() {
            return Err("holds credentials; use user and password_file");
        }
        if parsed.query().is_some() || parsed.fragment().is_some() {
            return Err("holds a query or a fragment");
        }
        Ok(Self {
            url: url.trim_end_matches('/').to_owned(),
            name: parsed.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned(),
            port: parsed.port_or_known_default().unwrap_or_default(),
        })
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.url
    }

    /// Its name or address, and its port.
    #[must_use]
    pub fn name_and_port(&self) -> (&str, u16) {
        (&self.name, self.port)
    }

    /// Whether the connection is encrypted.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.url.starts_with("https:")
    }
}

/// How the aggregator says who it is, in each request. Secrets are files, read again when they change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credentials {
    /// It does not.
    None,
    /// By name and password.
    Basic {
        /// The name.
        user: String,
        /// Holds the password; a newline at its end is not part of it.
        password_file: PathBuf,
    },
    /// By an API key as Elasticsearch encodes it: base64 of `id:key`.
    ApiKey {
        /// Holds it.
        file: PathBuf,
    },
    /// By a bearer token: of a service account, or of what stands before Elasticsearch.
    Bearer {
        /// Holds it.
        file: PathBuf,
    },
}

/// How the aggregator says who it is when a TLS connection is made; beside [`Credentials`]. Read again when they change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The certificate and its chain, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
}

/// Whether bulks are compressed. It costs more CPU than all the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gzip {
    /// Unless the addresses of all hosts are near; see [`super::network::is_near`].
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

/// Which index template is put before the first bulk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Template {
    /// Naru's.
    On,
    /// The one in this file, JSON.
    File(PathBuf),
    /// None.
    Off,
}

/// What is configured about Elasticsearch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// At least one; requests go to those in turn that answer.
    pub hosts: Vec<Host>,
    /// Who the aggregator is.
    pub credentials: Credentials,
    /// Who it is by TLS.
    pub certificate: Option<ClientCertificate>,
    /// Certificates that are trusted instead of the system's, PEM.
    pub ca: Option<PathBuf>,
    /// How indices are named.
    pub index: IndexPattern,
    /// Namespaces that have indices of their own at most.
    pub max_namespaces: usize,
    /// A bulk is sent when it has so many bytes.
    pub bulk_bytes: usize,
    /// Bulks in flight at most.
    pub concurrency: usize,
    /// Whether bulks are compressed.
    pub gzip: Gzip,
    /// Whether a document replaces the one of its id that is there: only a replay that was asked to does.
    pub overwrite: bool,
    /// How long one request may take.
    pub request_timeout: Duration,
    /// Which template is put.
    pub template: Template,
}

/// An index takes one shard or more each day, and a node 1,000 by Elasticsearch's default: this is a week of them.
pub const MAX_NAMESPACES: usize = 100;

impl Settings {
    /// The defaults for some hosts.
    #[must_use]
    pub fn new(hosts: Vec<Host>) -> Self {
        Self {
            hosts,
            credentials: Credentials::None,
            certificate: None,
            ca: None,
            index: IndexPattern::default(),
            max_namespaces: MAX_NAMESPACES,
            bulk_bytes: 8 << 20,
            concurrency: 4,
            gzip: Gzip::Auto,
            overwrite: false,
            request_timeout: Duration::from_secs(60),
            template: Template::On,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_urls_without_secrets() {
        let check = |url: &str, expected: Result<&str, &str>| {
            let found = Host::parse(url);
            assert_eq!(found.as_ref().map(Host::as_str).map_err(|e| *e), expected, "{url}");
        };
        check("http://es:9200/", Ok("http://es:9200"));
        check("https://es.example/prefix/", Ok("https://es.example/prefix"));
        check("es:9200", Err("is not an http:// or https:// URL"));
        check("ftp://es", Err("is not an http:// or https:// URL"));
        check("http://", Err("is not a URL"));
        check("http://a:b@es", Err("holds credentials; use user and password_file"));
        check("http://es/?q=1", Err("holds a query or a fragment"));
    }

    #[test]
    fn what_is_looked_up() {
        let check = |url: &str, expected: (&str, u16)| {
            assert_eq!(Host::parse(url).unwrap().name_and_port(), expected, "{url}");
        };
        check("http://es:9200/a", ("es", 9200));
        check("https://es.example", ("es.example", 443));
        check("http://[::1]:9200", ("::1", 9200));
    }
}
