//! An Elasticsearch that cannot be reached, is not who it should be, or does not know us: the aggregator runs, says it in a
//! sentence, and keeps what comes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;

use naru_integration::bulk_sink::{Answer, BulkSink};
use naru_integration::cluster::{Cluster, Plan};
use naru_integration::eventually::eventually;
use naru_integration::http;
use naru_integration::pki::Ca;
use naru_integration::ports::free_address;
use naru_proto::frame::IoStream::Stdout;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection};

/// What `/readyz` and the log say of a destination, and that nothing is lost meanwhile.
fn check(what: &str, elasticsearch: String, settings: String, words: &[&str]) {
    let plan = Plan { nodes: 1, aggregators: 1, tls: true, elasticsearch, settings };
    let mut cluster = Cluster::new(&plan);
    let mut container = cluster.nodes[0].node.start("shop", "web-0", "web");
    for _ in 0..100 {
        container.line(Stdout, "kept");
    }
    cluster.start();
    let said = eventually(what, || {
        let address = cluster.aggregator(0).http_address();
        let answer = http::get(address, "/readyz").map_err(|failure| failure.to_string())?;
        let body = String::from_utf8_lossy(&answer.body).into_owned();
        if words.iter().all(|word| body.contains(word)) { Ok(body) } else { Err(body) }
    });
    println!("{what}: {said}");
    let log = cluster.aggregator(0).log();
    assert!(words.iter().all(|word| log.contains(word)), "{log}");
    eventually("everything is queued", || {
        let metrics = cluster.aggregator(0).metrics();
        match metrics.count("naru_aggregator_records_total", "") {
            100 => Ok(()),
            other => Err(other.to_string()),
        }
    });
    let metrics = cluster.aggregator(0).metrics();
    assert_eq!(metrics.count("naru_aggregator_documents_total", ""), 0, "none has an outcome");
    cluster.stop();
}

/// Shakes hands as `naru-aggregator`, with a certificate of `ca`, and says nothing more.
fn tls_server(ca: &Ca) -> SocketAddr {
    drop(rustls::crypto::ring::default_provider().install_default());
    let pem = ca.sign("naru-aggregator");
    let chain: Vec<_> =
        CertificateDer::pem_slice_iter(pem.as_bytes()).map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).unwrap();
    let config =
        ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // It ends with the test's process.
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            // Whoever does not trust it hangs up.
            drop(connection.complete_io(&mut stream.unwrap()));
        }
    });
    address
}

#[test]
fn nobody_answers() {
    let url = format!("http://{}", free_address());
    check("nobody answers", url.clone(), String::new(), &[&url, "Connection refused"]);
}

#[test]
fn a_certificate_of_another_authority_and_one_for_another_name() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Ca::new();
    let url = format!("https://{}", tls_server(&authority));
    let other = directory.path().join("another-ca.pem");
    fs::write(&other, Ca::new().pem()).unwrap();
    let ca = |path: &Path| format!("  ca: {}\n", path.display());
    check(
        "another authority",
        url.clone(),
        ca(&other),
        &[&url, "not signed by an authority that is trusted", "elasticsearch.ca"],
    );
    let right = directory.path().join("ca.pem");
    fs::write(&right, authority.pem()).unwrap();
    check("another name", url.clone(), ca(&right), &[&url, "certificate is for another name"]);
}

#[test]
fn refused_credentials() {
    let sink = BulkSink::scripted(|_| {
        let error = r#"{"error":{"type":"security_exception","reason":"unable to authenticate user [naru]"},"status":401}"#;
        Answer::Refuse { status: 401, body: error.into() }.into()
    });
    let directory = tempfile::tempdir().unwrap();
    let password = directory.path().join("password");
    fs::write(&password, "wrong\n").unwrap();
    let settings = format!("  user: naru\n  password_file: {}\n", password.display());
    check(
        "refused credentials",
        sink.url(),
        settings,
        &["refused (401)", "unable to authenticate user [naru]"],
    );
}

/// Answers every request with this, and keeps the requests' heads.
fn answering(status: u16, body: &'static str) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let heads = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&heads);
    // It ends with the test's process.
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = String::new();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            while reader.read_line(&mut head).is_ok_and(|read| read > 2) {}
            seen.lock().unwrap().push(head);
            let length = body.len();
            let answer = format!(
                "HTTP/1.1 {status} So\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
            );
            // Whoever asked may have gone.
            drop(stream.write_all(answer.as_bytes()));
        }
    });
    (address, heads)
}

#[test]
fn a_version_that_is_too_old_and_credentials_from_files() {
    let old = r#"{"version":{"number":"6.8.23","build_flavor":"default"}}"#;
    let directory = tempfile::tempdir().unwrap();
    let secret = directory.path().join("secret");
    fs::write(&secret, "changeme\n").unwrap();
    let secret = secret.display();
    let words = &["Elasticsearch 6.8.23 is too old: 7.0 or newer is needed"];
    for (settings, sent) in [
        (format!("  user: elastic\n  password_file: {secret}\n"), "Basic ZWxhc3RpYzpjaGFuZ2VtZQ=="),
        (format!("  api_key_file: {secret}\n"), "ApiKey changeme"),
        (format!("  token_file: {secret}\n"), "Bearer changeme"),
    ] {
        let (address, heads) = answering(200, old);
        check("an old version", format!("http://{address}"), settings, words);
        let heads = heads.lock().unwrap();
        let authorized = |head: &String| {
            head.lines().any(|line| line.eq_ignore_ascii_case(&format!("authorization: {sent}")))
        };
        assert!(!heads.is_empty() && heads.iter().all(authorized), "{heads:?}");
        assert!(heads.iter().all(|head| head.starts_with("GET / ")), "nothing was sent to it");
    }
}

#[test]
fn a_url_that_is_not_elasticsearchs() {
    let page = "<!DOCTYPE html>\n<html>Welcome</html>";
    let no_index = r#"{"error":{"type":"index_not_found_exception","reason":"no such index [es]"},"status":404}"#;
    let (address, heads) = answering(404, no_index);
    let words = "does not know the path of the URL in elasticsearch.hosts (404)";
    check("not its path", format!("http://{address}/es"), String::new(), &[words]);
    let heads = heads.lock().unwrap();
    assert!(heads.iter().all(|head| head.starts_with("GET /es/ ")), "{heads:?}");
    let (plain, _) = answering(200, page);
    check(
        "no TLS there",
        format!("https://{plain}"),
        String::new(),
        &["does not speak TLS", "http://?"],
    );
}

#[test]
fn of_several_hosts_those_that_answer_get_everything() {
    let sink = BulkSink::keeping();
    let hosts = format!("http://{}, {}", free_address(), sink.url());
    let plan =
        Plan { nodes: 1, aggregators: 1, tls: true, elasticsearch: hosts, settings: String::new() };
    let mut cluster = Cluster::new(&plan);
    let mut container = cluster.nodes[0].node.start("shop", "web-0", "web");
    for _ in 0..100 {
        container.line(Stdout, "kept");
    }
    cluster.start();
    eventually("everything is there", || match sink.documents().len() {
        100 => Ok(()),
        other => Err(format!("{other} documents")),
    });
    cluster.stop();
}
