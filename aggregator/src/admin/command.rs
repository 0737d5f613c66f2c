//! `naru-aggregator queue …` and `dead-letters …`: what is printed.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use naru_proto::time::format_rfc3339_ns;

use super::client::{self, AskError};
use super::report::{LetterList, LetterRow, QueueReport, WholeLetter};
use crate::config::Config;
use crate::search::print::escaped;

const FAILED: u8 = 1;
const BAD_CONFIGURATION: u8 = 64;

/// Which data directory.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
pub struct Place {
    /// The aggregator's configuration.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Its data directory, of `standalone` too.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

/// Looks at what waits for delivery.
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
}

/// Looks at the records that could not be delivered.
#[derive(Debug, Clone, Subcommand)]
pub enum LettersCommand {
    /// A line for each of the newest, oldest of them first.
    List {
        /// Which data directory.
        #[command(flatten)]
        place: Place,
        /// How many at most; no more than 10,000.
        #[arg(long, value_name = "N", default_value_t = 100)]
        limit: usize,
        /// One JSON object a line.
        #[arg(long)]
        json: bool,
    },
    /// All that is known of one.
    Show {
        /// Which data directory.
        #[command(flatten)]
        place: Place,
        /// Its number, as `list` prints it.
        #[arg(value_name = "NUMBER")]
        number: u64,
        /// One JSON object, with the record in base64.
        #[arg(long, conflicts_with = "raw")]
        json: bool,
        /// The record alone, byte for byte as the pod wrote it: do not print it to a terminal.
        #[arg(long)]
        raw: bool,
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
    NoLetter(u64),
    #[error("the answer holds no record")]
    NoRecord,
}

/// Runs `naru-aggregator queue …`.
#[must_use]
pub fn queue(command: &QueueCommand) -> ExitCode {
    let QueueCommand::Status { place, json } = command;
    finish(data_dir(place).and_then(|data_dir| {
        let report = client::queue(&data_dir)?;
        Ok(if *json { json_line(&report) } else { status(&report, crate::clock::now_ms()) }
            .into_bytes())
    }))
}

/// Runs `naru-aggregator dead-letters …`.
#[must_use]
pub fn letters(command: &LettersCommand) -> ExitCode {
    finish(match command {
        LettersCommand::List { place, limit, json } => data_dir(place).and_then(|data_dir| {
            let list = client::list(&data_dir, *limit)?;
            Ok(if *json { list.letters.iter().map(json_line).collect() } else { lines(&list) }
                .into_bytes())
        }),
        LettersCommand::Show { place, number, json, raw } => data_dir(place).and_then(|data_dir| {
            let letter = client::show(&data_dir, *number)?;
            let letter = letter.ok_or(CommandError::NoLetter(*number))?;
            let record = letter.record().ok_or(CommandError::NoRecord)?;
            Ok(match (json, raw) {
                (true, _) => json_line(&letter).into_bytes(),
                (false, true) => record,
                (false, false) => whole(&letter, &record).into_bytes(),
            })
        }),
    })
}

fn data_dir(place: &Place) -> Result<PathBuf, CommandError> {
    match (&place.config, &place.data_dir) {
        (Some(config), _) => Ok(Config::load(config, &|name| std::env::var(name).ok())?.data_dir),
        (None, data_dir) => Ok(data_dir.clone().unwrap_or_default()),
    }
}

fn finish(result: Result<Vec<u8>, CommandError>) -> ExitCode {
    match result {
        Ok(bytes) => match io::stdout().write_all(&bytes) {
            Ok(()) => ExitCode::SUCCESS,
            // Nobody reads any more.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("naru-aggregator: {error}");
                ExitCode::from(FAILED)
            }
        },
        Err(error) => {
            eprintln!("naru-aggregator: {error}");
            let bad = matches!(error, CommandError::Config(_));
            ExitCode::from(if bad { BAD_CONFIGURATION } else { FAILED })
        }
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

/// One line a letter.
fn lines(list: &LetterList) -> String {
    let mut out = String::new();
    for row in &list.letters {
        let LetterRow { number, node, file, offset, index, document_id, attempts, .. } = row;
        let parts = [
            number.to_string(),
            time(row.last_ms),
            escaped(node),
            format!("{}:{offset}", escaped(file)),
            escaped(index),
            escaped(document_id),
            format!("{attempts}x"),
            escaped(&row.reason),
            escaped(row.text.trim_end_matches(['\r', '\n'])),
        ];
        out.push_str(&parts.join("  "));
        out.push('\n');
    }
    let left = list.total.saturating_sub(list.letters.len() as u64);
    if left > 0 {
        out.push_str(&format!("({left} older; --limit shows more)\n"));
    }
    out
}

fn whole(letter: &WholeLetter, record: &[u8]) -> String {
    let row = &letter.letter;
    let mut out = String::new();
    for (key, value) in [
        ("number", row.number.to_string()),
        ("reason", escaped(&row.reason)),
        ("attempts", row.attempts.to_string()),
        ("first", time(row.first_ms)),
        ("last", time(row.last_ms)),
        ("node", escaped(&row.node)),
        ("file", escaped(&row.file)),
        ("offset", row.offset.to_string()),
        ("index", escaped(&row.index)),
        ("document id", escaped(&row.document_id)),
        ("bytes", record.len().to_string()),
        ("record", escaped(&String::from_utf8_lossy(record))),
    ] {
        out.push_str(&format!("{key:<13}{value}\n"));
    }
    out
}

#[cfg(test)]
mod tests;
