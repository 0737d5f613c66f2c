//! Real Elasticsearch and OpenSearch, started from jars: `integration/elasticsearch/` says how.
//!
//! A story begins with `let Some(mut server) = start_or_skip(…) else { return };`, points a program at
//! [`Server::address`], harms the server, and reads back what it holds with [`export_all`]. [`loader`] is what a benchmark
//! compares a program with.

pub mod bulk;
mod documents;
pub mod loader;
mod server;

pub use documents::export_all;
pub use server::{Flavour, Server, Setup};

use std::env;
use std::path::PathBuf;

/// What a server is built and run with.
const TOOLS: [&str; 3] = ["java", "javac", "mvn"];

/// Where a Debian or Ubuntu has them.
const PACKAGES: &str = "apt-get install openjdk-17-jdk-headless maven";

/// A server for `story`. Where java or mvn is missing: with CI=true a panic that names them, else a line that says so, and
/// nothing.
#[must_use]
pub fn start_or_skip(story: &str, flavour: Flavour, settings: &[(&str, &str)]) -> Option<Server> {
    available_or_skipped(story).then(|| Server::start(flavour, settings))
}

/// Whether there is what a server is built and run with; what is missing is said, or in CI a panic.
#[must_use]
pub fn available_or_skipped(story: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    let directories: Vec<PathBuf> = env::split_paths(&path).collect();
    let missing: Vec<&str> = TOOLS
        .into_iter()
        .filter(|tool| !directories.iter().any(|directory| directory.join(tool).is_file()))
        .collect();
    let Some(said) = said_of(&missing) else { return true };
    assert!(!in_ci(), "{story}: {said}");
    println!("skipped: {story}: {said}");
    false
}

fn in_ci() -> bool {
    env::var_os("CI").is_some_and(|value| value == "true")
}

fn said_of(missing: &[&str]) -> Option<String> {
    let (last, others) = missing.split_last()?;
    let (names, verb) = match others {
        [] => ((*last).to_owned(), "is"),
        _ => (format!("{} and {last}", others.join(", ")), "are"),
    };
    Some(format!("{names} {verb} missing: {PACKAGES}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_said_by_name() {
        let check = |missing: &[&str], expected: &str| {
            assert_eq!(said_of(missing).unwrap(), format!("{expected} missing: {PACKAGES}"));
        };
        check(&["mvn"], "mvn is");
        check(&["java", "mvn"], "java and mvn are");
        check(&TOOLS, "java, javac and mvn are");
        assert_eq!(said_of(&[]), None);
    }
}
