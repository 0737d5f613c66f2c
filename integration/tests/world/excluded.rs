//! A pod that the configuration excludes: nobody counts what it writes, so whatever arrives of it is of no line.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::Path;

/// What the forwarder's configuration says of it, beneath `containers`.
pub(crate) fn settings() -> String {
    "  exclude:\n  - {namespace: shop, pod: \"noisy-*\"}\n".to_owned()
}

pub(crate) struct Excluded {
    log: File,
    pub(crate) lines: usize,
}

impl Excluded {
    pub(crate) fn new(pods: &Path) -> Self {
        let directory = pods.join("shop_noisy-0_0d15ea5e-7e3a-4c1d-9b2f-0123456789ab/web");
        fs::create_dir_all(&directory).unwrap();
        let mut options = OpenOptions::new();
        let log = options.create(true).append(true).open(directory.join("0.log")).unwrap();
        Self { log, lines: 0 }
    }

    pub(crate) fn step(&mut self, random: &mut fastrand::Rng) {
        for _ in 0..random.usize(..4) {
            self.lines += 1;
            let line = format!("2026-11-22T00:30:00Z stdout F excluded {}\n", self.lines);
            self.log.write_all(line.as_bytes()).unwrap();
        }
    }
}
