//! `naru-aggregator queue …` and `dead-letters …`: what is asked, and what is printed.

mod letters;
mod replay;
mod verify;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use naru_proto::time::format_rfc3339_ns;

use super::client::{self, AskError};
use super::report::{DiscardReport, ParkedReport, QueueReport};
use crate::config::Config;
use crate::queue::LetterId;
use crate::search::print::escaped;
use crate::search::time::TimeText;

pub use letters::{LettersCommand, letters};
pub use replay::ReplayEntries;

const FAILED: u8 = 1;
const BAD_CONFIGURATION: u8 = 64;

/// Which data directory.
#[derive(Debug, Clone, Args)]
pub struct Place {
    /// The aggregator's configuration.
    #[arg(
        long,
        value_name = "FILE",
        required_unless_present = "data_dir",
        conflicts_with = "data_dir"
    )]
    config: Option<PathBuf>,
    /// Its data directory, of `standalone` too.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

/// Looks at what waits for delivery, and at what was delivered.
#[derive(Debug, Clone, Subcommand)]
pub enum QueueCommand {
    /// How much waits, since when, and what is in its way.
    Status {
        /// Which data directory.
        #[command(flatten)]
        place: Place,
        /// One JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Read every segment, of the dead letters and of side chains too, and say what is intact and what is lost. Exit code 1: something is damaged.
    Verify {
        /// Which data directory.
        #[command(flatten)]
        place: Place,
        /// One JSON object a segment.
        #[arg(long)]
        json: bool,
    },
    /// Deliver again what was delivered and is still on the disk (queue.retain), with the same ids: after an index was lost.
    Replay {
        /// Which data directory.
        #[command(flatten)]
        place: Place,
        /// Which records, and how.
        #[command(flatten)]
        replay: ReplayEntries,
    },
    /// Delete damaged segments from quarantine, once what can be read of them is delivered.
    #[command(group(clap::ArgGroup::new("which").required(true)))]
    Discard {
        /// Which data directory.
        #[command(flatten)]
        place: Place,
        /// A segment, by its name in quarantine/.
        #[arg(value_name = "SEGMENT", group = "which")]
        segment: Option<u64>,
        /// All of them, of side chains too.
        #[arg(long, group = "which")]
        all: bool,
    },
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
enum CommandError {
    #[error(transparent)]
    Config(#[from] crate::config::ConfigError),
    #[error(transparent)]
    Ask(#[from] AskError),
    #[error("there is no letter {0}")]
    NoLetter(LetterId),
    #[error("the answer holds no record")]
    NoRecord,
    #[error("{0:?} is not a time, such as 2026-11-22T09:30:00Z, 2026-11-22 or now-1h")]
    Time(String),
    #[error("say which letters: numbers, a filter, or --all")]
    NoLetters,
    #[error("{0}")]
    Damaged(String),
    #[error("{0}")]
    Ended(String),
}

/// Runs `naru-aggregator queue …`.
#[must_use]
pub fn queue(command: &QueueCommand) -> ExitCode {
    match command {
        QueueCommand::Status { place, json } => finish(data_dir(place).and_then(|data_dir| {
            let report = client::queue(&data_dir)?;
            Ok(if *json { json_line(&report) } else { status(&report, crate::clock::now_ms()) }
                .into_bytes())
        })),
        QueueCommand::Verify { place, json } => {
            end(data_dir(place).and_then(|data_dir| verify::run(&data_dir, *json)))
        }
        QueueCommand::Replay { place, replay } => {
            end(data_dir(place).and_then(|data_dir| replay.run(&data_dir, place)))
        }
        QueueCommand::Discard { place, segment, .. } => {
            finish(data_dir(place).and_then(|data_dir| {
                let found = client::discard(&data_dir, *segment)?;
                Ok(discarded(&found).into_bytes())
            }))
        }
    }
}

impl Place {
    /// As it was given.
    fn words(&self) -> String {
        match (&self.config, &self.data_dir) {
            (Some(config), _) => format!("--config {}", config.display()),
            (None, data_dir) => {
                format!("--data-dir {}", data_dir.as_deref().unwrap_or("".as_ref()).display())
            }
        }
    }
}

fn data_dir(place: &Place) -> Result<PathBuf, CommandError> {
    match (&place.config, &place.data_dir) {
        (Some(config), _) => Ok(Config::load(config, &|name| std::env::var(name).ok())?.data_dir),
        (None, data_dir) => Ok(data_dir.clone().unwrap_or_default()),
    }
}

fn finish(result: Result<Vec<u8>, CommandError>) -> ExitCode {
    end(result.map(|bytes| print(&bytes)))
}

fn end(result: Result<ExitCode, CommandError>) -> ExitCode {
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("naru-aggregator: {error}");
            let bad = matches!(
                error,
                CommandError::Config(_) | CommandError::Time(_) | CommandError::NoLetters
            );
            ExitCode::from(if bad { BAD_CONFIGURATION } else { FAILED })
        }
    }
}

fn print(bytes: &[u8]) -> ExitCode {
    match io::stdout().write_all(bytes) {
        Ok(()) => ExitCode::SUCCESS,
        // Nobody reads any more.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("naru-aggregator: {error}");
            ExitCode::from(FAILED)
        }
    }
}

/// A time as people write it, in nanoseconds since 1970.
fn time_ns(text: Option<&String>) -> Result<Option<i64>, CommandError> {
    let now_ns = crate::clock::now_ms().saturating_mul(1_000_000);
    text.map(|text| {
        let time = TimeText::parse(text).ok_or_else(|| CommandError::Time(text.clone()))?;
        Ok(time.resolve(now_ns))
    })
    .transpose()
}

/// What became of damaged segments.
fn discarded(found: &[DiscardReport]) -> String {
    let line = |one: &DiscardReport| {
        let what = match one.waits {
            true => "stays: entries of it wait for delivery",
            false => "deleted",
        };
        format!("{}: {} bytes, {what}\n", escaped(&one.path), one.bytes)
    };
    match found.is_empty() {
        true => "nothing of that is in quarantine\n".to_owned(),
        false => found.iter().map(line).collect(),
    }
}

/// JSON escapes control characters by itself, but for those above ASCII.
fn json_line(value: &impl serde::Serialize) -> String {
    let text = serde_json::to_string(value).unwrap_or_default();
    let mut line = String::with_capacity(text.len() + 1);
    for c in text.chars() {
        if crate::search::print::is_hostile(c) {
            line.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            line.push(c);
        }
    }
    line + "\n"
}

fn status(report: &QueueReport, now_ms: i64) -> String {
    let mut out = String::new();
    let mut line = |key: &str, value: String| out.push_str(&format!("{key:<18}{value}\n"));
    let waits = match report.leased {
        Some(leased) => format!("{} entries, {leased} of them being delivered", report.entries),
        None => format!("{} entries", report.entries),
    };
    line("aggregator", if report.running { "running" } else { "not running" }.to_owned());
    line("waiting", format!("{waits}; about {} batches", report.batches));
    line("delivered", format!("through entry {} of {}", report.delivered, report.head));
    line(
        "oldest",
        report.oldest_ms.map_or_else(|| "nothing waits".to_owned(), |ms| age(ms, now_ms)),
    );
    line("disk", format!("{} bytes", report.disk_bytes));
    line(
        "segments",
        format!(
            "{} open, {} sealed, {} in quarantine",
            report.open_segments, report.sealed_segments, report.quarantined_segments
        ),
    );
    let QueueReport { retained_segments, retained_bytes, .. } = report;
    line("retained", format!("{retained_segments} delivered segments, {retained_bytes} bytes"));
    for ParkedReport { index, entries, disk_bytes } in &report.parked {
        line("parked", escaped(&format!("{index}: {entries} entries, {disk_bytes} bytes")));
    }
    for found in &report.quarantined {
        let damage = found.damage.as_deref().unwrap_or("damaged");
        let lost = found.lost.map(|lost| format!(", {lost} entries lost")).unwrap_or_default();
        line("quarantine", escaped(&format!("{}: {damage}{lost}", found.path)));
    }
    if report.running {
        line("intake", report.full.clone().unwrap_or_else(|| "open".to_owned()));
        let commit = report.commit_running_ms.map(|ms| format!("running for {ms} ms"));
        line("commit", commit.unwrap_or_else(|| "none running".to_owned()));
        let trouble = report.delivery_trouble.as_deref().map(escaped);
        line("delivery", trouble.unwrap_or_else(|| "works".to_owned()));
    }
    for (key, value) in [
        ("failed commits", report.failed_commits),
        ("lost entries", report.lost_entries),
        ("dead letters", report.dead_letters),
    ] {
        if let Some(value) = value {
            line(key, value.to_string());
        }
    }
    out
}

fn age(ms: i64, now_ms: i64) -> String {
    let seconds = now_ms.saturating_sub(ms).max(0) / 1000;
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    format!("{} ({hours}h {minutes}m {}s ago)", time(ms), seconds % 60)
}

fn time(ms: i64) -> String {
    String::from_utf8_lossy(&format_rfc3339_ns(ms.saturating_mul(1_000_000))).into_owned()
}

#[cfg(test)]
mod tests;
