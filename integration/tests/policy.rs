//! What an aggregator's configuration excludes is not read by forwarders that know nothing of it, and is read when it is not
//! excluded any more; nobody restarts a forwarder.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

use std::fs;
use std::time::Duration;

use naru_integration::bulk_sink::BulkSink;
use naru_integration::cluster::{Cluster, Plan};
use naru_integration::eventually::{PATIENCE, eventually};
use naru_proto::frame::IoStream::Stdout;

/// Stops the aggregator and starts it with other forwarders' keys.
fn with_forwarders(cluster: &mut Cluster, keys: &str) {
    cluster.kill_aggregator(0);
    let config = cluster.path("aggregator-0.yaml");
    let text = fs::read_to_string(&config).unwrap();
    let line = |line: &str| match line.starts_with("forwarders:") {
        true => format!("forwarders: {{authentication: none{keys}}}\n"),
        false => format!("{line}\n"),
    };
    fs::write(&config, text.lines().map(line).collect::<String>()).unwrap();
    cluster.start_aggregator(0);
}

#[test]
fn b19_what_an_aggregator_excludes_is_not_read_until_it_is_not_excluded() {
    let sink = BulkSink::keeping();
    let plan = Plan {
        nodes: 1,
        aggregators: 1,
        tls: false,
        elasticsearch: sink.url(),
        settings: String::new(),
    };
    let mut cluster = Cluster::new(&plan);
    let mut noisy = cluster.nodes[0].node.start("shop", "noisy-0", "web");
    let mut other = cluster.nodes[0].node.start("shop", "web-0", "web");
    cluster.start();
    for _ in 0..100 {
        noisy.line(Stdout, "before");
        other.line(Stdout, "before");
    }
    cluster.caught_up_in(&sink, PATIENCE);

    with_forwarders(&mut cluster, ", exclude: [{namespace: shop, pod: noisy-0}]");
    let excluded = |cluster: &Cluster| {
        let metrics = cluster.forwarder_metrics(0).ok_or("nobody answers")?;
        Ok::<_, String>(metrics.count("naru_forwarder_policy_excluded", ""))
    };
    eventually("the policy holds", || match excluded(&cluster)? {
        1 => Ok(()),
        other => Err(other.to_string()),
    });
    for _ in 0..100 {
        noisy.line(Stdout, "excluded");
        other.line(Stdout, "read");
    }
    let of_others = 200 + 100;
    eventually("the others' lines arrive", || match sink.stored() {
        stored if stored >= of_others => Ok(()),
        stored => Err(stored.to_string()),
    });
    // A restart keeps it, before any stream has said it.
    cluster.kill_aggregator(0);
    cluster.kill_forwarder(0);
    cluster.start_forwarder(0);
    eventually("the saved policy holds", || match excluded(&cluster)? {
        1 => Ok(()),
        other => Err(other.to_string()),
    });
    cluster.start_aggregator(0);
    for _ in 0..100 {
        other.line(Stdout, "read after the restart");
    }
    let of_others = of_others + 100;
    eventually("the others' lines arrive", || match sink.stored() {
        stored if stored >= of_others => Ok(()),
        stored => Err(stored.to_string()),
    });
    let documents = sink.documents();
    let has = |text: &str| documents.iter().any(|d| d.source.to_string().contains(text));
    assert!(has("read after the restart") && !has("excluded"), "what is excluded has arrived");
    assert_eq!(documents.len(), of_others);

    with_forwarders(&mut cluster, "");
    noisy.line(Stdout, "no more");
    cluster.caught_up_in(&sink, Duration::from_secs(120));
    let again = cluster.again();
    let verdict = sink.judged_by(cluster.ledger());
    verdict.print("excluded, then not", Some(again));
    verdict.assert_closed();
    cluster.stop();
}
