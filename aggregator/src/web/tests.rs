//! The routes and the search command over a real socket.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use naru_proto::ids::{ClusterKey, FileDocumentIds, FileId, IdTime};
use serde_json::Value;
use tempfile::TempDir;

use super::*;
use crate::document::{Documents, Identity};
use crate::search::command::{SearchArgs, run_to};
use crate::store::{Store, StoreConfig};

const TIME_NS: i64 = 1_795_307_400_120_000_000;

struct Server {
    address: SocketAddr,
    _runtime: tokio::runtime::Runtime,
    _dir: TempDir,
}

/// Serves a store with this many documents.
fn serve(documents: u64, not_ready: &'static [&'static str]) -> Server {
    let dir = TempDir::new().unwrap();
    let config = StoreConfig {
        dir: dir.path().to_owned(),
        retention_max_bytes: u64::MAX,
        retention_max_age: None,
    };
    let store = Store::open(config).unwrap();
    let mut batch = Documents::default();
    for offset in 0..documents {
        let source =
            format!(r#"{{"@timestamp":"T","log":"line {offset} \u001b[2J","n":{offset}}}"#);
        let (file, id_time) = (FileId([1; 12]), IdTime::new(Some(TIME_NS)));
        let ids = FileDocumentIds::new(ClusterKey::of("c"), "n", file);
        let id = ids.id(id_time, offset, source.as_bytes());
        batch.push(Identity { id, id_time, timestamp_ns: TIME_NS, file, offset }, |json| {
            json.extend_from_slice(source.as_bytes());
        });
    }
    store.add(&batch).unwrap();
    store.commit().unwrap();
    let state = WebState {
        search: Some(Backend::new(Arc::new(store))),
        not_ready: Arc::new(|| not_ready.iter().map(|&reason| reason.to_owned()).collect()),
        metrics: Arc::new(|| "naru_aggregator_x 1\n".to_owned()),
    };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    runtime.spawn(async move {
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        axum::serve(listener, router(state)).await.unwrap();
    });
    Server { address, _runtime: runtime, _dir: dir }
}

impl Server {
    /// The status, the head and the body of an answer.
    fn get(&self, path: &str) -> (u16, String, String) {
        let mut stream = TcpStream::connect(self.address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head.to_ascii_lowercase(), body.to_owned())
    }

    fn json(&self, path: &str) -> (u16, Value) {
        let (status, _, body) = self.get(path);
        (status, serde_json::from_str(&body).unwrap())
    }

    /// The exit code, the output and the errors of the command.
    fn search(&self, query: &str, limit: usize, json: bool) -> (u8, String, String) {
        let args = SearchArgs {
            url: format!("http://{}/", self.address),
            from: None,
            to: None,
            limit,
            json,
            histogram: None,
            query: query.to_owned(),
        };
        run(&args)
    }
}

fn run(args: &SearchArgs) -> (u8, String, String) {
    let (mut output, mut errors) = (Vec::new(), Vec::new());
    let code = run_to(args, &mut output, &mut errors);
    (code, String::from_utf8(output).unwrap(), String::from_utf8(errors).unwrap())
}

#[test]
fn health_readiness_and_metrics() {
    let server = serve(0, &[]);
    assert_eq!(server.get("/healthz").0, 200);
    assert_eq!(server.json("/readyz"), (200, serde_json::json!({"ready": true, "reasons": []})));
    assert_eq!(server.get("/metrics").2, "naru_aggregator_x 1\n");
    let (status, head, _) = server.get("/nothing");
    assert_eq!(status, 404);
    for header in ["content-security-policy: default-src 'none'", "x-content-type-options: nosniff"]
    {
        assert!(head.contains(header), "{head}");
    }
    let server = serve(0, &["the disk is full"]);
    let not_ready = serde_json::json!({"ready": false, "reasons": ["the disk is full"]});
    assert_eq!(server.json("/readyz"), (503, not_ready));
}

#[test]
fn a_search_answers_pages_and_refusals() {
    let server = serve(5, &[]);
    let (status, page) = server.json("/api/v1/search?q=line&limit=3");
    assert_eq!(
        (status, &page["total"], page["hits"].as_array().unwrap().len()),
        (200, &5.into(), 3)
    );
    assert_eq!(page["hits"][0]["_source"]["n"], 4);
    assert_eq!(page["hits"][0]["_index"], "logstash-2026.11.22");
    let next = page["next"].as_str().unwrap();
    let (_, page) = server.json(&format!("/api/v1/search?q=line&limit=3&after={next}"));
    assert_eq!((page["hits"].as_array().unwrap().len(), &page["next"]), (2, &Value::Null));
    let (status, page) = server.json("/api/v1/search?q=a%20(b");
    assert_eq!((status, &page["error"]["position"]), (400, &2.into()));
    for bad in ["?from=soon", "?limit=1001", "?limit=x", "?after=x", "?query=x", "?q=id-%22"] {
        let (status, page) = server.json(&format!("/api/v1/search{bad}"));
        assert_eq!(status, 400, "{bad}");
        assert!(page["error"]["reason"].is_string(), "{bad}");
    }
}

#[test]
fn a_histogram_answers_buckets_and_refusals() {
    let server = serve(5, &[]);
    let (status, answer) = server.json("/api/v1/histogram?q=line&interval=1h");
    assert_eq!((status, &answer["interval_ms"]), (200, &3_600_000.into()));
    let bucket = serde_json::json!(
        {"from": "2026-11-22T00:00:00.000Z", "from_ms": 1_795_305_600_000_i64, "count": 5, "levels": {}}
    );
    assert_eq!(answer["buckets"], serde_json::json!([bucket]));
    assert_eq!(server.json("/api/v1/histogram?q=nothing").1["buckets"], serde_json::json!([]));
    let many = "?from=2026-11-22&to=2026-11-23&interval=1ms";
    for bad in ["?interval=1y", "?from=soon", "?q=a%20(b", "?limit=1", many] {
        let (status, answer) = server.json(&format!("/api/v1/histogram{bad}"));
        assert_eq!(status, 400, "{bad}");
        assert!(answer["error"]["reason"].is_string(), "{bad}");
    }
}

#[test]
fn the_command_prints_a_histogram() {
    let server = serve(3, &[]);
    let histogram = |interval: Option<&str>, json| {
        run(&SearchArgs {
            url: format!("http://{}", server.address),
            from: Some("2026-11-22".to_owned()),
            to: Some("2026-11-23".to_owned()),
            limit: 1,
            json,
            histogram: Some(interval.map(str::to_owned)),
            query: "line".to_owned(),
        })
    };
    let (code, output, errors) = histogram(Some("12h"), false);
    let first = format!("2026-11-22T00:00:00.000Z           3  {}\n", "█".repeat(40));
    assert_eq!((code, errors.as_str()), (0, ""));
    assert_eq!(output, first + "2026-11-22T12:00:00.000Z           0\n");
    let (_, output, _) = histogram(None, true);
    let counts = output
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["count"].as_u64().unwrap());
    assert_eq!((output.lines().count(), counts.sum::<u64>()), (96, 3));
    assert_eq!(histogram(Some("1y"), false).0, 64);
}

#[test]
fn the_command_prints_all_pages() {
    let server = serve(2_500, &[]);
    let (code, output, errors) = server.search("*", 20_000, true);
    assert_eq!((code, errors.as_str(), output.lines().count()), (0, "", 2_500));
    for (line, n) in output.lines().zip((0..2_500).rev()) {
        let document: Value = serde_json::from_str(line).unwrap();
        assert_eq!((&document["n"], document["_id"].as_str().unwrap().len()), (&n.into(), 20));
    }
    let (code, output, _) = server.search("line", 1_001, false);
    assert_eq!((code, output.lines().count()), (0, 1_001));
    assert_eq!(output.lines().next(), Some("T  -  -  line 2499 \\u{1b}[2J"));
    assert_eq!(server.search("nowhere", 10, false), (0, String::new(), String::new()));
}

#[test]
fn the_command_says_what_is_wrong() {
    let server = serve(0, &[]);
    let (code, _, errors) = server.search("주문 (b", 10, false);
    assert_eq!(code, 64);
    let expected = "naru-aggregator search: this parenthesis is not closed\n  주문 (b\n       ^\n";
    assert_eq!(errors, expected);
    let unused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let args = |url: &str| SearchArgs {
        url: url.to_owned(),
        from: None,
        to: None,
        limit: 1,
        json: false,
        histogram: None,
        query: "*".to_owned(),
    };
    let (code, _, errors) = run(&args(&format!("http://{unused}")));
    assert_eq!(code, 1);
    assert!(errors.contains("no aggregator answers at http://127.0.0.1:"), "{errors}");
    assert!(errors.contains("refused"), "{errors}");
    assert_eq!(run(&args("ftp://x")).0, 64);
    assert_eq!(run(&SearchArgs { from: Some("soon".to_owned()), ..args("http://x") }).0, 64);
}

/// A reader that goes away after the first bytes.
struct Closed;

impl Write for Closed {
    fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
        Err(std::io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_reader_that_goes_away_ends_the_command_quietly() {
    let server = serve(2_000, &[]);
    let args = SearchArgs {
        url: format!("http://{}", server.address),
        from: None,
        to: None,
        limit: 2_000,
        json: true,
        histogram: None,
        query: "*".to_owned(),
    };
    let mut errors = Vec::new();
    let started = Instant::now();
    assert_eq!((run_to(&args, &mut Closed, &mut errors), errors.len()), (0, 0));
    assert!(started.elapsed() < Duration::from_secs(30));
}
