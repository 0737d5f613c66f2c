//! A real Elasticsearch 8.17 with security and TLS: whoever is not who it should be waits and says why, and goes on when a
//! file was mended, without a restart. Each line is there once.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use naru_aggregator::elasticsearch::{
    ClientCertificate, Credentials, IndexPattern, Settings, Template,
};
use naru_integration::cluster::{Cluster, Plan};
use naru_integration::delivery::{Delivering, settings};
use naru_integration::elasticsearch::{Flavour, Server, start_or_skip};
use naru_integration::eventually::eventually;
use naru_integration::http;
use naru_integration::pki::Ca;
use naru_proto::frame::IoStream::Stdout;
use serde_json::json;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(60);
const LINES: usize = 500;
/// The rights that `docs/operations.md` names.
const ROLE: &str = r#"{"naru": {"cluster": ["monitor", "manage_index_templates"], "indices": [
    {"names": ["logstash-*"], "privileges": ["create_doc", "create_index", "view_index_metadata"]}]}}"#;

#[test]
fn elasticsearch8_takes_each_line_from_those_it_knows() {
    let story = "elasticsearch8_takes_each_line_from_those_it_knows";
    let Some(mut server) = start_or_skip(story, Flavour::Elasticsearch8, &[]) else { return };
    let stage = Stage::new(&server);
    a_wrong_password_is_mended(&server, &stage);
    another_authority_is_mended(&server, &stage);
    an_api_key_with_few_rights(&server, &stage);
    a_service_account_with_a_bearer_token(&server, &stage);
    server.kill();
    server.restart_with("xpack.security.http.ssl.client_authentication", "required");
    a_client_certificate_is_asked_for(&server, &stage);
}

/// Files that the aggregator reads.
struct Stage {
    directory: TempDir,
}

impl Stage {
    fn new(server: &Server) -> Self {
        let stage = Self { directory: tempfile::tempdir().unwrap() };
        stage.put("ca", server.ca().pem());
        stage.put("password", "changeme\n");
        stage
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Replaces a file as a whole.
    fn put(&self, name: &str, text: &str) -> PathBuf {
        let (new, path) = (self.path("new"), self.path(name));
        fs::write(&new, text).unwrap();
        fs::rename(&new, &path).unwrap();
        path
    }

    fn settings(&self, server: &Server) -> Settings {
        Settings {
            ca: Some(self.path("ca")),
            credentials: Credentials::Basic {
                user: "elastic".to_owned(),
                password_file: self.path("password"),
            },
            ..settings(&server.url())
        }
    }
}

/// The programs as they are run, and the sentence where an operator looks.
fn a_wrong_password_is_mended(server: &Server, stage: &Stage) {
    stage.put("password", "guess\n");
    let file = |name: &str| stage.path(name).display().to_string();
    let settings =
        format!("  user: elastic\n  password_file: {}\n  ca: {}\n", file("password"), file("ca"));
    let plan = Plan { nodes: 1, aggregators: 1, tls: true, elasticsearch: server.url(), settings };
    let mut cluster = Cluster::new(&plan);
    let mut container = cluster.nodes[0].node.start("shop", "web-0", "web");
    for number in 0..LINES {
        container.line(Stdout, format!("line {number}"));
    }
    cluster.start();
    let words =
        "the credentials are refused (401): security_exception: unable to authenticate user";
    let said = eventually("it says that the password is wrong", || {
        let answer = http::get(cluster.aggregator(0).http_address(), "/readyz");
        let answer = answer.map_err(|failure| failure.to_string())?;
        let said = String::from_utf8_lossy(&answer.body).into_owned();
        if said.contains(words) { Ok(said) } else { Err(said) }
    });
    println!("a wrong password: {said}");
    assert!(cluster.aggregator(0).log().contains(words));
    assert_eq!(server.count(), 0);
    stage.put("password", "changeme\n");
    cluster.caught_up(server, PATIENCE);
    let (verdict, _) = cluster.judge(server, "a wrong password, mended");
    verdict.assert_closed();
    cluster.stop();
}

/// Everything that was appended is there once, and nothing became a dead letter.
fn delivered(delivering: &Delivering, server: &Server, index: &str, before: u64) {
    delivering.drained();
    assert!(delivering.letters().is_empty(), "{:?}", delivering.letters());
    server.refresh();
    let answer = server.ask("GET", &format!("/{index}/_count"), None);
    assert_eq!(answer["count"].as_u64().unwrap(), before + delivering.written());
}

fn another_authority_is_mended(server: &Server, stage: &Stage) {
    let before = server.count();
    stage.put("ca", Ca::new().pem());
    let mut delivering = Delivering::start(stage.settings(server));
    delivering.append_numbered(LINES);
    let said = delivering.waits_because(&["not signed by an authority", "elasticsearch.ca"]);
    println!("another authority: {said}");
    stage.put("ca", server.ca().pem());
    delivered(&delivering, server, "logstash-*", before);
}

fn an_api_key_with_few_rights(server: &Server, stage: &Stage) {
    let role: serde_json::Value = serde_json::from_str(ROLE).unwrap();
    let key = json!({"name": "naru", "role_descriptors": role});
    let key = server.ask("POST", "/_security/api_key", Some(&key));
    // Another day: the lines of the story before are not in its index.
    let mut delivering = Delivering::start(Settings {
        credentials: Credentials::ApiKey {
            file: stage.put("key", key["encoded"].as_str().unwrap()),
        },
        ..stage.settings(server)
    });
    delivering.set_day(1);
    delivering.append_numbered(LINES);
    delivered(&delivering, server, "logstash-2026.11.23", 0);
    assert_eq!(delivering.metrics().count("naru_aggregator_delivery_failures_total", ""), 0);
}

fn a_service_account_with_a_bearer_token(server: &Server, stage: &Stage) {
    let path = "/_security/service/elastic/fleet-server/credential/token/naru";
    let token = server.ask("POST", path, None);
    let mut delivering = Delivering::start(Settings {
        credentials: Credentials::Bearer { file: stage.put("token", "AAEAAWVsYXN0aWM") },
        // Its rights are these, and none to templates.
        index: IndexPattern::parse("logs-naru-%Y.%m.%d").unwrap(),
        template: Template::Off,
        ..stage.settings(server)
    });
    delivering.append_numbered(LINES);
    println!("a wrong token: {}", delivering.waits_because(&["the credentials are refused (401)"]));
    stage.put("token", token["token"]["value"].as_str().unwrap());
    delivered(&delivering, server, "logs-naru-2026.11.22", 0);
}

fn a_client_certificate_is_asked_for(server: &Server, stage: &Stage) {
    let parts = |pem: &str, certificate: &Path, key: &Path| {
        let (first, second) = pem.split_at(pem.find("-----BEGIN PRIVATE KEY").unwrap());
        fs::write(certificate, first).unwrap();
        fs::write(key, second).unwrap();
    };
    let mut without = Delivering::start(stage.settings(server));
    without.set_day(2);
    without.append_numbered(1);
    let said = without.waits_because(&["asks for a client certificate"]);
    println!("no client certificate: {said}");
    without.stop();
    let (certificate, key) = (stage.path("client.crt"), stage.path("client.key"));
    parts(&Ca::new().sign("naru"), &certificate, &key);
    let mut delivering = Delivering::start(Settings {
        certificate: Some(ClientCertificate { certificate: certificate.clone(), key: key.clone() }),
        ..stage.settings(server)
    });
    delivering.set_day(2);
    delivering.append_numbered(LINES);
    println!("another's client certificate: {}", delivering.waits_because(&[&server.url()]));
    parts(&server.ca().sign("naru"), &certificate, &key);
    delivered(&delivering, server, "logstash-2026.11.24", 0);
}
