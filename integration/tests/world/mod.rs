//! The node of the story: its pods and daemons, and what the kubelet and logrotate do to their files.
//!
//! The kubelet here is a thousand times faster than a real one. It keeps to what makes a real one harmless: it deletes a
//! file only when the forwarder's checkpoint has a later one, unless a loss is wanted.

mod docker;
mod excluded;
mod hosts;
mod pod;
mod saved;
pub(crate) mod trouble;

use std::fs;

use naru_integration::arrivals::Arrivals;
use naru_integration::cluster::Cluster;
use naru_integration::ledger::Writer;
use naru_integration::node::Container;
use naru_proto::frame::IoStream::Stdout;
use naru_proto::frame::{Source, Writer as FrameWriter};
use naru_proto::wire;

use docker::Docker;
use excluded::Excluded;
use hosts::Hosts;
use pod::Pod;
use saved::Saved;

const PODS: usize = 10;
/// Lines of a pod that is deleted while no forwarder runs.
const FORCED_LINES: usize = 30;

pub(crate) struct World {
    arrivals: Arrivals,
    saved: Saved,
    pods: Vec<Pod>,
    hosts: Hosts,
    docker: Docker,
    excluded: Excluded,
    victim: Option<Victim>,
    /// Who lost lines that have to be declared.
    losers: Vec<Writer>,
    pub(crate) forced_losses: usize,
    started: usize,
    deleted: usize,
}

/// A pod that is deleted when the forwarder is killed, and what it wrote first.
struct Victim {
    container: Container,
}

impl World {
    pub(crate) fn new(cluster: &mut Cluster, arrivals: Arrivals) -> Self {
        let hosts = Hosts::new(&cluster.path("host"), cluster.ledger());
        let mut docker = Docker::new(&cluster.path("docker"));
        // What `containers` has beside its path comes first.
        cluster.nodes[0].settings =
            [docker.settings(), pod::settings(), excluded::settings(), hosts.settings()].concat();
        cluster.configure_forwarder(0, false);
        docker.start_all(&mut cluster.nodes[0].node);
        let mut world = Self {
            saved: Saved::new(cluster),
            arrivals,
            pods: Vec::new(),
            hosts,
            docker,
            excluded: Excluded::new(cluster.nodes[0].node.pods()),
            victim: None,
            losers: Vec::new(),
            forced_losses: 0,
            started: 0,
            deleted: 0,
        };
        (0..PODS).for_each(|_| world.start_pod(cluster));
        world
    }

    fn start_pod(&mut self, cluster: &mut Cluster) {
        // Every third has a rule that joins lines.
        let kind = if self.started.is_multiple_of(3) { pod::JOINED } else { "web" };
        let container =
            cluster.nodes[0].node.start("shop", &format!("{kind}-{}", self.started), "web");
        self.started += 1;
        self.pods.push(Pod::new(container));
    }

    /// A moment of the node's life.
    pub(crate) fn step(&mut self, cluster: &mut Cluster, random: &mut fastrand::Rng) {
        self.saved.look();
        let index = random.usize(..self.pods.len());
        self.pods[index].step(&self.arrivals, &self.saved, random);
        self.pods.iter_mut().for_each(|pod| pod.tend(&self.arrivals));
        self.hosts.step(&self.arrivals, random);
        self.docker.step(&mut cluster.nodes[0].node, &self.arrivals, &self.saved, random);
        self.excluded.step(random);
        if random.u16(..200) == 0 && self.pods[index].may_be_deleted(&self.arrivals) {
            self.pods.swap_remove(index).delete();
            self.deleted += 1;
            self.start_pod(cluster);
        }
        if self.victim.is_none() && random.u16(..100) == 0 {
            let mut container = cluster.nodes[0].node.start(
                "shop",
                &format!("victim-{}", self.losers.len()),
                "web",
            );
            container.line(Stdout, "before the forwarder is killed");
            self.victim = Some(Victim { container });
        }
    }

    /// The forwarder was just killed: a pod that it knew writes on and is deleted.
    pub(crate) fn lose(&mut self) {
        // Of one that is not in the checkpoint nobody would know.
        let saved = &self.saved;
        let ripe = |victim: &mut Victim| saved.files_of(victim.container.writer()) > 0;
        if let Some(mut victim) = self.victim.take_if(ripe) {
            for _ in 0..FORCED_LINES {
                victim.container.line(Stdout, "nobody will ever read this");
            }
            self.forced_losses += FORCED_LINES;
            self.losers.push(victim.container.writer().clone());
            victim.container.delete_pod();
        }
    }

    /// Every file gets its name, every line its end.
    pub(crate) fn end(&mut self) {
        self.pods.iter_mut().for_each(Pod::end);
        self.hosts.end();
    }

    /// Whether each container that lost lines has a gap.
    pub(crate) fn all_declared(&self, gaps: &[wire::Gap]) -> Result<(), String> {
        let declared: Vec<FrameWriter> = gaps
            .iter()
            .filter_map(|gap| Source::try_from(gap.source.clone()?).ok())
            .map(|source| source.writer)
            .collect();
        let missing = self
            .losers
            .iter()
            .filter(|writer| !declared.contains(&FrameWriter::from((*writer).clone())));
        let missing: Vec<&str> = missing.map(|writer| writer.pod.as_str()).collect();
        if missing.is_empty() { Ok(()) } else { Err(format!("no gap of {missing:?}")) }
    }

    pub(crate) fn done(&self) -> String {
        let sum = |count: fn(&Pod) -> usize| self.pods.iter().map(count).sum::<usize>();
        format!(
            "{} pods started, {} deleted, {} restarts and {} rotations of those left, {} of host files; \
             docker: {}; {} lines of joined ones, {} excluded",
            self.started,
            self.deleted + self.losers.len(),
            sum(|pod| pod.restarts),
            sum(|pod| pod.rotations),
            self.hosts.rotations,
            self.docker.done(),
            sum(|pod| pod.joined),
            self.excluded.lines,
        )
    }
}

/// Makes a directory and returns it.
fn directory(path: &std::path::Path) -> std::path::PathBuf {
    fs::create_dir_all(path).unwrap();
    path.to_owned()
}
