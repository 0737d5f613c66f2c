//! `naru-aggregator queue replay`, and what a replay of letters prints.

use std::path::Path;
use std::process::ExitCode;

use clap::Args;

use super::super::client::{self, Request};
use super::super::server::LettersAsked;
use super::{CommandError, Place, escaped, json_line, print, time_ns};
use crate::replay::{EntriesAsked, Report, Selection};

/// Reports between two lines of progress: one comes every half second.
const EVERY: u64 = 10;

/// Which records are delivered again, and how.
#[derive(Debug, Clone, Args)]
pub struct ReplayEntries {
    /// Records of this time or later, such as 2026-11-22T09:30:00Z, 2026-11-22 or now-1h; the time decides the index.
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Records before this time.
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// Records of containers in this namespace; may be given again.
    #[arg(long, value_name = "NAME")]
    namespace: Vec<String>,
    /// Replace documents that are there, instead of leaving them as they are.
    #[arg(long)]
    overwrite: bool,
    /// Deliver nothing, only say how much there is.
    #[arg(long)]
    dry_run: bool,
    /// Go on after this entry: what a replay that was cut off says.
    #[arg(long, value_name = "ENTRY", default_value_t = 0)]
    after: u64,
    /// The last line as a JSON object, and nothing else.
    #[arg(long)]
    json: bool,
}

impl ReplayEntries {
    pub(super) fn run(&self, data_dir: &Path, place: &Place) -> Result<ExitCode, CommandError> {
        let asked = EntriesAsked {
            selection: Selection {
                from_ns: time_ns(self.from.as_ref())?,
                to_ns: time_ns(self.to.as_ref())?,
                namespaces: self.namespace.clone(),
            },
            overwrite: self.overwrite,
            dry_run: self.dry_run,
            after: self.after,
        };
        let last = follow(data_dir, &client::post("/queue/replay", &asked), self.json)?;
        let report = last.clone().unwrap_or_default();
        if !self.json {
            print(entries_line(&report, self.dry_run).as_bytes());
        }
        let again = || self.again(place, report.through.max(self.after));
        let why = match (&last, &report.error) {
            (Some(report), None) if report.complete => return Ok(ExitCode::SUCCESS),
            (_, Some(error)) => escaped(error),
            (None, None) | (Some(_), None) => {
                format!("the aggregator ended the replay; when it runs, go on with: {}", again())
            }
        };
        Err(CommandError::Ended(why))
    }

    /// The command that goes on.
    fn again(&self, place: &Place, after: u64) -> String {
        let mut words = vec!["naru-aggregator queue replay".to_owned(), place.words()];
        let times = [("--from", &self.from), ("--to", &self.to)];
        words.extend(
            times.iter().filter_map(|(key, text)| Some(format!("{key} {}", text.as_ref()?))),
        );
        words.extend(self.namespace.iter().map(|name| format!("--namespace {name}")));
        words.extend(self.overwrite.then(|| "--overwrite".to_owned()));
        words.push(format!("--after {after}"));
        escaped(&words.join(" "))
    }
}

/// The same of letters.
pub(super) fn follow_letters(
    data_dir: &Path,
    asked: &LettersAsked,
    json: bool,
) -> Result<ExitCode, CommandError> {
    let last = follow(data_dir, &client::post("/dead-letters/replay", asked), json)?;
    let report = last.unwrap_or_default();
    if !json {
        print(letters_line(&report, asked.dry_run).as_bytes());
    }
    match &report.error {
        None if report.complete => Ok(ExitCode::SUCCESS),
        Some(error) => Err(CommandError::Ended(escaped(error))),
        None => Err(CommandError::Ended(
            "the aggregator ended the replay: what was indexed is gone from the letters, or is found indexed when the \
             same command is given again"
                .to_owned(),
        )),
    }
}

/// Follows a replay; progress goes to standard error.
fn follow(data_dir: &Path, request: &Request, json: bool) -> Result<Option<Report>, CommandError> {
    let mut told = 0;
    let last = client::replay(data_dir, request, |report| {
        if !json && !report.done && told % EVERY == 0 {
            let Report { through, of, records, indexed, there, dead, .. } = report;
            let trouble = report.trouble.as_deref().map(|why| format!("; waits: {}", escaped(why)));
            eprintln!(
                "through entry {through} of {of}: {records} records read, {indexed} indexed, {there} there already, \
                 {dead} not taken{}",
                trouble.unwrap_or_default()
            );
        }
        told += 1;
    })?;
    if let (true, Some(last)) = (json, &last) {
        print(json_line(last).as_bytes());
    }
    Ok(last)
}

fn entries_line(report: &Report, dry_run: bool) -> String {
    let Report { taken, records, indexed, there, dead, gone, lost, .. } = report;
    let mut out = match dry_run {
        true => format!("{records} records in {taken} entries would be delivered again\n"),
        false => format!(
            "{records} records in {taken} entries: {indexed} indexed, {there} there already, {dead} not taken\n"
        ),
    };
    if *gone > 0 {
        out.push_str(&format!("{gone} entries gave way to new ones before they were read\n"));
    }
    if *lost > 0 {
        out.push_str(&format!("{lost} entries cannot be read: see `queue verify`\n"));
    }
    out
}

fn letters_line(report: &Report, dry_run: bool) -> String {
    let Report { taken, indexed, there, dead, cannot, .. } = report;
    let mut out = match dry_run {
        true => format!("{taken} letters would be tried again\n"),
        false => format!(
            "{taken} letters tried: {indexed} indexed, {there} there already, {dead} refused again\n"
        ),
    };
    if *cannot > 0 {
        out.push_str(&format!("{cannot} letters cannot be tried: `show` says why\n"));
    }
    out
}
