//! What stands for Elasticsearch is reached: several hosts of which some fail, a path of its own, indices by namespace, a
//! template of one's own, compression where it pays. Each line is there once.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use naru_aggregator::elasticsearch::{Gzip, Host, IndexPattern, Settings, Template};
use naru_integration::bulk_sink::{Answer, BulkSink};
use naru_integration::delivery::{Delivering, settings};
use naru_integration::eventually::eventually;
use naru_integration::fault::prefix::PrefixProxy;
use naru_integration::ports::free_address;

/// What several sinks hold, by the text of the line.
fn stored(sinks: &[&BulkSink]) -> BTreeSet<String> {
    let documents = sinks.iter().flat_map(|sink| sink.documents());
    documents.map(|document| document.text("/log").unwrap().to_owned()).collect()
}

fn of_hosts(hosts: &[String]) -> Settings {
    Settings {
        hosts: hosts.iter().map(|url| Host::parse(url).unwrap()).collect(),
        ..settings(&hosts[0])
    }
}

/// How much went to each of them since.
fn eventually_more(delivering: &mut Delivering, sink: &BulkSink, what: &str) {
    let before = sink.received().requests;
    eventually(what, || {
        delivering.append_numbered(50);
        if sink.received().requests > before { Ok(()) } else { Err(format!("{before} before")) }
    });
}

#[test]
fn a_host_that_fails_is_left_and_found_again() {
    let (well, ill) = (BulkSink::keeping(), BulkSink::keeping());
    let address = ill.address();
    let mut delivering =
        Delivering::start(of_hosts(&[well.url(), ill.url(), format!("http://{}", free_address())]));
    delivering.append_numbered(300);
    delivering.drained();
    eventually_more(&mut delivering, &well, "the first host has its turn");
    eventually_more(&mut delivering, &ill, "the second host has its turn");
    delivering.drained();
    let failures =
        |it: &Delivering| it.metrics().count("naru_aggregator_delivery_failures_total", "");
    assert_eq!(failures(&delivering), 0, "one that cannot be reached costs nothing");
    let first = stored(&[&ill]);
    drop(ill);
    delivering.append_numbered(600);
    delivering.drained();
    eventually_more(&mut delivering, &well, "the other has its requests");
    println!("{} bulks failed when a host went away", failures(&delivering));
    let back = BulkSink::keeping_at(address);
    eventually_more(&mut delivering, &back, "it is used again");
    delivering.drained();
    let all: BTreeSet<String> = first.union(&stored(&[&well, &back])).cloned().collect();
    assert_eq!(all.len() as u64, delivering.written());
    assert!(delivering.letters().is_empty());
}

#[test]
fn a_host_that_answers_and_can_do_nothing_is_left_too() {
    let well = BulkSink::keeping();
    let ill = BulkSink::scripted(|_| Answer::Refuse { status: 503, body: String::new() }.into());
    let mut delivering = Delivering::start(of_hosts(&[well.url(), ill.url()]));
    for _ in 0..20 {
        delivering.append_numbered(50);
        delivering.drained();
    }
    let (good, bad) = (well.received().requests, ill.received().requests);
    println!("{good} bulks to the host that is well, {bad} to the one that answers 503");
    assert!(bad >= 1 && bad * 3 < good, "{bad} of {good}");
    assert_eq!(well.stored() as u64, delivering.written());
}

#[test]
fn a_path_before_elasticsearch_is_part_of_the_url() {
    let sink = BulkSink::keeping();
    let proxy = PrefixProxy::start("/logs/es", sink.address());
    let mut delivering =
        Delivering::start(settings(&format!("http://{}/logs/es/", proxy.address())));
    delivering.append_numbered(300);
    delivering.drained();
    assert_eq!(sink.stored(), 300);
    let mut wrong = Delivering::start(settings(&format!("http://{}/logs", proxy.address())));
    wrong.append_numbered(1);
    let said = wrong.waits_because(&["not Elasticsearch", "404", "a page of HTML", "its path?"]);
    println!("{said}");
    assert!(!wrong.is_drained());
}

#[test]
fn namespaces_have_indices_of_their_own_up_to_a_limit() {
    let sink = BulkSink::keeping();
    let mut delivering = Delivering::start(Settings {
        index: IndexPattern::parse("logs-{namespace}-%Y.%m").unwrap(),
        max_namespaces: 2,
        ..settings(&sink.url())
    });
    for namespace in ["shop", "pay", "late", "shop", "later", "late"] {
        delivering.set_namespace(namespace);
        delivering.append_numbered(10);
    }
    delivering.drained();
    let mut found = BTreeMap::<String, u64>::new();
    for document in sink.documents() {
        *found.entry(document.index).or_default() += 1;
    }
    let expected =
        [("logs-_overflow-2026.11", 30), ("logs-pay-2026.11", 10), ("logs-shop-2026.11", 20)];
    let found: Vec<_> = found.iter().map(|(name, count)| (name.as_str(), *count)).collect();
    assert_eq!(found, expected);
    let metrics = delivering.metrics();
    assert_eq!(metrics.count("naru_aggregator_overflow_documents_total", ""), 30);
}

#[test]
fn a_template_of_ones_own_or_none() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("template.json");
    fs::write(&file, r#"{"index_patterns":["logstash-*"],"mappings":{}}"#).unwrap();
    let put_with = |template: Template| {
        let sink = BulkSink::keeping();
        let mut delivering = Delivering::start(Settings { template, ..settings(&sink.url()) });
        delivering.append_numbered(1);
        delivering.drained();
        let others = sink.other_requests();
        others.into_iter().filter(|request| request.starts_with("PUT ")).collect::<Vec<_>>()
    };
    assert_eq!(put_with(Template::On), ["PUT /_index_template/naru"]);
    assert_eq!(put_with(Template::File(file.clone())), ["PUT /_template/naru"]);
    assert_eq!(put_with(Template::Off), Vec::<String>::new());
    // One that was broken after the start holds everything, and says so.
    fs::write(&file, "{\n oops").unwrap();
    let sink = BulkSink::keeping();
    let broken = Settings { template: Template::File(file.clone()), ..settings(&sink.url()) };
    let mut delivering = Delivering::start(broken);
    delivering.append_numbered(1);
    println!("{}", delivering.waits_because(&["template.json:2: is no index template"]));
    fs::write(&file, r#"{"index_patterns":["logstash-*"]}"#).unwrap();
    delivering.drained();
    assert_eq!(sink.stored(), 1);
}

#[test]
fn bulks_are_compressed_where_that_is_asked_for() {
    let (on, auto) = (BulkSink::keeping(), BulkSink::keeping());
    for (sink, gzip) in [(&on, Gzip::On), (&auto, Gzip::Auto)] {
        let mut delivering = Delivering::start(Settings { gzip, ..settings(&sink.url()) });
        delivering.append_numbered(500);
        delivering.drained();
        assert_eq!(sink.stored(), 500);
    }
    let (on, auto) = (on.received(), auto.received());
    println!("on: {} of {} bytes; auto on loopback: {}", on.wire_bytes, on.bytes, auto.wire_bytes);
    assert!(on.wire_bytes * 3 < on.bytes);
    assert_eq!(auto.wire_bytes, auto.bytes);
}
