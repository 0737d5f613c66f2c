//! The configuration of `naru-aggregator run`: one YAML file, checked whole before anything is started.
//!
//! Every error is one sentence that names the file, the line and the key. A key that is not known is an error. Secrets are
//! named by their files and never read here.

mod check;
mod elasticsearch;
mod given;
mod raw;
#[cfg(test)]
mod tests;
mod text;

use std::fmt;
use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::deliver::ParkedConfig;
use crate::elasticsearch::{Settings, Template, own_template};
use crate::ingest::{Authentication, Excluded, Security};
use crate::queue::Retain;

pub use text::Environment;

use given::{NamedFile, NamedFiles, Place, Wrong};
use raw::RawConfig;

/// A checked configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The cluster's name, part of every document's id.
    pub cluster: String,
    /// Where the queue and the dead letters are kept; absolute.
    pub data_dir: PathBuf,
    /// Where forwarders connect.
    pub listen: SocketAddr,
    /// How forwarders are let in.
    pub security: Security,
    /// What forwarders are told not to read.
    pub excluded: Vec<Excluded>,
    /// What the queue may take of the disk.
    pub queue_max_bytes: u64,
    /// What is kept of what was delivered.
    pub retain: Retain,
    /// Where documents go whose index takes nothing.
    pub parked: ParkedConfig,
    /// What the dead letters may take of the disk.
    pub letters_max_bytes: u64,
    /// Letters that were last tried so long ago are deleted.
    pub letters_max_age: Option<Duration>,
    /// Where documents go.
    pub elasticsearch: Settings,
    /// Where probes and metrics are served.
    pub http: SocketAddr,
    /// How events are written.
    pub log: LogFormat,
}

/// How events are written to standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One object a line.
    Json,
}

impl LogFormat {
    fn of(text: &str) -> Option<Self> {
        match text {
            "text" => Some(Self::Text),
            "json" => Some(Self::Json),
            _ => None,
        }
    }

    /// As it is written in the file.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
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

impl ConfigError {
    fn of(name: &str, wrong: &Wrong) -> Self {
        let Wrong { place, key, reason } = wrong;
        Self(match place {
            Place::Line(line) => format!("{name}:{line}: {key}: {reason}"),
            Place::Variable(variable) => format!("{name}: {key}, from {variable}: {reason}"),
        })
    }

    fn of_file(name: &str, file: &NamedFile, reason: String) -> Self {
        Self::of(name, &Wrong { place: file.place, key: file.key, reason })
    }
}

impl Config {
    /// Reads and checks a file, and that the files which it names can be read.
    ///
    /// # Errors
    /// One sentence about the first thing that is wrong.
    pub fn load(path: &Path, environment: Environment<'_>) -> Result<Self, ConfigError> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConfigError(format!("{name}: {error}")))?;
        let (config, files) = Self::parse(&name, &text, environment)?;
        for file in &files.0 {
            // A directory can be opened, and not read.
            let opened = File::open(&file.path).and_then(|opened| opened.metadata());
            let reason = match opened {
                Ok(found) if found.is_file() => continue,
                Ok(_) => format!("{} is not a file", file.path.display()),
                Err(error) => format!("{} cannot be read: {error}", file.path.display()),
            };
            return Err(ConfigError::of_file(&name, file, reason));
        }
        config.security.check().map_err(|error| {
            let reason = error.to_string();
            let of = |file: &&NamedFile| reason.starts_with(&file.path.display().to_string());
            match files.0.iter().find(of) {
                Some(file) => ConfigError::of_file(&name, file, reason),
                None => ConfigError(format!("{name}: {reason}")),
            }
        })?;
        config.check_template(&name, &files)?;
        Ok(config)
    }

    /// That the index template of one's own is one.
    fn check_template(&self, name: &str, files: &NamedFiles) -> Result<(), ConfigError> {
        let Template::File(path) = &self.elasticsearch.template else { return Ok(()) };
        let Some(named) = files.0.iter().find(|file| file.path == *path) else { return Ok(()) };
        let wrong = |reason| ConfigError::of_file(name, named, reason);
        let text = std::fs::read_to_string(path)
            .map_err(|error| wrong(format!("{} cannot be read: {error}", path.display())))?;
        own_template::path_of(&text, &self.elasticsearch.index.example()).map_err(|found| {
            wrong(format!("{}:{}: {}", path.display(), found.line, found.reason))
        })?;
        Ok(())
    }

    /// Checks a text; `name` is what errors call it. Also the files that it names, which are not looked at.
    fn parse(
        name: &str,
        text: &str,
        environment: Environment<'_>,
    ) -> Result<(Self, NamedFiles), ConfigError> {
        let text = text::expand(text, environment).map_err(|missing| {
            let text::Missing { line, variable } = missing;
            ConfigError(format!("{name}:{line}: the environment variable {variable:?} is not set"))
        })?;
        let raw: RawConfig = serde_saphyr::from_str(&text).map_err(|error| {
            let reason = error.without_snippet().to_string();
            let reason = reason.lines().next().unwrap_or_default().trim_start_matches("error: ");
            // It is said in front.
            let reason = reason.split(" at line ").next().unwrap_or(reason);
            let line = error.location().map_or(1, |location| location.line());
            ConfigError(format!("{name}:{line}: {reason}"))
        })?;
        let mut files = NamedFiles::default();
        let config = check::check(raw, environment, &mut files)
            .map_err(|wrong| ConfigError::of(name, &wrong))?;
        Ok((config, files))
    }

    /// What holds, a line a key; secrets only as the files that hold them.
    #[must_use]
    pub fn effective(&self) -> Vec<(&'static str, String)> {
        let path = |path: &Path| path.display().to_string();
        let mut lines = vec![
            ("cluster", self.cluster.clone()),
            ("data_dir", path(&self.data_dir)),
            ("listen.address", self.listen.to_string()),
        ];
        if let Some(tls) = &self.security.tls {
            lines.push(("listen.tls.certificate", path(&tls.certificate)));
            lines.push(("listen.tls.key", path(&tls.key)));
        }
        lines.push(("listen.plaintext", self.security.plaintext.to_string()));
        let (authentication, file) = match &self.security.authentication {
            Authentication::None => ("none", None),
            Authentication::Token { file } => ("token", Some(("forwarders.token", path(file)))),
            Authentication::Certificate { ca } => {
                ("certificate", Some(("forwarders.ca", path(ca))))
            }
        };
        lines.push(("forwarders.authentication", authentication.to_owned()));
        lines.extend(file);
        lines.extend(self.excluded.iter().map(|excluded| {
            let Excluded { namespace, pod, container } = excluded;
            ("forwarders.exclude", format!("{namespace}/{pod}/{container}"))
        }));
        lines.push(("queue.max_bytes", self.queue_max_bytes.to_string()));
        let age = |age: Duration| format!("{}s", age.as_secs());
        lines.push(("queue.retain.bytes", self.retain.max_bytes.to_string()));
        lines.extend(self.retain.max_age.map(|max| ("queue.retain.age", age(max))));
        let ParkedConfig { max_bytes, index_max_bytes, after, .. } = &self.parked;
        lines.push(("queue.parked.max_bytes", max_bytes.to_string()));
        lines.push(("queue.parked.index_max_bytes", index_max_bytes.to_string()));
        lines.push(("queue.parked.after", format!("{}ms", after.as_millis())));
        lines.push(("dead_letters.max_bytes", self.letters_max_bytes.to_string()));
        lines.extend(self.letters_max_age.map(|max| ("dead_letters.age", age(max))));
        lines.extend(elasticsearch::effective(&self.elasticsearch));
        lines.push(("http", self.http.to_string()));
        lines.push(("log.format", self.log.as_str().to_owned()));
        lines
    }
}
