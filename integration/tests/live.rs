//! After an outage what is new does not wait for the backlog, nor the backlog for what is new.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use naru_integration::bulk_sink::{Answer, BulkSink};
use naru_integration::delivery::{Delivering, settings};
use naru_integration::eventually::{eventually, eventually_within};

const BACKLOG: usize = 60_000;
const ROUNDS: usize = 10;

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
