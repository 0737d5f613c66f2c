//! What the forwarder trusts and what it proves itself with: certificates, a key and a token, from files.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use thiserror::Error;
use tonic::metadata::{Ascii, MetadataValue};

/// How HTTP/2 is called in a handshake.
const ALPN_HTTP2: &[u8] = b"h2";

/// Where the credentials are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CredentialFiles {
    /// None connects in plain text.
    pub tls: Option<TlsFiles>,
    /// The token that is sent with every stream.
    pub token: Option<PathBuf>,
}

/// What a TLS connection needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// PEM: who signs aggregators' certificates. Nobody else is trusted, the system's CAs neither.
    pub ca: PathBuf,
    /// What this node proves itself with.
    pub identity: Option<IdentityFiles>,
}

/// A client certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityFiles {
    /// PEM: the certificate that names this node, then those that lead to the aggregator's CA.
    pub certificate: PathBuf,
    /// PEM: its private key.
    pub key: PathBuf,
}

/// What the files held.
#[derive(Clone, Default)]
pub struct Credentials {
    pub(crate) tls: Option<Arc<ClientConfig>>,
    pub(crate) token: Option<MetadataValue<Ascii>>,
}

impl fmt::Debug for Credentials {
    /// Keys and tokens stay out of every log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tls: {}, token: {}", self.tls.is_some(), self.token.is_some())
    }
}

/// A file that is not what it should be.
#[derive(Debug, Error)]
#[error("{}: {reason}", .path.display())]
pub struct CredentialError {
    /// The key of the configuration that names the file.
    pub key: &'static str,
    /// The file.
    pub path: PathBuf,
    /// What is wrong.
    pub reason: CredentialReason,
}

/// What is wrong with a file.
#[derive(Debug, Error)]
pub enum CredentialReason {
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] std::io::Error),
    /// It holds nothing of what it should, or not whole.
    #[error("no readable {what} in PEM: {source}")]
    Pem {
        /// What was looked for.
        what: &'static str,
        /// Where the reading stopped.
        source: pem::Error,
    },
    /// It cannot be used, or certificate and key do not belong together.
    #[error(transparent)]
    Rejected(#[from] rustls::Error),
    /// No token.
    #[error("no token: one line of visible ASCII characters")]
    NoToken,
}

impl CredentialFiles {
    /// Reads them.
    ///
    /// # Errors
    /// The first file that is not what it should be.
    pub fn read(&self) -> Result<Credentials, CredentialError> {
        let tls = self.tls.as_ref().map(TlsFiles::read).transpose()?;
        let token = self.token.as_deref().map(token).transpose()?;
        Ok(Credentials { tls: tls.map(Arc::new), token })
    }
}

impl TlsFiles {
    fn read(&self) -> Result<ClientConfig, CredentialError> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates("ca", &self.ca)? {
            roots.add(certificate).map_err(|error| wrong("ca", &self.ca, error))?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        // Both ends are ours, and both know it.
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| wrong("ca", &self.ca, error))?
            .with_root_certificates(roots);
        let mut config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some(IdentityFiles { certificate, key }) => {
                let chain = certificates("certificate", certificate)?;
                let secret = read("key", key)?;
                let secret = PrivateKeyDer::from_pem_slice(&secret)
                    .map_err(|source| CredentialReason::Pem { what: "private key", source })
                    .map_err(|reason| wrong("key", key, reason))?;
                builder
                    .with_client_auth_cert(chain, secret)
                    .map_err(|error| wrong("certificate", certificate, error))?
            }
        };
        config.alpn_protocols = vec![ALPN_HTTP2.to_vec()];
        Ok(config)
    }
}

fn token(path: &Path) -> Result<MetadataValue<Ascii>, CredentialError> {
    let text = read("token", path)?;
    let text = text.trim_ascii();
    let value = Some(text)
        .filter(|text| !text.is_empty() && text.iter().all(u8::is_ascii_graphic))
        .and_then(|text| MetadataValue::try_from([b"Bearer ", text].concat()).ok());
    let mut value = value.ok_or_else(|| wrong("token", path, CredentialReason::NoToken))?;
    // HTTP/2 would keep it in a table of headers, and debug logs would show it.
    value.set_sensitive(true);
    Ok(value)
}

fn certificates(
    key: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, CredentialError> {
    let found = CertificateDer::pem_slice_iter(&read(key, path)?)
        .collect::<Result<Vec<_>, _>>()
        .and_then(|found| if found.is_empty() { Err(pem::Error::NoItemsFound) } else { Ok(found) });
    found
        .map_err(|source| CredentialReason::Pem { what: "certificate", source })
        .map_err(|reason| wrong(key, path, reason))
}

fn read(key: &'static str, path: &Path) -> Result<Vec<u8>, CredentialError> {
    fs::read(path).map_err(|error| wrong(key, path, error))
}

fn wrong(key: &'static str, path: &Path, reason: impl Into<CredentialReason>) -> CredentialError {
    CredentialError { key, path: path.to_owned(), reason: reason.into() }
}

#[cfg(test)]
mod tests;
