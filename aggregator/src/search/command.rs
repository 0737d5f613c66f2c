//! `naru-aggregator search`: asks a running aggregator over HTTP and prints what it finds.
//!
//! What it prints is what pods wrote, so nothing in it may reach the terminal as a command. It asks page by page and
//! holds one page; a reader that goes away (`| head`) ends it quietly.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::chart::Counted;
use super::histogram::{HistogramRequest, RawHistogram};
use super::print::{human_line, json_line};
use super::request::{MAX_LIMIT, RawRequest, RequestError, SearchRequest};
use super::words::is_cjk;

/// The request failed.
const EXIT_FAILED: u8 = 1;
/// The query or an argument was not understood.
const EXIT_USAGE: u8 = 64;
/// Longer than the aggregator searches.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Searches a running aggregator.
#[derive(Debug, Clone, Args)]
pub struct SearchArgs {
    /// The aggregator's HTTP address.
    #[arg(long, env = "NARU_URL", default_value = "http://127.0.0.1:7480")]
    pub url: String,
    /// Only documents from this time on: RFC 3339, a date, milliseconds since 1970, or now-15m.
    #[arg(long, value_name = "T", allow_hyphen_values = true)]
    pub from: Option<String>,
    /// Only documents before this time.
    #[arg(long, value_name = "T", allow_hyphen_values = true)]
    pub to: Option<String>,
    /// Documents at most, the newest.
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub limit: usize,
    /// One JSON document a line, with `_index` and `_id`; with --histogram one bucket a line.
    #[arg(long)]
    pub json: bool,
    /// How many documents there are over time, in steps of INTERVAL (30s, 5m, 1h, 1d) or of a chosen one.
    #[arg(long, value_name = "INTERVAL", num_args = 0..=1, require_equals = true)]
    pub histogram: Option<Option<String>>,
    /// What to search for: words, "phrases", field:value, AND, OR, NOT; `*` is everything.
    #[arg(value_name = "QUERY", allow_hyphen_values = true)]
    pub query: String,
}

/// Why the command failed.
#[derive(Debug, thiserror::Error)]
enum CommandError {
    #[error("{reason}")]
    Refused { reason: String, position: Option<usize> },
    #[error("no aggregator answers at {url}: {reason}")]
    Connect { url: String, reason: String },
    #[error("the aggregator at {url} answered with what is no search result: {reason}")]
    Answer { url: String, reason: String },
    #[error("the aggregator at {url} answered {status}: {reason}")]
    Failed { url: String, status: u16, reason: String },
    #[error("write the result: {0}")]
    Output(#[from] io::Error),
}

/// A histogram as the aggregator answers it.
#[derive(Deserialize)]
struct Chart {
    buckets: Vec<Counted>,
    #[serde(default)]
    incomplete: Vec<String>,
}

#[derive(Deserialize)]
struct Page {
    hits: Vec<Found>,
    next: Option<String>,
    #[serde(default)]
    incomplete: Vec<String>,
}

/// A document as the aggregator answers it.
#[derive(Deserialize)]
pub(super) struct Found {
    #[serde(rename = "_index")]
    pub(super) index: String,
    #[serde(rename = "_id")]
    pub(super) id: String,
    #[serde(rename = "_source")]
    pub(super) source: Box<RawValue>,
}

#[derive(Deserialize)]
struct Failure {
    error: Reason,
}

#[derive(Deserialize)]
struct Reason {
    reason: String,
    position: Option<usize>,
}

/// Runs the command.
#[must_use]
pub fn run(args: &SearchArgs) -> ExitCode {
    let mut output = io::BufWriter::new(io::stdout().lock());
    ExitCode::from(run_to(args, &mut output, &mut io::stderr()))
}

/// Runs the command with these outputs and returns its exit code.
pub(crate) fn run_to(args: &SearchArgs, output: &mut impl Write, errors: &mut impl Write) -> u8 {
    let error = match search(args, output, errors) {
        Ok(()) => return 0,
        Err(CommandError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => return 0,
        Err(error) => error,
    };
    let mut message =
        format!("naru-aggregator search: {}\n", super::print::escaped(&error.to_string()));
    if let CommandError::Refused { position: Some(position), .. } = error {
        message.push_str(&caret(&args.query, position));
    }
    // There is nowhere left to say that this failed.
    errors.write_all(message.as_bytes()).ok();
    if matches!(error, CommandError::Refused { .. }) { EXIT_USAGE } else { EXIT_FAILED }
}

fn search(
    args: &SearchArgs,
    output: &mut impl Write,
    errors: &mut impl Write,
) -> Result<(), CommandError> {
    // What is wrong with the query can be said without an aggregator.
    let refused = |error: RequestError| CommandError::Refused {
        reason: error.to_string(),
        position: error.position(),
    };
    let (query, from, to) = (Some(args.query.as_str()), args.from.as_deref(), args.to.as_deref());
    if let Some(interval) = &args.histogram {
        let raw = RawHistogram { query, from, to, interval: interval.as_deref() };
        HistogramRequest::read(&raw, 0).map_err(refused)?;
        return chart(args, interval.as_deref(), output, errors);
    }
    let raw = RawRequest { query, from, to, ..RawRequest::default() };
    SearchRequest::read(&raw, 0).map_err(refused)?;
    let asking = Asking::new(args, "search")?;
    let mut left = args.limit;
    let mut after = None;
    while left > 0 {
        let limit = left.min(MAX_LIMIT).to_string();
        let parameters = [("limit", Some(limit.as_str())), ("after", after.as_deref())];
        let page: Page = asking.ask(&parameters)?;
        for found in page.hits.iter().take(left) {
            let line = if args.json { json_line(found) } else { human_line(found) };
            output.write_all(line.as_bytes())?;
        }
        output.flush()?;
        say_incomplete(&page.incomplete, errors)?;
        left = left.saturating_sub(page.hits.len());
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    Ok(())
}

fn chart(
    args: &SearchArgs,
    interval: Option<&str>,
    output: &mut impl Write,
    errors: &mut impl Write,
) -> Result<(), CommandError> {
    let asking = Asking::new(args, "histogram")?;
    let chart: Chart = asking.ask(&[("interval", interval)])?;
    let most = chart.buckets.iter().map(|bucket| bucket.count).max().unwrap_or_default();
    for bucket in &chart.buckets {
        let line = if args.json { bucket.json_line()? } else { bucket.human_line(most) };
        output.write_all(line.as_bytes())?;
    }
    output.flush()?;
    say_incomplete(&chart.incomplete, errors)
}

fn say_incomplete(incomplete: &[String], errors: &mut impl Write) -> Result<(), CommandError> {
    for line in incomplete {
        let line = super::print::escaped(line);
        writeln!(errors, "naru-aggregator search: incomplete: {line}")?;
    }
    Ok(())
}

/// Asks one aggregator.
struct Asking<'a> {
    args: &'a SearchArgs,
    url: reqwest::Url,
    client: reqwest::Client,
    runtime: tokio::runtime::Runtime,
}

impl<'a> Asking<'a> {
    fn new(args: &'a SearchArgs, what: &str) -> Result<Self, CommandError> {
        let usage = |reason: String| CommandError::Refused { reason, position: None };
        let base = args.url.trim_end_matches('/');
        let url = reqwest::Url::parse(&format!("{base}/api/v1/{what}"))
            .map_err(|error| usage(format!("`{}` is not a URL: {error}", args.url)))?;
        if !["http", "https"].contains(&url.scheme()) {
            return Err(usage(format!("`{}` is not an http:// or https:// URL", args.url)));
        }
        // Whoever installed one before is right as well.
        rustls::crypto::ring::default_provider().install_default().ok();
        let client = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(REQUEST_TIMEOUT)
            .no_proxy()
            .build()
            .map_err(|error| connect(&args.url, &error))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self { args, url, client, runtime })
    }

    fn ask<T: DeserializeOwned>(
        &self,
        parameters: &[(&str, Option<&str>)],
    ) -> Result<T, CommandError> {
        let mut url = self.url.clone();
        let common = [
            ("q", Some(self.args.query.as_str())),
            ("from", self.args.from.as_deref()),
            ("to", self.args.to.as_deref()),
        ];
        for (name, value) in common.iter().chain(parameters) {
            if let Some(value) = value {
                url.query_pairs_mut().append_pair(name, value);
            }
        }
        let answered = self.runtime.block_on(async {
            let response = self.client.get(url).send().await?;
            Ok::<_, reqwest::Error>((response.status(), response.bytes().await?))
        });
        let (status, body) = answered.map_err(|error| connect(&self.args.url, &error))?;
        let url = self.args.url.clone();
        if status.is_success() {
            return serde_json::from_slice(&body)
                .map_err(|error| CommandError::Answer { url, reason: error.to_string() });
        }
        let said = serde_json::from_slice::<Failure>(&body).ok().map(|failure| failure.error);
        let (reason, position) = match said {
            Some(said) => (said.reason, said.position),
            None => ("no reason given".to_owned(), None),
        };
        Err(if status.as_u16() == 400 {
            CommandError::Refused { reason, position }
        } else {
            CommandError::Failed { url, status: status.as_u16(), reason }
        })
    }
}

/// The last cause is the one that says something: `Connection refused`.
fn connect(url: &str, error: &reqwest::Error) -> CommandError {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    CommandError::Connect { url: url.to_owned(), reason: cause.to_string() }
}

/// The query and, below it, a caret at the character.
fn caret(query: &str, position: usize) -> String {
    let shown: String = query
        .chars()
        .map(|c| if c.is_whitespace() { ' ' } else { super::print::visible(c) })
        .collect();
    let columns: usize = shown.chars().take(position).map(|c| 1 + usize::from(is_cjk(c))).sum();
    format!("  {shown}\n  {}^\n", " ".repeat(columns))
}
