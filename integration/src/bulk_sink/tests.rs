//! The sink as a client sees it.

use std::io::Write;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body_util::Full;
use hyper::Request;
use hyper::header::CONTENT_ENCODING;
use serde_json::{Value, json};

use super::{Answer, BulkSink, Fate};
use crate::elasticsearch::bulk::{Ready, bulks};
use crate::eventually::PATIENCE;
use crate::http::{self, Failure, Response};

fn three() -> Bytes {
    let documents = ["a", "b", "c"].map(|id| Ready { index: "logs", id, source: b"{\"log\":1}" });
    bulks(documents, 1 << 20).remove(0).body
}

fn post(sink: &BulkSink, path: &str, body: Bytes) -> Result<Response, Failure> {
    http::send(sink.address(), Request::post(path).body(Full::new(body))?, PATIENCE)
}

/// Posts three documents; returns the answer.
fn bulk(sink: &BulkSink) -> Value {
    let response = post(sink, "/_bulk?filter_path=errors,items.*.status", three()).unwrap();
    assert_eq!(response.status, 200);
    serde_json::from_slice(&response.body).unwrap()
}

fn statuses(answer: &Value) -> Vec<u64> {
    let items = answer["items"].as_array().unwrap();
    items.iter().map(|item| item["create"]["status"].as_u64().unwrap()).collect()
}

fn ids(sink: &BulkSink) -> Vec<String> {
    let mut ids: Vec<String> = sink.documents().into_iter().map(|document| document.id).collect();
    ids.sort();
    ids
}

#[test]
fn a_null_sink_counts_and_keeps_nothing() {
    let sink = BulkSink::null();
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(&three()).unwrap();
    let packed = packed.finish().unwrap();
    let request = Request::post("/_bulk").header(CONTENT_ENCODING, "gzip");
    let request = request.body(Full::new(packed.clone().into())).unwrap();
    http::send(sink.address(), request, PATIENCE).unwrap();
    for _ in 0..2 {
        assert_eq!(statuses(&bulk(&sink)), [201, 201, 201]);
    }
    let received = sink.received();
    assert_eq!((received.requests, received.documents, received.duplicates), (3, 9, 0));
    assert_eq!(received.bytes, 3 * three().len() as u64);
    assert_eq!(received.wire_bytes, (2 * three().len() + packed.len()) as u64);
    assert!(sink.documents().is_empty());
}

#[test]
fn a_keeping_sink_refuses_what_it_has() {
    let sink = BulkSink::keeping();
    let first = bulk(&sink);
    assert_eq!((statuses(&first), &first["errors"]), (vec![201, 201, 201], &json!(false)));
    let second = bulk(&sink);
    assert_eq!((statuses(&second), &second["errors"]), (vec![409, 409, 409], &json!(true)));
    assert_eq!(sink.received().duplicates, 3);
    assert_eq!(ids(&sink), ["a", "b", "c"]);
    assert_eq!(sink.documents()[0].source, json!({"log": 1}));
    let malformed = post(&sink, "/_bulk", Bytes::from_static(b"{}")).unwrap();
    assert_eq!(malformed.status, 400);
    let own = Bytes::from_static(b"{\"index\":{}}\n{}\n");
    assert_eq!(post(&sink, "/other/_bulk", own).unwrap().status, 200);
    assert_eq!(ids(&sink).len(), 4);
}

#[test]
fn it_says_what_it_stands_in_for() {
    let sink = BulkSink::null();
    let banner: Value =
        serde_json::from_slice(&http::get(sink.address(), "/").unwrap().body).unwrap();
    assert_eq!(banner["version"]["number"], "7.10.2");
    for path in ["/_index_template/naru", "/_template/naru", "/_cluster/health"] {
        assert_eq!(http::get(sink.address(), path).unwrap().status, 200, "{path}");
    }
    assert_eq!(http::get(sink.address(), "/_nodes").unwrap().status, 404);
    assert_eq!(sink.other_requests()[..2], ["GET /", "GET /_index_template/naru"]);
}

#[test]
fn a_script_decides_for_each_item() {
    let sink = BulkSink::scripted(|request| match request.number {
        0 => {
            let rejected = Fate::refuse(429, "es_rejected_execution_exception");
            Answer::Each(vec![Fate::Store, rejected, Fate::refuse(400, "mapper_parsing_exception")])
                .into()
        }
        1 => Answer::Refuse { status: 413, body: String::new() }.into(),
        2 => Answer::Miscount(-1).into(),
        _ => Answer::Miscount(2).into(),
    });
    let answer = bulk(&sink);
    assert_eq!(statuses(&answer), [201, 429, 400]);
    assert_eq!(answer["items"][2]["create"]["error"]["type"], "mapper_parsing_exception");
    assert_eq!(ids(&sink), ["a"]);
    assert_eq!(post(&sink, "/_bulk", three()).unwrap().status, 413);
    assert_eq!(ids(&sink), ["a"]);
    assert_eq!(statuses(&bulk(&sink)).len(), 2);
    assert_eq!(statuses(&bulk(&sink)).len(), 5);
    assert_eq!(ids(&sink), ["a", "b", "c"]);
}

/// What a client sees of an answer that does not come, and what was stored of three.
fn check_broken(answer: Answer, words: &str, stored: usize) {
    let sink = BulkSink::scripted(move |_| answer.clone().after(Duration::from_millis(10)));
    let request = Request::post("/_bulk").body(Full::new(three())).unwrap();
    let failure = http::send(sink.address(), request, Duration::from_millis(500)).unwrap_err();
    assert!(format!("{failure:?}").contains(words), "{failure:?}");
    assert_eq!(sink.documents().len(), stored);
}

#[test]
fn answers_break_as_the_script_says() {
    check_broken(Answer::Reset { stored: true }, "ConnectionReset", 3);
    check_broken(Answer::Reset { stored: false }, "ConnectionReset", 0);
    check_broken(Answer::Truncate, "IncompleteBody", 3);
    check_broken(Answer::Silence { stored: true }, "Elapsed", 3);
    check_broken(Answer::Silence { stored: false }, "Elapsed", 0);
}
