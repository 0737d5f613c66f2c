//! A simulated node: `/var/log/pods`, the containers that write there, and the kubelet that rotates.
//!
//! It does what containerd's `internal/cri/io/logger.go` and the kubelet's
//! `pkg/kubelet/logs/container_log_manager.go` do, system call by system call; only time is faster.

mod clock;
mod container;
mod docker;
mod envelope;
mod host_log;
mod kubelet;
#[cfg(test)]
mod tests;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use clock::{Clock, Zone};
pub use container::Container;
pub use docker::DockerContainer;
pub use envelope::FRAGMENT_MAX_BYTES;
pub use host_log::HostLog;
pub use kubelet::Kubelet;

use crate::ledger::{Ledger, Writer};

/// What the stories call the node that the containers run on.
pub const NODE_NAME: &str = "node-1";

/// A node's pods directory and the ledger of what its containers write.
#[derive(Debug)]
pub struct Node {
    pods: PathBuf,
    ledger: Ledger,
    clock: Arc<Clock>,
    zone: Zone,
    started: u32,
}

impl Node {
    /// An empty pods directory at `pods`, which must not exist.
    #[must_use]
    pub fn new(pods: &Path, zone: Zone) -> Self {
        Self::in_ledger(pods, zone, Ledger::default())
    }

    /// The same, whose lines go into a ledger that other nodes share.
    #[must_use]
    pub fn in_ledger(pods: &Path, zone: Zone, ledger: Ledger) -> Self {
        fs::create_dir(pods).unwrap();
        Self { pods: pods.to_owned(), ledger, clock: Arc::default(), zone, started: 0 }
    }

    /// Where the pods' directories are.
    #[must_use]
    pub fn pods(&self) -> &Path {
        &self.pods
    }

    /// What the times of its lines come from.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// What was written.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Puts the node's clock so far ahead of the machine's, or behind it.
    pub fn put_clock(&self, ahead_s: i64) {
        self.clock.put(ahead_s);
    }

    /// Starts the container of a new pod that docker runs, whose logs are beneath `docker`.
    pub fn start_in_docker(&mut self, docker: &Path, pod: &str) -> DockerContainer {
        self.started += 1;
        let writer = Writer {
            namespace: "shop".into(),
            pod: pod.into(),
            uid: format!("{:08x}-7e3a-4c1d-9b2f-0123456789ab", self.started),
            container: "web".into(),
            restart: 0,
        };
        DockerContainer::start(&self.pods, docker, self.started, writer, &self.ledger, &self.clock)
    }

    /// Starts the first container of a new pod; the pod's uid is unlike any other's.
    pub fn start(&mut self, namespace: &str, pod: &str, container: &str) -> Container {
        self.started += 1;
        let writer = Writer {
            namespace: namespace.into(),
            pod: pod.into(),
            uid: format!("{:08x}-7e3a-4c1d-9b2f-0123456789ab", self.started),
            container: container.into(),
            restart: 0,
        };
        Container::start(&self.pods, writer, &self.ledger, &self.clock, self.zone)
    }
}
