//! What is configured about Elasticsearch. Values are checked when they are made.

use std::path::PathBuf;
use std::time::Duration;

/// A host's base URL without a slash at its end, `http://` or `https://`, perhaps with a path prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host(String);

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
        Ok(Self(url.trim_end_matches('/').to_owned()))
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the connection is encrypted.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.0.starts_with("https:")
    }
}

/// How the aggregator says who it is. Secrets are files, read again when they change.
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
}

/// What is configured about Elasticsearch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// At least one; requests go to those in turn that answer.
    pub hosts: Vec<Host>,
    /// Who the aggregator is.
    pub credentials: Credentials,
    /// Certificates that are trusted instead of the system's, PEM.
    pub ca: Option<PathBuf>,
    /// What comes before `-2026.11.22` in the names of indices.
    pub index_prefix: String,
    /// A bulk is sent when it has so many bytes.
    pub bulk_bytes: usize,
    /// Bulks in flight at most.
    pub concurrency: usize,
    /// Whether bulks are compressed. It costs more CPU than all the rest.
    pub gzip: bool,
    /// How long one request may take.
    pub request_timeout: Duration,
    /// Whether the index template is put before the first bulk.
    pub template: bool,
}

impl Settings {
    /// The defaults for some hosts.
    #[must_use]
    pub fn new(hosts: Vec<Host>) -> Self {
        Self {
            hosts,
            credentials: Credentials::None,
            ca: None,
            index_prefix: "logstash".to_owned(),
            bulk_bytes: 8 << 20,
            concurrency: 4,
            gzip: false,
            request_timeout: Duration::from_secs(60),
            template: true,
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
}
