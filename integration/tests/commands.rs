//! The aggregator's commands as an operator meets them: exit codes, sentences, a start, a stop.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use naru_integration::eventually::eventually;
use naru_integration::http;
use naru_integration::pki::Ca;
use naru_integration::process::Process;
use naru_integration::programs;
use tempfile::TempDir;

const GOOD: &str = "\
data_dir: {data}
listen: {address: 127.0.0.1:0}
forwarders: {authentication: none}
http: 127.0.0.1:0
elasticsearch:
  hosts: [http://127.0.0.1:9]
";

/// A directory with a configuration in it.
struct Place {
    directory: TempDir,
    config: PathBuf,
    data: PathBuf,
}

fn place(text: &str) -> Place {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let config = directory.path().join("aggregator.yaml");
    fs::write(&config, text.replace("{data}", data.to_str().unwrap())).unwrap();
    Place { directory, config, data }
}

fn naru(arguments: &[&str], config: &Path) -> Output {
    let mut command = Command::new(programs::aggregator());
    command.args(arguments).arg("--config").arg(config).output().unwrap()
}

/// That it ends with this code and one sentence of these words.
fn check(output: &Output, code: i32, words: &[&str]) {
    let errors = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(code), "{errors}");
    assert_eq!(errors.trim_end().lines().count(), 1, "one sentence: {errors}");
    for word in words {
        assert!(errors.contains(word), "it does not say {word:?}: {errors}");
    }
}

#[test]
fn bad_configurations_are_a_sentence() {
    for (text, words) in [
        (format!("{GOOD}clustr: shop\n"), &["aggregator.yaml:7:", "clustr"][..]),
        (format!("{GOOD}  user: elastic\n"), &["aggregator.yaml:7:", "password_file"]),
        (format!("{GOOD}  ca: /c\n"), &["aggregator.yaml:7:", "elasticsearch.ca"]),
        (
            GOOD.replace("http: 127.0.0.1:0", "http: here"),
            &["aggregator.yaml:4:", "http", "ip:port"],
        ),
        (
            GOOD.replace("127.0.0.1:0}", "0.0.0.0:0}"),
            &["aggregator.yaml:2:", "listen.address", "not loopback"],
        ),
        (
            GOOD.replace("authentication: none", "token: /nowhere/token"),
            &["aggregator.yaml:3:", "forwarders.token", "/nowhere/token"],
        ),
        (String::new(), &["aggregator.yaml:1:"]),
    ] {
        let place = place(&text);
        for command in ["check", "run"] {
            check(&naru(&[command], &place.config), 64, words);
        }
        assert!(!place.data.exists(), "something was started by {text:?}");
    }
    for command in ["check", "run"] {
        check(&naru(&[command], Path::new("/nowhere/a.yaml")), 64, &["/nowhere/a.yaml"]);
    }
}

#[test]
fn a_check_says_what_holds_and_starts_nothing() {
    let place = place(&format!("{GOOD}  user: elastic\n  password_file: {{data}}.secret\n"));
    fs::write(place.directory.path().join("data.secret"), "hunter2\n").unwrap();
    let output = naru(&["check"], &place.config);
    assert!(output.status.success(), "{output:?}");
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(printed.starts_with(&format!("{}: ok\n", place.config.display())), "{printed}");
    assert!(printed.contains("  elasticsearch.bulk_bytes: 8388608\n"), "{printed}");
    assert!(!printed.contains("hunter2"), "{printed}");
    assert!(!place.data.exists());
}

#[test]
fn a_used_port_is_a_sentence_and_touches_no_data() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for text in [
        GOOD.replace("http: 127.0.0.1:0", &format!("http: {address}")),
        GOOD.replace("address: 127.0.0.1:0", &format!("address: {address}")),
    ] {
        let place = place(&text);
        check(&naru(&["run"], &place.config), 1, &["cannot listen on", &address]);
        assert!(!place.data.exists());
    }
}

#[test]
fn it_runs_is_asked_and_stops() {
    let place = place(&format!("{GOOD}log: {{format: json}}\n"));
    let status = || naru(&["queue", "status", "--json"], &place.config);
    check(&status(), 1, &["No such file"]);
    let mut run = Command::new(programs::aggregator());
    run.args(["run", "--config"]).arg(&place.config);
    let mut process = Process::start(&mut run, place.directory.path(), "first");
    let address = process.http_address();
    assert_eq!(http::get(address, "/healthz").unwrap().status, 200);

    let socket = fs::metadata(place.data.join("admin.sock")).unwrap();
    assert_eq!(socket.permissions().mode() & 0o777, 0o600);
    let report = json(&status());
    assert_eq!((&report["running"], &report["entries"]), (&true.into(), &0.into()));
    let letters = naru(&["dead-letters", "list"], &place.config);
    assert!(letters.status.success() && letters.stdout.is_empty(), "{letters:?}");
    check(&naru(&["dead-letters", "show", "1.0"], &place.config), 1, &["no letter 1.0"]);

    let second = naru(&["run"], &place.config);
    let errors = String::from_utf8_lossy(&second.stderr);
    assert_eq!(second.status.code(), Some(1), "{errors}");
    assert!(errors.contains("another process has the queue"), "{errors}");

    process.kill();
    assert_eq!(json(&status())["running"], false);
    let mut process = Process::start(&mut run, place.directory.path(), "second");
    assert_ne!(process.http_address().port(), 0);
    eventually("it answers", || match json(&status())["running"].as_bool() {
        Some(true) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    assert!(process.terminate().success());
    let log = process.log();
    for line in log.lines() {
        let event: serde_json::Value = serde_json::from_str(line).expect(line);
        assert!(event["level"].is_string(), "{line}");
    }
    assert_eq!(json(&status())["running"], false);
    assert!(!place.data.join("admin.sock").exists());
}

#[test]
fn a_protected_listener_starts_with_good_files_only() {
    let place = place(
        &GOOD
            .replace(
                "127.0.0.1:0}",
                "127.0.0.1:0, tls: {certificate: {data}.pem, key: {data}.pem}}",
            )
            .replace("authentication: none", "token: {data}.token"),
    );
    let file = |extension: &str| place.data.with_extension(extension);
    fs::write(file("pem"), "no certificate").unwrap();
    fs::write(file("token"), "hunter2\n").unwrap();
    for command in ["check", "run"] {
        let words = ["aggregator.yaml:2:", "listen.tls.certificate", "data.pem holds no readable"];
        check(&naru(&[command], &place.config), 64, &words);
    }
    assert!(!place.data.exists());
    fs::write(file("pem"), Ca::new().sign("localhost")).unwrap();
    let mut run = Command::new(programs::aggregator());
    run.args(["run", "--config"]).arg(&place.config);
    let mut process = Process::start(&mut run, place.directory.path(), "run");
    let address = process.http_address();
    let metrics = http::get(address, "/metrics").unwrap().body;
    let metrics = String::from_utf8_lossy(&metrics);
    assert!(metrics.contains("naru_aggregator_security_files_current 1"), "{metrics}");
    assert!(process.terminate().success());
}

fn json(output: &Output) -> serde_json::Value {
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}
