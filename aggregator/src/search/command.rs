//! `naru-aggregator search`: asks a running aggregator over HTTP and prints what it finds.
//!
//! What it prints is what pods wrote, so nothing in it may reach the terminal as a command. It asks page by page and
//! holds one page; a reader that goes away (`| head`) ends it quietly.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde::Deserialize;
use serde_json::value::RawValue;

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
    /// One JSON document a line, with `_index` and `_id`.
    #[arg(long)]
    pub json: bool,
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
    let raw = RawRequest {
        query: Some(&args.query),
        from: args.from.as_deref(),
        to: args.to.as_deref(),
        ..RawRequest::default()
    };
    SearchRequest::read(&raw, 0).map_err(|error: RequestError| CommandError::Refused {
        reason: error.to_string(),
        position: error.position(),
    })?;
    let asking = Asking::new(args)?;
    let mut left = args.limit;
    let mut after = None;
    while left > 0 {
        let page = asking.page(left.min(MAX_LIMIT), after.as_deref())?;
        for found in page.hits.iter().take(left) {
            let line = if args.json { json_line(found) } else { human_line(found) };
            output.write_all(line.as_bytes())?;
        }
        output.flush()?;
        for line in &page.incomplete {
            writeln!(
                errors,
                "naru-aggregator search: incomplete: {}",
                super::print::escaped(line)
            )?;
        }
        left = left.saturating_sub(page.hits.len());
        after = page.next;
        if after.is_none() {
            break;
        }
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
    fn new(args: &'a SearchArgs) -> Result<Self, CommandError> {
        let usage = |reason: String| CommandError::Refused { reason, position: None };
        let base = args.url.trim_end_matches('/');
        let url = reqwest::Url::parse(&format!("{base}/api/v1/search"))
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

    fn page(&self, limit: usize, after: Option<&str>) -> Result<Page, CommandError> {
        let mut url = self.url.clone();
        let limit = limit.to_string();
        let parameters = [
            ("q", Some(self.args.query.as_str())),
            ("from", self.args.from.as_deref()),
            ("to", self.args.to.as_deref()),
            ("limit", Some(limit.as_str())),
            ("after", after),
        ];
        for (name, value) in parameters {
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
