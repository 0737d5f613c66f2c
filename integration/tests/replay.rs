//! What was delivered comes back from retained segments after its indices were deleted; dead letters are indexed after what was
//! wrong was put right. Each once, through `kill -9` in the middle.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use naru_integration::cluster::{Cluster, Plan};
use naru_integration::elasticsearch::{Flavour, Server, start_or_skip};
use naru_integration::eventually::{eventually, eventually_within};
use naru_integration::node::Container;
use naru_integration::programs;
use naru_integration::scale::scaled;
use naru_proto::frame::IoStream::Stdout;
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(300);

fn cluster(server: &Server) -> Cluster {
    Cluster::new(&Plan {
        nodes: 1,
        aggregators: 1,
        tls: false,
        elasticsearch: server.url(),
        settings: "  bulk_bytes: 1MiB\nqueue: {retain: {bytes: 1GiB, age: 24h}}\n".to_owned(),
    })
}

fn naru(cluster: &Cluster, arguments: &[&str]) -> Command {
    let mut command = Command::new(programs::aggregator());
    command.args(arguments);
    command.arg("--config").arg(cluster.path("aggregator-0.yaml"));
    command
}

fn run(cluster: &Cluster, arguments: &[&str]) -> Output {
    let output = naru(cluster, arguments).output().unwrap();
    println!("$ naru-aggregator {}\n{}", arguments.join(" "), text(&output.stdout).trim_end());
    output
}

/// The report of a replay that must come to its end.
fn replayed(cluster: &Cluster, arguments: &[&str]) -> Value {
    let output = run(cluster, &[arguments, &["--json"]].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn begin(cluster: &Cluster, arguments: &[&str]) -> Child {
    let mut command = naru(cluster, arguments);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn write(containers: &mut [Container], lines: usize) {
    for number in 0..lines {
        for container in containers.iter_mut() {
            container.line(Stdout, format!("order {number} 주문"));
        }
    }
}

/// Waits for so many documents.
fn holds(server: &Server, at_least: u64) {
    eventually_within(PATIENCE, &format!("{at_least} documents"), || match server.try_count()? {
        count if count >= at_least => Ok(()),
        count => Err(format!("{count}")),
    });
}

/// Waits until each entry of the queue is delivered, as the aggregator knows.
fn drained(cluster: &mut Cluster) {
    eventually_within(PATIENCE, "the queue is empty", || {
        match cluster.aggregator(0).metrics().count("naru_aggregator_queue_entries", "") {
            0 => Ok(()),
            more => Err(format!("{more} entries")),
        }
    });
}

fn letters(cluster: &Cluster) -> Vec<Value> {
    let asked = ["dead-letters", "list", "--limit", "10000", "--json"];
    let output = naru(cluster, &asked).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn everything_is_back_after_the_indices_were_deleted() {
    let story = "everything_is_back_after_the_indices_were_deleted";
    let Some(server) = start_or_skip(story, Flavour::Elasticsearch7, &[]) else { return };
    let mut cluster = cluster(&server);
    let node = &mut cluster.nodes[0].node;
    let mut shop: Vec<_> = (0..2).map(|n| node.start("shop", &format!("web-{n}"), "web")).collect();
    let mut mail = vec![node.start("mail", "smtp-0", "smtp")];
    let lines = scaled(8_000, 60_000);
    cluster.start();
    write(&mut shop, lines);
    write(&mut mail, lines / 2);
    cluster.caught_up(&server, PATIENCE);
    // What was open is sealed by the next start, and retained once it is known to be delivered.
    cluster.kill_aggregator(0);
    cluster.start_aggregator(0);
    cluster.wait_for_aggregators();
    write(&mut mail, 500);
    cluster.caught_up(&server, PATIENCE);
    drained(&mut cluster);
    let written = cluster.ledger().written() as u64;

    server.ask("DELETE", "/logstash-*", None);
    let dry = replayed(&cluster, &["queue", "replay", "--namespace", "shop", "--dry-run"]);
    assert_eq!(dry["records"], 2 * lines as u64);
    assert_eq!((server.try_count().unwrap(), &dry["indexed"]), (0, &json!(0)));
    let none = replayed(&cluster, &["queue", "replay", "--to", "2001-01-01"]);
    assert_eq!((&none["records"], &none["complete"]), (&json!(0), &json!(true)));

    // One is cut off by kill -9, and says how to go on; live lines come meanwhile.
    let begun = begin(&cluster, &["queue", "replay"]);
    holds(&server, 500);
    cluster.kill_aggregator(0);
    let cut = begun.wait_with_output().unwrap();
    let said = text(&cut.stderr);
    assert_eq!(cut.status.code(), Some(1), "{said}");
    let after = said.trim_end().rsplit_once("--after ").map(|(_, after)| after.to_owned());
    let after = after.unwrap_or_else(|| panic!("it does not say how to go on: {said}"));
    println!("cut off at {} of {written} documents, goes on after entry {after}", server.count());
    cluster.start_aggregator(0);
    cluster.wait_for_aggregators();
    write(&mut shop, 100);
    let report = replayed(&cluster, &["queue", "replay", "--after", &after]);
    assert_eq!(
        (&report["lost"], &report["gone"], &report["dead"]),
        (&json!(0), &json!(0), &json!(0))
    );
    cluster.caught_up(&server, PATIENCE);
    let (verdict, _) = cluster.judge(&server, story);
    verdict.assert_closed();

    // Again: all is there. By overwriting, all is written again, and nothing is there twice.
    drained(&mut cluster);
    let written = cluster.ledger().written() as u64;
    let again = replayed(&cluster, &["queue", "replay"]);
    assert_eq!((&again["indexed"], &again["there"]), (&json!(0), &json!(written)));
    let over = replayed(&cluster, &["queue", "replay", "--overwrite", "--namespace", "mail"]);
    assert_eq!((&over["indexed"], &over["there"]), (&json!(lines as u64 / 2 + 500), &json!(0)));
    let (verdict, _) = cluster.judge(&server, "after an overwriting replay");
    verdict.assert_closed();
    let verified = run(&cluster, &["queue", "verify"]);
    assert!(verified.status.success(), "{}", text(&verified.stderr));
    cluster.stop();
}

#[test]
fn letters_are_indexed_after_the_mapping_was_put_right() {
    let story = "letters_are_indexed_after_the_mapping_was_put_right";
    let Some(server) = start_or_skip(story, Flavour::Elasticsearch7, &[]) else { return };
    let mut cluster = cluster(&server);
    let node = &mut cluster.nodes[0].node;
    let mut shop = vec![node.start("shop", "web-0", "web")];
    let mut mail = vec![node.start("mail", "smtp-0", "smtp")];
    cluster.start();
    write(&mut shop, 1);
    holds(&server, 1);
    drained(&mut cluster);
    let index = cluster_index(&server);
    server.ask("DELETE", &format!("/{index}"), None);
    let wrong = json!({"mappings": {"properties": {"log": {"type": "long"}}}});
    server.ask("PUT", &format!("/{index}"), Some(&wrong));
    let lines = scaled(10_000, 60_000);
    write(&mut shop, lines);
    write(&mut mail, 50);
    let expected = lines as u64 + 50;
    eventually_within(PATIENCE, "all are dead letters", || {
        let count = cluster.aggregator(0).metrics().count("naru_aggregator_dead_letters", "");
        if count >= expected { Ok(()) } else { Err(format!("{count} of {expected}")) }
    });
    drained(&mut cluster);
    let found = letters(&cluster);
    assert!(found.iter().all(|row| row["attempts"] == 1 && row["whole"] == true), "{:?}", found[0]);
    assert!(found[0]["reason"].as_str().unwrap().contains("mapper_parsing_exception"));

    // Too early: each is refused again, and stays.
    let mails = replayed(&cluster, &["dead-letters", "replay", "--namespace", "mail"]);
    assert_eq!((&mails["taken"], &mails["dead"]), (&json!(50), &json!(50)), "{mails}");
    let found = letters(&cluster);
    assert_eq!(found.len() as u64, expected.min(10_000));
    let twice = found.iter().filter(|row| row["attempts"] == 2);
    assert_eq!(twice.filter(|row| row["namespace"] == "mail").count(), 50);

    server.ask("DELETE", &format!("/{index}"), None);
    let begun = begin(&cluster, &["dead-letters", "replay", "--all"]);
    holds(&server, 200);
    cluster.kill_aggregator(0);
    let cut = begun.wait_with_output().unwrap();
    assert_eq!(cut.status.code(), Some(1), "{}", text(&cut.stderr));
    cluster.start_aggregator(0);
    cluster.wait_for_aggregators();
    let indexed = server.try_count().unwrap();
    let left = cluster.aggregator(0).metrics().count("naru_aggregator_dead_letters", "");
    println!("killed with {indexed} of {expected} indexed: {left} letters are left");
    assert!(left > 0 && left + indexed >= expected, "a letter went that is not indexed");
    let report = replayed(&cluster, &["dead-letters", "replay", "--all"]);
    assert_eq!(
        (&report["taken"], &report["dead"], &report["cannot"]),
        (&json!(left), &json!(0), &json!(0))
    );
    assert!(letters(&cluster).is_empty());
    eventually("no letter is counted", || {
        match cluster.aggregator(0).metrics().count("naru_aggregator_dead_letters", "") {
            0 => Ok(()),
            more => Err(more.to_string()),
        }
    });
    // The first line went with its index, and comes back from what is retained.
    let report = replayed(&cluster, &["queue", "replay"]);
    assert_eq!(report["indexed"], 1, "{report}");
    cluster.caught_up(&server, PATIENCE);
    let (verdict, _) = cluster.judge(&server, story);
    verdict.assert_closed();
    cluster.stop();
}

/// The only index there is.
fn cluster_index(server: &Server) -> String {
    let all = server.ask("GET", "/logstash-*/_settings", None);
    let names: Vec<_> = all.as_object().unwrap().keys().cloned().collect();
    assert_eq!(names.len(), 1, "{names:?}");
    names.into_iter().next().unwrap()
}
