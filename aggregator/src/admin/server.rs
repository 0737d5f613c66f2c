//! Answers over the socket: JSON over HTTP; what takes long, a line after the other.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::body::Body;
use axum::extract;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::net::UnixListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;

use super::chains::{chains, is_gone};
use super::filter::LetterFilter;
use super::report::{DiscardReport, QueueReport, SegmentReport, newest, whole};
use super::{LETTERS_MAX, SOCKET};
use crate::deliver::{Parked, Trouble};
use crate::queue::{self, Discarded, LetterError, Letters, Queue, Sequence};
use crate::replay::{EntriesAsked, ReplayError, Replayer, Report, Running};

/// Where a socket is made before it gets its name; nobody else may look into it.
const NURSERY: &str = ".admin";

/// How often a replay says how it stands.
const PROGRESS: Duration = Duration::from_millis(500);

/// What is asked about.
#[derive(Clone)]
pub(crate) struct State {
    data_dir: PathBuf,
    queue: Arc<Queue>,
    letters: Letters,
    parked: Parked,
    trouble: Trouble,
    replayer: Replayer,
}

impl State {
    pub(crate) fn new(
        data_dir: &Path,
        queue: Arc<Queue>,
        letters: Letters,
        parked: Parked,
        trouble: Trouble,
        replayer: Replayer,
    ) -> Self {
        Self { data_dir: data_dir.to_path_buf(), queue, letters, parked, trouble, replayer }
    }
}

/// Which letters are listed.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Listing {
    pub(super) filter: LetterFilter,
    /// The newest, so many at most.
    pub(super) limit: usize,
}

/// Which letters are tried again.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct LettersAsked {
    pub(super) filter: LetterFilter,
    /// Nothing is delivered, only counted.
    pub(super) dry_run: bool,
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
        .route("/queue/verify", get(verify))
        .route("/queue/replay", post(replay))
        .route("/queue/discard", post(discard))
        .route("/dead-letters/list", post(list))
        .route("/dead-letters/purge", post(purge))
        .route("/dead-letters/replay", post(replay_letters))
        .route("/dead-letters/{number}", get(show))
        .with_state(state)
}

async fn queue(extract::State(state): extract::State<State>) -> Response {
    let reason = state.trouble.reason();
    let State { queue, letters, parked, .. } = &state;
    Json(QueueReport::of_running(queue, letters, parked, reason)).into_response()
}

async fn list(
    extract::State(state): extract::State<State>,
    Json(Listing { filter, limit }): Json<Listing>,
) -> Response {
    let letters = state.letters;
    blocking(move || newest(letters.iter(), &filter, limit.min(LETTERS_MAX))).await
}

async fn show(
    extract::State(state): extract::State<State>,
    extract::Path(number): extract::Path<String>,
) -> Response {
    let letters = state.letters;
    blocking(move || {
        let id = number.parse().ok()?;
        letters.get(id).map(|letter| whole(id, &letter))
    })
    .await
}

async fn purge(
    extract::State(state): extract::State<State>,
    Json(filter): Json<LetterFilter>,
) -> Response {
    let letters = state.letters;
    blocking(move || purged(&letters, &filter).map_err(|error| sentence(&error))).await
}

async fn discard(
    extract::State(state): extract::State<State>,
    Json(only): Json<Option<u64>>,
) -> Response {
    let State { queue, parked, .. } = state;
    blocking(move || {
        let failed = |error: io::Error| error.to_string();
        let mut found = queue.discard(only.map(Sequence)).map_err(failed)?;
        // Their segments have the same numbers.
        if only.is_none() {
            found.extend(parked.discard().map_err(failed)?);
        }
        let report = |found: Discarded| DiscardReport {
            path: found.path.display().to_string(),
            bytes: found.bytes,
            waits: found.waits,
        };
        Ok::<Vec<_>, String>(found.into_iter().map(report).collect())
    })
    .await
}

/// Each segment as soon as it is read.
async fn verify(extract::State(state): extract::State<State>) -> Response {
    let (lines, waiting) = mpsc::channel(1);
    tokio::task::spawn_blocking(move || {
        let all = chains(&state.data_dir).and_then(|chains| {
            for chain in chains {
                let segments = match queue::verify(&chain) {
                    Err(error) if is_gone(&chain, &error) => continue,
                    segments => segments?,
                };
                for found in segments {
                    // Nobody listens any more.
                    if lines.blocking_send(line(&SegmentReport::of(&found))).is_err() {
                        return Ok(());
                    }
                }
            }
            Ok(())
        });
        if let Err(error) = all {
            lines.blocking_send(Err(error)).ok();
        }
    });
    stream(waiting)
}

async fn replay(
    extract::State(state): extract::State<State>,
    Json(asked): Json<EntriesAsked>,
) -> Response {
    follow(state.replayer.entries(asked))
}

async fn replay_letters(
    extract::State(state): extract::State<State>,
    Json(LettersAsked { filter, dry_run }): Json<LettersAsked>,
) -> Response {
    follow(state.replayer.letters(move |id, letter| filter.takes(id, letter), dry_run))
}

/// Says how a replay stands until it has ended. It ends when nobody listens.
fn follow(running: Result<Running, ReplayError>) -> Response {
    let running = match running {
        Ok(running) => running,
        Err(error) => {
            let report = Report { done: true, error: Some(error.to_string()), ..Report::default() };
            return stream_of(line(&report));
        }
    };
    let (lines, waiting) = mpsc::channel(1);
    tokio::spawn(async move {
        let mut pace = tokio::time::interval(PROGRESS);
        loop {
            pace.tick().await;
            let report = running.report();
            if lines.send(line(&report)).await.is_err() || report.done {
                break;
            }
        }
    });
    stream(waiting)
}

type Line = io::Result<Bytes>;

fn line(value: &impl serde::Serialize) -> Line {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    Ok(line.into())
}

fn stream(lines: mpsc::Receiver<Line>) -> Response {
    Body::from_stream(ReceiverStream::new(lines)).into_response()
}

fn stream_of(line: Line) -> Response {
    match line {
        Ok(line) => Body::from(line).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
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

/// Deletes the letters that are asked for; says how many.
pub(super) fn purged(letters: &Letters, filter: &LetterFilter) -> Result<u64, LetterError> {
    let last = letters.last();
    let mut count = 0;
    let mut ids = Vec::new();
    let all = letters.iter().take_while(|(id, _)| id.sequence <= last);
    for (id, _) in all.filter(|(id, letter)| filter.takes(*id, letter)) {
        ids.push(id);
        count += 1;
        if ids.len() == LETTERS_MAX {
            letters.settle(&std::mem::take(&mut ids))?;
        }
    }
    letters.settle(&ids)?;
    if count > 0 {
        tracing::warn!(count, ?filter, "dead letters were purged, as it was asked");
    }
    Ok(count)
}

/// An error and its causes in one line.
pub(super) fn sentence(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
