//! Connections to aggregators: the addresses that the configured names resolve to, and a channel to one of them.
//!
//! Names are resolved and credentials read anew for every round, so what changes there is in use at the next connection.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConfig};
use thiserror::Error;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};

use crate::credentials::{CredentialError, CredentialFiles, Credentials};

mod dial;

use dial::Once;

/// A connection that takes longer is tried elsewhere; so is a handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long to wait for what a server says first: a round trip.
const FIRST_WORD: Duration = Duration::from_secs(1);
/// Notices a peer that vanished without a word (a node that lost power).
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Where aggregators are, and how they are reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// `host:port`, at least one; each name may resolve to several addresses.
    pub addresses: Vec<String>,
    /// Allows addresses that are not loopback to be reached without TLS.
    pub plaintext: bool,
    /// The name that aggregators' certificates bear; None: the host of the address.
    pub server_name: Option<ServerName<'static>>,
    /// The files of certificates and token.
    pub credentials: CredentialFiles,
}

impl Target {
    /// One address, in plain text, so on loopback only.
    #[must_use]
    pub fn plain(address: String) -> Self {
        Self {
            addresses: vec![address],
            plaintext: false,
            server_name: None,
            credentials: CredentialFiles::default(),
        }
    }
}

/// An address and the host that it was resolved from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) address: SocketAddr,
    host: String,
}

/// An open channel.
pub(crate) struct Connected {
    pub(crate) channel: Channel,
    /// To be sent with the stream; never one that the connection does not protect.
    pub(crate) token: Option<MetadataValue<Ascii>>,
}

/// Why there is no channel.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// A name does not resolve.
    #[error("resolve {address}: {source}")]
    Resolve {
        /// As configured.
        address: String,
        /// The resolver's answer.
        source: io::Error,
    },
    /// It resolves to nothing.
    #[error("{0} resolves to no address")]
    NoAddress(String),
    /// Log lines would cross a network readable to all.
    #[error("{0} is not loopback: it needs aggregator.tls, or aggregator.plaintext: true")]
    Plaintext(SocketAddr),
    /// Nobody answers.
    #[error("connect to {address}: {source}")]
    Unreachable {
        /// Which was tried.
        address: SocketAddr,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Its certificate is not one to trust.
    #[error("{address} is not trusted: {reason}")]
    Untrusted {
        /// Which was tried.
        address: SocketAddr,
        /// What is wrong with it.
        reason: Distrust,
    },
    /// The handshake failed otherwise.
    #[error("TLS with {address}: {source}")]
    Handshake {
        /// Which was tried.
        address: SocketAddr,
        /// What came instead.
        source: io::Error,
    },
    /// It refuses the handshake, which a client of TLS 1.3 is told only afterwards.
    #[error("{address} does not accept {what}: {source}")]
    NotAccepted {
        /// Which was tried.
        address: SocketAddr,
        /// What the client presented.
        what: &'static str,
        /// The alert.
        source: io::Error,
    },
    /// HTTP/2 does not begin.
    #[error("HTTP/2 with {address}")]
    Transport {
        /// Which was tried.
        address: SocketAddr,
        /// The transport's answer.
        source: tonic::transport::Error,
    },
}

/// What is wrong with an aggregator's certificate.
#[derive(Debug, Error)]
pub enum Distrust {
    /// Wrong CA.
    #[error("its certificate is not signed by the CA in aggregator.tls.ca")]
    Issuer,
    /// Wrong name.
    #[error("its certificate is not for the name {expected}")]
    Name {
        /// What was asked for.
        expected: String,
    },
    /// Expired, not yet valid, damaged.
    #[error("{0}")]
    Other(rustls::Error),
}

/// Makes connections; keeps the last credentials that were right.
#[derive(Debug)]
pub struct Connector {
    target: Target,
    credentials: Credentials,
}

impl Connector {
    /// Reads the credentials for the first time.
    ///
    /// # Errors
    /// The first file that is not what it should be.
    pub fn new(target: Target) -> Result<Self, CredentialError> {
        Ok(Self { credentials: target.credentials.read()?, target })
    }

    /// Reads the credentials again; what was right before stays in use when something is wrong now.
    ///
    /// # Errors
    /// The first file that is not what it should be.
    pub(crate) fn refresh(&mut self) -> Result<(), CredentialError> {
        // A few KiB, once for every stream of minutes.
        self.credentials = self.target.credentials.read()?;
        Ok(())
    }

    /// Every address there is, each once.
    ///
    /// # Errors
    /// No name resolves; the first failure is told.
    pub(crate) async fn resolve(&self) -> Result<Vec<Place>, ConnectError> {
        let mut places = Vec::new();
        let mut failure = None;
        for address in &self.target.addresses {
            let host = host_of(address);
            match tokio::net::lookup_host(address).await {
                Ok(found) => places.extend(found.map(|a| Place { address: a, host: host.clone() })),
                Err(source) => {
                    let error = ConnectError::Resolve { address: address.clone(), source };
                    failure.get_or_insert(error);
                }
            }
        }
        places.sort();
        places.dedup_by_key(|place| place.address);
        match failure {
            Some(error) if places.is_empty() => Err(error),
            _ if places.is_empty() => {
                Err(ConnectError::NoAddress(self.target.addresses.join(", ")))
            }
            _ => Ok(places),
        }
    }

    /// Connects to one address.
    ///
    /// # Errors
    /// See [`ConnectError`]; every one of them may go away by itself.
    pub(crate) async fn connect(&self, place: &Place) -> Result<Connected, ConnectError> {
        let address = place.address;
        let tls = self.credentials.tls.as_ref();
        if tls.is_none() && !self.target.plaintext && !is_loopback(address.ip()) {
            return Err(ConnectError::Plaintext(address));
        }
        let token = self.credentials.token.clone();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let transport = |source| ConnectError::Transport { address, source };
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .map_err(transport)?
            .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .keep_alive_while_idle(true);
        let endpoint = match format!("{scheme}://{address}").parse() {
            Ok(origin) => endpoint.origin(origin),
            Err(_) => endpoint,
        };
        #[cfg(test)]
        if let Some(connected) = in_memory::connect(&endpoint, address).await {
            return connected.map(|channel| Connected { channel, token });
        }
        let unreachable = |source| ConnectError::Unreachable { address, source };
        let stream = in_time(TcpStream::connect(address)).await.map_err(unreachable)?;
        // Acknowledgements are small and waited for.
        stream.set_nodelay(true).map_err(unreachable)?;
        let channel = match tls {
            None => endpoint.connect_with_connector(Once::of(stream)).await,
            Some(config) => {
                let stream = self.handshake(config, place, stream).await?;
                endpoint.connect_with_connector(Once::of(stream)).await
            }
        };
        Ok(Connected { channel: channel.map_err(transport)?, token })
    }

    async fn handshake(
        &self,
        config: &Arc<ClientConfig>,
        place: &Place,
        stream: TcpStream,
    ) -> Result<BufReader<TlsStream<TcpStream>>, ConnectError> {
        let address = place.address;
        let failed = |source| ConnectError::Handshake { address, source };
        let name = match &self.target.server_name {
            Some(name) => name.clone(),
            None => ServerName::try_from(place.host.clone())
                .map_err(|error| failed(io::Error::new(io::ErrorKind::InvalidInput, error)))?,
        };
        let expected = name.to_str().into_owned();
        let handshake = TlsConnector::from(Arc::clone(config)).connect(name, stream);
        let stream =
            in_time(handshake).await.map_err(|error| match distrust(&error, expected) {
                Some(reason) => ConnectError::Untrusted { address, reason },
                None => failed(error),
            })?;
        // The server speaks first, with its settings or with its verdict on our certificate. One that waits is asked anyway.
        let mut stream = BufReader::new(stream);
        match timeout(FIRST_WORD, stream.fill_buf()).await {
            Ok(Err(source)) => {
                let what = match self.target.credentials.tls.as_ref().map(|tls| &tls.identity) {
                    Some(Some(_)) => "this forwarder's certificate",
                    Some(None) | None => "a client without a certificate",
                };
                Err(ConnectError::NotAccepted { address, what, source })
            }
            Ok(Ok(_)) | Err(_) => Ok(stream),
        }
    }
}

/// What the handshake found wrong with the certificate, if that is why it failed.
fn distrust(error: &io::Error, expected: String) -> Option<Distrust> {
    let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    let rustls::Error::InvalidCertificate(wrong) = error else { return None };
    Some(match wrong {
        // A CA of the same name with another key is another CA.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => Distrust::Issuer,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            Distrust::Name { expected }
        }
        _ => Distrust::Other(error.clone()),
    })
}

async fn in_time<T>(future: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(CONNECT_TIMEOUT, future)
        .await
        .unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "no answer within 5 s")))
}

/// The host of `host:port`, without an IPv6 address's brackets.
pub(crate) fn host_of(address: &str) -> String {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']').to_owned()
}

/// The order in which the addresses of a round are tried: by chance, `avoid` last. `chance` gives numbers in 0..1.
pub(crate) fn order(
    mut places: Vec<Place>,
    avoid: Option<SocketAddr>,
    mut chance: impl FnMut() -> f64,
) -> Vec<Place> {
    for left in (1..places.len()).rev() {
        let chosen = (chance() * (left + 1) as f64) as usize;
        places.swap(left, chosen.min(left));
    }
    places.sort_by_key(|place| Some(place.address) == avoid);
    places
}

fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

#[cfg(test)]
pub(crate) mod in_memory;
#[cfg(test)]
mod tests;
