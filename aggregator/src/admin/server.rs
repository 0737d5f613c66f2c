//! Answers over the socket: JSON over HTTP, read only.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::extract::{self, Query};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Deserialize;
use tokio::net::UnixListener;
use tokio::task::JoinHandle;

use super::report::{QueueReport, newest, numbered};
use super::{LETTERS_MAX, SOCKET};
use crate::deliver::Trouble;
use crate::queue::{Letters, Queue};

/// Where a socket is made before it gets its name; nobody else may look into it.
const NURSERY: &str = ".admin";

/// What is asked about.
#[derive(Clone)]
pub(crate) struct State {
    queue: Arc<Queue>,
    letters: Letters,
    trouble: Trouble,
}

impl State {
    pub(crate) fn new(queue: Arc<Queue>, letters: Letters, trouble: Trouble) -> Self {
        Self { queue, letters, trouble }
    }
}

/// The socket, served until it is dropped.
pub(crate) struct Socket {
    path: PathBuf,
    task: JoinHandle<()>,
}

impl Socket {
    /// Serves in a data directory that this process has locked; None, with a warning, where there can be no socket.
    pub(crate) fn open(data_dir: &Path, state: State) -> Option<Self> {
        let path = data_dir.join(SOCKET);
        let listener = match bind(data_dir) {
            Ok(listener) => listener,
            Err(error) => {
                tracing::warn!(%error, path = %path.display(),
                    "no socket for the commands queue and dead-letters; all else goes on");
                return None;
            }
        };
        let task = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router(state)).await {
                tracing::warn!(%error, "the socket for commands ended");
            }
        });
        Some(Self { path, task })
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.task.abort();
        // One that stays behind is replaced at the next start.
        fs::remove_file(&self.path).ok();
    }
}

/// Makes a socket that is its owner's alone from its first moment, and puts it in place of one that a killed process left.
///
/// A socket's path may have 107 bytes, a data directory's more: it is bound by way of the open directory.
fn bind(data_dir: &Path) -> io::Result<UnixListener> {
    let nursery = data_dir.join(NURSERY);
    match DirBuilder::new().mode(0o700).create(&nursery) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => fs::set_permissions(&nursery, Permissions::from_mode(0o700))?,
    }
    let born = nursery.join(SOCKET);
    match fs::remove_file(&born) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let (_directory, short) = short_path(&nursery)?;
    let listener = UnixListener::bind(short)?;
    fs::set_permissions(&born, Permissions::from_mode(0o600))?;
    fs::rename(&born, data_dir.join(SOCKET))?;
    fs::remove_dir(&nursery)?;
    Ok(listener)
}

/// A short path to the socket in a directory, good for as long as the directory is held open.
pub(super) fn short_path(directory: &Path) -> io::Result<(File, PathBuf)> {
    let flags = rustix::fs::OFlags::DIRECTORY.bits();
    let opened = OpenOptions::new().read(true).custom_flags(flags as i32).open(directory)?;
    let path = format!("/proc/self/fd/{}/{SOCKET}", opened.as_raw_fd());
    Ok((opened, path.into()))
}

fn router(state: State) -> Router {
    Router::new()
        .route("/queue", get(queue))
        .route("/dead-letters", get(list))
        .route("/dead-letters/{number}", get(show))
        .with_state(state)
}

async fn queue(extract::State(state): extract::State<State>) -> Response {
    let reason = state.trouble.reason();
    Json(QueueReport::of_running(&state.queue, &state.letters, reason)).into_response()
}

#[derive(Deserialize)]
struct Limit {
    limit: usize,
}

async fn list(
    extract::State(state): extract::State<State>,
    Query(Limit { limit }): Query<Limit>,
) -> Response {
    let letters = state.letters;
    blocking(move || newest(letters.iter().map(|(_, letter)| letter), limit.min(LETTERS_MAX))).await
}

async fn show(
    extract::State(state): extract::State<State>,
    extract::Path(number): extract::Path<u64>,
) -> Response {
    let letters = state.letters;
    blocking(move || numbered(letters.iter().map(|(_, letter)| letter), number)).await
}

/// Answers with what is read from the disk.
async fn blocking<T: serde::Serialize + Send + 'static>(
    read: impl FnOnce() -> T + Send + 'static,
) -> Response {
    match tokio::task::spawn_blocking(read).await {
        Ok(found) => Json(found).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
