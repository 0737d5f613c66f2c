//! One process, nothing else installed: what a user sees in the first five minutes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::time::{Duration, Instant};

use naru_integration::eventually::{PATIENCE, eventually};
use naru_integration::export::{self, Document};
use naru_integration::node::{Container, Kubelet, NODE_NAME};
use naru_integration::process::Process;
use naru_integration::programs;
use naru_integration::rig::Rig;
use naru_proto::frame::IoStream::{Stderr, Stdout};
use naru_proto::ids::IdTime;
use naru_proto::time::parse_rfc3339_ns;

/// A pods directory as a node has it that ran for a while: live, rotated and gzipped logs, a restart, another pod.
fn fill(rig: &mut Rig) -> Vec<Container> {
    let mut kubelet = Kubelet::default();
    let mut web = rig.node.start("shop", "web-0", "web");
    for rotation in 0..4 {
        for number in 0..1000 {
            web.line(Stdout, format!("GET /orders/{number} 200 rotation {rotation}"));
        }
        web.interleaved("o".repeat(40_000), "e".repeat(70_000));
        kubelet.rotate(&mut web, |web| {
            web.line(Stderr, "written while it had no name");
        });
    }
    web.exit_in_a_line(Stderr, "panic: killed in the middle of a");
    let mut web = web.restart();
    web.line(Stdout, "주문이 접수되었습니다");
    web.line(Stdout, "");
    web.line_around(Stdout, |key| {
        format!(r#"{{"level":"error","msg":"결제 실패","order":17,"key":"{key}"}}"#)
    });
    let mut proxy = rig.node.start("shop", "web-0-proxy", "envoy");
    for number in 0..500 {
        proxy.line(Stdout, format!("upstream request {number}"));
    }
    vec![web, proxy]
}

#[test]
fn b8_every_record_is_there_once_without_any_api_server() {
    let mut rig = Rig::new();
    drop(fill(&mut rig));
    let mut process = rig.standalone();
    let address = process.ready();
    rig.caught_up(address);
    rig.judge(address, "standalone", None).assert_closed();
    check_fields(&export::by_command(address, 20_000, "*"));
    let ids = |documents: Vec<Document>| documents.into_iter().map(|d| d.id).collect::<Vec<_>>();
    let by_command = ids(export::by_command(address, 20_000, "*"));
    assert_eq!(by_command, ids(export::by_pages(address, "*")), "the same in the same order");
    assert!(process.terminate().success(), "SIGTERM drains");
    process.assert_quiet(&[]);

    let mut process = rig.standalone();
    let address = process.ready();
    rig.judge(address, "standalone, started again", None).assert_closed();
    let again: BTreeSet<String> = ids(export::by_pages(address, "*")).into_iter().collect();
    assert_eq!(again, by_command.into_iter().collect());
    assert!(process.terminate().success());
    process.assert_quiet(&[]);
}

/// What each document says besides its text.
fn check_fields(documents: &[Document]) {
    for document in documents {
        let text = |pointer| {
            document.text(pointer).unwrap_or_else(|| panic!("no {pointer}: {}", document.source))
        };
        let timestamp = text("/@timestamp");
        assert_eq!(timestamp.len(), "2026-11-22T00:30:00.123456789Z".len(), "{timestamp}");
        let time_ns = parse_rfc3339_ns(timestamp.as_bytes());
        assert_eq!(document.index, IdTime::new(time_ns).index().to_string());
        assert_eq!(text("/kubernetes/namespace_name"), "shop");
        assert_eq!(text("/naru/node"), NODE_NAME);
        assert_eq!(text("/naru/file").len(), 24, "96 bits in hexadecimal");
        assert!(!text("/naru/source").is_empty());
        assert!(document.source["naru"]["offset"].is_u64(), "{}", document.source);
        let incomplete = text("/log").contains("killed in the middle");
        assert_eq!(document.source["naru"]["incomplete"] == true, incomplete);
    }
    let spliced = documents.iter().find(|d| d.source.pointer("/json/order").is_some());
    assert_eq!(spliced.expect("a JSON body").source["json"]["msg"], "결제 실패");
}

#[test]
fn korean_words_are_found_inside_longer_ones() {
    let mut rig = Rig::new();
    let containers = fill(&mut rig);
    let mut process = rig.standalone();
    let address = process.ready();
    rig.caught_up(address);
    let found = |query: &str| -> Vec<String> {
        let documents = export::by_command(address, 100, query);
        documents.iter().map(|d| d.text("/log").unwrap().to_owned()).collect()
    };
    for (query, expected) in [
        ("주문", "주문이 접수되었습니다"),
        ("결제", "결제 실패"),
        ("접수 AND 주문", "주문이 접수되었습니다"),
        ("\"upstream request 17\"", "upstream request 17"),
        ("kubernetes.pod_name:web-0-proxy AND 499", "upstream request 499"),
    ] {
        let found = found(query);
        assert!(found.len() == 1 && found[0].contains(expected), "{query}: {found:?}");
    }
    assert_eq!(found("주문 AND NOT 접수"), Vec::<String>::new());
    drop(containers);
    assert!(process.terminate().success());
}

#[test]
fn a_line_is_found_within_two_seconds() {
    let mut rig = Rig::new();
    let mut containers = fill(&mut rig);
    let mut process = rig.standalone();
    let address = process.ready();
    rig.caught_up(address);
    let mut took: Vec<Duration> = (0..20)
        .map(|number| {
            let word = format!("needle{number}haystack");
            let written = Instant::now();
            containers[number % 2].line(Stdout, &word);
            eventually(&format!("{word} is found"), || match export::total(address, &word) {
                Ok(1) => Ok(()),
                other => Err(format!("{other:?}")),
            });
            written.elapsed()
        })
        .collect();
    took.sort();
    let (median, longest) = (took[took.len() / 2], took[took.len() - 1]);
    println!("written to found, 20 lines: median {median:?}, longest {longest:?}");
    assert!(median < Duration::from_secs(2), "{took:?}");
    assert!(process.terminate().success());
}

#[test]
fn host_files_are_tailed_too() {
    let mut rig = Rig::new();
    let directory = rig.path("host");
    std::fs::create_dir(&directory).unwrap();
    let live = directory.join("app.log");
    let write = |range: std::ops::Range<u32>| -> String {
        range.map(|n| format!("host line {n} 서버\n")).collect()
    };
    std::fs::write(&live, write(0..500)).unwrap();
    let glob = directory.join("*.log");
    let pods = rig.node.pods().to_owned();
    let mut process = rig.standalone_on(&pods, &["--files", glob.to_str().unwrap()]);
    let address = process.ready();
    has_host_lines(address, 500);
    // Rotation by rename: the old file is the same file.
    std::fs::rename(&live, directory.join("app.log.1")).unwrap();
    std::fs::write(&live, write(500..800)).unwrap();
    has_host_lines(address, 800);
    // Truncation: another file from here on.
    std::fs::write(&live, write(800..900)).unwrap();
    has_host_lines(address, 900);
    assert!(process.terminate().success());

    let mut process = rig.standalone_on(&pods, &["--files", glob.to_str().unwrap()]);
    has_host_lines(process.ready(), 900);
    assert!(process.terminate().success());
}

fn has_host_lines(address: SocketAddr, count: u32) {
    eventually(&format!("{count} host lines"), || match export::total(address, "*") {
        Ok(total) if total >= u64::from(count) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let documents = export::by_command(address, 20_000, "*");
    let logs: Vec<&str> = documents.iter().filter_map(|d| d.text("/log")).collect();
    let found: BTreeSet<String> = logs.iter().map(|&log| log.to_owned()).collect();
    let expected = (0..count).map(|n| format!("host line {n} 서버")).collect();
    assert_eq!(found, expected);
    assert_eq!(logs.len(), found.len(), "each once");
}

#[test]
fn a_used_port_is_a_sentence() {
    let rig = Rig::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut command = Command::new(programs::aggregator());
    command.arg("standalone").args(["--http", &address, "--data-dir"]);
    command.arg(rig.standalone_data()).arg("--pods-dir").arg(rig.node.pods());
    let mut process = Process::start(&mut command, &rig.path(""), "used-port");
    let status = process.ended_within(PATIENCE);
    let log = process.log();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.lines().any(|line| line.contains(&address)), "it names the address: {log}");
    assert!(!log.contains("panicked"), "{log}");
}

#[test]
fn bad_arguments_are_a_sentence() {
    for arguments in [
        &["standalone", "--http", "nowhere"][..],
        &["standalone", "--no-such-option"],
        &["no-such-command"],
        &[],
    ] {
        let output = Command::new(programs::aggregator()).args(arguments).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{arguments:?}: {errors}");
        assert!(!errors.trim().is_empty(), "{arguments:?}");
    }
}

#[test]
fn the_demo_has_something_to_find() {
    let mut rig = Rig::new();
    let mut process = {
        let mut command = Command::new(programs::aggregator());
        command.args(["standalone", "--demo", "--http", "127.0.0.1:0", "--data-dir"]);
        command.arg(rig.standalone_data());
        rig.start(&mut command, "demo")
    };
    let address = process.ready();
    eventually("the demo's lines are found", || match export::total(address, "*") {
        Ok(total) if total > 0 => Ok(()),
        other => Err(format!("{other:?}")),
    });
    assert!(process.stdout().contains("search"), "it says what to try: {}", process.stdout());
    assert!(process.terminate().success());
    process.assert_quiet(&[]);
}
