//! The programs under test, built as they are shipped but for the profile, which is the story's own.
//!
//! `NARU_PROGRAMS=DIR` takes those that are in a directory instead: a release's, or those of a run that must not change
//! under way.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

/// Where `naru-aggregator` is; built once per process.
pub fn aggregator() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| build("naru-aggregator"))
}

/// Where `naru-forwarder` is; built once per process.
pub fn forwarder() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| build("naru-forwarder"))
}

fn build(name: &str) -> PathBuf {
    if let Some(directory) = std::env::var_os("NARU_PROGRAMS") {
        return PathBuf::from(directory).join(name);
    }
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--message-format=json-render-diagnostics", "--bin", name, "-p", name]);
    // This crate too: then cargo chooses the features that it chose for this test, and compiles nothing twice.
    cargo.args(["-p", "naru-integration"]);
    // What cargo told this test of its own package would make build scripts run again, and what depends on them.
    let of_package = |name: &str| {
        ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_CRATE_", "CARGO_BIN_", "CARGO_PRIMARY_"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
    };
    for (name, _) in std::env::vars().filter(|(name, _)| of_package(name)) {
        cargo.env_remove(name);
    }
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    let output =
        cargo.current_dir(env!("CARGO_MANIFEST_DIR")).stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "{name} does not build");
    let path = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["target"]["name"] == name)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from));
    path.unwrap_or_else(|| panic!("cargo names no executable {name}"))
}
