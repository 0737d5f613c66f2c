//! The same documents in a real server and in the store, and the same answers from both: what is found, in which order,
//! page by page, and counted over time.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

use std::sync::Arc;

use naru_aggregator::document::{Documents, Identity};
use naru_aggregator::elasticsearch::client::Client;
use naru_aggregator::elasticsearch::search::Search;
use naru_aggregator::elasticsearch::{Host, Settings, template};
use naru_aggregator::search::backend::{Backend, SearchError};
use naru_aggregator::search::histogram::{Histogram, HistogramRequest, RawHistogram};
use naru_aggregator::search::request::{RawRequest, SearchPage, SearchRequest};
use naru_aggregator::store::{AddOutcome, Store, StoreConfig};
use naru_integration::elasticsearch::bulk::{Ready, bulks};
use naru_integration::elasticsearch::loader::load;
use naru_integration::elasticsearch::{Flavour, Server, start_or_skip};
use naru_integration::seed::seeded;
use naru_proto::ids::{ClusterKey, FileDocumentIds, FileId, IdTime};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// `now` of the cases.
const NOW_NS: i64 = 1_795_307_400_120_000_000;
/// More than a server gives by page number.
const MANY: u64 = 12_000;
const COMBINATIONS: usize = 400;

#[test]
fn elasticsearch7_answers_as_the_store_does() {
    answers_as_the_store("elasticsearch7_answers_as_the_store_does", Flavour::Elasticsearch7);
}

#[test]
fn opensearch2_answers_as_the_store_does() {
    answers_as_the_store("opensearch2_answers_as_the_store_does", Flavour::OpenSearch2);
}

fn answers_as_the_store(story: &str, flavour: Flavour) {
    let Some(server) = start_or_skip(story, flavour, &[]) else { return };
    // The other test may have been first.
    rustls::crypto::ring::default_provider().install_default().ok();
    put_template(&server);
    let both = Both::new(&server, "logstash-*");
    nothing_is_there(&both);
    let cases = Cases::load();
    both.fill(&server, &cases.documents);
    both.cases_are_answered_alike(&cases);
    both.combinations_are_answered_alike(&cases);
    many_are_paged_and_counted(&server);
    what_a_server_cannot_answer_is_said(&server);
    indices_of_others_are_searched(&server);
}

/// One search over the server and one over a store.
struct Both {
    runtime: Runtime,
    store: Arc<Store>,
    backends: [(&'static str, Backend); 2],
    _dir: TempDir,
}

struct Cases {
    json: Value,
    documents: Documents,
    ids: Vec<String>,
}

impl Cases {
    fn load() -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../aggregator/testdata/search/cases.json");
        let json: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let mut documents = Documents::default();
        for case in json["documents"].as_array().unwrap() {
            let time = case["time"].as_str().unwrap();
            let time_ns = naru_proto::time::parse_rfc3339_ns(time.as_bytes()).unwrap();
            let file = FileId([case["file"].as_u64().unwrap() as u8; 12]);
            let offset = case["offset"].as_u64().unwrap();
            push(&mut documents, time, time_ns, file, offset, case["source"].clone());
        }
        let ids = documents.iter().map(|document| document.id.to_string()).collect();
        Self { json, documents, ids }
    }

    fn list(&self, part: &str) -> &[Value] {
        self.json[part].as_array().unwrap()
    }
}

fn push(
    documents: &mut Documents,
    time: &str,
    timestamp_ns: i64,
    file: FileId,
    offset: u64,
    mut source: Value,
) {
    source["@timestamp"] = time.into();
    source["naru"] = json!({"file": file.to_string(), "offset": offset});
    let id_time = IdTime::new(Some(timestamp_ns));
    let source = source.to_string();
    let ids = FileDocumentIds::new(ClusterKey::of("default"), "node-1", file);
    let id = ids.id(id_time, offset, source.as_bytes());
    let identity = Identity { id, id_time, timestamp_ns, file, offset };
    documents.push(identity, |json| json.extend_from_slice(source.as_bytes()));
}

fn put_template(server: &Server) {
    let root = server.ask("GET", "/", None);
    let what = template::Server::read(root.to_string().as_bytes()).unwrap();
    let (path, body) = what.template("logstash-*");
    let body: Value = serde_json::from_str(&body).unwrap();
    server.ask("PUT", &path, Some(&body));
}

fn searching(server: &Server, indices: &str) -> Backend {
    let settings = Settings::new(vec![Host::parse(&server.url()).unwrap()]);
    Backend::elasticsearch(Search::new(Client::new(&settings).unwrap(), indices))
}

fn text<'a>(case: &'a Value, key: &str) -> Option<&'a str> {
    case[key].as_str()
}

impl Both {
    fn new(server: &Server, indices: &str) -> Self {
        let dir = TempDir::new().unwrap();
        let config = StoreConfig {
            dir: dir.path().to_owned(),
            retention_max_bytes: u64::MAX,
            retention_max_age: None,
        };
        let store = Arc::new(Store::open(config).unwrap());
        let backends =
            [("store", Backend::new(Arc::clone(&store))), ("server", searching(server, indices))];
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        Self { runtime, store, backends, _dir: dir }
    }

    fn fill(&self, server: &Server, documents: &Documents) {
        let outcomes = self.store.add(documents).unwrap();
        assert!(outcomes.iter().all(|outcome| *outcome == AddOutcome::Indexed));
        self.store.commit().unwrap();
        let names: Vec<_> =
            documents.iter().map(|d| (d.index().to_string(), d.id.to_string())).collect();
        let ready = documents.iter().zip(&names).map(|(document, (index, id))| Ready {
            index,
            id,
            source: document.source,
        });
        let loaded = load(server.address(), bulks(ready, 1 << 20), 2);
        assert_eq!(loaded.with_status(201), documents.len() as u64, "{:?}", loaded.statuses);
        server.ask("POST", "/_refresh", None);
    }

    fn page(&self, backend: &Backend, raw: &RawRequest<'_>) -> Result<SearchPage, SearchError> {
        let request = SearchRequest::read(raw, NOW_NS).unwrap();
        self.runtime.block_on(backend.search(request))
    }

    /// The ids of all documents that a case finds, page by page.
    fn ids(&self, backend: &Backend, case: &Value, limit: usize) -> Vec<String> {
        let mut ids = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let raw = RawRequest {
                query: text(case, "query"),
                from: text(case, "from"),
                to: text(case, "to"),
                limit: Some(limit),
                after: after.as_deref(),
            };
            let page = self.page(backend, &raw).unwrap_or_else(|error| panic!("{case}: {error}"));
            assert!(page.incomplete.is_empty() && page.hits.len() <= limit, "{case}: {page:?}");
            ids.extend(page.hits.into_iter().map(|hit| hit.id));
            after = page.next;
            if after.is_none() {
                assert_eq!(ids.len() as u64, page.total, "{case}");
                return ids;
            }
        }
    }

    fn histogram(&self, backend: &Backend, case: &Value) -> Result<Histogram, SearchError> {
        let raw = RawHistogram {
            query: text(case, "query"),
            from: text(case, "from"),
            to: text(case, "to"),
            interval: text(case, "interval"),
        };
        let request = HistogramRequest::read(&raw, NOW_NS).unwrap();
        self.runtime.block_on(backend.histogram(request))
    }

    fn cases_are_answered_alike(&self, cases: &Cases) {
        let mut wrong = Vec::new();
        for (name, backend) in &self.backends {
            for case in cases.list("queries").iter().chain(cases.list("ranges")) {
                let numbers: Vec<usize> = serde_json::from_value(case["found"].clone()).unwrap();
                let expected: Vec<&String> = numbers.iter().map(|&at| &cases.ids[at]).collect();
                for limit in [1000, 5] {
                    let found = self.ids(backend, case, limit);
                    if found.iter().collect::<Vec<_>>() != expected {
                        let at = |id: &String| cases.ids.iter().position(|known| known == id);
                        let found: Vec<_> = found.iter().map(at).collect();
                        wrong.push(format!("{name}, {limit} a page: {case} found {found:?}"));
                    }
                }
            }
            for case in cases.list("histograms") {
                let found = self.histogram(backend, case).unwrap();
                let buckets = found.buckets().filter(|bucket| bucket.count > 0);
                let found = json!({
                    "interval_ms": found.interval_ms,
                    "empty": found.buckets().filter(|bucket| bucket.count == 0).count(),
                    "buckets": buckets.map(|b| json!([b.from, b.count, b.levels])).collect::<Vec<_>>(),
                });
                if found != case["expected"] {
                    wrong.push(format!("{name}: {case} found {found}"));
                }
            }
        }
        assert!(wrong.is_empty(), "{} wrong\n{}", wrong.len(), wrong.join("\n"));
    }

    fn combinations_are_answered_alike(&self, cases: &Cases) {
        let mut random = seeded("combinations");
        let queries = cases.list("queries");
        let mut telling = 0;
        for _ in 0..COMBINATIONS {
            let mut pick =
                || text(&queries[random.usize(..queries.len())], "query").unwrap().to_owned();
            let (a, b, c) = (pick(), pick(), pick());
            let query = match random.u8(..6) {
                0 => format!("({a}) AND NOT ({b})"),
                1 => format!("({a}) OR ({b})"),
                2 => format!("NOT (({a}) OR ({b})) ({c})"),
                3 => format!("({a} OR {b}) AND ({b} OR {c})"),
                4 => format!("NOT (NOT ({a}) AND NOT (({b}) ({c})))"),
                _ => format!("({a}) OR NOT (({b}) OR NOT ({c}))"),
            };
            let case = json!({ "query": query });
            let [expected, found] =
                [0, 1].map(|at: usize| self.ids(&self.backends[at].1, &case, 1000));
            assert_eq!(found, expected, "{query}");
            telling += usize::from(!found.is_empty() && found.len() < cases.ids.len());
        }
        assert!(telling * 3 > COMBINATIONS, "only {telling} told documents apart");
    }
}

fn nothing_is_there(both: &Both) {
    let case = json!({"query": "a level:error json.status:>5 OR NOT x"});
    for (name, backend) in &both.backends {
        assert_eq!(both.ids(backend, &case, 10), Vec::<String>::new(), "{name}");
        assert_eq!(both.histogram(backend, &case).unwrap().buckets().count(), 0, "{name}");
    }
}

/// Pages past 10,000, documents of one time, and more buckets than are asked for at once.
fn many_are_paged_and_counted(server: &Server) {
    let mut documents = Documents::default();
    for number in 0..MANY {
        // All of a second in steps of 1/4 s, so that thousands share each time.
        let time_ns = 1_700_000_000_000_000_000 + (number % 4) as i64 * 250_000_000;
        let time = naru_proto::time::format_rfc3339_ns(time_ns);
        let time = std::str::from_utf8(&time).unwrap();
        let file = FileId([(number % 3) as u8; 12]);
        let source = json!({"log": format!("id a{number}"), "level": "info"});
        push(&mut documents, time, time_ns, file, number, source);
    }
    let both = Both::new(server, "logstash-2023.11.14");
    both.fill(server, &documents);
    let case = json!({"query": "id"});
    let [expected, found] = [0, 1].map(|at: usize| both.ids(&both.backends[at].1, &case, 999));
    assert_eq!((expected.len() as u64, expected == found), (MANY, true));
    let buckets = json!({"query": "id", "from": "2023-11-14T22:13:19Z", "to": "2023-11-14T22:13:22Z", "interval": "1ms"});
    let [expected, found] =
        [0, 1].map(|at: usize| both.histogram(&both.backends[at].1, &buckets).unwrap());
    assert_eq!(expected, found);
    assert_eq!(expected.buckets().count(), 3_000);
    let too_many =
        json!({"query": "id", "from": "2023-11-14", "to": "2023-11-15", "interval": "1ms"});
    for (name, backend) in &both.backends {
        let refused = both.histogram(backend, &too_many);
        assert!(matches!(refused, Err(SearchError::TooManyBuckets(_))), "{name}: {refused:?}");
        let raw = RawRequest { query: Some("id-a*"), ..RawRequest::default() };
        let refused = both.page(backend, &raw);
        assert!(
            matches!(&refused, Err(SearchError::TooBroad(word)) if word == "a"),
            "{name}: {refused:?}"
        );
    }
}

fn what_a_server_cannot_answer_is_said(server: &Server) {
    let mapping = json!({"mappings": {"properties": {"@timestamp": {"type": "keyword"}}}});
    server.ask("PUT", "/broken-1", Some(&mapping));
    let document = json!({"@timestamp": "soon", "log": "x"});
    server.ask("PUT", "/broken-1/_doc/1?refresh=true", Some(&document));
    let both = Both::new(server, "broken-*,logstash-2026.11.22");
    let page = both.page(&both.backends[1].1, &RawRequest::default()).unwrap();
    assert!(!page.hits.is_empty());
    assert!(page.incomplete[0].starts_with("broken-1: "), "{:?}", page.incomplete);
    let alone = both.page(&searching(server, "broken-*"), &RawRequest::default());
    assert!(matches!(alone, Err(SearchError::Refused(_))), "{alone:?}");
    let gone = Settings::new(vec![Host::parse("http://127.0.0.1:1").unwrap()]);
    let gone = Backend::elasticsearch(Search::new(Client::new(&gone).unwrap(), "x"));
    let refused = both.page(&gone, &RawRequest::default());
    assert!(matches!(refused, Err(SearchError::Failed(_))), "{refused:?}");
}

/// An index that had no template: texts are split by the standard analyzer, and kept whole in `.keyword`.
fn indices_of_others_are_searched(server: &Server) {
    let documents = [
        json!({"@timestamp": "2020-01-01T00:00:00.123Z", "log": "GET user_id timeout", "level": "error",
            "kubernetes": {"pod_name": "web-0"}, "json": {"n": 5, "at": "2020-01-01T00:00:00Z"}}),
        json!({"@timestamp": "2020-01-01T00:00:00.123Z", "log": "timeouts", "level": "info",
            "kubernetes": {"pod_name": "web-1"}, "json": {"n": 7}}),
        json!({"log": "no time"}),
    ];
    for (number, document) in documents.iter().enumerate() {
        server.ask("PUT", &format!("/fluentd-1/_doc/{number}?refresh=true"), Some(document));
    }
    let both = Both::new(server, "fluentd-*");
    let check = |query: &str, expected: &[&str]| {
        let mut found = both.ids(&both.backends[1].1, &json!({ "query": query }), 1);
        found.sort();
        assert_eq!(found, expected, "{query}");
    };
    check("*", &["0", "1", "2"]);
    check("timeout", &["0"]);
    check("time*", &["0", "1", "2"]);
    check("user_id", &["0"]);
    check("NOT timeout", &["1", "2"]);
    check("level:error", &["0"]);
    check("level:=error", &["0"]);
    check("level:err*", &["0"]);
    check("kubernetes.pod_name:web", &["0", "1"]);
    check("kubernetes.pod_name:=\"web-0\"", &["0"]);
    check("kubernetes.pod_name:web-*", &["0", "1"]);
    check("kubernetes.pod_name:>\"web-0\"", &["1"]);
    check("json.n:>5", &["1"]);
    check("json.at:2020-01-01", &["0"]);
    check("@timestamp:2020-01-01", &["0", "1"]);
    check("@timestamp:*", &["0", "1"]);
    let found = both.histogram(&both.backends[1].1, &json!({"query": "*"})).unwrap();
    let buckets: Vec<_> = found.buckets().collect();
    assert_eq!((buckets.len(), buckets[0].count, buckets[0].levels.len()), (1, 2, 2));
}
