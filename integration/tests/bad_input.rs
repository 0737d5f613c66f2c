//! Bad input: configurations, batches and files that are not what they should be.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

use std::fs;
use std::path::Path;
use std::process::Command;

use naru_integration::eventually::eventually;
use naru_integration::export;
use naru_integration::fault::damage::{Damage, files_below, used_bytes};
use naru_integration::hostile::{self, Answer, Client};
use naru_integration::node::{HostLog, Kubelet, NODE_NAME};
use naru_integration::programs;
use naru_integration::rig::{CLUSTER, Rig};
use naru_integration::seed::seeded;
use naru_integration::sink::{Keep, Sink};
use naru_proto::frame::IoStream::Stdout;
use naru_proto::limits;
use naru_proto::wire::{RefuseReason, RetryWhere};

/// Runs a command of the forwarder over a config; it must say one sentence with all of `words`, exit 64 and start nothing.
fn check_config(name: &str, text: &str, words: &[&str]) {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let config = directory.path().join(name);
    fs::write(&config, text.replace("{data}", data.to_str().unwrap())).unwrap();
    refuses(&config, words);
    assert!(!data.exists(), "something was started by {text:?}");
}

fn refuses(config: &Path, words: &[&str]) {
    for command in ["check", "run"] {
        let output = Command::new(programs::forwarder())
            .args([command, "--config"])
            .arg(config)
            .output()
            .unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(64), "{command}: {errors}");
        assert_eq!(errors.trim_end().lines().count(), 1, "one sentence: {errors}");
        for word in words.iter().chain(&[config.to_str().unwrap()]) {
            assert!(errors.contains(word), "{command} does not say {word:?}: {errors}");
        }
    }
}

#[test]
fn bad_configurations_are_a_sentence() {
    const GOOD: &str = "data_dir: {data}\naggregator:\n  address: 127.0.0.1:7443\n";
    let with = |more: &str| format!("{GOOD}{more}\n");
    for (more, words) in [
        ("clustr: shop", &[":4:", "clustr"][..]),
        ("containers:\n  path: /x\n  exclud: [a]", &[":6:", "exclud"]),
        ("containers: 7", &[":4:"]),
        ("files:\n  - name: kubelet\n    pth: /var/log/kubelet.log", &[":6:", "pth"]),
        ("files: /var/log/kubelet.log", &[":4:"]),
        ("files:\n  - {name: a, path: relative.log}", &[":5:", "path"]),
        ("http: here", &[":4:", "http"]),
        ("cluster: [a]", &[":4:"]),
        ("cluster: \"${NARU_NO_SUCH_VARIABLE}\"", &[":4:", "NARU_NO_SUCH_VARIABLE"]),
        ("cluster: a\ncluster: b", &[":5:", "cluster"]),
        ("cluster: \"unclosed", &[":"]),
        ("files:\n  - name: a\n    path: \"/var/[a\"", &[":6:", "path"]),
        (
            "containers:\n  multiline:\n  - {pod: x,\n     start_pattern: '^(a'}",
            &[":7:", "start_pattern", "^(a", "unclosed group"],
        ),
        (
            "files:\n  - name: a\n    path: /a\n    start_pattern: '[z-a]'",
            &[":7:", "start_pattern"],
        ),
        (
            "files:\n  - {preset: salt}\n  - {preset: kublet}",
            &[":6:", "there is no preset \"kublet\"; there are all, salt"],
        ),
        (
            "containers:\n  multiline:\n  - {preset: cobol}",
            &[":6:", "there is no preset \"cobol\"; there are java"],
        ),
        ("containers:\n  exclude:\n  - {pod: \"[a\"}", &[":6:", "pod"]),
    ] {
        check_config("forwarder.yaml", &with(more), words);
    }
    check_config("none.yaml", "data_dir: {data}\n", &["aggregator"]);
    check_config("type.yaml", "data_dir: {data}\naggregator: 7443\n", &[":2:"]);
    check_config("empty.yaml", "", &[":1:"]);
    refuses(Path::new("/nowhere/forwarder.yaml"), &[]);
}

#[test]
fn a_pattern_that_matches_nothing_is_a_warning() {
    let mut rig = Rig::new();
    let pattern = rig.path("nothing-here-*.log");
    rig.settings = format!("files:\n  - {{name: later, path: \"{}\"}}\n", pattern.display());
    let warning = format!("files: {pattern:?} matches nothing");
    let config = rig.configure_forwarder("address: \"127.0.0.1:1\"");
    let check = || {
        let mut command = Command::new(programs::forwarder());
        let output = command.args(["check", "--config"]).arg(&config).output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        assert!(String::from_utf8(output.stdout).unwrap().contains("valid"));
        String::from_utf8(output.stderr).unwrap()
    };
    let said = check();
    assert!(said.contains("warning") && said.contains(&warning), "{said}");
    let sink = Sink::start(Keep::Documents);
    let mut forwarder = rig.forwarder(sink.address());
    eventually("it is said", || match forwarder.log() {
        log if log.contains(&warning) => Ok(()),
        log => Err(log),
    });
    // The files may come.
    HostLog::open(&rig.path("nothing-here-yet.log"), rig.node.ledger()).line("now there is one");
    eventually("the line arrives", || match sink.document_count() {
        1 => Ok(()),
        count => Err(format!("{count} documents")),
    });
    assert!(forwarder.terminate().success());
    forwarder.assert_quiet(&["matches nothing"]);
    assert_eq!(check(), "", "it matches now");
}

#[test]
fn bad_batches_are_refused_and_the_stream_lives_on() {
    let mut rig = Rig::new();
    let mut process = rig.standalone();
    let address = process.ready();
    let ingest = process.address_after("receiving on");
    let refused = |metrics: naru_integration::metrics::Metrics| {
        metrics.sum("naru_aggregator_batches_refused_total", "").unwrap_or_default() as u64
    };
    assert_eq!(refused(process.metrics()), 0);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let sent = runtime.block_on(async {
        let mut client = Client::connect(ingest, NODE_NAME, CLUSTER).await;
        let bad = bad_batches();
        for (number, (what, mut batch, reason, retry)) in (1..).zip(bad.clone()) {
            batch.number = number;
            let answer = client.ship(batch).await;
            assert_eq!(answer, Answer::Refuse { reason, retry }, "{what}");
        }
        let (header, bytes) = hostile::frame(NODE_NAME);
        let good = hostile::batch(1000, &header, bytes);
        assert_eq!(client.ship(good).await, Answer::Ack, "the connection was kept");
        bad.len() as u64
    });
    // It closes the connection: a stop waits for streams that are open.
    drop(runtime);
    assert_eq!(refused(process.metrics()), sent, "each is counted");
    let container = "kubernetes.pod_name:hostile-0";
    eventually("the good lines are indexed", || match export::total(address, container) {
        Ok(2) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    assert!(process.terminate().success());
    process.assert_quiet(&["refused"]);
}

type BadBatch = (&'static str, naru_proto::wire::Batch, RefuseReason, RetryWhere);

/// One of each way to be wrong.
fn bad_batches() -> Vec<BadBatch> {
    use RefuseReason::{Checksum, Invalid, TooLarge, UnknownFormat, WrongNode};
    use RetryWhere::{Elsewhere, Here, Never};
    let (header, bytes) = hostile::frame(NODE_NAME);
    let good = || hostile::batch(0, &header, bytes);
    let with = |change: fn(&mut naru_proto::wire::Frame)| {
        let mut changed = header.clone();
        change(&mut changed);
        hostile::batch(0, &changed, bytes)
    };
    let lying = |change: fn(&mut naru_proto::wire::Batch)| {
        let mut batch = good();
        change(&mut batch);
        batch
    };
    let noise: Vec<u8> =
        (0..5000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    let compressed = |bytes: &[u8]| {
        let mut out = vec![0; zstd_safe::compress_bound(bytes.len())];
        let length = zstd_safe::compress(&mut out[..], bytes, 1).unwrap();
        out.truncate(length);
        out
    };
    let bomb = compressed(&vec![0; 64 << 20]);
    let raw_max = u32::try_from(limits::BATCH_RAW_MAX_BYTES).unwrap();
    let other_node = hostile::frame("node-of-somebody-else").0;
    vec![
        ("garbage", hostile::batch_of(0, noise.clone(), 5000, 1), Invalid, Never),
        ("compressed garbage", hostile::batch_of(0, compressed(&noise), 5000, 1), Invalid, Never),
        ("a bomb", hostile::batch_of(0, bomb, raw_max, 1), Invalid, Never),
        (
            "a body over the limit",
            hostile::batch_of(0, vec![1; (1 << 20) + 1], 9, 1),
            TooLarge,
            Never,
        ),
        ("another checksum", lying(|batch| batch.crc32c ^= 1), Checksum, Here),
        ("more bytes than there are", lying(|batch| batch.raw_bytes += 1), Invalid, Never),
        ("4 GiB", lying(|batch| batch.raw_bytes = u32::MAX), Invalid, Never),
        ("more records than there are", lying(|batch| batch.records = 3), Invalid, Never),
        ("a frame cut short", cut_short(&header, bytes), Invalid, Never),
        ("another node's", hostile::batch(0, &other_node, bytes), WrongNode, Never),
        ("no source", with(|frame| frame.source = None), Invalid, Never),
        ("a format of tomorrow", with(|frame| frame.format = 99), UnknownFormat, Elsewhere),
        ("ends of tomorrow", with(|frame| frame.ends = 99), UnknownFormat, Elsewhere),
        ("no extents", with(|frame| frame.extents.clear()), Invalid, Never),
        ("an extent that is too long", with(|frame| frame.extents[0].length += 1), Invalid, Never),
        ("an extent over the end", with(|frame| frame.extents[0].start = u64::MAX), Invalid, Never),
        (
            "a short file id",
            with(|frame| frame.extents[0].file_id = vec![1].into()),
            Invalid,
            Never,
        ),
    ]
}

fn cut_short(header: &naru_proto::wire::Frame, bytes: &[u8]) -> naru_proto::wire::Batch {
    let mut batch = hostile::batch(0, header, bytes);
    let context = &mut zstd_safe::DCtx::create();
    let raw = naru_proto::body::decompress(context, &batch.body, batch.raw_bytes as usize);
    let raw = raw.unwrap();
    let cut = &raw[..raw.len() - 1];
    let mut body = vec![0; zstd_safe::compress_bound(cut.len())];
    let length = zstd_safe::compress(&mut body[..], cut, 1).unwrap();
    body.truncate(length);
    batch = hostile::batch_of(0, body, cut.len() as u32, 2);
    batch
}

/// Flips bytes of every file of the stopped program that `which` chooses, starts it, and expects all that was
/// written before and after.
fn start_with_damage(what: &str, which: fn(&str) -> bool, words: &[&str]) {
    let mut random = seeded(what);
    let mut rig = Rig::new();
    let mut kubelet = Kubelet::default();
    let mut web = rig.node.start("shop", "web-0", "web");
    for number in 0..2000 {
        web.line(Stdout, format!("before {number}"));
    }
    kubelet.rotate(&mut web, |_| ());
    let mut process = rig.standalone();
    let address = process.ready();
    rig.caught_up(address);
    assert!(process.terminate().success());
    process.assert_quiet(&[]);

    let mut damaged = 0;
    for path in files_below(&rig.standalone_data()) {
        let used = used_bytes(&path);
        if used > 0 && which(path.strip_prefix(rig.standalone_data()).unwrap().to_str().unwrap()) {
            for _ in 0..8 {
                let damage = Damage::Flip { at: random.u64(..used), bits: random.u8(1..) };
                damage.inflict(&path);
            }
            damaged += 1;
        }
    }
    assert!(damaged > 0, "there is no {what} to damage");
    let mut process = rig.standalone();
    let address = process.ready();
    for number in 0..2000 {
        web.line(Stdout, format!("after {number}"));
    }
    rig.caught_up(address);
    rig.judge(address, what, None).assert_closed();
    let log = process.log();
    let says = |line: &str| {
        (line.contains("WARN") || line.contains("ERROR")) && words.iter().any(|w| line.contains(w))
    };
    assert!(log.lines().any(says), "it does not say what is affected:\n{log}");
    process.assert_quiet(words);
    assert!(process.terminate().success());
}

#[test]
fn a_damaged_queue_segment_does_not_stop_a_start() {
    start_with_damage(
        "damaged segment",
        |path| path.contains("queue") && path.ends_with("/db"),
        &["segment"],
    );
}

#[test]
fn a_damaged_checkpoint_does_not_stop_a_start() {
    start_with_damage("damaged checkpoint", |path| path.contains("checkpoint"), &["checkpoint"]);
}
