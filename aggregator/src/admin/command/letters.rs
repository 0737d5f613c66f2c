//! `naru-aggregator dead-letters …`.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::super::client;
use super::super::filter::LetterFilter;
use super::super::report::{LetterList, LetterRow, WholeLetter};
use super::super::server::LettersAsked;
use super::replay::follow_letters;
use super::{CommandError, Place, data_dir, end, finish, json_line, time, time_ns};
use crate::queue::LetterId;
use crate::search::print::escaped;

/// Why a letter cannot be tried again.
const WHY_NOT: &str = "not possible: it holds bytes alone, as an earlier release kept them, or a batch that cannot be read";

/// Looks at the records that could not be delivered, and has them tried again.
#[derive(Debug, Clone, Subcommand)]
pub enum LettersCommand {
    /// A line for each of the newest, oldest of them first.
    List {
        /// Which data directory.
        #[command(flatten)]
        place: Place,
        /// Which letters.
        #[command(flatten)]
        which: Which,
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
        number: LetterId,
        /// One JSON object, with the record in base64.
        #[arg(long, conflicts_with = "raw")]
        json: bool,
        /// The record alone, byte for byte as the pod wrote it: do not print it to a terminal.
        #[arg(long)]
        raw: bool,
    },
    /// Try letters again, with the same ids, after what was wrong was put right: those that are indexed go, the others stay.
    Replay {
        /// Which data directory.
        #[command(flatten)]
        place: Place,
        /// Which letters.
        #[command(flatten)]
        chosen: Chosen,
        /// Deliver nothing, only say how many there are.
        #[arg(long)]
        dry_run: bool,
        /// The last line as a JSON object, and nothing else.
        #[arg(long)]
        json: bool,
    },
    /// Delete letters for good, without delivering them.
    Purge {
        /// Which data directory.
        #[command(flatten)]
        place: Place,
        /// Which letters.
        #[command(flatten)]
        chosen: Chosen,
    },
}

/// Which letters: all that is given must hold.
#[derive(Debug, Clone, Args)]
pub struct Which {
    /// Of this index; a `*` at its end stands for anything.
    #[arg(long, value_name = "INDEX")]
    index: Option<String>,
    /// Of containers in this namespace.
    #[arg(long, value_name = "NAME")]
    namespace: Option<String>,
    /// With this in the reason.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Last tried at this time or later, such as 2026-11-22T09:30:00Z or now-1h.
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Last tried before this time.
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
}

/// The same, and never all by mistake.
#[derive(Debug, Clone, Args)]
pub struct Chosen {
    /// Their numbers, as `list` prints them.
    #[arg(value_name = "NUMBER")]
    numbers: Vec<LetterId>,
    /// Which of all.
    #[command(flatten)]
    which: Which,
    /// All letters.
    #[arg(long)]
    all: bool,
}

impl Which {
    fn filter(&self) -> Result<LetterFilter, CommandError> {
        let ms = |text| Ok::<_, CommandError>(time_ns(text)?.map(|ns| ns.div_euclid(1_000_000)));
        Ok(LetterFilter {
            numbers: Vec::new(),
            index: self.index.clone(),
            namespace: self.namespace.clone(),
            reason: self.reason.clone(),
            from_ms: ms(self.from.as_ref())?,
            to_ms: ms(self.to.as_ref())?,
        })
    }
}

impl Chosen {
    fn filter(&self) -> Result<LetterFilter, CommandError> {
        let mut filter = self.which.filter()?;
        filter.numbers = self.numbers.iter().map(ToString::to_string).collect();
        if filter.is_all() != self.all {
            return Err(CommandError::NoLetters);
        }
        Ok(filter)
    }
}

/// Runs `naru-aggregator dead-letters …`.
#[must_use]
pub fn letters(command: &LettersCommand) -> ExitCode {
    match command {
        LettersCommand::List { place, which, limit, json } => {
            finish(data_dir(place).and_then(|data_dir| {
                let list = client::list(&data_dir, &which.filter()?, *limit)?;
                Ok(if *json { list.letters.iter().map(json_line).collect() } else { lines(&list) }
                    .into_bytes())
            }))
        }
        LettersCommand::Show { place, number, json, raw } => {
            finish(data_dir(place).and_then(|data_dir| {
                let letter = client::show(&data_dir, *number)?;
                let letter = letter.ok_or(CommandError::NoLetter(*number))?;
                let record = letter.record().ok_or(CommandError::NoRecord)?;
                Ok(match (json, raw) {
                    (true, _) => json_line(&letter).into_bytes(),
                    (false, true) => record,
                    (false, false) => shown(&letter, &record).into_bytes(),
                })
            }))
        }
        LettersCommand::Replay { place, chosen, dry_run, json } => {
            end(data_dir(place).and_then(|data_dir| {
                let asked = LettersAsked { filter: chosen.filter()?, dry_run: *dry_run };
                follow_letters(&data_dir, &asked, *json)
            }))
        }
        LettersCommand::Purge { place, chosen } => finish(data_dir(place).and_then(|data_dir| {
            let purged = client::purge(&data_dir, &chosen.filter()?)?;
            Ok(format!("{purged} letters deleted\n").into_bytes())
        })),
    }
}

/// One line a letter.
pub(super) fn lines(list: &LetterList) -> String {
    let mut out = String::new();
    for row in &list.letters {
        let LetterRow { number, node, file, offset, index, document_id, attempts, .. } = row;
        let parts = [
            escaped(number),
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

pub(super) fn shown(letter: &WholeLetter, record: &[u8]) -> String {
    let row = &letter.letter;
    let mut out = String::new();
    for (key, value) in [
        ("number", escaped(&row.number)),
        ("reason", escaped(&row.reason)),
        ("attempts", row.attempts.to_string()),
        ("first", time(row.first_ms)),
        ("last", time(row.last_ms)),
        ("node", escaped(&row.node)),
        ("namespace", row.namespace.as_deref().map_or_else(|| "not known".to_owned(), escaped)),
        ("file", escaped(&row.file)),
        ("offset", row.offset.to_string()),
        ("index", escaped(&row.index)),
        ("document id", escaped(&row.document_id)),
        ("replay", if row.whole { "possible" } else { WHY_NOT }.to_owned()),
        ("bytes", record.len().to_string()),
        ("record", escaped(&String::from_utf8_lossy(record))),
    ] {
        out.push_str(&format!("{key:<13}{value}\n"));
    }
    out
}
