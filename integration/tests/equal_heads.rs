//! Files that are deleted and made anew while their beginnings are alike: ext4 gives the new one the inode of the old one
//! at once, unless somebody holds that open. So the forwarder is away half of the time. 1,000 files in the gate, 10,000
//! by `NARU_LONG=1`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use naru_integration::eventually::eventually_within;
use naru_integration::ledger::Again;
use naru_integration::node::HostLog;
use naru_integration::rig::Rig;
use naru_integration::scale::scaled;
use naru_integration::seed::seeded;
use naru_integration::sink::{Keep, Sink};

const FILES: usize = 100;
const PATIENCE: Duration = Duration::from_secs(120);

#[test]
fn b1_files_made_anew_with_equal_heads_are_told_apart() {
    let rounds = scaled(1_000, 10_000) / FILES;
    let mut random = seeded("equal heads");
    let mut rig = Rig::new();
    let directory = rig.path("host");
    fs::create_dir(&directory).unwrap();
    let paths: Vec<PathBuf> =
        (0..FILES).map(|number| directory.join(format!("app-{number:03}.log"))).collect();
    let mut logs: Vec<HostLog> =
        paths.iter().map(|path| HostLog::open(path, rig.node.ledger())).collect();
    let sink = Sink::start(Keep::Documents);
    rig.settings = format!("files:\n  - {{name: app, path: \"{}/*.log\"}}\n", directory.display());
    let mut forwarder = rig.forwarder(sink.address());
    let (mut made, mut reused, mut away) = (0, 0, 0);
    let mut inodes = HashSet::new();
    for round in 0..=rounds {
        let stops = round > 0 && random.bool();
        if stops {
            // What a stop saves is what the next start compares the new files with.
            assert!(forwarder.terminate().success());
            away += 1;
        }
        for (path, log) in paths.iter().zip(&mut logs) {
            if round > 0 {
                log.delete_and_create();
                made += 1;
            }
            reused += usize::from(!inodes.insert(fs::metadata(path).unwrap().ino()));
            // A daemon's banner, as long as what a guard or a fingerprint would look at.
            for banner in 0..random.usize(8..12) {
                log.line_after(&format!("Log file created at boot; running on node-1; {banner}"));
            }
        }
        if stops {
            forwarder = rig.forwarder(sink.address());
        }
        let written = rig.node.ledger().written();
        eventually_within(PATIENCE, &format!("round {round}: {written} lines have come"), || {
            let found = sink.document_count();
            if found >= written { Ok(()) } else { Err(format!("{found} of {written}")) }
        });
    }
    let received = sink.received();
    let again = Again { bytes: received.bytes_again, duplicates: received.duplicates };
    let verdict = rig.node.ledger().judge(sink.documents());
    verdict.print("equal heads", Some(again));
    println!("{made} files made anew, {reused} times with an inode of before; {away} stops");
    verdict.assert_closed();
    assert!(reused > 0, "no inode was used again: this file system shows nothing");
    assert!(forwarder.terminate().success());
}
