//! A node whose own disk fails it: a state directory that is full, and a log directory that vanishes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

use std::fs;
use std::time::{Duration, Instant};

use naru_integration::eventually::eventually;
use naru_integration::fault::disk::SmallDisk;
use naru_integration::ledger::Again;
use naru_integration::line::LineKey;
use naru_integration::metrics::Metrics;
use naru_integration::node::{Container, HostLog};
use naru_integration::pace::Pace;
use naru_integration::rig::Rig;
use naru_integration::sink::{Keep, Sink};
use naru_proto::frame::IoStream::Stdout;

/// Less than the MiB that the checkpoint would take at once, so that a full disk is felt soon.
const STATE_BYTES: usize = 512 << 10;
const CONTAINERS: usize = 8;
/// Longer than the two seconds after which a file that has no name counts as deleted.
const AWAY: Duration = Duration::from_secs(4);

fn has(sink: &Sink, key: LineKey) -> bool {
    let key = key.to_string();
    sink.documents().iter().any(|document| document.text.contains(&key))
}

fn arrives(sink: &Sink, what: &str, key: LineKey) {
    eventually(what, || if has(sink, key) { Ok(()) } else { Err("it is not there".into()) });
}

/// What `/readyz` says, and the metric of the checkpoint.
fn state(rig: &Rig) -> Result<(String, u64), String> {
    let said = rig.ask_forwarder("/readyz")?.1;
    let metrics = Metrics::of(rig.ask_forwarder("/metrics")?.1);
    Ok((said, metrics.count("naru_forwarder_checkpoint_saved", "")))
}

/// Every container writes until the state is not saved any more.
fn write_until_unsaved(containers: &mut [Container], rig: &Rig) {
    eventually("the full disk is said", || {
        containers.iter_mut().for_each(|container| {
            container.line(Stdout, "while the disk is full");
        });
        match state(rig)? {
            (said, 0) if said.contains("the checkpoint is not saved: ") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
}

fn judge(story: &str, rig: &Rig, sink: &Sink) {
    let written = rig.node.ledger().written();
    eventually("every line has arrived", || match sink.document_count() {
        count if count >= written => Ok(()),
        count => Err(format!("{count} of {written}")),
    });
    let received = sink.received();
    let again = Again { bytes: received.bytes_again, duplicates: received.duplicates };
    let verdict = rig.node.ledger().judge(sink.documents());
    verdict.print(story, Some(again));
    verdict.assert_closed();
}

#[test]
fn b14_while_the_state_directory_is_full_container_logs_ship_on_and_host_files_wait() {
    let mut rig = Rig::new();
    let Some(disk) = SmallDisk::mount("the full node", &rig.forwarder_data(), STATE_BYTES) else {
        return;
    };
    let host = rig.path("host");
    fs::create_dir(&host).unwrap();
    rig.settings = format!("files:\n  - {{name: daemons, path: \"{}/*.log\"}}\n", host.display());
    let mut containers: Vec<Container> =
        (0..CONTAINERS).map(|i| rig.node.start("shop", &format!("web-{i}"), "web")).collect();
    let mut known = HostLog::open(&host.join("known.log"), rig.node.ledger());
    let sink = Sink::start(Keep::Documents);
    let mut forwarder = rig.forwarder(sink.address());
    let first = containers[0].line(Stdout, "before");
    let of_host = known.line("before");
    arrives(&sink, "a container's line", first);
    arrives(&sink, "a daemon's line", of_host);

    // Full while it runs, then full when it starts.
    disk.fill();
    write_until_unsaved(&mut containers, &rig);
    let mut new = HostLog::open(&host.join("new.log"), rig.node.ledger());
    let first_waits = new.line("of a file that is not in the checkpoint");
    let ships = containers[0].line(Stdout, "after it is said");
    arrives(&sink, "a container's line ships on", ships);
    assert!(!has(&sink, first_waits), "a host file has an id that is written down nowhere");
    forwarder.kill();
    let mut forwarder = rig.forwarder(sink.address());
    write_until_unsaved(&mut containers, &rig);
    let mut newer = HostLog::open(&host.join("newer.log"), rig.node.ledger());
    let waits = newer.line("of another file that is not in the checkpoint");
    let ships = containers[1].line(Stdout, "after a start on a full disk");
    arrives(&sink, "a container's line ships on", ships);
    assert!(!has(&sink, waits), "a host file has an id that is written down nowhere");
    let again = sink.received().duplicates;
    println!("{again} lines were sent again by the start on a full disk");
    assert!(again > 0, "the disk was not full: everything had been saved");

    disk.make_room();
    arrives(&sink, "the first host file's line", first_waits);
    arrives(&sink, "the second host file's line", waits);
    eventually("it is saved again", || match state(&rig)? {
        (said, 1) if said.starts_with("ready") => Ok(()),
        other => Err(format!("{other:?}")),
    });
    known.line("after");
    new.line("after");
    newer.line("after");
    containers.iter_mut().for_each(|container| {
        container.line(Stdout, "after");
    });
    judge("a full state directory", &rig, &sink);
    let sent = sink.received().duplicates;
    assert!(forwarder.terminate().success());
    let mut forwarder = rig.forwarder(sink.address());
    let last = new.line("after a restart");
    arrives(&sink, "a line after a restart", last);
    judge("and after a restart", &rig, &sink);
    assert_eq!(sink.received().duplicates, sent, "everything is saved");
    assert!(forwarder.terminate().success());
    forwarder.assert_quiet(&[]);
}

#[test]
fn b7_a_log_directory_that_vanishes_is_waited_for() {
    let mut rig = Rig::new();
    let pods = rig.node.pods().to_owned();
    let host = rig.path("host");
    fs::create_dir(&host).unwrap();
    rig.settings = format!("files:\n  - {{name: daemons, path: \"{}/*.log\"}}\n", host.display());
    let mut container = rig.node.start("shop", "web-0", "web");
    let mut daemon = HostLog::open(&host.join("daemon.log"), rig.node.ledger());
    let sink = Sink::start(Keep::Documents);
    let mut forwarder = rig.forwarder(sink.address());
    let arrive = |what: &str, keys: [LineKey; 2]| keys.map(|key| arrives(&sink, what, key));
    arrive("first lines", [container.line(Stdout, "first"), daemon.line("first")]);

    let away = [(pods.clone(), rig.path("pods-away")), (host, rig.path("host-away"))];
    for (there, elsewhere) in &away {
        fs::rename(there, elsewhere).unwrap();
    }
    // Its files are open: what is still written to them is read.
    arrive("lines without a name", [container.line(Stdout, "away"), daemon.line("away")]);
    // Started without them, it waits as well.
    assert!(forwarder.terminate().success());
    let mut forwarder = rig.forwarder(sink.address());
    eventually("it is ready", || match rig.ask_forwarder("/readyz")? {
        (200, _) => Ok(()),
        (_, said) => Err(said),
    });
    // For longer than a name may be missing while it is being changed.
    let (begun, mut pace) = (Instant::now(), Pace::new(Duration::from_millis(100)));
    while begun.elapsed() < AWAY {
        container.line(Stdout, "while nobody sees it");
        daemon.line("while nobody sees it");
        pace.next();
    }
    let unseen = [container.line(Stdout, "while nobody sees it"), daemon.line("unseen")];
    for (there, elsewhere) in &away {
        fs::rename(elsewhere, there).unwrap();
    }
    arrive("what was written meanwhile", unseen);
    arrive("and what comes after", [container.line(Stdout, "after"), daemon.line("after")]);

    // The directory itself is removed, and made anew for other pods.
    container.delete_pod();
    fs::remove_dir(&pods).unwrap();
    fs::create_dir(&pods).unwrap();
    let mut next = rig.node.start("shop", "web-1", "web");
    arrive("lines of the next pod", [next.line(Stdout, "of the next"), daemon.line("still")]);
    judge("a log directory vanishes", &rig, &sink);
    assert_eq!(sink.gaps(), [], "what has no name for a while is not deleted");
    assert!(forwarder.terminate().success());
}
