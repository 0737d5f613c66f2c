//! Daemons that log to files of the host, and logrotate.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use naru_integration::arrivals::Arrivals;
use naru_integration::ledger::Ledger;
use naru_integration::line::LineKey;
use naru_integration::node::HostLog;

/// logrotate is not run twice within this.
const ROTATE_EVERY: Duration = Duration::from_secs(4);
const KEEP: usize = 3;

pub(crate) struct Hosts {
    directory: PathBuf,
    daemons: Vec<Daemon>,
    pub(crate) rotations: usize,
}

struct Daemon {
    log: HostLog,
    /// By `create`, else by `copytruncate`.
    creates: bool,
    last: LineKey,
    /// Its log was renamed, and it is told at this time.
    renamed: Option<Instant>,
    rotated: Instant,
}

impl Hosts {
    pub(crate) fn new(directory: &Path, ledger: &Ledger) -> Self {
        let directory = super::directory(directory);
        let daemon = |number: usize| {
            let mut log = HostLog::open(&directory.join(format!("daemon-{number}.log")), ledger);
            let last = log.line("started");
            Daemon {
                log,
                creates: number.is_multiple_of(2),
                last,
                renamed: None,
                rotated: Instant::now(),
            }
        };
        Self { daemons: (0..4).map(daemon).collect(), directory, rotations: 0 }
    }

    /// What the forwarder's configuration says of them.
    pub(crate) fn settings(&self) -> String {
        format!("files:\n  - {{name: daemons, path: \"{}/*.log\"}}\n", self.directory.display())
    }

    pub(crate) fn step(&mut self, arrivals: &Arrivals, random: &mut fastrand::Rng) {
        for daemon in &mut self.daemons {
            if daemon.renamed.is_some_and(|until| Instant::now() >= until) {
                daemon.renamed = None;
                daemon.log.reopen();
            }
        }
        let index = random.usize(..self.daemons.len());
        let daemon = &mut self.daemons[index];
        let due = daemon.renamed.is_none() && daemon.rotated.elapsed() > ROTATE_EVERY;
        // A daemon pauses before `copytruncate`: what it writes meanwhile is lost by design, and not by anybody's fault.
        if !due {
            for _ in 0..random.usize(..4) {
                daemon.last = daemon.log.line("x".repeat(random.usize(..200)));
            }
        }
        if due && arrivals.has_all_up_to(daemon.last) {
            daemon.rotated = Instant::now();
            self.rotations += 1;
            if daemon.creates {
                daemon.log.rename(KEEP, true);
                daemon.renamed = Some(Instant::now() + Duration::from_millis(random.u64(..1500)));
            } else {
                daemon.log.copy_and_truncate(KEEP, true);
            }
        }
    }

    pub(crate) fn end(&mut self) {
        for daemon in &mut self.daemons {
            if daemon.renamed.take().is_some() {
                daemon.log.reopen();
            }
        }
    }
}
