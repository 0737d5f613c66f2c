//! The programs under test, built as they are shipped but for the profile, which is the story's own.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

/// Where they are.
#[derive(Debug)]
pub struct Programs {
    /// `naru-aggregator`.
    pub aggregator: PathBuf,
    /// `naru-forwarder`.
    pub forwarder: PathBuf,
}

/// Builds them once per process.
pub fn programs() -> &'static Programs {
    static PROGRAMS: OnceLock<Programs> = OnceLock::new();
    PROGRAMS.get_or_init(build)
}

fn build() -> Programs {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--bins", "--message-format=json-render-diagnostics"]);
    // This crate too: then cargo chooses the features that it chose for this test, and compiles nothing twice.
    cargo.args(["-p", "naru-aggregator", "-p", "naru-forwarder", "-p", "naru-integration"]);
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    let output =
        cargo.current_dir(env!("CARGO_MANIFEST_DIR")).stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "the programs do not build");
    let messages = String::from_utf8(output.stdout).unwrap();
    let executable = |name: &str| -> PathBuf {
        let path = messages
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter(|message| message["target"]["name"] == name)
            .find_map(|message| message["executable"].as_str().map(PathBuf::from));
        path.unwrap_or_else(|| panic!("cargo names no executable {name}"))
    };
    Programs { aggregator: executable("naru-aggregator"), forwarder: executable("naru-forwarder") }
}
