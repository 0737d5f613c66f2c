//! What a listener demands of its clients, and the files in which that is written.
//!
//! The files are read here and nowhere else: at the start by [`Security::check`], later by the keeper. What comes of
//! them is a [`Demands`], which is replaced as a whole or not at all.

use std::fmt;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use thiserror::Error;

use super::authenticate::{Rule, Secrets};

/// How HTTP/2 is called in a handshake.
const ALPN_HTTP2: &[u8] = b"h2";

/// What a listener demands of its clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Security {
    /// The server's own certificate; None listens in plain text.
    pub tls: Option<TlsFiles>,
    /// How a client proves that it may send.
    pub authentication: Authentication,
    /// Allows plain text, and clients that prove nothing, on addresses that are not loopback.
    pub plaintext: bool,
}

/// The server's own certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// PEM: the certificate, then those that lead to the clients' CA.
    pub certificate: PathBuf,
    /// PEM: its private key.
    pub key: PathBuf,
}

/// How a client proves that it may send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authentication {
    /// It does not, and is the node that it says it is.
    None,
    /// By a secret that all nodes share: `authorization: Bearer …`.
    Token {
        /// The secrets, one a line; each of them is taken, so that one can be replaced by another.
        file: PathBuf,
    },
    /// By a certificate that names its node: as the subject's common name or as a DNS name.
    Certificate {
        /// PEM: who signs them.
        ca: PathBuf,
    },
}

impl Security {
    /// For a listener that only this machine reaches: no TLS, no proof.
    #[must_use]
    pub fn loopback() -> Self {
        Self { tls: None, authentication: Authentication::None, plaintext: false }
    }

    /// Reads the files as a start does.
    ///
    /// # Errors
    /// The first file that is missing or is not what it should be, by name.
    pub fn check(&self) -> Result<(), SecurityError> {
        self.demands(&Contents::read(self)?).map(drop)
    }

    /// Whether an address may be listened on.
    ///
    /// # Errors
    /// It is not loopback, and log lines or the right to send them would be open to the network.
    pub fn allows(&self, address: SocketAddr) -> Result<(), SecurityError> {
        if self.plaintext || address.ip().to_canonical().is_loopback() {
            return Ok(());
        }
        if self.tls.is_none() {
            return Err(SecurityError::PlaintextOn(address));
        }
        match self.authentication {
            Authentication::None => Err(SecurityError::OpenOn(address)),
            Authentication::Token { .. } | Authentication::Certificate { .. } => Ok(()),
        }
    }

    /// Makes sense of what the files hold.
    pub(super) fn demands(&self, contents: &Contents) -> Result<Demands, SecurityError> {
        let rule = match &self.authentication {
            Authentication::None => Rule::Nothing,
            Authentication::Token { file } => {
                let secrets = Secrets::parse(contents.of(file))
                    .ok_or_else(|| SecurityError::NoToken(file.clone()))?;
                Rule::Token(secrets)
            }
            Authentication::Certificate { .. } if self.tls.is_none() => {
                return Err(SecurityError::CertificateWithoutTls);
            }
            Authentication::Certificate { .. } => Rule::Certificate,
        };
        let tls = self.tls.as_ref().map(|files| self.server_config(files, contents)).transpose()?;
        Ok(Demands { tls: tls.map(Arc::new), rule })
    }

    fn server_config(
        &self,
        files: &TlsFiles,
        contents: &Contents,
    ) -> Result<ServerConfig, SecurityError> {
        let chain = certificates(&files.certificate, contents.of(&files.certificate))?;
        let key = PrivateKeyDer::from_pem_slice(contents.of(&files.key))
            .map_err(|error| SecurityError::of_pem(&files.key, "private key", error))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let rejected = |path: &Path| {
            let path = path.to_owned();
            move |source| SecurityError::Rejected { path, source }
        };
        // Both ends are ours, and both know it.
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(rejected(&files.certificate))?;
        let builder = match &self.authentication {
            Authentication::None | Authentication::Token { .. } => builder.with_no_client_auth(),
            Authentication::Certificate { ca } => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates(ca, contents.of(ca))? {
                    roots.add(certificate).map_err(rejected(ca))?;
                }
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                        .build()
                        .map_err(|source| SecurityError::Ca { path: ca.clone(), source })?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config =
            builder.with_single_cert(chain, key).map_err(rejected(&files.certificate))?;
        config.alpn_protocols = vec![ALPN_HTTP2.to_vec()];
        Ok(config)
    }
}

/// What the files came to.
#[derive(Debug, Clone)]
pub(super) struct Demands {
    pub(super) tls: Option<Arc<ServerConfig>>,
    pub(super) rule: Rule,
}

/// The files as they were at one moment.
#[derive(PartialEq, Eq)]
pub(super) struct Contents(Vec<(PathBuf, Vec<u8>)>);

impl Contents {
    pub(super) fn read(security: &Security) -> Result<Self, SecurityError> {
        let mut paths = Vec::new();
        if let Some(TlsFiles { certificate, key }) = &security.tls {
            paths.extend([certificate, key]);
        }
        match &security.authentication {
            Authentication::None => {}
            Authentication::Token { file } => paths.push(file),
            Authentication::Certificate { ca } => paths.push(ca),
        }
        let read = |path: &PathBuf| match fs::read(path) {
            Ok(bytes) => Ok((path.clone(), bytes)),
            Err(source) => Err(SecurityError::Read { path: path.clone(), source }),
        };
        paths.into_iter().map(read).collect::<Result<_, _>>().map(Self)
    }

    fn of(&self, path: &Path) -> &[u8] {
        let found = self.0.iter().find(|(known, _)| known == path);
        found.map_or(&[], |(_, bytes)| bytes)
    }
}

impl fmt::Debug for Contents {
    /// Keys and secrets stay out of every log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(path, _)| path)).finish()
    }
}

/// Why a listener cannot demand what it should: a sentence that names the file.
#[derive(Debug, Error)]
pub enum SecurityError {
    /// A file that cannot be read.
    #[error("{}: {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A file that is not PEM, or that holds none of what it should.
    #[error("{} holds no readable {what} in PEM: {source}", .path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
        /// Where the reading stopped.
        source: pem::Error,
    },
    /// A certificate or key that cannot be used, or the two do not belong together.
    #[error("{}: {source}", .path.display())]
    Rejected {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: rustls::Error,
    },
    /// A CA that cannot be one.
    #[error("{}: {source}", .path.display())]
    Ca {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: VerifierBuilderError,
    },
    /// A token file without a token.
    #[error("{} holds no token: one a line, of visible ASCII characters", .0.display())]
    NoToken(PathBuf),
    /// Certificates travel in a TLS handshake.
    #[error("authentication by certificate needs TLS: a certificate and a key")]
    CertificateWithoutTls,
    /// Log lines would cross a network readable to all.
    #[error("{0} is not loopback: it needs TLS, or plaintext: true")]
    PlaintextOn(SocketAddr),
    /// Whoever reaches the port could send as any node.
    #[error("{0} is not loopback: it needs authentication, or plaintext: true")]
    OpenOn(SocketAddr),
}

impl SecurityError {
    fn of_pem(path: &Path, what: &'static str, source: pem::Error) -> Self {
        Self::Pem { path: path.to_owned(), what, source }
    }
}

fn certificates(path: &Path, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, SecurityError> {
    let found = CertificateDer::pem_slice_iter(text)
        .collect::<Result<Vec<_>, _>>()
        .and_then(|found| if found.is_empty() { Err(pem::Error::NoItemsFound) } else { Ok(found) });
    found.map_err(|error| SecurityError::of_pem(path, "certificate", error))
}

#[cfg(test)]
mod tests;
