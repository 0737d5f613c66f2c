//! The reference of metrics is what the programs register; here, since this module alone knows both.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use super::*;
use crate::metrics::{Gauges, text};
use crate::store::StoreConfig;
use crate::{deliver, ingest};

const INTRODUCTION: &str = "\
# Metrics

`/metrics` has them in Prometheus' text format: the aggregator's by default at 127.0.0.1:7480, the forwarder's at 127.0.0.1:7481;
`standalone` has both. This page is generated from the programs; `UPDATE=1 cargo test -p naru-aggregator` rewrites it.
";

/// One metric, as the text format describes it.
#[derive(Default)]
struct Metric {
    help: String,
    kind: String,
    labels: BTreeSet<String>,
}

fn metrics_of(registry: &Registry) -> BTreeMap<String, Metric> {
    let text = text(registry);
    let mut found: BTreeMap<String, Metric> = BTreeMap::new();
    for line in text.lines() {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        match words[..] {
            ["#", "HELP", name, help] => {
                found.entry(name.to_owned()).or_default().help =
                    help.trim_end_matches('.').to_owned();
            }
            ["#", "TYPE", name, kind] => {
                found.entry(name.to_owned()).or_default().kind = kind.to_owned();
            }
            ["#", ..] => {}
            _ => {
                let Some((name, labels)) = line.split_once('{') else { continue };
                let of = |known: &&mut (&String, &mut Metric)| name.starts_with(known.0.as_str());
                let mut all: Vec<_> = found.iter_mut().collect();
                // `bytes` begins the name of `bytes_raw`: the longest is meant.
                all.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
                let (_, metric) = all.iter_mut().find(of).unwrap();
                let labels = labels.split_once('}').unwrap().0;
                let names = labels.split(',').filter_map(|label| label.split_once('='));
                metric
                    .labels
                    .extend(names.map(|(name, _)| name.to_owned()).filter(|name| name != "le"));
            }
        }
    }
    // A family without a member is not encoded, and would be missing on the page.
    let registered = format!("{registry:?}").matches("Descriptor {").count();
    assert_eq!(found.len(), registered, "a family does not start at zero: {text}");
    found
}

fn table(title: &str, registry: &Registry) -> String {
    let mut page =
        format!("\n## {title}\n\n| metric | type | labels | |\n| --- | --- | --- | --- |\n");
    for (name, Metric { help, kind, labels }) in metrics_of(registry) {
        let total = if kind == "counter" { "_total" } else { "" };
        let labels: Vec<_> = labels.iter().map(|label| format!("`{label}`")).collect();
        page.push_str(&format!("| `{name}{total}` | {kind} | {} | {help} |\n", labels.join(" ")));
    }
    page
}

#[test]
fn the_reference_is_generated_from_the_registries() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(
        Store::open(StoreConfig {
            dir: dir.path().to_owned(),
            retention_max_bytes: u64::MAX,
            retention_max_age: None,
        })
        .unwrap(),
    );
    let mut aggregator = Registry::default();
    drop(Gauges::register(&mut aggregator));
    drop(ingest::Metrics::register(&mut aggregator));
    deliver::Metrics::default().register(aggregator.sub_registry_with_prefix(PREFIX));
    let mut embedded = Registry::default();
    drop(StoreGauges::register(&mut embedded, &store));
    let mut forwarder = Registry::default();
    naru_forwarder::metrics::Metrics::default().register(&mut forwarder);

    let expected = [
        INTRODUCTION.to_owned(),
        table("The aggregator", &aggregator),
        table("The embedded store, in standalone only", &embedded),
        table("The forwarder", &forwarder),
    ]
    .concat();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, &expected).unwrap();
    }
    assert!(
        fs::read_to_string(&path).unwrap() == expected,
        "docs/metrics.md is not what is registered; UPDATE=1 rewrites it"
    );
}
