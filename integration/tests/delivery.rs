//! Delivery against answers that a real server gives rarely, or never when one wants it to: each document ends exactly once,
//! as indexed or as a dead letter, and nothing is given up for what is not its own fault.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use naru_integration::bulk_sink::{Answer, BulkRequest, BulkSink, Fate, Reply};
use naru_integration::delivery::{Delivering, settings};
use naru_integration::eventually::eventually;
use serde_json::json;

/// Waits until each line has its outcome, and judges: each is stored once, or a dead letter once.
fn closed(delivering: &Delivering, sink: &BulkSink, dead: usize) {
    eventually("the queue is drained", || {
        if delivering.is_drained() {
            Ok(())
        } else {
            Err(format!("{:?}, {:?}", delivering.trouble.reason(), delivering.metrics()))
        }
    });
    let stored: BTreeSet<String> =
        sink.documents().iter().map(|document| document.text("/log").unwrap().to_owned()).collect();
    let letters: Vec<String> = delivering
        .letters()
        .iter()
        .map(|letter| {
            let record = String::from_utf8(letter.record().to_vec()).unwrap();
            record.trim_end().split_once(" stdout F ").unwrap().1.to_owned()
        })
        .collect();
    assert_eq!(letters.len(), dead, "{letters:?}");
    assert!(letters.iter().all(|letter| !stored.contains(letter)));
    assert_eq!(stored.len() + dead, delivering.written() as usize);
    assert_eq!(sink.documents().len(), stored.len(), "a line is stored twice");
    let metrics = delivering.metrics();
    let outcome =
        |of| metrics.count("naru_aggregator_documents_total", &format!("outcome=\"{of}\""));
    assert_eq!(outcome("dead_letter"), dead as u64);
    assert_eq!(outcome("indexed") + outcome("duplicate") + dead as u64, delivering.written());
    assert_eq!(delivering.trouble.reason(), None);
}

fn each(request: &BulkRequest, fate: impl Fn(&str) -> Fate) -> Reply {
    let text = |item: &naru_integration::elasticsearch::bulk::Item| {
        String::from_utf8_lossy(&item.source).into_owned()
    };
    Answer::Each(request.items.iter().map(|item| fate(&text(item))).collect()).into()
}

#[test]
fn only_what_failed_is_sent_again() {
    let sizes = Arc::new(Mutex::new(Vec::new()));
    let (seen, refused) = (Arc::clone(&sizes), Mutex::new(std::collections::HashMap::new()));
    let sink = BulkSink::scripted(move |request| {
        seen.lock().unwrap().push(request.items.len());
        let mut refused = refused.lock().unwrap();
        let fates = request.items.iter().map(|item| {
            let times: &mut u32 = refused.entry(item.id.clone()).or_default();
            *times += 1;
            let seventh = String::from_utf8_lossy(&item.source)
                .split_once("line ")
                .and_then(|(_, rest)| rest.split('"').next()?.parse::<u32>().ok())
                .is_some_and(|number| number % 7 == 0);
            if seventh && *times <= 2 {
                Fate::refuse(429, "es_rejected_execution_exception")
            } else {
                Fate::Store
            }
        });
        Answer::Each(fates.collect()).into()
    });
    let mut delivering = Delivering::start(settings(&sink.url()));
    delivering.append_numbered(1000);
    closed(&delivering, &sink, 0);
    let sent: usize = sizes.lock().unwrap().iter().sum();
    assert_eq!(sent, 1000 + 143 + 143, "{:?}", sizes.lock().unwrap());
    assert_eq!(sink.received().duplicates, 0);
}

#[test]
fn every_answer_in_one_bulk() {
    let blocked = Arc::new(AtomicBool::new(true));
    let still = Arc::clone(&blocked);
    let sink = BulkSink::scripted(move |request| {
        each(request, |text| {
            if text.contains("poison") {
                return Fate::Refuse {
                    status: 400,
                    error: json!({"type": "mapper_parsing_exception", "reason": "failed to parse",
                        "caused_by": {"type": "x", "reason": "the cause"}}),
                };
            }
            match text {
                text if text.contains("\"json\":{") => {
                    Fate::refuse(400, "mapper_parsing_exception")
                }
                text if text.contains("blocked") && still.load(Ordering::Acquire) => {
                    Fate::refuse(403, "cluster_block_exception")
                }
                text if text.contains("odd") => Fate::refuse(422, "odd_exception"),
                _ => Fate::Store,
            }
        })
    });
    let mut delivering = Delivering::start(settings(&sink.url()));
    delivering.append(["fine", "poison", "blocked", "{\"a\":1}", "odd", "fine too"]);
    eventually("the block is said", || {
        let reason = delivering.trouble.reason().unwrap_or_default();
        if reason.contains("takes nothing: cluster_block_exception") { Ok(()) } else { Err(reason) }
    });
    assert!(!delivering.is_drained());
    eventually("only what is blocked is held", || {
        match delivering.metrics().count("naru_aggregator_held_documents", "") {
            1 => Ok(()),
            other => Err(other.to_string()),
        }
    });
    blocked.store(false, Ordering::Release);
    closed(&delivering, &sink, 2);
    let reasons: Vec<String> =
        delivering.letters().into_iter().map(|letter| letter.reason).collect();
    assert_eq!(reasons[0], "400 mapper_parsing_exception: failed to parse: the cause");
    assert!(reasons[1].starts_with("422 odd_exception"), "{reasons:?}");
    let documents = sink.documents();
    let repaired = documents.iter().find(|d| d.text("/log") == Some("{\"a\":1}")).unwrap();
    assert_eq!(repaired.text("/naru/json"), Some("mapping"));
    assert_eq!(repaired.source.get("json"), None);
}

#[test]
fn an_unknown_outcome_is_found_out_by_sending_again() {
    for (name, bad) in [
        ("reset after storing", Answer::Reset { stored: true }),
        ("reset before", Answer::Reset { stored: false }),
        ("cut off", Answer::Truncate),
        ("one item more", Answer::Miscount(1)),
        ("one item fewer", Answer::Miscount(-1)),
        ("no answer", Answer::Silence { stored: true }),
    ] {
        let stored = !matches!(bad, Answer::Reset { stored: false });
        let sink = BulkSink::scripted(move |request| {
            if request.number == 0 { bad.clone().into() } else { Answer::Store.into() }
        });
        let mut with = settings(&sink.url());
        with.request_timeout = Duration::from_secs(1);
        let mut delivering = Delivering::start(with);
        delivering.append_numbered(250);
        closed(&delivering, &sink, 0);
        println!("{name}: {} duplicates", sink.received().duplicates);
        assert_eq!(sink.received().duplicates > 0, stored, "{name}");
    }
}

#[test]
fn a_bulk_that_is_too_large_is_halved_and_the_size_remembered() {
    const LIMIT: usize = 64 << 10;
    let refused = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&refused);
    let sink = BulkSink::scripted(move |request| {
        if request.bytes <= LIMIT {
            return Answer::Store.into();
        }
        counted.fetch_add(1, Ordering::AcqRel);
        Answer::Refuse { status: 413, body: String::new() }.into()
    });
    let mut delivering = Delivering::start(settings(&sink.url()));
    delivering.append_numbered(3000);
    closed(&delivering, &sink, 0);
    let learning = refused.load(Ordering::Acquire);
    assert!(learning > 0);
    let large = "x".repeat(2 * LIMIT);
    delivering.append([large.as_str(), "a neighbour"]);
    closed(&delivering, &sink, 1);
    assert!(delivering.letters()[0].reason.contains("more than the server takes"));
    let before = refused.load(Ordering::Acquire);
    delivering.append_numbered(3000);
    closed(&delivering, &sink, 1);
    let after = refused.load(Ordering::Acquire) - before;
    println!("refused for their size: {learning} while learning, {after} of the same amount later");
    assert!(after <= 1, "{after}");
}

#[test]
fn a_poisonous_document_is_found_and_its_neighbours_are_indexed() {
    let requests = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&requests);
    let sink = BulkSink::scripted(move |request| {
        counted.fetch_add(1, Ordering::AcqRel);
        let poison =
            request.items.iter().any(|i| String::from_utf8_lossy(&i.source).contains("poison"));
        if poison {
            let body = r#"{"error":{"type":"illegal_argument_exception","reason":"Malformed action"},"status":400}"#;
            return Answer::Refuse { status: 400, body: body.into() }.into();
        }
        Answer::Store.into()
    });
    let mut delivering = Delivering::start(settings(&sink.url()));
    delivering.append_numbered(1);
    closed(&delivering, &sink, 0);
    let before = requests.load(Ordering::Acquire);
    let texts: Vec<String> =
        (0..512).map(|n| if n == 300 { "poison".into() } else { format!("n {n}") }).collect();
    delivering.append(texts.iter().map(String::as_str));
    closed(&delivering, &sink, 1);
    assert!(delivering.letters()[0].reason.contains("Malformed action"));
    let asked = requests.load(Ordering::Acquire) - before;
    println!("{asked} requests for 512 documents with one that is poisonous");
    assert!(asked <= 2 * 9 + 3, "{asked}");
}

#[test]
fn when_every_bulk_is_malformed_nothing_is_given_up() {
    let bad = Arc::new(AtomicBool::new(true));
    let still = Arc::clone(&bad);
    let sink = BulkSink::scripted(move |_| {
        if still.load(Ordering::Acquire) {
            let body = r#"{"error":"Action/metadata line [1] contains an unknown parameter","status":400}"#;
            return Answer::Refuse { status: 400, body: body.into() }.into();
        }
        Answer::Store.into()
    });
    let mut delivering = Delivering::start(settings(&sink.url()));
    delivering.append(["one", "two", "three", "four"]);
    eventually("it is said", || {
        let reason = delivering.trouble.reason().unwrap_or_default();
        if reason.contains("unknown parameter") { Ok(()) } else { Err(reason) }
    });
    assert!(delivering.letters().is_empty());
    bad.store(false, Ordering::Release);
    closed(&delivering, &sink, 0);
}

#[test]
fn refused_credentials_hold_everything_and_a_storm_of_failures_is_not_answered_by_one() {
    for (status, said) in [(401, "the credentials are refused"), (503, "wait"), (502, "502")] {
        let bad = Arc::new(AtomicBool::new(true));
        let still = Arc::clone(&bad);
        let sink = BulkSink::scripted(move |_| {
            if still.load(Ordering::Acquire) {
                return Answer::Refuse { status, body: "{}".into() }.into();
            }
            Answer::Store.into()
        });
        let mut delivering = Delivering::start(settings(&sink.url()));
        delivering.append_numbered(900);
        if status != 503 {
            eventually("it is said", || {
                let reason = delivering.trouble.reason().unwrap_or_default();
                if reason.contains(said) { Ok(()) } else { Err(reason) }
            });
        }
        let begun = Instant::now();
        eventually("three seconds of failures", || {
            if begun.elapsed() > Duration::from_secs(3) { Ok(()) } else { Err(String::new()) }
        });
        let asked = sink.received().requests;
        println!("{status}: {asked} bulks in 3 s");
        assert!((1..60).contains(&asked), "{status}: {asked}");
        assert!(delivering.letters().is_empty());
        bad.store(false, Ordering::Release);
        closed(&delivering, &sink, 0);
    }
}

#[test]
fn a_stop_leaves_the_rest_in_the_queue() {
    let sink = BulkSink::scripted(|_| Answer::Refuse { status: 503, body: String::new() }.into());
    let mut delivering = Delivering::start(settings(&sink.url()));
    delivering.append_numbered(500);
    eventually("it was tried", || {
        if sink.received().requests > 0 { Ok(()) } else { Err(String::new()) }
    });
    let begun = Instant::now();
    delivering.stop();
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert!(!delivering.is_drained(), "nothing was delivered, and it must not say so");
}

#[test]
fn an_index_that_always_fails_does_not_stop_the_others() {
    for status in [503, 504, 429] {
        let bad = Arc::new(AtomicBool::new(true));
        let still = Arc::clone(&bad);
        let sink = BulkSink::scripted(move |request| {
            if request.path.contains("2026.11.22") && still.load(Ordering::Acquire) {
                return each(request, |_| Fate::refuse(status, "unavailable_shards_exception"));
            }
            Answer::Store.into()
        });
        let mut delivering = Delivering::start(settings(&sink.url()));
        delivering.append_numbered(100);
        eventually("the index was tried", || {
            if sink.received().requests > 0 { Ok(()) } else { Err(String::new()) }
        });
        delivering.set_day(1);
        delivering.append_numbered(100);
        eventually("the other index has its documents", || match sink.documents().len() {
            100 => Ok(()),
            other => Err(format!("{other} documents")),
        });
        bad.store(false, Ordering::Release);
        closed(&delivering, &sink, 0);
    }
}

#[test]
fn a_poisonous_document_that_is_alone_waits_and_what_follows_it_goes() {
    let sink = BulkSink::scripted(|request| {
        let poison =
            request.items.iter().any(|i| String::from_utf8_lossy(&i.source).contains("poison"));
        if !poison {
            return Answer::Store.into();
        }
        let body = r#"{"error":{"type":"illegal_argument_exception","reason":"Malformed action"},"status":400}"#;
        Answer::Refuse { status: 400, body: body.into() }.into()
    });
    let mut delivering = Delivering::start(settings(&sink.url()));
    // Nothing was ever accepted: that it is the document's fault shows by its neighbours.
    delivering.append(["poison", "one", "two", "three"]);
    closed(&delivering, &sink, 1);
}

#[test]
fn a_bulk_that_a_small_server_refuses_however_often_is_halved() {
    const LIMIT: usize = 140_000;
    let sink = BulkSink::scripted(|request| {
        if request.bytes <= LIMIT {
            return Answer::Store.into();
        }
        let body = r#"{"error":{"type":"es_rejected_execution_exception","reason":"rejected execution of coordinating operation"},"status":429}"#;
        Answer::Refuse { status: 429, body: body.into() }.into()
    });
    let mut delivering = Delivering::start(settings(&sink.url()));
    delivering.append_numbered(600);
    closed(&delivering, &sink, 0);
}
