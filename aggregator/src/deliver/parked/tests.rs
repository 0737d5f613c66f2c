//! Chains over restarts, emptied, damaged and deleted.

use std::path::PathBuf;
use std::time::Duration;

use tokio::runtime::Runtime;

use super::*;
use crate::queue::tests::numbered;

const LABEL: &str = "logstash-2026.11.22";

fn open(dir: &Path) -> Parked {
    let config = ParkedConfig { reserve_percent: 0, ..ParkedConfig::new(dir.join("parked")) };
    Parked::open(config).unwrap()
}

fn append(parked: &Parked, count: u64) {
    let runtime = Runtime::new().unwrap();
    for number in 0..count {
        runtime.block_on(parked.enter(LABEL).unwrap().append(vec![numbered(number)])).unwrap();
    }
}

/// Takes all of the chain; says how much that was.
fn empty(parked: &Parked) -> usize {
    let mut reader = parked.reader(LABEL).unwrap();
    let leases = std::iter::from_fn(|| reader.next(Duration::ZERO));
    leases.map(crate::queue::Lease::complete).count()
}

fn turn(parked: &Parked) -> Option<Turn> {
    parked.turn(Instant::now() + Duration::from_secs(60))
}

fn segments(dir: &Path, state: &str) -> Vec<PathBuf> {
    let found = std::fs::read_dir(dir.join("parked").join(LABEL).join(state)).unwrap();
    found.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn a_chain_is_found_again_and_goes_with_its_last_entry() {
    let dir = tempfile::tempdir().unwrap();
    let parked = open(dir.path());
    append(&parked, 3);
    assert!(parked.is_parked(LABEL));
    parked.close();
    drop(parked);
    let parked = open(dir.path());
    let stats = parked.stats();
    assert_eq!((stats.len(), stats[0].entries, stats[0].index.as_str()), (1, 3, LABEL));
    assert_eq!(turn(&parked), Some(Turn::Send(LABEL.into())), "it is asked at once");
    parked.delete(LABEL);
    assert_eq!(parked.stats().len(), 1, "it holds something");
    assert_eq!(empty(&parked), 3);
    assert_eq!(turn(&parked), Some(Turn::Delete(LABEL.into())));
    parked.delete(LABEL);
    assert!(parked.stats().is_empty() && turn(&parked).is_none());
    assert!(!dir.path().join("parked").join(LABEL).exists());
}

#[test]
fn a_damaged_chain_stays_until_somebody_has_seen_it() {
    let dir = tempfile::tempdir().unwrap();
    let parked = open(dir.path());
    append(&parked, 3);
    parked.close();
    drop(parked);
    // Closed by the next start.
    open(dir.path()).close();
    std::fs::remove_file(segments(dir.path(), "sealed")[0].join("identity")).unwrap();
    let parked = open(dir.path());
    assert_eq!(empty(&parked), 3, "it is readable");
    assert_eq!((turn(&parked), parked.quarantined().len()), (None, 1));
    assert_eq!(segments(dir.path(), "quarantine").len(), 1);
    let gone = parked.discard().unwrap();
    assert!(gone.len() == 1 && !gone[0].waits, "{gone:?}");
    assert_eq!(turn(&parked), Some(Turn::Delete(LABEL.into())));
}
