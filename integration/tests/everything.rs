//! Everything at once, 25 s in the gate and 20 minutes by `NARU_LONG=1`: pods that write, are rotated, crash and are deleted,
//! host files under logrotate, forwarder and aggregator killed and frozen, streams cut, acknowledgements lost. What is
//! written is indexed once; what is deleted while nobody runs is declared lost, all of it and nothing else.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

mod world;

use std::time::{Duration, Instant};

use naru_integration::arrivals::Arrivals;
use naru_integration::bulk_sink::{Answer, BulkSink};
use naru_integration::cluster::{Cluster, Plan};
use naru_integration::eventually::eventually_within;
use naru_integration::fault::relay::Relay;
use naru_integration::pace::Pace;
use naru_integration::scale::scaled;
use naru_integration::seed::seeded;
use world::World;
use world::trouble::Troubles;

const STEP: Duration = Duration::from_millis(8);
/// Of the acknowledgements that could be lost one in so many is; after two of them the stream is cut.
const LOST_ONE_IN: u32 = 8;
const LOSSES_PER_STREAM: u64 = 2;
const PATIENCE: Duration = Duration::from_secs(180);

#[test]
fn b12_everything_at_once_is_indexed_once_or_declared_lost() {
    let lasts = scaled(Duration::from_secs(25), Duration::from_secs(1200));
    let mut random = seeded("everything");
    let arrivals = Arrivals::default();
    let noting = arrivals.clone();
    let sink = BulkSink::scripted(move |request| {
        noting.note_bulk(request);
        Answer::Store.into()
    });
    let plan = Plan {
        nodes: 1,
        aggregators: 1,
        tls: false,
        elasticsearch: sink.url(),
        settings: String::new(),
    };
    let mut cluster = Cluster::new(&plan);
    let upstream = cluster.receiving_on(0);
    let relay = Relay::lose_some(upstream, LOSSES_PER_STREAM, LOST_ONE_IN, random.fork());
    cluster.nodes[0].sends_to = Some(relay.address());
    let mut world = World::new(&mut cluster, arrivals);
    cluster.start();

    let begun = Instant::now();
    let mut troubles = Troubles::new(begun);
    let mut pace = Pace::new(STEP);
    while begun.elapsed() < lasts {
        world.step(&mut cluster, &mut random);
        troubles.step(&mut cluster, &relay, &mut world, &mut random);
        pace.next();
    }
    troubles.end(&mut cluster);
    world.end();

    let expected = cluster.ledger().written() - world.forced_losses;
    eventually_within(PATIENCE, &format!("{expected} lines are indexed"), || {
        let count = sink.stored();
        if count >= expected { Ok(()) } else { Err(format!("{count} documents")) }
    });
    eventually_within(PATIENCE, "every loss is declared", || world.all_declared(&relay.gaps()));
    let mut again = cluster.again();
    again.bytes = relay.done().bytes_again;
    let mut verdict = sink.judged_by(cluster.ledger());
    verdict.print(&format!("everything, {} s", lasts.as_secs()), Some(again));
    let declared = cluster.ledger().excuse(&mut verdict, &relay.gaps());
    println!(
        "{declared} lines lost as declared, {} forced; {}\n{}\n{:?}",
        world.forced_losses,
        world.done(),
        troubles.done(),
        relay.done()
    );
    verdict.assert_closed();
    assert_eq!(declared, world.forced_losses, "what was lost is what was forced");
    assert!(again.bytes > 0 && again.duplicates > 0, "nothing was sent again: nothing bit");
    cluster.stop();
}
