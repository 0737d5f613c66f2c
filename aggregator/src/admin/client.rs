//! Asks the running aggregator of a data directory; where none runs, reads the directory.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;
use thiserror::Error;

use super::report::{LetterList, QueueReport, WholeLetter, newest, numbered};
use super::server::short_path;
use super::{LETTERS_MAX, SOCKET};
use crate::queue::{OpenError, StoredLetters, inspect};

/// A GiB of letters is read through in seconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// Why there is no answer.
#[derive(Debug, Error)]
pub(super) enum AskError {
    #[error("{}: {source}", .path.display())]
    DataDir { path: PathBuf, source: io::Error },
    #[error("an aggregator uses {}, and does not answer at {SOCKET} in it", .0.display())]
    Silent(PathBuf),
    #[error("the aggregator of {} answered with what is no answer: {reason}", .path.display())]
    Answer { path: PathBuf, reason: String },
    #[error("{0}")]
    Read(String),
}

/// How the queue is.
pub(super) fn queue(data_dir: &Path) -> Result<QueueReport, AskError> {
    match ask(data_dir, "/queue")? {
        Some(report) => Ok(report),
        None => match inspect(&data_dir.join("queue")) {
            Ok(found) => Ok(QueueReport::of_files(&found)),
            Err(error) => Err(of_open(data_dir, error)),
        },
    }
}

/// The newest letters.
pub(super) fn list(data_dir: &Path, limit: usize) -> Result<LetterList, AskError> {
    let limit = limit.min(LETTERS_MAX);
    match ask(data_dir, &format!("/dead-letters?limit={limit}"))? {
        Some(list) => Ok(list),
        None => Ok(newest(stored(data_dir)?, limit)),
    }
}

/// One letter; None when there are not so many.
pub(super) fn show(data_dir: &Path, number: u64) -> Result<Option<WholeLetter>, AskError> {
    match ask(data_dir, &format!("/dead-letters/{number}"))? {
        Some(letter) => Ok(letter),
        None => Ok(numbered(stored(data_dir)?, number)),
    }
}

fn stored(data_dir: &Path) -> Result<StoredLetters, AskError> {
    StoredLetters::open(&data_dir.join("dead-letters")).map_err(|error| of_open(data_dir, error))
}

fn of_open(data_dir: &Path, error: OpenError) -> AskError {
    match error {
        OpenError::Locked { .. } => AskError::Silent(data_dir.to_path_buf()),
        OpenError::Io { dir, source } => AskError::Read(format!("{}: {source}", dir.display())),
    }
}

/// The answer of a running aggregator; None when none listens.
fn ask<T: DeserializeOwned>(data_dir: &Path, path: &str) -> Result<Option<T>, AskError> {
    let (_directory, socket) = short_path(data_dir)
        .map_err(|source| AskError::DataDir { path: data_dir.to_path_buf(), source })?;
    let stream = match UnixStream::connect(&socket) {
        Ok(stream) => stream,
        Err(error) if is_nobody(&error) => return Ok(None),
        Err(source) => return Err(AskError::DataDir { path: data_dir.join(SOCKET), source }),
    };
    let bad = |reason: String| AskError::Answer { path: data_dir.to_path_buf(), reason };
    let answer = exchange(stream, path).map_err(|error| bad(error.to_string()))?;
    let end = memchr::memmem::find(&answer, b"\r\n\r\n").ok_or_else(|| bad("no head".into()))?;
    let (head, body) = answer.split_at(end);
    if !head.starts_with(b"HTTP/1.0 200") && !head.starts_with(b"HTTP/1.1 200") {
        return Err(bad(String::from_utf8_lossy(head.get(..80).unwrap_or(head)).into_owned()));
    }
    let found = serde_json::from_slice(body).map_err(|error| bad(error.to_string()))?;
    Ok(Some(found))
}

/// No socket, or one that a killed process left.
fn is_nobody(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

/// Version 1.0: the answer ends where the connection ends, and is not in chunks.
fn exchange(mut stream: UnixStream, path: &str) -> io::Result<Vec<u8>> {
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}
