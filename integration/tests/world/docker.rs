//! Pods that docker runs, and docker's own rotation of their logs.

use std::path::{Path, PathBuf};

use naru_integration::arrivals::Arrivals;
use naru_integration::line::LineKey;
use naru_integration::node::{DockerContainer, Node};
use naru_proto::frame::IoStream::{Stderr, Stdout};

use super::saved::Saved;

const PODS: usize = 3;
/// Rotated files that may wait to be read: docker keeps four.
const BEHIND_MAX: usize = 2;

pub(crate) struct Docker {
    directory: PathBuf,
    pods: Vec<Pod>,
    started: usize,
    rotations: usize,
    deleted: usize,
}

struct Pod {
    container: DockerContainer,
    files: usize,
    /// The last line of each iostream.
    last: [Option<LineKey>; 2],
    /// The first of the live file: from when it has arrived the forwarder holds the file open.
    seen: LineKey,
}

impl Pod {
    fn new(mut container: DockerContainer) -> Self {
        let seen = container.line(Stdout, "the first of a file");
        Self { container, files: 1, last: [Some(seen), None], seen }
    }
}

impl Docker {
    pub(crate) fn new(directory: &Path) -> Self {
        let directory = super::directory(directory);
        Self { directory, pods: Vec::new(), started: 0, rotations: 0, deleted: 0 }
    }

    /// What the forwarder's configuration says of it, beneath `containers`.
    pub(crate) fn settings(&self) -> String {
        format!("  docker: {}\n", self.directory.display())
    }

    pub(crate) fn start_all(&mut self, node: &mut Node) {
        (0..PODS).for_each(|_| self.start(node));
    }

    fn start(&mut self, node: &mut Node) {
        let pod = format!("docker-{}", self.started);
        self.started += 1;
        self.pods.push(Pod::new(node.start_in_docker(&self.directory, &pod)));
    }

    pub(crate) fn step(
        &mut self,
        node: &mut Node,
        arrivals: &Arrivals,
        saved: &Saved,
        random: &mut fastrand::Rng,
    ) {
        let index = random.usize(..PODS);
        let pod = &mut self.pods[index];
        for _ in 0..random.usize(..5) {
            let is_stderr = random.bool();
            let iostream = if is_stderr { Stderr } else { Stdout };
            // Now and then one that docker cuts into pieces.
            let length = if random.u8(..50) == 0 { 40_000 } else { 300 };
            let key = pod.container.line(iostream, "x".repeat(random.usize(..length)));
            pod.last[usize::from(is_stderr)] = Some(key);
        }
        let has_all = pod.last.iter().flatten().all(|key| arrivals.has_all_up_to(*key));
        let may_rotate = pod.files <= saved.files_of(pod.container.writer()) + BEHIND_MAX;
        match random.u16(..240) {
            0..10 if may_rotate && arrivals.has_all_up_to(pod.seen) => {
                pod.container.rotate();
                self.rotations += 1;
                pod.files += 1;
                pod.seen = pod.container.line(Stdout, "the first of a file");
                pod.last[0] = Some(pod.seen);
            }
            10 if has_all => {
                self.pods.swap_remove(index).container.delete_pod();
                self.deleted += 1;
                self.start(node);
            }
            _ => {}
        }
    }

    pub(crate) fn done(&self) -> String {
        let (started, rotations, deleted) = (self.started, self.rotations, self.deleted);
        format!("{started} pods, {rotations} rotations, {deleted} deleted")
    }
}
