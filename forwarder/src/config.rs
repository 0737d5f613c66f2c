//! The configuration: one YAML file, checked whole before anything is started.
//!
//! Every error names the file, the line and the key. A key that is not known is an error.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use rustls::pki_types::ServerName;
use serde::Deserialize;

use crate::connect::{self, Target};
use crate::credentials::{CredentialFiles, IdentityFiles, TlsFiles};
use crate::discover::host::HostPattern;

/// A log directory of Kubernetes.
const PODS_PATH: &str = "/var/log/pods";
/// Where the checkpoint is kept.
const DATA_DIR: &str = "/var/lib/naru-forwarder";
/// Probes and metrics.
const HTTP: &str = "127.0.0.1:7481";

/// What the file says.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawConfig {
    /// The cluster's name; part of every document's id, so it never changes. Default: default.
    cluster: Option<String>,
    /// This node's name. Default: the environment's NODE_NAME, else the host's name.
    node: Option<String>,
    /// Where the checkpoint is kept. Default: /var/lib/naru-forwarder.
    data_dir: Option<PathBuf>,
    /// Where to send.
    aggregator: RawAggregator,
    /// Container logs.
    containers: Option<RawContainers>,
    /// Log files of the host.
    files: Option<Vec<RawFiles>>,
    /// Where /healthz, /readyz and /metrics are served. Default: 127.0.0.1:7481.
    http: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAggregator {
    /// `host:port`, or several with commas between; each name may resolve to several addresses.
    address: String,
    /// Allows log lines to cross a network unencrypted. Default: false; loopback is always allowed.
    plaintext: Option<bool>,
    /// How connections are protected. Default: not at all.
    tls: Option<RawTls>,
    /// A file with the token that aggregators ask for.
    token: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTls {
    /// A PEM file: who signs aggregators' certificates. Nobody else is trusted.
    ca: Option<PathBuf>,
    /// A PEM file: this node's certificate, where aggregators ask for one.
    certificate: Option<PathBuf>,
    /// A PEM file: its private key.
    key: Option<PathBuf>,
    /// The name in aggregators' certificates. Default: the host of the address.
    server_name: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawContainers {
    /// The kubelet's log directory; `""` turns container logs off. Default: /var/log/pods.
    path: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFiles {
    /// For people: what these files are.
    name: String,
    /// An absolute path, or a pattern with `*`, `?`, `[…]` and `**`.
    path: String,
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
    /// The kubelet's log directory; None when container logs are off.
    pub pods_dir: Option<PathBuf>,
    /// Log files of the host.
    pub files: Vec<HostPattern>,
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

/// A key, and what is wrong with it.
type Wrong = (&'static str, String);

/// Looks up an environment variable.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

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
        let text = expand(name, text, environment)?;
        let raw: RawConfig = serde_saphyr::from_str(&text).map_err(|error| {
            let reason = error.without_snippet().to_string();
            let line = error.location().map_or(1, |location| location.line());
            ConfigError(format!("{name}:{line}: {}", first_sentence(&reason)))
        })?;
        raw.checked(environment).map_err(|(key, reason)| {
            let line = line_of(&text, key);
            ConfigError(format!("{name}:{line}: {key}: {reason}"))
        })
    }
}

impl RawConfig {
    fn checked(self, environment: Environment<'_>) -> Result<Config, Wrong> {
        let aggregator = self.aggregator.checked(environment)?;
        let pods_dir = self.containers.and_then(|containers| containers.path);
        let pods_dir = pods_dir.unwrap_or_else(|| PODS_PATH.into());
        if !pods_dir.as_os_str().is_empty() && !pods_dir.is_absolute() {
            return Err(("path", format!("{} is not absolute", pods_dir.display())));
        }
        let http = environment("NARU_HTTP").or(self.http).unwrap_or_else(|| HTTP.to_owned());
        let cluster = environment("NARU_CLUSTER").or(self.cluster);
        let data_dir = environment("NARU_DATA_DIR").map(PathBuf::from).or(self.data_dir);
        let config = Config {
            cluster: cluster.unwrap_or_else(|| "default".to_owned()),
            node: self.node.unwrap_or_else(|| default_node(environment)),
            data_dir: data_dir.unwrap_or_else(|| DATA_DIR.into()),
            aggregator,
            pods_dir: Some(pods_dir).filter(|path| !path.as_os_str().is_empty()),
            files: self
                .files
                .unwrap_or_default()
                .into_iter()
                .map(RawFiles::checked)
                .collect::<Result<_, _>>()?,
            http: Some(http.parse().map_err(|_| ("http", format!("{http:?} is not ip:port")))?),
        };
        if config.cluster.is_empty() {
            return Err(("cluster", "is empty".to_owned()));
        }
        if config.node.is_empty() {
            return Err(("node", "is empty".to_owned()));
        }
        if !config.data_dir.is_absolute() {
            return Err(("data_dir", format!("{} is not absolute", config.data_dir.display())));
        }
        Ok(config)
    }
}

impl RawAggregator {
    fn checked(self, environment: Environment<'_>) -> Result<Target, Wrong> {
        let address = environment("NARU_AGGREGATOR_ADDRESS").unwrap_or(self.address);
        let addresses: Vec<String> = address.split(',').map(|one| one.trim().to_owned()).collect();
        for one in &addresses {
            let port = one.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
            if port.is_none() || connect::host_of(one).is_empty() {
                return Err(("address", format!("{one:?} is not host:port")));
            }
        }
        let (tls, server_name) = self.tls.map(RawTls::checked).transpose()?.unzip();
        let server_name = server_name.flatten();
        if tls.is_some() && server_name.is_none() {
            for host in addresses.iter().map(|one| connect::host_of(one)) {
                // No certificate could be for it.
                ServerName::try_from(host.as_str())
                    .map_err(|error| ("address", format!("{host:?}: {error}")))?;
            }
        }
        let credentials = CredentialFiles { tls, token: self.token };
        credentials.read().map_err(|error| (error.key, error.to_string()))?;
        let plaintext = self.plaintext.unwrap_or(false);
        Ok(Target { addresses, plaintext, server_name, credentials })
    }
}

impl RawTls {
    fn checked(self) -> Result<(TlsFiles, Option<ServerName<'static>>), Wrong> {
        let Some(ca) = self.ca else {
            let reason = "needs ca: only what it signed is trusted, not the system's CAs";
            return Err(("tls", reason.to_owned()));
        };
        let identity = match (self.certificate, self.key) {
            (Some(certificate), Some(key)) => Some(IdentityFiles { certificate, key }),
            (None, None) => None,
            (Some(_), None) => return Err(("certificate", "needs key".to_owned())),
            (None, Some(_)) => return Err(("key", "needs certificate".to_owned())),
        };
        let server_name = self.server_name.map(|name| {
            ServerName::try_from(name.clone())
                .map_err(|error| ("server_name", format!("{name:?}: {error}")))
        });
        Ok((TlsFiles { ca, identity }, server_name.transpose()?))
    }
}

impl RawFiles {
    fn checked(self) -> Result<HostPattern, Wrong> {
        if self.name.is_empty() {
            return Err(("name", "is empty".to_owned()));
        }
        if !self.path.starts_with('/') {
            return Err(("path", format!("{:?} is not absolute", self.path)));
        }
        HostPattern::new(&self.path)
            .map_err(|error| ("path", format!("{:?}: {} ", self.path, error.msg)))
    }
}

/// The node's name where nothing says it: the environment's, else the host's.
#[must_use]
pub fn default_node(environment: Environment<'_>) -> String {
    environment("NODE_NAME")
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| rustix::system::uname().nodename().to_string_lossy().into_owned())
}

/// Replaces `${NAME}` by the environment's value; `$$` is a dollar sign.
fn expand(name: &str, text: &str, environment: Environment<'_>) -> Result<String, ConfigError> {
    let mut out = String::with_capacity(text.len());
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let mut rest = line;
        while let Some((before, after)) = rest.split_once('$') {
            out.push_str(before);
            if let Some(after) = after.strip_prefix('$') {
                out.push('$');
                rest = after;
            } else if let Some((variable, after)) =
                after.strip_prefix('{').and_then(|inside| inside.split_once('}'))
            {
                let value = environment(variable).ok_or_else(|| {
                    ConfigError(format!(
                        "{name}:{}: the environment variable {variable:?} is not set",
                        index + 1
                    ))
                })?;
                out.push_str(&value);
                rest = after;
            } else {
                out.push('$');
                rest = after;
            }
        }
        out.push_str(rest);
    }
    Ok(out)
}

/// The line of a key that was read and is wrong.
fn line_of(text: &str, key: &str) -> usize {
    let is_key = |line: &str| {
        let line = line.trim_start_matches([' ', '-', '{']);
        line.strip_prefix(key).is_some_and(|rest| rest.starts_with(':'))
            || line.contains(&format!(" {key}:"))
            || line.contains(&format!("{{{key}:"))
    };
    text.lines().position(is_key).map_or(1, |index| index + 1)
}

fn first_sentence(reason: &str) -> &str {
    reason.lines().next().unwrap_or(reason).trim_start_matches("error: ")
}

#[cfg(test)]
mod tests;
