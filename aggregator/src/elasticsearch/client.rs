//! One request to one of the hosts, with credentials and certificates as they are now.
//!
//! Hosts are taken in turn; one that cannot be reached is passed over for a while that grows. The client does not repeat
//! a request and does not judge an answer: any status is an answer.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
pub use reqwest::Method;
use reqwest::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE};
use thiserror::Error;

use super::credentials::Authorization;
use super::settings::{Host, Settings};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a host is passed over after it could not be reached: doubled each time up to the longest.
const PASS_OVER_MIN: Duration = Duration::from_secs(1);
const PASS_OVER_MAX: Duration = Duration::from_secs(30);
/// An answer above this is not one: that to a bulk of 64 MiB of the shortest documents is a tenth of it.
const ANSWER_MAX_BYTES: usize = 256 << 20;

/// Talks to the hosts. A clone is the same client.
#[derive(Debug, Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    hosts: Vec<Host>,
    authorization: Authorization,
    ca: Option<std::path::PathBuf>,
    http: RwLock<Http>,
    turn: AtomicUsize,
    well: Mutex<Vec<Well>>,
}

/// The connections, and the certificates they were made with.
#[derive(Debug)]
struct Http {
    client: reqwest::Client,
    ca_modified: Option<SystemTime>,
}

/// How a host is.
#[derive(Debug, Clone, Copy, Default)]
struct Well {
    pass_over_until: Option<Instant>,
    failures: u32,
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
    /// The host cannot be reached, did not answer in time, or broke off.
    #[error("{host}: {reason}")]
    Transport {
        /// Its URL.
        host: String,
        /// The causes in one sentence.
        reason: String,
    },
    /// The credentials cannot be read.
    #[error("the credentials cannot be used: {0}")]
    Credentials(String),
}

/// Why there is no client.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The certificates cannot be read.
    #[error("read the certificates {path}: {source}")]
    Ca {
        /// Where they should be.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// The library cannot be set up, or does not take the certificates.
    #[error("set up the HTTP client: {0}")]
    Setup(String),
}

impl Client {
    /// For the hosts of the settings. Nothing is sent.
    ///
    /// # Errors
    /// The certificates cannot be read; see [`ClientError`].
    pub fn new(settings: &Settings) -> Result<Self, ClientError> {
        let http = Http::new(settings.ca.as_deref())?;
        Ok(Self {
            inner: Arc::new(Inner {
                hosts: settings.hosts.clone(),
                authorization: Authorization::new(settings.credentials.clone()),
                ca: settings.ca.clone(),
                http: RwLock::new(http),
                turn: AtomicUsize::new(0),
                well: Mutex::new(vec![Well::default(); settings.hosts.len()]),
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
        let now = Instant::now();
        let index = self.inner.pick(now);
        let Some(host) = self.inner.hosts.get(index) else {
            let reason = "no host is configured".to_owned();
            return Err(RequestError::Transport { host: String::new(), reason });
        };
        let authorization = self.inner.authorization.header(now);
        let authorization =
            authorization.map_err(|error| RequestError::Credentials(error.to_string()))?;
        let client = self.inner.client();
        let mut request =
            client.request(method, format!("{}{path}", host.as_str())).timeout(timeout);
        if let Some(header) = authorization {
            request = request.header(AUTHORIZATION, header);
        }
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, body.kind).body(body.bytes);
            if body.gzip {
                request = request.header(CONTENT_ENCODING, "gzip");
            }
        }
        let answer = answer(request).await;
        self.inner.judge(index, answer.is_ok());
        answer.map_err(|reason| RequestError::Transport { host: host.as_str().to_owned(), reason })
    }
}

async fn answer(request: reqwest::RequestBuilder) -> Result<Answer, String> {
    let mut response = request.send().await.map_err(|error| sentence(&error))?;
    let status = response.status().as_u16();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| sentence(&error))? {
        if body.len() + chunk.len() > ANSWER_MAX_BYTES {
            return Err(format!("the answer is longer than {ANSWER_MAX_BYTES} bytes"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer { status, body: body.into() })
}

/// An error and its causes, without the URL, which the caller names.
fn sentence(error: &reqwest::Error) -> String {
    if error.is_timeout() && !error.is_connect() {
        return "no answer in time".to_owned();
    }
    let mut causes = Vec::<String>::new();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let text = error.to_string();
        if !causes.iter().any(|known| known.contains(&text)) {
            causes.push(text);
        }
        cause = error.source();
    }
    if causes.is_empty() { "the request failed".to_owned() } else { causes.join(": ") }
}

impl Inner {
    /// The next host in turn that is not passed over; when all are, the one whose time ends first.
    fn pick(&self, now: Instant) -> usize {
        let well = self.well.lock().unwrap_or_else(PoisonError::into_inner);
        let count = well.len().max(1);
        let turn = self.turn.fetch_add(1, Relaxed);
        let in_turn = (0..count).map(|step| (turn + step) % count);
        let waits = |index: &usize| {
            let until = well.get(*index).and_then(|well| well.pass_over_until);
            until.filter(|until| *until > now)
        };
        in_turn.min_by_key(waits).unwrap_or(0)
    }

    fn judge(&self, index: usize, answered: bool) {
        let mut well = self.well.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(well) = well.get_mut(index) else { return };
        if answered {
            *well = Well::default();
            return;
        }
        let pause = PASS_OVER_MIN.saturating_mul(1 << well.failures.min(8)).min(PASS_OVER_MAX);
        well.failures += 1;
        well.pass_over_until = Some(Instant::now() + pause);
        self.refresh();
    }

    fn client(&self) -> reqwest::Client {
        self.http.read().unwrap_or_else(PoisonError::into_inner).client.clone()
    }

    /// After a failure: certificates that were changed are taken over.
    fn refresh(&self) {
        let Some(path) = self.ca.as_deref() else { return };
        let mut http = self.http.write().unwrap_or_else(PoisonError::into_inner);
        if modified(path) == http.ca_modified {
            return;
        }
        match Http::new(Some(path)) {
            Ok(new) => *http = new,
            Err(error) => tracing::warn!(%error, "the old certificates are kept"),
        }
    }
}

impl Http {
    fn new(ca: Option<&Path>) -> Result<Self, ClientError> {
        let mut builder = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(Duration::from_secs(60))
            .http1_only()
            .no_proxy()
            // A redirect would send the credentials elsewhere.
            .redirect(reqwest::redirect::Policy::none());
        let ca_modified = ca.and_then(modified);
        if let Some(path) = ca {
            let name = path.display().to_string();
            let pem = std::fs::read(path)
                .map_err(|source| ClientError::Ca { path: name.clone(), source })?;
            let certificates = reqwest::Certificate::from_pem_bundle(&pem)
                .map_err(|error| ClientError::Setup(format!("{name}: {}", sentence(&error))))?;
            if certificates.is_empty() {
                return Err(ClientError::Setup(format!("{name} holds no certificate")));
            }
            builder = builder.tls_certs_only(certificates);
        }
        let client = builder.build().map_err(|error| ClientError::Setup(sentence(&error)))?;
        Ok(Self { client, ca_modified })
    }
}

fn modified(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}
