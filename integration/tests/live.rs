//! After an outage what is new does not wait for the backlog, nor the backlog for what is new.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use naru_integration::bulk_sink::{Answer, BulkSink};
use naru_integration::cluster::{Cluster, Plan};
use naru_integration::cpu;
use naru_integration::delivery::{Delivering, settings};
use naru_integration::elasticsearch::{Flavour, Server, start_or_skip};
use naru_integration::eventually::{eventually, eventually_within};
use naru_integration::node::{Container, Kubelet};
use naru_integration::pace::Pace;
use naru_integration::scale::scaled;
use naru_integration::seed::seeded;
use naru_proto::frame::IoStream::Stdout;

const BACKLOG: usize = 30_000;
const ROUNDS: usize = 5;

/// A sink that needs its time for every bulk, so that a backlog lasts.
#[test]
fn what_is_new_is_found_while_a_backlog_drains() {
    let is_down = Arc::new(AtomicBool::new(true));
    let still = Arc::clone(&is_down);
    let sink = BulkSink::scripted(move |_| {
        if still.load(Ordering::Acquire) {
            return Answer::Refuse { status: 503, body: String::new() }.into();
        }
        Answer::Store.after(Duration::from_millis(50))
    });
    let mut with = settings(&sink.url());
    (with.bulk_bytes, with.concurrency) = (128 << 10, 1);
    let mut delivering = Delivering::start(with);
    delivering.append_numbered(BACKLOG);
    is_down.store(false, Ordering::Release);
    eventually("it drains", || if sink.stored() > 0 { Ok(()) } else { Err(String::new()) });
    delivering.set_day(1);
    let found = |sink: &BulkSink| {
        sink.documents().iter().filter(|document| document.index.ends_with("2026.11.23")).count()
    };
    let mut delays = Vec::new();
    for round in 1..=ROUNDS {
        let begun = Instant::now();
        delivering.append_numbered(20);
        eventually("what is new is found", || match found(&sink) {
            count if count == 20 * round => Ok(()),
            count => {
                Err(format!("{count} in round {round}, {} entries wait", delivering.entries()))
            }
        });
        delays.push(begun.elapsed());
    }
    let left = delivering.entries();
    delays.sort_unstable();
    println!(
        "{left} entries of the backlog were left; what was new took {:.1?}, at most {:.1?}",
        delays[ROUNDS / 2],
        delays[ROUNDS - 1],
    );
    assert!(left > 20, "the backlog was delivered first");
    eventually_within(Duration::from_secs(120), "the backlog drains as well", || {
        match sink.stored() as u64 {
            stored if stored == delivering.written() && delivering.is_drained() => Ok(()),
            stored => Err(format!("{stored} of {}", delivering.written())),
        }
    });
    assert_eq!(sink.received().duplicates, 0);
}

/// Entries that are no backlog: delivery holds as many.
const HELD: u64 = 16;

/// Lines of a container at a pace, until it is stopped.
struct Writing {
    stop: Arc<AtomicBool>,
    thread: thread::JoinHandle<()>,
}

impl Writing {
    fn start(mut container: Container, a_second: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut kubelet = Kubelet::new(10_000);
            let mut pace = Pace::new(Duration::from_millis(100));
            let mut lines: usize = 0;
            while !stopped.load(Ordering::Acquire) {
                for _ in 0..a_second / 10 {
                    container.line(Stdout, "x".repeat(150));
                }
                lines += a_second / 10;
                if lines >= 50_000 {
                    lines = 0;
                    kubelet.rotate(&mut container, |_| ());
                }
                pace.next();
            }
        });
        Self { stop, thread }
    }

    fn stop(self) {
        self.stop.store(true, Ordering::Release);
        self.thread.join().unwrap();
    }
}

fn entries(cluster: &mut Cluster) -> u64 {
    cluster.aggregator(0).metrics().count("naru_aggregator_queue_entries", "")
}

/// Marks that can be searched for.
fn found(cluster: &Cluster, server: &Server) -> u64 {
    let index = cluster.nodes[1].node.clock().day();
    server.refresh();
    let (_, found) = server.request("GET", &format!("/logstash-{index}/_count"), None);
    found["count"].as_u64().unwrap_or(0)
}

fn backlog_of(container: &mut Container, story: &str) {
    let mut random = seeded(story);
    for _ in 0..45_000 {
        // It hardly compresses: some 34 entries of a MiB, and those of the lines that go on.
        let text: String = (0..1000).map(|_| random.alphanumeric()).collect();
        container.line(Stdout, text);
    }
}

#[test]
fn an_outage_of_elasticsearch_with_lines_that_go_on() {
    let story = "an_outage_with_lines_that_go_on";
    let Some(mut server) = start_or_skip(story, Flavour::Elasticsearch7, &[]) else { return };
    let (outage, a_second) =
        (scaled(Duration::from_secs(2), Duration::from_secs(600)), scaled(500, 5000));
    let mut cluster = Cluster::new(&Plan {
        nodes: 2,
        aggregators: 1,
        tls: true,
        elasticsearch: server.url(),
        // What is in flight is soon delivered, and the backlog takes its time.
        settings: "  bulk_bytes: 1MiB\n  concurrency: 1\n".to_owned(),
    });
    // What is looked for is in an index of its own, of another day.
    cluster.nodes[1].node.clock().noon(2);
    let mut busy = cluster.nodes[0].node.start("shop", "web", "web");
    let mut marks = cluster.nodes[1].node.start("shop", "mark", "web");
    cluster.start();
    cluster.wait_for_aggregators();
    // The indices are there before.
    busy.line(Stdout, "first");
    marks.line(Stdout, "a mark");
    eventually("the indices are there", || match found(&cluster, &server) {
        1 => Ok(()),
        count => Err(format!("{count} marks")),
    });
    server.kill();
    backlog_of(&mut busy, story);
    let writing = Writing::start(busy, a_second);
    naru_integration::pace::lasts(outage);
    eventually_within(Duration::from_secs(60), "it is queued", || match entries(&mut cluster) {
        entries if entries > 2 * HELD => Ok(()),
        entries => Err(format!("{entries} entries")),
    });
    let (_, most_before) = cpu::memory_of_process(cluster.aggregator(0).id());
    let (behind, backlog) = (cluster.ledger().written(), entries(&mut cluster));
    server.restart();
    eventually_within(Duration::from_secs(60), "delivery goes on", || {
        match cluster.aggregator(0).metrics().count("naru_aggregator_elasticsearch_up", "") {
            1 => Ok(()),
            _ => Err("it waits".to_owned()),
        }
    });
    let begun = Instant::now();
    let (mut written, mut passed) = (1, 1);
    let mut pace = Pace::new(Duration::from_millis(200));
    loop {
        marks.line(Stdout, "a mark");
        written += 1;
        let count = found(&cluster, &server);
        // Found after the backlog it says nothing.
        if entries(&mut cluster) <= HELD {
            break;
        }
        passed = count;
        assert!(begun.elapsed() < 2 * outage + Duration::from_secs(120), "it does not drain");
        pace.next();
    }
    let drained = begun.elapsed();
    writing.stop();
    cluster.caught_up(&server, Duration::from_secs(120));
    let (_, most) = cpu::memory_of_process(cluster.aggregator(0).id());
    println!(
        "{outage:?} down, {behind} lines in {backlog} entries behind, {a_second} a second go on; drained in {drained:.1?}; \
         {passed} of {written} new lines were found before; RSS at most {} MiB while it was down, {} MiB in all",
        most_before >> 20,
        most >> 20,
    );
    assert!(passed > written / 4, "what is new waits for the backlog");
    cluster.judge(&server, story).0.assert_closed();
    assert!(most >> 20 < 512, "the backlog is held in memory");
    cluster.stop();
}
