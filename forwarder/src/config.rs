//! The configuration: one YAML file, checked whole before anything is started.
//!
//! Every error names the file, the line and the key. A key that is not known is an error.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;

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
    /// `host:port`; a name may resolve to several addresses.
    address: String,
    /// Allows log lines to cross a network unencrypted. Default: false; loopback is always allowed.
    plaintext: Option<bool>,
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
    /// `host:port` of the aggregator.
    pub aggregator: String,
    /// Whether addresses that are not loopback may be reached without TLS.
    pub plaintext: bool,
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
    fn checked(self, environment: Environment<'_>) -> Result<Config, (&'static str, String)> {
        let address = environment("NARU_AGGREGATOR_ADDRESS").unwrap_or(self.aggregator.address);
        let port = address.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
        if port.is_none() {
            return Err(("address", format!("{address:?} is not host:port")));
        }
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
            aggregator: address,
            plaintext: self.aggregator.plaintext.unwrap_or(false),
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

impl RawFiles {
    fn checked(self) -> Result<HostPattern, (&'static str, String)> {
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
mod tests {
    use super::*;

    fn environment(name: &str) -> Option<String> {
        (name == "NODE_NAME").then(|| "node-7".to_owned())
    }

    fn check(text: &str, expected: Result<(), &[&str]>) {
        match (Config::parse("f.yaml", text, &environment), expected) {
            (Ok(_), Ok(())) => {}
            (Err(error), Err(parts)) => {
                let error = error.to_string();
                assert!(!error.contains('\n'), "{error}");
                for part in parts {
                    assert!(error.contains(part), "{error:?} does not contain {part:?}");
                }
            }
            (found, _) => panic!("{text:?}: {found:?}"),
        }
    }

    #[test]
    fn errors_name_file_line_and_key() {
        check("aggregator: {address: localhost:7443}\n", Ok(()));
        check(
            "aggregator:\n  address: localhost:7443\nclustre: a\n",
            Err(&["f.yaml:3:", "clustre"]),
        );
        check("aggregator:\n  adress: localhost:7443\n", Err(&["f.yaml:2:", "adress"]));
        check("cluster: a\n", Err(&["f.yaml:1:", "aggregator"]));
        check("aggregator: {address: a:1}\nfiles: 3\n", Err(&["f.yaml:2:"]));
        check("aggregator: {address: a:1}\nhttp: here\n", Err(&["f.yaml:2:", "http"]));
        check("aggregator:\n  address: nowhere\n", Err(&["f.yaml:2:", "address", "nowhere"]));
        check("aggregator: {address: \"${NOPE}\"}\n", Err(&["f.yaml:1:", "NOPE"]));
        check("\naggregator: {address: a:1}\ndata_dir: x\n", Err(&["f.yaml:3:", "data_dir"]));
        check("aggregator: {address: a:1\n", Err(&["f.yaml:"]));
        let files = "aggregator: {address: a:1}\nfiles:\n  - {name: k, path: /var/[}\n";
        check(files, Err(&["f.yaml:3:"]));
        check(
            "aggregator: {address: a:1}\nfiles:\n  - name: k\n    path: v\n",
            Err(&["f.yaml:4:", "path"]),
        );
    }

    #[test]
    fn the_documented_example_is_valid() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples/forwarder.yaml");
        let config = Config::load(&path, &environment).unwrap();
        assert_eq!(config.files.len(), 1);
        // What is commented out is the default.
        let text = std::fs::read_to_string(&path).unwrap();
        let uncommented: String = text
            .lines()
            .map(|line| line.strip_prefix("# ").filter(|l| l.contains(':')).unwrap_or(line))
            .filter(|line| !line.trim_start().starts_with('#') || !line.contains(": "))
            .map(|line| format!("{line}\n"))
            .collect();
        for default in ["data_dir: /var/lib/naru-forwarder", "http: 127.0.0.1:7481"] {
            assert!(uncommented.contains(default), "{uncommented}");
        }
        assert_eq!(config.data_dir, Path::new(DATA_DIR));
        assert_eq!(config.http.unwrap().to_string(), HTTP);
    }

    #[test]
    fn the_environment_fills_in() {
        let text = "aggregator: {address: \"${NODE_NAME}:7443\"}\ncluster: a$$b\n";
        let config = Config::parse("f", text, &environment).unwrap();
        assert_eq!(config.aggregator, "node-7:7443");
        assert_eq!(config.cluster, "a$b");
        assert_eq!(config.node, "node-7");
        assert_eq!(config.pods_dir.as_deref(), Some(Path::new(PODS_PATH)));
    }
}
