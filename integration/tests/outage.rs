//! Three nodes and two aggregators through everything that Elasticsearch and a power switch can do to them: every line is
//! indexed exactly once.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use naru_integration::cluster::{Cluster, Plan};
use naru_integration::elasticsearch::{Flavour, Server, start_or_skip};
use naru_integration::eventually::{eventually, eventually_within};
use naru_integration::fault::relay::Relay;
use naru_integration::node::{Container, Kubelet};
use naru_integration::pace::{self, Pace};
use naru_integration::seed::seeded;
use naru_proto::frame::IoStream::{Stderr, Stdout};
use serde_json::json;

const NODES: usize = 3;
const CONTAINERS_PER_NODE: usize = 4;
const LINES: usize = 200_000;
const KILLS: usize = 20;
const OUTAGE: Duration = Duration::from_secs(60);
/// A backlog is indexed at some thousand documents a second by a server that has just started.
const PATIENCE: Duration = Duration::from_secs(300);

/// What makes the server refuse what a busy one refuses: whole bulks for their size, bulks and items for their number.
const NARROW: [(&str, &str); 5] = [
    ("http.max_content_length", "96kb"),
    ("indexing_pressure.memory.limit", "1500kb"),
    ("thread_pool.write.size", "1"),
    ("thread_pool.write.queue_size", "1"),
    // The server's own look at its disk would lift a block that a story has set.
    ("cluster.info.update.interval", "1h"),
];

/// Containers that write until they are told to stop.
struct Writing {
    stop: Arc<AtomicBool>,
    lines: Arc<AtomicUsize>,
    thread: JoinHandle<()>,
}

impl Writing {
    fn start(mut containers: Vec<Container>, mut random: fastrand::Rng) -> Self {
        let (stop, lines) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&lines));
        let thread = thread::spawn(move || {
            // Nothing is deleted before it was read: what a node loses by right is another story.
            let mut kubelet = Kubelet::new(10_000);
            let mut pace = Pace::new(Duration::from_millis(40));
            while !stopped.load(Ordering::Acquire) {
                for container in &mut containers {
                    if stopped.load(Ordering::Acquire) {
                        break;
                    }
                    counted.fetch_add(step(container, &mut kubelet, &mut random), Ordering::AcqRel);
                }
                pace.next();
            }
        });
        Self { stop, lines, thread }
    }

    /// Waits until so many lines were written, and stops.
    fn stop_at(self, lines: usize) {
        eventually_within(PATIENCE, "enough is written", || {
            let written = self.lines.load(Ordering::Acquire);
            if written >= lines { Ok(()) } else { Err(written.to_string()) }
        });
        self.stop.store(true, Ordering::Release);
        self.thread.join().unwrap();
    }
}

/// Some lines, and now and then long ones and a rotation.
fn step(container: &mut Container, kubelet: &mut Kubelet, random: &mut fastrand::Rng) -> usize {
    let lines = random.usize(1..10);
    for _ in 0..lines {
        let iostream = if random.bool() { Stdout } else { Stderr };
        container.line(iostream, "x".repeat(random.usize(..300)));
    }
    if random.u16(..400) == 0 {
        container.interleaved("o".repeat(random.usize(..40_000)), "e".repeat(20_000));
    }
    if random.u16(..400) == 0 {
        container.begin(Stdout, "begun before the rotation, ");
        kubelet.rotate(container, |container| {
            container.line(Stderr, "into the renamed file");
        });
        container.finish(Stdout, "finished after it");
    }
    lines
}

fn plan(server: &Server, nodes: usize, aggregators: usize) -> Plan {
    Plan {
        nodes,
        aggregators,
        tls: true,
        elasticsearch: server.url(),
        settings: "  request_timeout: 20s\n".to_owned(),
    }
}

fn containers(cluster: &mut Cluster, per_node: usize) -> Vec<Container> {
    let mut all = Vec::new();
    for (number, member) in cluster.nodes.iter_mut().enumerate() {
        all.extend(
            (0..per_node).map(|i| member.node.start("shop", &format!("web-{number}-{i}"), "web")),
        );
    }
    all
}

/// The sum over all running aggregators.
fn count(cluster: &mut Cluster, name: &str, label: &str) -> u64 {
    let all = 0..cluster.aggregators.len();
    // One that had no such case has no such sample.
    all.map(|n| cluster.aggregator(n).metrics().sum(name, label).unwrap_or_default() as u64).sum()
}

/// What all aggregators say of what is wrong.
fn reasons(cluster: &mut Cluster) -> String {
    let mut all = String::new();
    for number in 0..cluster.aggregators.len() {
        let address = cluster.aggregator(number).http_address();
        let answer = naru_integration::http::get(address, "/readyz").unwrap();
        all.push_str(&String::from_utf8_lossy(&answer.body));
    }
    all
}

/// Waits until it is said.
fn said(cluster: &mut Cluster, words: &str) {
    eventually(&format!("{words:?} is said"), || {
        let said = reasons(cluster);
        if said.contains(words) { Ok(()) } else { Err(said) }
    });
}

#[test]
fn every_kind_of_outage_loses_nothing_and_indexes_nothing_twice() {
    let story = "every_kind_of_outage";
    let Some(mut server) = start_or_skip(story, Flavour::Elasticsearch7, &NARROW) else { return };
    let mut random = seeded(story);
    let mut cluster = Cluster::new(&plan(&server, NODES, 2));
    let writers = containers(&mut cluster, CONTAINERS_PER_NODE);
    cluster.start();
    let writing = Writing::start(writers, random.fork());

    println!("{KILLS} x kill -9 of forwarders, and of aggregators");
    for kill in 0..2 * KILLS {
        let pause = Duration::from_millis(random.u64(50..1200));
        let begun = Instant::now();
        let mut pace = Pace::new(Duration::from_millis(20));
        while begun.elapsed() < pause {
            pace.next();
        }
        if kill % 2 == 0 {
            let number = random.usize(..NODES);
            cluster.kill_forwarder(number);
            cluster.start_forwarder(number);
        } else {
            let number = random.usize(..2);
            cluster.kill_aggregator(number);
            cluster.start_aggregator(number);
        }
    }
    cluster.wait_for_aggregators();

    println!("Elasticsearch is killed, and back after {OUTAGE:?}");
    server.kill();
    said(&mut cluster, &server.url());
    pace::lasts(OUTAGE);
    server.restart();

    println!("Elasticsearch hangs for {OUTAGE:?}");
    server.pause();
    pace::lasts(OUTAGE);
    server.resume();
    server.wait_until_healthy();

    println!("an index is blocked, and released");
    cluster.caught_up_half(&server);
    let block = |on: serde_json::Value| {
        server.put_settings("logstash-*", &json!({"index.blocks.read_only_allow_delete": on}))
    };
    block(json!(true));
    eventually("documents are held, or parked", || {
        let held = count(&mut cluster, "naru_aggregator_held_documents", "")
            + count(&mut cluster, "naru_aggregator_parked_documents_total", "");
        if held > 0 { Ok(()) } else { Err(reasons(&mut cluster)) }
    });
    said(&mut cluster, "cluster_block_exception");
    block(json!(null));

    writing.stop_at(LINES);
    cluster.caught_up(&server, PATIENCE);
    let refused_by_size =
        count(&mut cluster, "naru_aggregator_bulk_requests_total", "code=\"413\"");
    let refused_by_number =
        count(&mut cluster, "naru_aggregator_bulk_requests_total", "code=\"429\"");
    let retried = count(&mut cluster, "naru_aggregator_retried_documents_total", "");
    let (verdict, again) = cluster.judge(&server, "every kind of outage");
    println!(
        "{refused_by_size} bulks were refused for their size, {refused_by_number} for what else the server had to do; \
         {retried} documents were sent again"
    );
    verdict.assert_closed();
    assert!(verdict.written >= LINES);
    assert!(again.bytes > 0 && again.duplicates > 0, "the kills did not bite: {again:?}");
    assert!(refused_by_size > 0 && retried > 0, "the server refused nothing");
    assert_eq!(count(&mut cluster, "naru_aggregator_documents_total", "dead_letter"), 0);
    cluster.stop();
}

#[test]
fn opensearch_takes_the_same_once() {
    let story = "opensearch_takes_the_same_once";
    let Some(mut server) = start_or_skip(story, Flavour::OpenSearch2, &NARROW) else { return };
    let mut random = seeded(story);
    let mut cluster = Cluster::new(&plan(&server, 1, 1));
    let writers = containers(&mut cluster, 2);
    cluster.start();
    let writing = Writing::start(writers, random.fork());
    cluster.kill_aggregator(0);
    cluster.start_aggregator(0);
    server.kill();
    said(&mut cluster, &server.url());
    server.restart();
    writing.stop_at(5_000);
    cluster.caught_up(&server, PATIENCE);
    cluster.judge(&server, "OpenSearch").0.assert_closed();
    cluster.stop();
}

#[test]
fn lost_acknowledgements_and_a_poisonous_document() {
    let story = "lost_acknowledgements";
    let Some(server) = start_or_skip(story, Flavour::Elasticsearch7, &[]) else { return };
    let mut cluster = Cluster::new(&Plan { tls: false, ..plan(&server, 1, 1) });
    let mut writers = containers(&mut cluster, 2);
    cluster.start_aggregator(0);
    cluster.wait_for_aggregators();
    let relay = Relay::lose_each_once(cluster.receiving_on(0), 2);
    cluster.nodes[0].sends_to = Some(relay.address());
    cluster.configure_forwarder(0, false);
    cluster.start_forwarder(0);
    for round in 0..20 {
        for container in &mut writers {
            for _ in 0..200 {
                container.line(Stdout, "x".repeat(round * 10));
            }
        }
        cluster.caught_up(&server, PATIENCE);
    }
    let bytes = cluster.ledger().bytes();
    relay.cut();
    eventually("every byte was sent again", || {
        let done = relay.done();
        if done.bytes_again >= bytes { Ok(()) } else { Err(format!("{done:?} of {bytes}")) }
    });
    let written = cluster.ledger().written() as u64;
    eventually("every document was refused once", || {
        let refused = count(&mut cluster, "naru_aggregator_documents_total", "duplicate");
        if refused >= written { Ok(()) } else { Err(refused.to_string()) }
    });
    let (verdict, again) = cluster.judge(&server, "every ack lost once");
    verdict.assert_closed();
    assert_eq!(again.duplicates, written);

    println!(
        "a document that the mapping cannot take, and one that it takes without its parsed body"
    );
    let mapping = json!({"properties": {"json": {"properties": {"n": {"type": "long"}}}, "level": {"type": "long"}}});
    server.ask("PUT", "/logstash-2030.01.01", Some(&json!({"mappings": mapping})));
    let lines = [
        r#"2030-01-01T00:00:00.000000001Z stdout F {"n":"a word"}"#,
        "2030-01-01T00:00:00.000000002Z stdout F ERROR: its level is a word, and the index has a number there",
        "2030-01-01T00:00:00.000000003Z stdout F a neighbour",
    ];
    let pod = cluster.nodes[0].node.pods().join("shop_odd_0123/web");
    std::fs::create_dir_all(&pod).unwrap();
    std::fs::write(pod.join("0.log"), lines.join("\n") + "\n").unwrap();
    eventually("a dead letter", || {
        match count(&mut cluster, "naru_aggregator_documents_total", "dead_letter") {
            1 => Ok(()),
            other => Err(other.to_string()),
        }
    });
    eventually("its neighbours are indexed", || {
        server.refresh();
        let found = server.ask("GET", "/logstash-2030.01.01/_search", None);
        match found["hits"]["total"]["value"].as_u64() {
            Some(2) => Ok(()),
            _ => Err(found.to_string()),
        }
    });
    let found = server.ask("GET", "/logstash-2030.01.01/_search?q=naru.json:mapping", None);
    assert_eq!(found["hits"]["hits"][0]["_source"]["log"], r#"{"n":"a word"}"#);
    cluster.stop();
}
