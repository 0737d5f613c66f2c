//! One node on the loopback: started, asked, stopped in its tracks, killed, and started again on the same data.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE};
use rustls::ClientConfig;
use serde_json::Value;
use tempfile::TempDir;

use crate::cpu;
use crate::eventually::{PATIENCE, eventually_within};
use crate::http::{self, Failure};
use crate::pki::Ca;
use crate::ports;
use crate::process::Process;

/// How long a build may take, which downloads up to 92 MB; another test's build may come before it.
const BUILD_PATIENCE: Duration = Duration::from_secs(900);

/// How long a start may take: 3 to 6 s on an idle machine, of which nearly all is CPU time.
const START_PATIENCE: Duration = Duration::from_secs(180);

/// `elastic:changeme`; a server without security does not look at it.
const ELASTIC: &str = "Basic ZWxhc3RpYzpjaGFuZ2VtZQ==";

/// What is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// Elasticsearch 7.10.2.
    Elasticsearch7,
    /// Elasticsearch 8.17.2 with security and TLS; its user is `elastic`, the password `changeme`.
    Elasticsearch8,
    /// OpenSearch 2.19.1.
    OpenSearch2,
}

impl Flavour {
    /// All that there are.
    pub const ALL: [Self; 3] = [Self::Elasticsearch7, Self::Elasticsearch8, Self::OpenSearch2];

    /// Its name in `integration/elasticsearch/`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Elasticsearch7 => "elasticsearch7",
            Self::Elasticsearch8 => "elasticsearch8",
            Self::OpenSearch2 => "opensearch2",
        }
    }

    fn is_secured(self) -> bool {
        self == Self::Elasticsearch8
    }
}

/// How a server is started.
#[derive(Debug, Clone)]
pub struct Setup {
    flavour: Flavour,
    settings: Vec<String>,
    heap: String,
    optimised: bool,
    home: Option<PathBuf>,
}

impl Setup {
    /// As a story wants it: 512 MB of heap, a compiler that is quick rather than good, a home that goes with the server.
    #[must_use]
    pub fn new(flavour: Flavour) -> Self {
        Self { flavour, settings: Vec::new(), heap: "512m".into(), optimised: false, home: None }
    }

    /// A setting of the node, as in its `elasticsearch.yml`.
    #[must_use]
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push(format!("{name}={value}"));
        self
    }

    /// Its heap, as in `-Xmx`.
    #[must_use]
    pub fn heap(mut self, heap: &str) -> Self {
        heap.clone_into(&mut self.heap);
        self
    }

    /// As a benchmark wants it: the whole compiler, and all of the heap touched before it starts. Warm it with 400,000
    /// documents or more before anything is measured.
    #[must_use]
    pub fn optimised(mut self) -> Self {
        self.optimised = true;
        self
    }

    /// Where it keeps its data, instead of a directory that goes with it.
    #[must_use]
    pub fn home(mut self, home: &Path) -> Self {
        self.home = Some(home.to_owned());
        self
    }

    /// Starts it; returns when it is healthy.
    #[must_use]
    pub fn start(self) -> Server {
        let scratch = tempfile::tempdir().unwrap();
        build(self.flavour, scratch.path());
        let address = ports::free_address();
        let mut setup = self;
        let ca = Ca::new();
        if setup.flavour.is_secured() {
            setup.secure(scratch.path(), &ca);
        }
        let process = setup.spawn(scratch.path(), address, 0);
        let client = ca.client();
        let mut server = Server { setup, scratch, address, starts: 1, process, ca, client };
        server.wait_until_healthy();
        server
    }

    /// Certificates have to lie in the server's configuration directory.
    fn secure(&mut self, scratch: &Path, ca: &Ca) {
        let config = self.home_in(scratch).join("config");
        fs::create_dir_all(&config).unwrap();
        let pem = ca.sign("127.0.0.1");
        let (certificate, key) = pem.split_at(pem.find("-----BEGIN PRIVATE KEY").unwrap());
        for (name, text) in [("server.crt", certificate), ("server.key", key), ("ca.crt", ca.pem())]
        {
            fs::write(config.join(name), text).unwrap();
        }
        for (name, value) in [
            ("enabled", "true"),
            ("certificate", "server.crt"),
            ("key", "server.key"),
            ("certificate_authorities", "ca.crt"),
        ] {
            self.settings.push(format!("xpack.security.http.ssl.{name}={value}"));
        }
    }

    fn home_in(&self, scratch: &Path) -> PathBuf {
        self.home.clone().unwrap_or_else(|| scratch.join("home"))
    }

    fn spawn(&self, scratch: &Path, address: SocketAddr, starts: u32) -> Process {
        let home = self.home_in(scratch);
        let heap = &self.heap;
        let speed = if self.optimised {
            format!("-Xms{heap} -XX:+AlwaysPreTouch")
        } else {
            "-XX:TieredStopAtLevel=1".to_owned()
        };
        let mut command = node("run", self.flavour);
        command
            .arg(address.port().to_string())
            .arg(home)
            .args(&self.settings)
            .env("NARU_JAVA_OPTIONS", format!("-Xmx{heap} {speed} -Dnaru.held=true"));
        Process::start_held(&mut command, scratch, &format!("{}-{starts}", self.flavour.name()))
    }
}

/// A running server. Dropping it kills it, and a test that is killed takes it along.
#[derive(Debug)]
pub struct Server {
    setup: Setup,
    // Before the directory that it writes to: fields are dropped in this order.
    process: Process,
    scratch: TempDir,
    address: SocketAddr,
    starts: u32,
    ca: Ca,
    client: Arc<ClientConfig>,
}

impl Server {
    /// Starts one for a story; returns when it is healthy.
    #[must_use]
    pub fn start(flavour: Flavour, settings: &[(&str, &str)]) -> Self {
        let setup = Setup::new(flavour);
        settings.iter().fold(setup, |setup, (name, value)| setup.setting(name, value)).start()
    }

    /// What it is.
    #[must_use]
    pub fn flavour(&self) -> Flavour {
        self.setup.flavour
    }

    /// Where it listens, before and after a restart.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The same as `elasticsearch.hosts` takes it.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.flavour().is_secured() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// The authority that signed the certificate of a server with TLS, and whose certificates it takes.
    #[must_use]
    pub fn ca(&self) -> &Ca {
        &self.ca
    }

    /// What names all indices that stories make.
    pub(super) fn all(&self) -> &'static str {
        // Its own begin with a dot.
        if self.flavour().is_secured() { "*,-.*" } else { "*" }
    }

    /// What it logged since it was last started.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Bytes of memory that it takes now, and the most that it ever took.
    #[must_use]
    pub fn memory(&self) -> (u64, u64) {
        cpu::memory_of_process(self.process.id())
    }

    /// CPU time since it was last started.
    #[must_use]
    pub fn cpu_time(&self) -> Duration {
        cpu::of_process(self.process.id())
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// SIGTERM; returns when it has ended.
    pub fn stop(&mut self) {
        self.process.terminate();
    }

    /// Starts it again on the same data at the same address; returns when it is healthy.
    pub fn restart(&mut self) {
        self.restart_unready();
        self.wait_until_healthy();
    }

    /// The same with another setting.
    pub fn restart_with(&mut self, name: &str, value: &str) {
        self.setup.settings.push(format!("{name}={value}"));
        self.restart();
    }

    /// The same, but does not wait: what a client meets meanwhile is part of the story.
    pub fn restart_unready(&mut self) {
        assert!(self.process.ended().is_some(), "it still runs");
        self.process = self.setup.spawn(self.scratch.path(), self.address, self.starts);
        self.starts += 1;
    }

    /// Stops it in its tracks: connections are accepted by the kernel, and never answered.
    pub fn pause(&self) {
        self.process.freeze();
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.process.thaw();
    }

    /// Waits until the primary shards of all indices are there.
    pub fn wait_until_healthy(&mut self) {
        let begun = Instant::now();
        let path = "/_cluster/health?wait_for_status=yellow&timeout=1s";
        let what = format!("{} is healthy", self.flavour().name());
        eventually_within(START_PATIENCE, &what, || {
            if let Some(status) = self.process.ended() {
                panic!("{} ended: {status}", self.setup.flavour.name());
            }
            match self.request_within(Duration::from_secs(5), "GET", path, None) {
                Ok((200, _)) => Ok(()),
                other => Err(format!("{other:?}\n{}", self.process.log_tail())),
            }
        });
        println!("{} is healthy after {:.1?}", self.setup.flavour.name(), begun.elapsed());
    }

    /// Asks it; an answer that is no JSON is null.
    pub fn request(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        self.request_within(PATIENCE, method, path, body)
            .unwrap_or_else(|failure| panic!("{method} {path}: {failure}"))
    }

    /// Asks it; what does not answer in time, or not at all, is a failure.
    pub fn request_within(
        &self,
        patience: Duration,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(u16, Value), Failure> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(CONTENT_TYPE, "application/json")
            .header(AUTHORIZATION, ELASTIC)
            .body(Full::new(Bytes::from(body)))?;
        let response = if self.flavour().is_secured() {
            http::send_over_tls(self.address, Arc::clone(&self.client), request, patience)?
        } else {
            http::send(self.address, request, patience)?
        };
        Ok((response.status, serde_json::from_slice(&response.body).unwrap_or_default()))
    }

    /// Asks it; panics if it does not answer with 200 or 201.
    pub fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        let (status, answer) = self.request(method, path, body);
        assert!(matches!(status, 200 | 201), "{method} {path}: {status} {answer}");
        answer
    }

    /// Changes settings of an index, `{"index.blocks.write": true}` for example.
    pub fn put_settings(&self, index: &str, settings: &Value) {
        self.ask("PUT", &format!("/{index}/_settings"), Some(settings));
    }

    /// Makes everything that was indexed visible to searches.
    pub fn refresh(&self) {
        let path = format!("/{}/_refresh?expand_wildcards=open,hidden", self.all());
        let answer = self.ask("POST", &path, None);
        assert_eq!(answer["_shards"]["failed"], 0, "{answer}");
    }

    /// How many documents are found in all indices, while it may not answer, or shards are still being started.
    ///
    /// # Errors
    /// What it answered instead.
    pub fn try_count(&self) -> Result<u64, String> {
        let ask = |method, what| -> Result<Value, String> {
            let path = format!("/{}/{what}?expand_wildcards=open,hidden", self.all());
            let answer = self.request_within(PATIENCE, method, &path, None);
            let (status, answer) = answer.map_err(|failure| failure.to_string())?;
            let whole = status == 200 && answer["_shards"]["failed"] == 0;
            if whole { Ok(answer) } else { Err(format!("{method} {path}: {status} {answer}")) }
        };
        ask("POST", "_refresh")?;
        let answer = ask("GET", "_count")?;
        answer["count"].as_u64().ok_or_else(|| answer.to_string())
    }

    /// How many documents a search finds in all indices; [`Self::refresh`] comes first where that matters.
    #[must_use]
    pub fn count(&self) -> u64 {
        let path = format!("/{}/_count?expand_wildcards=open,hidden", self.all());
        let answer = self.ask("GET", &path, None);
        assert_eq!(answer["_shards"]["failed"], 0, "{answer}");
        answer["count"].as_u64().unwrap()
    }
}

fn node(command: &str, flavour: Flavour) -> Command {
    let mut node = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/elasticsearch/node"));
    node.args([command, flavour.name()]);
    node
}

/// Downloads and compiles what is not there yet, so that a start is timed alone.
fn build(flavour: Flavour, scratch: &Path) {
    let mut building = Process::start(&mut node("build", flavour), scratch, "build");
    let status = building.ended_within(BUILD_PATIENCE);
    assert!(status.success(), "{} does not build: {status}\n{}", flavour.name(), building.log());
}
