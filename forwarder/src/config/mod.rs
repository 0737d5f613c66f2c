//! The configuration: one YAML file, checked whole before anything is started.
//!
//! Every error names the file, the line and the key. A key that is not known is an error. Each section has a file of its
//! own: what it may say, and the check of that.

mod aggregator;
mod containers;
mod environment;
mod exclude;
mod files;
mod hold;
mod multiline;
pub mod preset;
mod since;
mod wrong;

pub use containers::Containers;
pub use environment::{Environment, default_node};
pub use files::Input;
pub use multiline::ContainerRules;
pub use since::Since;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use naru_proto::frame::Writer;
use serde::Deserialize;
use serde_saphyr::Spanned;

use crate::connect::Target;
use crate::cut::Rule;
use aggregator::RawAggregator;
use containers::RawContainers;
use files::RawFiles;
pub use hold::Hold;
use hold::RawHold;
use wrong::{Text, Wrong};

/// Where the checkpoint is kept.
const DATA_DIR: &str = "/var/lib/naru-forwarder";
/// Probes and metrics.
const HTTP: &str = "127.0.0.1:7481";

/// What the file says.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawConfig {
    /// The cluster's name; part of every document's id, so it never changes. Default: default.
    cluster: Option<Spanned<String>>,
    /// This node's name. Default: the environment's NODE_NAME, else the host's name.
    node: Option<Spanned<String>>,
    /// Where the checkpoint is kept. Default: /var/lib/naru-forwarder.
    data_dir: Option<Spanned<String>>,
    /// Where to send.
    aggregator: RawAggregator,
    /// Container logs.
    containers: Option<RawContainers>,
    /// Log files of the host.
    files: Option<Vec<Spanned<RawFiles>>>,
    /// Files that are new to the checkpoint and were last written before this are not read: an age (`24h`) at the start, or a
    /// time (RFC 3339). Default: all are read from their start.
    since: Option<Spanned<String>>,
    /// How long deleted files are held open.
    hold: Option<RawHold>,
    /// Where /healthz, /readyz and /metrics are served. Default: 127.0.0.1:7481.
    http: Option<Spanned<String>>,
}

/// A checked configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// The cluster's name.
    pub cluster: String,
    /// This node's name.
    pub node: String,
    /// Where the checkpoint is kept.
    pub data_dir: PathBuf,
    /// Where aggregators are, and how they are reached.
    pub aggregator: Target,
    /// Container logs; None when they are off.
    pub containers: Option<Containers>,
    /// Log files of the host.
    pub files: Vec<Input>,
    /// Which files, new to the checkpoint, are too old to be read.
    pub since: Option<Since>,
    /// How long deleted files are held open.
    pub hold: Hold,
    /// Where probes and metrics are served; None in a process that serves its own.
    pub http: Option<SocketAddr>,
}

/// Why a configuration is not one: a sentence that names file, line and key.
#[derive(Debug, PartialEq, Eq)]
pub struct ConfigError(String);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// One sentence about the first thing that is wrong.
    pub fn load(path: &Path, environment: Environment<'_>) -> Result<Self, ConfigError> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConfigError(format!("{name}: {error}")))?;
        Self::parse(&name, &text, environment)
    }

    /// Checks a text; `name` is what errors call it.
    ///
    /// # Errors
    /// One sentence about the first thing that is wrong.
    pub fn parse(
        name: &str,
        text: &str,
        environment: Environment<'_>,
    ) -> Result<Self, ConfigError> {
        let text = environment::expand(name, text, environment)?;
        let raw: RawConfig = serde_saphyr::from_str(&text).map_err(|error| {
            let reason = error.without_snippet().to_string();
            let line = error.location().map_or(1, |location| location.line());
            ConfigError(format!("{name}:{line}: {}", first_sentence(&reason)))
        })?;
        raw.checked(environment).map_err(|wrong| ConfigError(wrong.sentence(name)))
    }
}

impl Config {
    /// The rule that joins a source's lines; None: every line is a record.
    #[must_use]
    pub fn rule_of(&self, writer: &Writer) -> Option<Arc<Rule>> {
        match writer {
            Writer::Container(of) => {
                let rules = &self.containers.as_ref()?.multiline;
                rules.rule_of(&of.namespace, &of.pod, &of.container).cloned()
            }
            Writer::HostFile { path } => {
                let matching = |input: &&Input| input.pattern.matches(Path::new(path));
                self.files.iter().find(matching)?.multiline.clone()
            }
        }
    }

    /// What is not wrong and may be a mistake: patterns of host files that match nothing now.
    #[must_use]
    pub fn doubts(&self) -> Vec<String> {
        let patterns = self.files.iter().map(|input| &input.pattern);
        let unmatched = patterns.filter(|p| p.is_wildcard() && p.files().is_empty());
        unmatched.map(|pattern| format!("files: {:?} matches nothing", pattern.as_str())).collect()
    }
}

impl RawConfig {
    fn checked(self, environment: Environment<'_>) -> Result<Config, Wrong> {
        let cluster = text("NARU_CLUSTER", "cluster", self.cluster, environment);
        let cluster = cluster.unwrap_or_else(|| Text::default_of("cluster", "default"));
        let node = text("", "node", self.node, environment);
        let node = node.unwrap_or_else(|| Text::default_of("node", &default_node(environment)));
        for name in [&cluster, &node] {
            if name.value.is_empty() {
                return Err(name.wrong("is empty"));
            }
        }
        let data_dir = text("NARU_DATA_DIR", "data_dir", self.data_dir, environment);
        let data_dir = data_dir.unwrap_or_else(|| Text::default_of("data_dir", DATA_DIR));
        if !data_dir.value.starts_with('/') {
            return Err(data_dir.wrong(format!("{} is not absolute", data_dir.value)));
        }
        let http = text("NARU_HTTP", "http", self.http, environment);
        let http = http.unwrap_or_else(|| Text::default_of("http", HTTP));
        let address = http.value.parse();
        let address =
            address.map_err(|_| http.wrong(format!("{:?} is not ip:port", http.value)))?;
        let files = self.files.unwrap_or_default().into_iter().map(RawFiles::checked);
        let files = files.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect();
        Ok(Config {
            cluster: cluster.value,
            node: node.value,
            data_dir: data_dir.value.into(),
            aggregator: self.aggregator.checked(environment)?,
            containers: self.containers.unwrap_or_default().checked(environment)?,
            files,
            since: self.since.map(Since::checked).transpose()?,
            hold: self.hold.unwrap_or_default().checked()?,
            http: Some(address),
        })
    }
}

/// A value of the top level: the environment's, else the file's.
fn text(
    variable: &'static str,
    key: &'static str,
    found: Option<Spanned<String>>,
    environment: Environment<'_>,
) -> Option<Text> {
    let overriding = Some(variable).filter(|name| !name.is_empty()).and_then(environment);
    match overriding {
        Some(value) => Some(Text { key: variable, line: None, value }),
        None => found.map(|found| Text::new(key, found)),
    }
}

fn first_sentence(reason: &str) -> &str {
    reason.lines().next().unwrap_or(reason).trim_start_matches("error: ")
}

#[cfg(test)]
mod tests;
