//! Asks the running aggregator of a data directory; where none runs, looks into the directory where that is safe.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use super::chains::{chains, is_gone, parked_index};
use super::filter::LetterFilter;
use super::report::{
    DiscardReport, LetterList, QueueReport, SegmentReport, WholeLetter, newest, whole,
};
use super::server::{Listing, purged, sentence, short_path};
use super::{LETTERS_MAX, SOCKET};
use crate::queue::{
    LetterId, Letters, LettersConfig, OpenError, StoredLetters, inspect, verify as verify_chain,
};
use crate::replay::Report;

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
    #[error("no aggregator runs in {}: start it, it is the one to do that", .0.display())]
    Nobody(PathBuf),
    #[error("{0}")]
    Read(String),
}

/// How the queue is.
pub(super) fn queue(data_dir: &Path) -> Result<QueueReport, AskError> {
    match ask(data_dir, &get("/queue"))? {
        Some(report) => Ok(report),
        None => of_files(data_dir).map_err(|error| of_open(data_dir, error)),
    }
}

fn of_files(data_dir: &Path) -> Result<QueueReport, OpenError> {
    let found = inspect(&data_dir.join("queue"))?;
    let failed = |source| OpenError::Io { dir: data_dir.to_path_buf(), source };
    let mut parked = Vec::new();
    for chain in chains(data_dir).map_err(failed)? {
        if let Some(index) = parked_index(data_dir, &chain) {
            parked.push((index, inspect(&chain)?));
        }
    }
    Ok(QueueReport::of_files(&found, &parked))
}

/// The newest of the letters that are asked for.
pub(super) fn list(
    data_dir: &Path,
    filter: &LetterFilter,
    limit: usize,
) -> Result<LetterList, AskError> {
    let limit = limit.min(LETTERS_MAX);
    let listing = Listing { filter: filter.clone(), limit };
    match ask(data_dir, &post("/dead-letters/list", &listing))? {
        Some(list) => Ok(list),
        None => Ok(newest(stored(data_dir)?, filter, limit)),
    }
}

/// One letter; None when there is none of this number.
pub(super) fn show(data_dir: &Path, id: LetterId) -> Result<Option<WholeLetter>, AskError> {
    match ask(data_dir, &get(&format!("/dead-letters/{id}")))? {
        Some(letter) => Ok(letter),
        None => {
            let found = stored(data_dir)?.find(|(at, _)| *at == id);
            Ok(found.map(|(id, letter)| whole(id, &letter)))
        }
    }
}

/// Deletes letters; says how many.
pub(super) fn purge(data_dir: &Path, filter: &LetterFilter) -> Result<u64, AskError> {
    let answer: Option<Result<u64, String>> = ask(data_dir, &post("/dead-letters/purge", filter))?;
    let purged = match answer {
        Some(purged) => purged,
        None => {
            let dir = data_dir.join("dead-letters");
            // Opening makes what is missing: not here.
            std::fs::metadata(&dir)
                .map_err(|source| AskError::DataDir { path: dir.clone(), source })?;
            let config = LettersConfig::new(dir, u64::MAX);
            let letters = Letters::open(config).map_err(|error| of_open(data_dir, error))?;
            purged(&letters, filter).map_err(|error| sentence(&error))
        }
    };
    purged.map_err(AskError::Read)
}

/// Deletes damaged segments, one or all.
pub(super) fn discard(data_dir: &Path, only: Option<u64>) -> Result<Vec<DiscardReport>, AskError> {
    let answer: Option<Result<_, String>> = ask(data_dir, &post("/queue/discard", &only))?;
    answer.ok_or_else(|| AskError::Nobody(data_dir.to_path_buf()))?.map_err(AskError::Read)
}

/// Reads every segment; each is told as soon as it is read.
pub(super) fn verify(data_dir: &Path, mut tell: impl FnMut(SegmentReport)) -> Result<(), AskError> {
    match connect(data_dir)? {
        Some(stream) => {
            let bad = bad(data_dir);
            for line in follow(stream, &get("/queue/verify")).map_err(|e| bad(e.to_string()))? {
                let line = line.map_err(|error| bad(error.to_string()))?;
                tell(serde_json::from_str(&line).map_err(|error| bad(error.to_string()))?);
            }
        }
        None => {
            let failed = |source| AskError::DataDir { path: data_dir.to_path_buf(), source };
            for chain in chains(data_dir).map_err(failed)? {
                match verify_chain(&chain) {
                    Ok(segments) => segments.for_each(|found| tell(SegmentReport::of(&found))),
                    Err(error) if is_gone(&chain, &error) => {}
                    Err(error) => return Err(failed(error)),
                }
            }
        }
    }
    Ok(())
}

/// Starts a replay and follows it to its end; what the last report says, or None when the aggregator ended before.
pub(super) fn replay(
    data_dir: &Path,
    request: &Request,
    mut tell: impl FnMut(&Report),
) -> Result<Option<Report>, AskError> {
    let stream = connect(data_dir)?.ok_or_else(|| AskError::Nobody(data_dir.to_path_buf()))?;
    let bad = bad(data_dir);
    let mut last = None;
    for line in follow(stream, request).map_err(|error| bad(error.to_string()))? {
        // Whoever is killed in the middle leaves half a line.
        let Some(report) = line.ok().and_then(|line| serde_json::from_str(&line).ok()) else {
            break;
        };
        tell(&report);
        last = Some(report);
    }
    Ok(last)
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

/// What is asked.
pub(super) struct Request(String);

pub(super) fn get(path: &str) -> Request {
    Request(format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n"))
}

pub(super) fn post(path: &str, body: &impl Serialize) -> Request {
    // What is asked is plain data.
    let body = serde_json::to_string(body).unwrap_or_default();
    Request(format!(
        "POST {path} HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ))
}

fn bad(data_dir: &Path) -> impl Fn(String) -> AskError + use<> {
    let path = data_dir.to_path_buf();
    move |reason| AskError::Answer { path: path.clone(), reason }
}

/// A connection to a running aggregator; None when none listens.
fn connect(data_dir: &Path) -> Result<Option<UnixStream>, AskError> {
    let (_directory, socket) = short_path(data_dir)
        .map_err(|source| AskError::DataDir { path: data_dir.to_path_buf(), source })?;
    match UnixStream::connect(&socket) {
        Ok(stream) => Ok(Some(stream)),
        Err(error) if is_nobody(&error) => Ok(None),
        Err(source) => Err(AskError::DataDir { path: data_dir.join(SOCKET), source }),
    }
}

/// The answer of a running aggregator; None when none listens.
fn ask<T: DeserializeOwned>(data_dir: &Path, request: &Request) -> Result<Option<T>, AskError> {
    let Some(stream) = connect(data_dir)? else { return Ok(None) };
    let bad = bad(data_dir);
    let mut lines = follow(stream, request).map_err(|error| bad(error.to_string()))?;
    let mut body = String::new();
    lines.reader.read_to_string(&mut body).map_err(|error| bad(error.to_string()))?;
    let found = serde_json::from_str(&body).map_err(|error| bad(error.to_string()))?;
    Ok(Some(found))
}

/// No socket, or one that a killed process left.
fn is_nobody(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

/// The lines of an answer.
struct Lines {
    reader: BufReader<UnixStream>,
}

impl Iterator for Lines {
    type Item = io::Result<String>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut line = String::new();
        match self.reader.read_line(&mut line) {
            Ok(0) => None,
            Ok(_) => Some(Ok(line)),
            Err(error) => Some(Err(error)),
        }
    }
}

/// Asks, and reads the answer's head. Version 1.0: it ends where the connection ends, and is not in chunks.
fn follow(mut stream: UnixStream, request: &Request) -> io::Result<Lines> {
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    stream.write_all(request.0.as_bytes())?;
    let mut lines = Lines { reader: BufReader::new(stream) };
    let status = lines.next().transpose()?.unwrap_or_default();
    if !status.starts_with("HTTP/1.0 200") && !status.starts_with("HTTP/1.1 200") {
        return Err(io::Error::other(status.trim_end().to_owned()));
    }
    while let Some(line) = lines.next().transpose()? {
        if line == "\r\n" {
            return Ok(lines);
        }
    }
    Err(io::Error::other("no head"))
}
