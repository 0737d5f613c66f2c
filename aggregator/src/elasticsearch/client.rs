//! One request to one of the hosts, with credentials and certificates as they are now.
//!
//! A host that cannot be reached is left for the next one at once: nothing was sent to it. Any other failure is the caller's:
//! what became of the request is not known. The client does not repeat a request and does not judge an answer: any status is
//! an answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use bytes::Bytes;
pub use reqwest::Method;
use reqwest::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue};
use thiserror::Error;

pub use super::connections::ClientError;
use super::connections::Connections;
use super::credentials::Authorization;
use super::hosts::{Hosts, Pick};
use super::network::is_near;
use super::settings::{Gzip, Host, Settings};
use super::trouble::sentence;

/// An answer above this is not one: that to a bulk of 64 MiB of the shortest documents is a tenth of it.
const ANSWER_MAX_BYTES: usize = 256 << 20;
/// A host that failed is asked what it is before it gets a bulk: that takes milliseconds.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long names may take to be looked up; what takes longer is as before.
const LOOK_UP_TIMEOUT: Duration = Duration::from_secs(5);

/// Talks to the hosts. A clone is the same client.
#[derive(Debug, Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    hosts: Hosts,
    authorization: Authorization,
    connections: Connections,
    gzip: Gzip,
    is_far: AtomicBool,
}

/// What a host answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: Bytes,
}

/// What is sent.
#[derive(Debug, Clone)]
pub struct Body {
    /// Its bytes.
    pub bytes: Bytes,
    /// `Content-Type`.
    pub kind: &'static str,
    /// Whether the bytes are compressed with gzip.
    pub gzip: bool,
}

impl Body {
    /// A JSON text.
    pub fn json(text: impl Into<Bytes>) -> Self {
        Self { bytes: text.into(), kind: "application/json", gzip: false }
    }
}

/// Why there is no answer. Whether the request was carried out is not known.
#[derive(Debug, Error)]
pub enum RequestError {
    /// No host can be reached, or one did not answer in time, or broke off; with its URL.
    #[error("{0}")]
    Transport(String),
    /// The credentials cannot be read.
    #[error("the credentials cannot be used: {0}")]
    Credentials(String),
}

/// Why a host gave no answer.
struct Failure {
    reason: String,
    /// There was no connection, so nothing was sent.
    is_unsent: bool,
}

impl Client {
    /// For the hosts of the settings. Nothing is sent.
    ///
    /// # Errors
    /// The certificates cannot be read; see [`ClientError`].
    pub fn new(settings: &Settings) -> Result<Self, ClientError> {
        Ok(Self {
            inner: Arc::new(Inner {
                hosts: Hosts::new(settings.hosts.clone()),
                authorization: Authorization::new(settings.credentials.clone()),
                connections: Connections::new(settings)?,
                gzip: settings.gzip,
                is_far: AtomicBool::new(false),
            }),
        })
    }

    /// Sends one request to one host; `path` begins with a slash and may hold a query.
    ///
    /// # Errors
    /// There is no answer; see [`RequestError`].
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Body>,
        timeout: Duration,
    ) -> Result<Answer, RequestError> {
        let begun = Instant::now();
        let inner = &self.inner;
        let authorization = inner.authorization.header(begun);
        let authorization =
            authorization.map_err(|error| RequestError::Credentials(error.to_string()))?;
        let (mut tried, mut reasons) = (Vec::new(), Vec::new());
        while let Some(Pick { place, is_suspect }) =
            inner.hosts.pick(Instant::now(), &tried, PROBE_TIMEOUT)
        {
            tried.push(place);
            let Some(host) = inner.hosts.all().get(place) else { break };
            let left = timeout.saturating_sub(begun.elapsed());
            if is_suspect {
                let time = left.min(PROBE_TIMEOUT);
                let probed = inner.ask(host, Method::GET, "/", None, &authorization, time).await;
                if let Err(failure) = probed {
                    inner.hosts.failed(place, Instant::now(), &failure.reason);
                    reasons.push(format!("{}: {}", host.as_str(), failure.reason));
                    continue;
                }
            }
            let (method, body) = (method.clone(), body.clone());
            match inner.ask(host, method, path, body, &authorization, left).await {
                Ok(answer) => {
                    match answer.status {
                        // It is up, and cannot do anything: what stands before it, or a node without a master.
                        502..=504 => {
                            let reason = format!("it answers {}", answer.status);
                            inner.hosts.failed(place, Instant::now(), &reason);
                        }
                        _ => inner.hosts.succeeded(place),
                    }
                    return Ok(answer);
                }
                Err(Failure { reason, is_unsent }) => {
                    inner.hosts.failed(place, Instant::now(), &reason);
                    reasons.push(format!("{}: {reason}", host.as_str()));
                    if !is_unsent {
                        break;
                    }
                }
            }
        }
        let reason = if reasons.is_empty() {
            "no host is configured".to_owned()
        } else {
            reasons.join("; ")
        };
        Err(RequestError::Transport(reason))
    }

    /// Whether bulks are to be compressed; with `auto`, by the addresses that [`Client::look_up`] found.
    #[must_use]
    pub fn compresses(&self) -> bool {
        match self.inner.gzip {
            Gzip::On => true,
            Gzip::Off => false,
            Gzip::Auto => self.inner.is_far.load(Relaxed),
        }
    }

    /// With gzip `auto`: looks up the hosts' addresses, and says so when what follows from them has changed. A name that
    /// cannot be looked up changes nothing.
    pub async fn look_up(&self) {
        if self.inner.gzip != Gzip::Auto {
            return;
        }
        let mut far = None;
        for host in self.inner.hosts.all() {
            let found = tokio::net::lookup_host(host.name_and_port());
            let Ok(Ok(addresses)) = tokio::time::timeout(LOOK_UP_TIMEOUT, found).await else {
                return;
            };
            far = far.or_else(|| addresses.map(|address| address.ip()).find(|ip| !is_near(*ip)));
        }
        let is_far = far.is_some();
        if self.inner.is_far.swap(is_far, Relaxed) == is_far {
            return;
        }
        match far {
            Some(address) => {
                tracing::info!(%address, "bulks are compressed: the address is not a private one");
            }
            None => tracing::info!("bulks are not compressed: all addresses are private ones"),
        }
    }
}

impl Inner {
    async fn ask(
        &self,
        host: &Host,
        method: Method,
        path: &str,
        body: Option<Body>,
        authorization: &Option<HeaderValue>,
        timeout: Duration,
    ) -> Result<Answer, Failure> {
        let client = self.connections.client(Instant::now());
        let url = format!("{}{path}", host.as_str());
        let mut request = client.request(method, url).timeout(timeout);
        if let Some(header) = authorization {
            request = request.header(AUTHORIZATION, header.clone());
        }
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, body.kind).body(body.bytes);
            if body.gzip {
                request = request.header(CONTENT_ENCODING, "gzip");
            }
        }
        answer(request).await
    }
}

async fn answer(request: reqwest::RequestBuilder) -> Result<Answer, Failure> {
    let failure =
        |error: reqwest::Error| Failure { reason: sentence(&error), is_unsent: error.is_connect() };
    let mut response = request.send().await.map_err(failure)?;
    let status = response.status().as_u16();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(failure)? {
        if body.len() + chunk.len() > ANSWER_MAX_BYTES {
            let reason = format!("the answer is longer than {ANSWER_MAX_BYTES} bytes");
            return Err(Failure { reason, is_unsent: false });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer { status, body: body.into() })
}
