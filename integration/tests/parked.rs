//! An index that takes nothing, for long: its documents are parked on the disk and cost the others nothing; when it takes
//! documents again, all of them are delivered once, whatever was killed meanwhile.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use naru_aggregator::deliver::ParkedConfig;
use naru_integration::bulk_sink::{Answer, BulkRequest, BulkSink, Fate, Reply};
use naru_integration::cluster::{Cluster, Plan};
use naru_integration::cpu;
use naru_integration::delivery::{Delivering, settings};
use naru_integration::elasticsearch::{Flavour, start_or_skip};
use naru_integration::eventually::{eventually, eventually_within};
use naru_integration::node::{Container, Node};
use naru_integration::pace::Pace;
use naru_integration::scale::scaled;
use naru_integration::seed::seeded;
use naru_proto::frame::IoStream::Stdout;
use serde_json::json;

/// A sink whose index of a day takes nothing while it is told so; others are stored.
fn blocking(day: &'static str) -> (BulkSink, Arc<AtomicBool>) {
    let blocked = Arc::new(AtomicBool::new(true));
    let still = Arc::clone(&blocked);
    let sink = BulkSink::scripted(move |request| {
        if still.load(Ordering::Acquire) && request.path.contains(day) {
            return refused(request);
        }
        Answer::Store.into()
    });
    (sink, blocked)
}

fn refused(request: &BulkRequest) -> Reply {
    let fate = || Fate::refuse(403, "cluster_block_exception");
    Answer::Each(request.items.iter().map(|_| fate()).collect()).into()
}

fn soon(config: &mut ParkedConfig) {
    config.after = Duration::from_secs(1);
}

fn drained(delivering: &Delivering) {
    eventually("the queue is drained", || {
        if delivering.is_drained() {
            return Ok(());
        }
        Err(format!("{} entries, {:?}", delivering.entries(), delivering.trouble.reason()))
    });
}

/// Everything is stored once, and nothing is left.
fn closed(delivering: &Delivering, sink: &BulkSink) {
    drained(delivering);
    eventually("all is delivered", || match sink.stored() as u64 {
        stored if stored == delivering.written() => Ok(()),
        stored => {
            Err(format!("{stored} of {}, {:?}", delivering.written(), delivering.trouble.reason()))
        }
    });
    eventually("the chains are gone", || match delivering.chains() {
        chains if chains.is_empty() => Ok(()),
        chains => Err(format!("{chains:?}")),
    });
    assert_eq!(delivering.trouble.reason(), None);
    assert!(delivering.letters().is_empty());
    let metrics = delivering.metrics();
    let parked = metrics.count("naru_aggregator_parked_documents_total", "");
    assert!(metrics.count("naru_aggregator_unparked_documents_total", "") >= parked);
}

#[test]
fn a_blocked_index_stops_nobody() {
    let (sink, blocked) = blocking("2026.11.22");
    let mut delivering = Delivering::start_parking(settings(&sink.url()), soon);
    let mut of_the_other = 0;
    // Many more entries than may be open at once, each with lines of both days.
    for _ in 0..60 {
        for day in [0, 1] {
            delivering.set_day(day);
            delivering.append_numbered(50);
        }
        of_the_other += 50;
    }
    eventually("the other index has all of its documents", || match sink.stored() {
        stored if stored == of_the_other => Ok(()),
        stored => Err(format!("{stored}, {:?}", delivering.trouble.reason())),
    });
    drained(&delivering);
    let metrics = delivering.metrics();
    assert_eq!(metrics.count("naru_aggregator_parked_documents_total", ""), 3000);
    let bytes = metrics.count("naru_aggregator_parked_bytes", "index=\"logstash-2026.11.22\"");
    assert!(bytes > 0, "{metrics:?}");
    assert_eq!(delivering.chains(), ["logstash-2026.11.22"]);
    let reason = delivering.trouble.reason().unwrap();
    assert!(
        reason.contains("cluster_block_exception") && reason.contains("are parked"),
        "{reason}"
    );
    let asked = sink.received().documents;
    delivering.append_numbered(1000);
    drained(&delivering);
    let asked = sink.received().documents - asked;
    println!("1000 documents of the other index while one is parked: {asked} were sent");
    assert!(asked < 1000 + 10 * 100, "what is parked is asked for with little");
    blocked.store(false, Ordering::Release);
    closed(&delivering, &sink);
    assert_eq!(delivering.metrics().count("naru_aggregator_parked_bytes", ""), 0);
    // It takes documents at once from now on.
    delivering.set_day(0);
    delivering.append_numbered(100);
    closed(&delivering, &sink);
    assert_eq!(delivering.metrics().count("naru_aggregator_parked_documents_total", ""), 3000);
}

/// An index that is blocked again while its chain is emptied.
#[test]
fn what_is_blocked_again_waits_again() {
    let blocked = Arc::new(AtomicBool::new(true));
    let still = Arc::clone(&blocked);
    let sink = BulkSink::scripted(move |request| {
        if still.load(Ordering::Acquire) {
            return refused(request);
        }
        // What is on its way is seen to be.
        Answer::Store.after(Duration::from_millis(20))
    });
    let mut delivering = Delivering::start_parking(settings(&sink.url()), soon);
    for _ in 0..100 {
        delivering.append_numbered(20);
    }
    drained(&delivering);
    for round in 1..=3 {
        let before = sink.stored();
        blocked.store(false, Ordering::Release);
        eventually("the chain is being emptied", || match sink.stored() {
            stored if stored > before || stored == 2000 => Ok(()),
            stored => Err(format!("{stored} in round {round}")),
        });
        blocked.store(true, Ordering::Release);
        println!("round {round}: {} documents are stored", sink.stored());
    }
    blocked.store(false, Ordering::Release);
    closed(&delivering, &sink);
}

#[test]
fn a_full_chain_holds_and_drops_nothing() {
    let (sink, blocked) = blocking("2026.11.22");
    let mut random = seeded("a_full_chain_holds");
    let mut delivering = Delivering::start_parking(settings(&sink.url()), |config| {
        soon(config);
        config.index_max_bytes = 2 << 20;
    });
    let mut appended = 0;
    while delivering.trouble.reason().is_none_or(|reason| !reason.contains("takes all it may")) {
        let text: String = (0..100_000).map(|_| random.alphanumeric()).collect();
        delivering.append([text.as_str()]);
        appended += 1;
        assert!(appended < 200, "{:?}", delivering.trouble.reason());
        let mut pace = Pace::new(Duration::from_millis(20));
        pace.next();
    }
    let metrics = delivering.metrics();
    let bytes = metrics.count("naru_aggregator_parked_bytes", "");
    println!("{appended} documents of 100 kB, {bytes} bytes are parked");
    assert!(bytes <= (2 << 20) + (1 << 20), "{bytes}");
    assert!(!delivering.is_drained(), "what cannot be parked stays in the queue");
    blocked.store(false, Ordering::Release);
    closed(&delivering, &sink);
}

fn lines(container: &mut Container, count: usize) {
    for _ in 0..count {
        container.line(Stdout, "x".repeat(100));
    }
}

fn plan(elasticsearch: String) -> Plan {
    Plan {
        nodes: 2,
        aggregators: 1,
        tls: false,
        elasticsearch,
        settings: "  request_timeout: 20s\nqueue: {parked: {after: 1s}}\n".to_owned(),
    }
}

/// Two nodes whose clocks are a day apart, so that each writes into an index of its own.
fn a_day_apart(cluster: &mut Cluster) -> Vec<Container> {
    let start = |(number, node): (usize, &mut Node)| {
        node.clock().noon(1 + number as i64);
        node.start("shop", &format!("web-{number}"), "web")
    };
    cluster.nodes.iter_mut().map(|member| &mut member.node).enumerate().map(start).collect()
}

fn parked_bytes(cluster: &mut Cluster) -> u64 {
    cluster.aggregator(0).metrics().count("naru_aggregator_parked_bytes", "")
}

/// The day of a node's clock.
fn day(cluster: &Cluster, number: usize) -> String {
    cluster.nodes[number].node.clock().day()
}

#[test]
fn a_kill_while_parking_and_while_emptying_loses_nothing() {
    const KILLS: usize = 4;
    let story = "a_kill_while_parking";
    let mut random = seeded(story);
    let blocked = Arc::new(AtomicBool::new(true));
    let its_day = Arc::new(OnceLock::<String>::new());
    let (still, blocked_day) = (Arc::clone(&blocked), Arc::clone(&its_day));
    let sink = BulkSink::scripted(move |request| {
        if blocked_day.get().is_none_or(|day| !request.path.contains(day)) {
            return Answer::Store.into();
        }
        if still.load(Ordering::Acquire) {
            return refused(request);
        }
        Answer::Store.after(Duration::from_millis(30))
    });
    let mut cluster = Cluster::new(&plan(sink.url()));
    let mut containers = a_day_apart(&mut cluster);
    its_day.set(day(&cluster, 0)).unwrap();
    cluster.start();
    cluster.wait_for_aggregators();
    let mut most = 0;
    for kill in 0..scaled(KILLS, 20 * KILLS) {
        let before =
            cluster.aggregator(0).metrics().count("naru_aggregator_parked_documents_total", "");
        for container in &mut containers {
            lines(container, 1500);
        }
        eventually("documents are parked", || {
            let parked =
                cluster.aggregator(0).metrics().count("naru_aggregator_parked_documents_total", "");
            if parked > before { Ok(()) } else { Err(format!("{parked} in round {kill}")) }
        });
        most = most.max(parked_bytes(&mut cluster));
        let mut pace = Pace::new(Duration::from_millis(random.u64(..100)));
        pace.next();
        cluster.kill_aggregator(0);
        cluster.start_aggregator(0);
        cluster.wait_for_aggregators();
    }
    println!("killed while it parked; {most} bytes were parked");
    assert!(most > 0);
    blocked.store(false, Ordering::Release);
    let mut while_emptying = 0;
    for _ in 0..scaled(KILLS, 20 * KILLS) {
        let stored = sink.stored();
        eventually("the chain is being emptied, or is empty", || {
            if sink.stored() > stored || parked_bytes(&mut cluster) == 0 {
                Ok(())
            } else {
                Err(stored.to_string())
            }
        });
        while_emptying += usize::from(parked_bytes(&mut cluster) > 0);
        cluster.kill_aggregator(0);
        cluster.start_aggregator(0);
        cluster.wait_for_aggregators();
    }
    println!("killed {while_emptying} times while it emptied the chain");
    assert!(while_emptying > 0, "no kill bit");
    cluster.caught_up_in(&sink, Duration::from_secs(120));
    eventually("the chain is gone", || match parked_bytes(&mut cluster) {
        0 => Ok(()),
        bytes => Err(bytes.to_string()),
    });
    let again = cluster.again();
    let verdict = sink.judged_by(cluster.ledger());
    verdict.print(story, Some(again));
    verdict.assert_closed();
    cluster.stop();
}

/// From writing some lines to finding all of them.
fn delay(cluster: &Cluster, count: impl Fn() -> u64, written: u64) -> Duration {
    let begun = Instant::now();
    eventually_within(Duration::from_secs(120), "the other index follows", || match count() {
        found if found >= written => Ok(()),
        found => Err(format!("{found} of {written}, {} lines in all", cluster.ledger().written())),
    });
    begun.elapsed()
}

fn median(mut delays: Vec<Duration>) -> (Duration, Duration) {
    delays.sort_unstable();
    (delays[delays.len() / 2], delays[delays.len() - 1])
}

#[test]
fn an_hour_of_a_blocked_index_costs_the_others_nothing() {
    let story = "an_hour_of_a_blocked_index";
    // The server's own look at its disk would lift the block.
    let slow_look = [("cluster.info.update.interval", "1h")];
    let Some(server) = start_or_skip(story, Flavour::Elasticsearch7, &slow_look) else { return };
    let mut cluster = Cluster::new(&plan(server.url()));
    let mut containers = a_day_apart(&mut cluster);
    cluster.start();
    cluster.wait_for_aggregators();
    let (blocked, other) =
        (format!("logstash-{}", day(&cluster, 0)), format!("logstash-{}", day(&cluster, 1)));
    let count = |index: &str| {
        server.refresh();
        let (_, found) = server.request("GET", &format!("/{index}/_count"), None);
        found["count"].as_u64().unwrap_or(0)
    };
    let rounds = scaled(12, 360);
    let (per_round, step) = (scaled(500, 5000), Duration::from_secs(3600) / rounds as u32);
    let mut written = 0;
    let mut round = |cluster: &mut Cluster, containers: &mut Vec<Container>| {
        for (container, member) in containers.iter_mut().zip(&cluster.nodes) {
            lines(container, per_round);
            member.node.clock().pass(step);
        }
        written += per_round as u64;
        delay(cluster, || count(&other), written)
    };
    let free: Vec<_> = (0..rounds / 3).map(|_| round(&mut cluster, &mut containers)).collect();
    cluster.caught_up(&server, Duration::from_secs(60));
    let before = count(&blocked);

    server.put_settings(&blocked, &json!({"index.blocks.read_only_allow_delete": true}));
    let during: Vec<_> = (0..rounds).map(|_| round(&mut cluster, &mut containers)).collect();
    assert_eq!(count(&blocked), before, "it takes nothing");
    eventually("nothing waits in the queue or in memory", || {
        let metrics = cluster.aggregator(0).metrics();
        let waits = ["queue_entries", "held_documents"]
            .map(|name| metrics.count(&format!("naru_aggregator_{name}"), ""));
        if waits == [0, 0] { Ok(()) } else { Err(format!("{waits:?}")) }
    });
    let bytes = parked_bytes(&mut cluster);
    let (_, rss) = cpu::memory_of_process(cluster.aggregator(0).id());
    println!(
        "an hour of log time, {} lines of each index; median and longest delay of the other index, with its refresh: {:.0?} \
         before, {:.0?} while one was blocked; {} KiB parked, at most {} MiB of memory",
        rounds * per_round,
        median(free),
        median(during),
        bytes >> 10,
        rss >> 20,
    );
    assert!(bytes > 0);

    server.put_settings(&blocked, &json!({"index.blocks.read_only_allow_delete": null}));
    let begun = Instant::now();
    cluster.caught_up(&server, Duration::from_secs(300));
    println!("all delivered {:.1?} after the block was lifted", begun.elapsed());
    eventually("the chain is gone", || match parked_bytes(&mut cluster) {
        0 => Ok(()),
        bytes => Err(bytes.to_string()),
    });
    cluster.judge(&server, story).0.assert_closed();
    cluster.stop();
}
