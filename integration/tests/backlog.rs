//! 1 GB of raw lines piles up while Elasticsearch is away; then everything is killed, and comes back.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

use std::time::{Duration, Instant};

use naru_integration::cluster::{Cluster, Plan};
use naru_integration::cpu;
use naru_integration::elasticsearch::{Flavour, start_or_skip};
use naru_integration::eventually::eventually_within;
use naru_integration::node::{Container, Kubelet};
use naru_integration::seed::seeded;
use naru_proto::frame::IoStream::Stdout;

const BACKLOG_BYTES: u64 = 1_000_000_000;
const CONTAINERS: usize = 8;
const LINE_BYTES: usize = 8_000;
/// A container's file is rotated at 10 MiB by default.
const LINES_PER_FILE: usize = 1_300;
const PATIENCE: Duration = Duration::from_secs(420);

/// Text that does not compress, and is cheap to make.
struct Pool {
    text: String,
}

impl Pool {
    fn new(random: &mut fastrand::Rng) -> Self {
        Self { text: (0..1 << 20).map(|_| random.alphanumeric()).collect() }
    }

    fn line(&self, random: &mut fastrand::Rng) -> &str {
        let start = random.usize(..self.text.len() - LINE_BYTES);
        self.text.get(start..start + LINE_BYTES).unwrap()
    }
}

#[test]
fn a_backlog_of_a_gigabyte_survives_a_kill_of_everything() {
    let story = "a_backlog_of_a_gigabyte";
    let Some(mut server) = start_or_skip(story, Flavour::Elasticsearch7, &[]) else { return };
    let mut random = seeded(story);
    let mut cluster = Cluster::new(&Plan {
        nodes: 1,
        aggregators: 1,
        tls: true,
        elasticsearch: server.url(),
        settings: String::new(),
    });
    let mut containers: Vec<Container> = (0..CONTAINERS)
        .map(|i| cluster.nodes[0].node.start("shop", &format!("web-{i}"), "web"))
        .collect();
    server.kill();
    cluster.start();

    let pool = Pool::new(&mut random);
    let mut kubelet = Kubelet::new(10_000);
    while cluster.ledger().bytes() < BACKLOG_BYTES {
        for container in &mut containers {
            for _ in 0..LINES_PER_FILE {
                container.line(Stdout, pool.line(&mut random));
            }
            kubelet.rotate(container, |_| ());
        }
    }
    let written = cluster.ledger().written() as u64;
    println!("{written} lines of {} MB are written", cluster.ledger().bytes() / 1_000_000);
    eventually_within(PATIENCE, "everything is queued", || {
        let queued = cluster.aggregator(0).metrics().count("naru_aggregator_records_total", "");
        if queued >= written { Ok(()) } else { Err(format!("{queued} of {written}")) }
    });
    let (_, most_before) = cpu::memory_of_process(cluster.aggregator(0).id());
    cluster.kill_forwarder(0);
    cluster.kill_aggregator(0);

    server.restart();
    let begun = Instant::now();
    cluster.start();
    cluster.wait_for_aggregators();
    let ready = begun.elapsed();
    cluster.caught_up(&server, PATIENCE);
    let (now, most) = cpu::memory_of_process(cluster.aggregator(0).id());
    println!("listening after {ready:.1?}, drained after {:.1?}", begun.elapsed());
    println!(
        "RSS of the aggregator: at most {} MiB while it queued, {} MiB while it drained, {} MiB at the end",
        most_before >> 20,
        most >> 20,
        now >> 20,
    );
    let (verdict, _) = cluster.judge(&server, "backlog of 1 GB, all killed");
    verdict.assert_closed();
    assert!(most >> 20 < 512, "the backlog is held in memory");
    cluster.stop();
}
