//! What the forwarder says of itself: `/healthz`, `/readyz`, `/metrics` and `/files`, over TCP and over a Unix socket in
//! the data directory that only its owner can open.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::registry::Registry;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::files::FileRow;

/// Requests served at once; more wait in the listener's backlog.
const CONNECTIONS: usize = 16;
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
const STANDING_BY: &str = "standing by: another forwarder uses the data directory\n";

/// Whether lines can travel now, and if not, why.
#[derive(Debug, Clone, Default)]
pub struct Health {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    connected: Option<SocketAddr>,
    reason: String,
    unsaved: Option<String>,
    credentials: Option<String>,
    never: Option<String>,
    standing_by: bool,
}

impl Health {
    /// A stream is up.
    pub fn connected(&self, address: SocketAddr) {
        self.lock().connected = Some(address);
    }

    /// No stream is up, because of that; true when that is news.
    pub fn disconnected(&self, reason: String) -> bool {
        let mut state = self.lock();
        let news = state.connected.take().is_some() || state.reason != reason;
        state.reason = reason;
        news
    }

    /// Whether the checkpoint can be written; a reason if not.
    pub fn checkpoint(&self, unsaved: Option<String>) {
        self.lock().unsaved = unsaved;
    }

    /// What was wrong with certificates or token at the last connection, None if nothing; true when that is news.
    pub fn credentials(&self, trouble: Option<String>) -> bool {
        let mut state = self.lock();
        let news = state.credentials != trouble;
        state.credentials = trouble;
        news
    }

    /// What is said of batches that the aggregator will never take, None if there are none. Lines travel all the same, so this
    /// leaves it ready: a rollout over all nodes does not stop for one record.
    pub fn never_taken(&self, never: Option<String>) {
        self.lock().never = never;
    }

    /// See [`Self::never_taken`].
    #[must_use]
    pub fn remark(&self) -> Option<String> {
        self.lock().never.clone()
    }

    /// Another forwarder uses the data directory; this one takes over when it ends.
    pub fn standing_by(&self, standing_by: bool) {
        self.lock().standing_by = standing_by;
    }

    /// See [`Self::standing_by`].
    #[must_use]
    pub fn is_standing_by(&self) -> bool {
        self.lock().standing_by
    }

    /// No stream is up.
    #[must_use]
    pub fn is_disconnected(&self) -> bool {
        self.lock().connected.is_none()
    }

    /// None when all is well, else a sentence.
    #[must_use]
    pub fn not_ready(&self) -> Option<String> {
        let state = self.lock();
        if state.standing_by {
            // It does what it is there for. A DaemonSet ends the old pod only when the new one is ready.
            return None;
        }
        if let Some(reason) = &state.unsaved {
            return Some(format!("the checkpoint is not saved: {reason}"));
        }
        let connection = match state.connected {
            Some(_) => None,
            None if state.reason.is_empty() => Some("not connected yet".to_owned()),
            None => Some(format!("no aggregator: {}", state.reason)),
        };
        connection.or_else(|| state.credentials.clone())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks the tailing thread for its files.
pub type FilesRequest = oneshot::Sender<Vec<FileRow>>;

/// Serves the endpoints.
#[derive(Clone)]
pub struct Server {
    health: Health,
    registry: Arc<Registry>,
    files: mpsc::Sender<FilesRequest>,
    wake: crate::channel::Wake,
    permits: Arc<Semaphore>,
}

impl Server {
    /// Of this process.
    #[must_use]
    pub fn new(
        health: Health,
        registry: Arc<Registry>,
        files: mpsc::Sender<FilesRequest>,
        wake: crate::channel::Wake,
    ) -> Self {
        Self { health, registry, files, wake, permits: Arc::new(Semaphore::new(CONNECTIONS)) }
    }

    /// Serves over TCP, for ever.
    pub async fn serve_tcp(self, listener: TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => self.spawn(stream).await,
                Err(error) => accept_failed(&error).await,
            }
        }
    }

    /// Serves over a Unix socket, for ever.
    pub async fn serve_unix(self, listener: UnixListener) {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => self.spawn(stream).await,
                Err(error) => accept_failed(&error).await,
            }
        }
    }

    async fn spawn<S>(&self, stream: S)
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
    {
        let Ok(permit) = Arc::clone(&self.permits).acquire_owned().await else { return };
        let server = self.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let server = server.clone();
                async move { Ok::<_, Infallible>(server.answer(request).await) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(REQUEST_TIMEOUT)
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), service);
            // A client that goes away in the middle is its own affair.
            tokio::time::timeout(REQUEST_TIMEOUT, connection).await.ok();
            drop(permit);
        });
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full> {
        let (status, text) = match request.uri().path() {
            "/healthz" => (StatusCode::OK, "ok\n".to_owned()),
            "/readyz" => match self.health.not_ready() {
                None if self.health.is_standing_by() => (StatusCode::OK, STANDING_BY.to_owned()),
                None => match self.health.remark() {
                    None => (StatusCode::OK, "ready\n".to_owned()),
                    Some(remark) => (StatusCode::OK, format!("ready, but {remark}\n")),
                },
                Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
            },
            "/metrics" => {
                let mut text = String::new();
                match prometheus_client::encoding::text::encode(&mut text, &self.registry) {
                    Ok(()) => (StatusCode::OK, text),
                    Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
                }
            }
            "/files" if self.health.is_standing_by() => {
                (StatusCode::SERVICE_UNAVAILABLE, STANDING_BY.to_owned())
            }
            "/files" => match self.ask_files().await {
                Some(rows) => (StatusCode::OK, serde_json::to_string(&rows).unwrap_or_default()),
                None => (StatusCode::SERVICE_UNAVAILABLE, "stopping\n".to_owned()),
            },
            _ => (StatusCode::NOT_FOUND, "not found\n".to_owned()),
        };
        let mut response = Response::new(Full(Some(text.into())));
        *response.status_mut() = status;
        response
    }

    async fn ask_files(&self) -> Option<Vec<FileRow>> {
        let (sender, receiver) = oneshot::channel();
        self.files.send(sender).await.ok()?;
        self.wake.wake();
        receiver.await.ok()
    }
}

/// Makes the socket of a data directory; one that a killed process left is replaced.
///
/// # Errors
/// The directory cannot be written, or the path is longer than a socket's may be (107 bytes).
pub fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

async fn accept_failed(error: &io::Error) {
    tracing::warn!(%error, "accept a connection");
    tokio::time::sleep(Duration::from_secs(1)).await;
}

/// A body of one piece.
struct Full(Option<Bytes>);

impl hyper::body::Body for Full {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, Infallible>>> {
        std::task::Poll::Ready(self.0.take().map(|bytes| Ok(hyper::body::Frame::data(bytes))))
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        hyper::body::SizeHint::with_exact(self.0.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}
