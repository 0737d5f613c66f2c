//! The house rules that a compiler does not check: the shape of files, where each foreign technology lives, licences,
//! banned crates, the one TLS provider, the forwarder's crate budget.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

const FILE_MAX_LINES: usize = 500;
/// What is in it and why: `docs/decisions/0003-forwarder-crates.md`, and 0006.
const FORWARDER_MAX_CRATES: usize = 124;

/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 7] = ["common", "util", "utils", "helper", "helpers", "manager", "types"];

/// Each foreign technology, and the only places that may name it.
const PLACES: [(&str, &[&str]); 6] = [
    ("sled::", &["aggregator/src/queue/", "aggregator/benches/"]),
    ("tantivy::", &["aggregator/src/store/"]),
    ("reqwest::", &["aggregator/src/elasticsearch/", "aggregator/src/search/"]),
    ("kube::", &["aggregator/src/enrich/"]),
    ("naru_forwarder::", &["forwarder/", "aggregator/src/standalone", "integration/"]),
    ("naru_aggregator::", &["aggregator/", "integration/"]),
];

/// What the contract, which is pure, never uses.
const NOT_IN_PROTO: [&str; 6] =
    ["tokio::", "tracing::", "std::fs", "std::net", "std::thread", "std::time::SystemTime"];

const LICENCES: [&str; 14] = [
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "MIT",
    "MIT-0",
    "BSD-1-Clause",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Zlib",
    "Unlicense",
    "CC0-1.0",
    "0BSD",
    "Unicode-3.0",
    "CDLA-Permissive-2.0",
];

/// Other TLS stacks: one is enough, and these need cmake, a system library, or both.
const BANNED: [&str; 7] = [
    "openssl",
    "openssl-sys",
    "native-tls",
    "aws-lc-rs",
    "aws-lc-sys",
    "aws-lc-fips-sys",
    "boring",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The tree's Rust files but the generated and this one, which names what it forbids.
fn sources() -> Vec<(String, String)> {
    let mut directories: Vec<PathBuf> =
        ["proto", "forwarder", "aggregator", "integration"].map(|name| root().join(name)).into();
    let mut found = Vec::new();
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
            if path.is_dir() && !name.ends_with("src/gen") {
                directories.push(path);
            } else if name.ends_with(".rs") && name != "integration/tests/tidy.rs" {
                found.push((name, fs::read_to_string(path).unwrap()));
            }
        }
    }
    assert!(found.len() > 20, "the tree was not found");
    found
}

/// Panics with all that were found.
fn none(what: &str, found: Vec<String>) {
    assert!(found.is_empty(), "{what}:\n  {}", found.join("\n  "));
}

/// Every line of every file that `offends`.
fn lines_that(offends: impl Fn(&str, &str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for (name, text) in sources() {
        for (number, line) in (1..).zip(text.lines()) {
            if offends(&name, line) {
                found.push(format!("{name}:{number}: {}", line.trim()));
            }
        }
    }
    found
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with("//")
}

#[test]
fn files_are_short_and_say_what_they_are() {
    let too_long = |(name, text): &(String, String)| {
        let lines = text.lines().count();
        (lines > FILE_MAX_LINES).then(|| format!("{name}: {lines} lines"))
    };
    let all = sources();
    none("files over 500 lines", all.iter().filter_map(too_long).collect());
    let silent = all.iter().filter(|(_, text)| !text.starts_with("//! "));
    none("files without a `//!` line", silent.map(|(name, _)| name.clone()).collect());
    let empty_names = all.iter().filter(|(name, _)| {
        name.trim_end_matches(".rs").split('/').any(|part| EMPTY_NAMES.contains(&part))
    });
    none("names that say nothing", empty_names.map(|(name, _)| name.clone()).collect());
}

/// The words of a line, in lower case.
fn words(line: &str) -> impl Iterator<Item = String> {
    let is_between = |c: char| !(c.is_alphanumeric() || c == '_');
    line.split(is_between).map(str::to_lowercase)
}

#[test]
fn nothing_is_put_off() {
    // The macros for that are denied by the lints.
    let skips = |_: &str, line: &str| {
        let attribute = line.trim_start().starts_with("#[");
        attribute && words(line).any(|word| word == "ignore")
    };
    none("a test that is skipped", lines_that(skips));
    let marks = |_: &str, line: &str| words(line).any(|word| word == "fix".to_owned() + "me");
    none("a mark to come back", lines_that(marks));
    let sleeps = |name: &str, line: &str| {
        name.starts_with("integration/tests/") && line.contains("sleep(") && !is_comment(line)
    };
    none("a story that sleeps and hopes", lines_that(sleeps));
}

#[test]
fn each_technology_has_its_place() {
    for (technology, places) in PLACES {
        // `use sled;` and `extern crate` are no way around it: a path has `::` after the name.
        none(
            &format!("{technology} outside {places:?}"),
            lines_that(|name, line| {
                let names_it = line.match_indices(technology).any(|(at, _)| {
                    !line.split_at(at).0.ends_with(|c: char| c.is_alphanumeric() || c == '_')
                });
                names_it && !is_comment(line) && !places.iter().any(|place| name.starts_with(place))
            }),
        );
    }
    let impure = |name: &str, line: &str| {
        name.starts_with("proto/src/")
            && !is_comment(line)
            && NOT_IN_PROTO.iter().any(|word| line.contains(word))
    };
    none("the contract is pure", lines_that(impure));
}

fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO")).args(arguments).current_dir(root()).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo {arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

fn metadata() -> Value {
    let platform = "--filter-platform=x86_64-unknown-linux-gnu";
    let text = cargo(&["metadata", "--format-version=1", "--locked", platform]);
    serde_json::from_str(&text).unwrap()
}

/// The expression holds if every AND has an OR that we take: `A OR (B AND C)` as crates write it.
fn licence_is_fine(expression: &str) -> bool {
    // crates.io's old form of OR.
    let expression = expression.replace('/', " OR ");
    let alternatives = expression.split(" OR ").map(|alternative| {
        alternative
            .split(" AND ")
            .all(|licence| LICENCES.contains(&licence.trim_matches(['(', ')', ' '])))
    });
    if expression.contains(" AND (") {
        // `(A OR B) AND C`: all of them, to be on the safe side.
        return alternatives.into_iter().all(|fine| fine);
    }
    alternatives.into_iter().any(|fine| fine)
}

#[test]
fn licences_and_crates_are_allowed() {
    assert!(licence_is_fine("MIT OR Apache-2.0") && licence_is_fine("MIT/Apache-2.0"));
    assert!(licence_is_fine("GPL-3.0 OR MIT") && !licence_is_fine("GPL-3.0"));
    assert!(!licence_is_fine("MIT AND GPL-3.0"));

    let metadata = metadata();
    let used: BTreeSet<&str> = metadata["resolve"]["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| node["id"].as_str().unwrap())
        .collect();
    let packages: Vec<&Value> = metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|package| used.contains(package["id"].as_str().unwrap()))
        .collect();
    assert!(packages.len() > 100, "cargo metadata was not understood");
    let name = |package: &Value| package["name"].as_str().unwrap().to_owned();
    let unlicensed = packages.iter().filter(|package| {
        let expression = package["license"].as_str();
        // A licence file instead of an expression is looked at by a person first.
        !expression.is_some_and(licence_is_fine)
    });
    let described = unlicensed.map(|package| format!("{}: {}", name(package), package["license"]));
    none("licences that nobody has agreed to", described.collect());
    let banned = packages.iter().map(|package| name(package)).filter(|n| BANNED.contains(&&**n));
    none("banned crates", banned.collect());
}

#[test]
fn there_is_one_tls_provider() {
    let metadata = metadata();
    let nodes = metadata["resolve"]["nodes"].as_array().unwrap();
    let features_of = |name: &str| -> Vec<&str> {
        nodes
            .iter()
            .filter(|node| {
                node["id"].as_str().unwrap().contains(&format!("/{name}@"))
                    || node["id"].as_str().unwrap().contains(&format!("#{name}@"))
            })
            .flat_map(|node| node["features"].as_array().unwrap())
            .map(|feature| feature.as_str().unwrap())
            .collect()
    };
    let features = features_of("rustls");
    assert!(features.contains(&"ring"), "{features:?}");
    let others = ["aws_lc_rs", "aws-lc-rs", "fips"];
    assert!(!others.iter().any(|other| features.contains(other)), "{features:?}");
}

#[test]
fn the_forwarder_stays_within_its_crate_budget() {
    let tree = cargo(&[
        "tree",
        "--package=naru-forwarder",
        "--edges=normal,build",
        "--prefix=none",
        "--format={p}",
        "--locked",
        "--target=x86_64-unknown-linux-gnu",
    ]);
    let crates: BTreeSet<&str> = tree
        .lines()
        .filter_map(|line| line.split(" (").next())
        .filter(|line| !line.is_empty())
        .collect();
    println!("the forwarder is made of {} crates (at most {FORWARDER_MAX_CRATES})", crates.len());
    assert!(crates.len() > 10, "cargo tree was not understood");
    assert!(crates.len() <= FORWARDER_MAX_CRATES, "{} crates: {crates:#?}", crates.len());
}

/// Behaviours without a test of their own: `docs/behaviours.md` says why.
const WITHOUT_TEST: [usize; 3] = [18, 22, 25];

#[test]
fn every_behaviour_names_tests_that_exist() {
    let page = fs::read_to_string(root().join("docs/behaviours.md")).unwrap();
    let all: String = sources().into_iter().map(|(_, text)| text).collect();
    let names_in = |row: &str| -> Vec<String> {
        let quoted = row.split('`').skip(1).step_by(2);
        quoted.map(str::to_owned).collect()
    };
    let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| B")).collect();
    let absent: Vec<String> = rows
        .iter()
        .flat_map(|row| names_in(row))
        .filter(|name| !all.contains(&format!("fn {name}(")))
        .collect();
    none("tests that docs/behaviours.md names", absent);
    let untested: Vec<String> = (1..=28)
        .filter(|number| !WITHOUT_TEST.contains(number))
        .filter(|number| {
            let row = rows.iter().find(|row| row.starts_with(&format!("| B{number} |")));
            let prefix = format!("b{number}_");
            row.is_none_or(|row| !names_in(row).iter().any(|name| name.starts_with(&prefix)))
        })
        .map(|number| format!("B{number}"))
        .collect();
    none("behaviours without a test that is named after them", untested);
}
