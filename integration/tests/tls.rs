//! The wire, protected: whoever is not who it should be is refused with a reason and loses nothing, and what is mended in
//! a file needs no restart.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use naru_aggregator::ingest::{Authentication, Security, TlsFiles};
use naru_integration::eventually::eventually;
use naru_integration::metrics::Metrics;
use naru_integration::node::{Container, NODE_NAME};
use naru_integration::pki::Ca;
use naru_integration::process::Process;
use naru_integration::receiver::Receiver;
use naru_integration::rig::Rig;
use naru_proto::frame::IoStream::Stdout;

/// The name that the forwarder calls the aggregator by.
const SERVER: &str = "naru-aggregator";
const TOKEN: &str = "correct-horse-battery-staple";

/// A node with certificates and tokens in files, all of them right.
struct Stage {
    rig: Rig,
    ca: Ca,
    container: Container,
}

impl Stage {
    fn new() -> Self {
        let mut rig = Rig::new();
        let container = rig.node.start("shop", "web-0", "web");
        let stage = Self { rig, ca: Ca::new(), container };
        stage.put("ca", stage.ca.pem());
        stage.put("server", &stage.ca.sign(SERVER));
        stage.put("node", &stage.ca.sign(NODE_NAME));
        stage.put("token", TOKEN);
        stage.put("tokens", &format!("an-older-one\n{TOKEN}\n"));
        stage
    }

    fn path(&self, name: &str) -> PathBuf {
        self.rig.path(name)
    }

    /// Replaces a file as a whole.
    fn put(&self, name: &str, text: &str) {
        fs::write(self.path("new"), text).unwrap();
        fs::rename(self.path("new"), self.path(name)).unwrap();
    }

    fn security(&self, authentication: Authentication) -> Security {
        let server = self.path("server");
        let tls = Some(TlsFiles { certificate: server.clone(), key: server });
        Security { tls, authentication, plaintext: false }
    }

    fn by_token(&self) -> Security {
        self.security(Authentication::Token { file: self.path("tokens") })
    }

    fn by_certificate(&self) -> Security {
        self.security(Authentication::Certificate { ca: self.path("ca") })
    }

    /// A forwarder that has a certificate and a token, whichever is asked for.
    fn forwarder(&mut self, aggregators: &[&Receiver]) -> Process {
        let addresses: Vec<_> = aggregators.iter().map(|a| a.address().to_string()).collect();
        let (ca, node, token) = (self.path("ca"), self.path("node"), self.path("token"));
        self.rig.forwarder_with(&format!(
            "address: \"{}\", token: {}, \
             tls: {{ca: {}, certificate: {}, key: {}, server_name: {SERVER}}}",
            addresses.join(","),
            token.display(),
            ca.display(),
            node.display(),
            node.display(),
        ))
    }

    fn write(&mut self, lines: usize) {
        for _ in 0..lines {
            self.container.line(Stdout, "x".repeat(100));
        }
    }

    fn caught_up(&self, receiver: &Receiver) {
        let written = self.rig.node.ledger().written();
        eventually(&format!("{written} lines arrive"), || {
            let count = receiver.document_count();
            if count >= written { Ok(()) } else { Err(format!("{count}; {:?}", self.readiness())) }
        });
    }

    /// Every line is there once, and nothing else.
    fn judge(&self, receiver: &Receiver, story: &str) {
        let verdict = self.rig.node.ledger().judge(receiver.documents());
        verdict.print(story, None);
        verdict.assert_closed();
    }

    fn readiness(&self) -> Result<(u16, String), String> {
        self.rig.ask_forwarder("/readyz")
    }

    fn metrics(&self) -> Metrics {
        Metrics::of(self.rig.ask_forwarder("/metrics").unwrap().1)
    }

    /// Waits until `/readyz` gives this reason.
    fn not_ready_because(&self, reason: &str) {
        eventually(&format!("it is not ready: {reason}"), || match self.readiness() {
            Ok((503, text)) if text.contains(reason) => Ok(()),
            other => Err(format!("{other:?}")),
        });
    }

    fn ready(&self) {
        eventually("it is ready", || match self.readiness() {
            Ok((200, _)) => Ok(()),
            other => Err(format!("{other:?}")),
        });
    }
}

#[test]
fn a_token_over_tls_delivers_every_line_once() {
    let mut stage = Stage::new();
    let receiver = Receiver::start(stage.by_token());
    stage.write(2000);
    let mut forwarder = stage.forwarder(&[&receiver]);
    stage.caught_up(&receiver);
    stage.write(2000);
    stage.caught_up(&receiver);
    assert!(forwarder.terminate().success());
    stage.judge(&receiver, "a token over TLS");
    forwarder.assert_quiet(&[]);
}

/// Starts with one file wrong, sees the refusal on both sides, mends it, and sees every line arrive.
fn refused_until_mended(
    story: &str,
    security: fn(&Stage) -> Security,
    wrong: fn(&Stage),
    (reason, label): (&str, &str),
    mend: fn(&Stage),
) {
    let mut stage = Stage::new();
    wrong(&stage);
    let receiver = Receiver::start(security(&stage));
    stage.write(500);
    let mut forwarder = stage.forwarder(&[&receiver]);
    stage.not_ready_because(reason);
    eventually("it is tried again and again", || {
        match stage.metrics().count("naru_forwarder_connection_rounds_failed_total", "") {
            rounds if rounds >= 3 => Ok(()),
            rounds => Err(rounds.to_string()),
        }
    });
    let refused = receiver
        .metrics()
        .count("naru_aggregator_clients_refused_total", &format!("reason=\"{label}\""));
    assert!(refused >= 2, "{story}: {refused}");
    assert_eq!(receiver.document_count(), 0, "{story}: nothing is taken from whom is refused");
    println!("{story}: {:?}", stage.readiness());
    let told = forwarder.log().matches("no aggregator").count();
    assert_eq!(told, 1, "{story}: told once, not at every attempt\n{}", forwarder.log());

    mend(&stage);
    stage.write(500);
    stage.caught_up(&receiver);
    stage.ready();
    assert!(forwarder.terminate().success());
    stage.judge(&receiver, story);
    forwarder.assert_quiet(&["no aggregator"]);
}

#[test]
fn a_wrong_ca_is_refused_until_it_is_mended() {
    refused_until_mended(
        "a wrong CA",
        Stage::by_token,
        |stage| stage.put("ca", Ca::new().pem()),
        ("its certificate is not signed by the CA in aggregator.tls.ca", "not_trusted"),
        |stage| stage.put("ca", stage.ca.pem()),
    );
}

#[test]
fn a_wrong_name_is_refused_until_the_aggregator_has_another_certificate() {
    refused_until_mended(
        "a wrong name",
        Stage::by_token,
        |stage| stage.put("server", &stage.ca.sign("somebody-else")),
        ("its certificate is not for the name naru-aggregator", "not_trusted"),
        |stage| stage.put("server", &stage.ca.sign(SERVER)),
    );
}

#[test]
fn a_wrong_token_is_refused_until_it_is_mended() {
    refused_until_mended(
        "a wrong token",
        Stage::by_token,
        |stage| stage.put("token", "guess"),
        ("refuses this forwarder: the token is not one of this aggregator's", "wrong_token"),
        |stage| stage.put("token", TOKEN),
    );
}

#[test]
fn a_certificate_of_another_node_is_refused_until_it_is_mended() {
    refused_until_mended(
        "a certificate of another node",
        Stage::by_certificate,
        |stage| stage.put("node", &stage.ca.sign("node-2")),
        ("the client certificate is of node-2, not of the node \"node-1\"", "wrong_node"),
        |stage| stage.put("node", &stage.ca.sign(NODE_NAME)),
    );
}

#[test]
fn a_certificate_of_another_ca_is_refused_until_it_is_mended() {
    refused_until_mended(
        "a certificate of another CA",
        Stage::by_certificate,
        |stage| stage.put("node", &Ca::new().sign(NODE_NAME)),
        ("does not accept this forwarder's certificate: received fatal alert", "wrong_certificate"),
        |stage| stage.put("node", &stage.ca.sign(NODE_NAME)),
    );
}

#[test]
fn a_file_that_breaks_while_it_runs_changes_nothing_but_readiness() {
    let mut stage = Stage::new();
    let receiver = Receiver::restless(stage.by_token(), Duration::from_millis(200));
    stage.write(200);
    let mut forwarder = stage.forwarder(&[&receiver]);
    stage.caught_up(&receiver);
    stage.put("ca", "half a certif");
    stage.put("tokens", "");
    stage.not_ready_because("no readable certificate in PEM");
    eventually("the aggregator says so too", || {
        receiver.trouble().ok_or_else(|| "it sees nothing".to_owned())
    });
    stage.write(200);
    stage.caught_up(&receiver);
    let current = |stage: &Stage| stage.metrics().count("naru_forwarder_credentials_current", "");
    assert_eq!(current(&stage), 0);
    fs::remove_file(stage.path("token")).unwrap();
    stage.put("ca", stage.ca.pem());
    stage.not_ready_because("token");
    stage.put("token", TOKEN);
    stage.ready();
    stage.write(200);
    stage.caught_up(&receiver);
    assert_eq!(current(&stage), 1);
    assert!(forwarder.terminate().success());
    stage.judge(&receiver, "files that break");
    forwarder.assert_quiet(&["certificates or the token are not as they should be"]);
}

#[test]
fn of_two_aggregators_the_other_takes_what_a_killed_one_does_not() {
    let mut stage = Stage::new();
    let first = Receiver::start(stage.by_token());
    let second = first.another(stage.by_token());
    stage.write(1000);
    let mut forwarder = stage.forwarder(&[&first, &second]);
    stage.caught_up(&first);
    let opened =
        |receiver: &Receiver| receiver.metrics().count("naru_aggregator_streams_opened_total", "");
    assert_eq!(opened(&first) + opened(&second), 1, "one stream at a time");
    let (killed, left) = if opened(&first) == 1 { (first, second) } else { (second, first) };
    stage.write(1000);
    drop(killed);
    stage.write(1000);
    stage.caught_up(&left);
    assert_eq!(opened(&left), 1);
    assert!(forwarder.terminate().success());
    stage.judge(&left, "one of two aggregators killed");
    forwarder.assert_quiet(&["the stream broke"]);
}

#[test]
fn a_file_that_is_missing_at_the_start_is_an_error_of_one_sentence() {
    let mut stage = Stage::new();
    fs::remove_file(stage.path("token")).unwrap();
    let receiver = Receiver::start(stage.by_token());
    let mut forwarder = stage.forwarder(&[&receiver]);
    assert_eq!(forwarder.ended_within(Duration::from_secs(60)).code(), Some(64));
    let log = forwarder.log();
    assert!(log.contains("forwarder.yaml:5: token: ") && log.contains("No such file"), "{log}");
    assert_eq!(log.lines().count(), 1, "{log}");
}
