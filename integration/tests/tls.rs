//! The wire, protected: whoever is not who it should be is refused with a reason and loses nothing, and what is mended in
//! a file needs no restart.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

use std::fs;
use std::time::Duration;

use naru_aggregator::ingest::Security;
use naru_integration::eventually::eventually;
use naru_integration::guarded::{SERVER, Stage, TOKEN};
use naru_integration::node::NODE_NAME;
use naru_integration::pki::Ca;
use naru_integration::receiver::Receiver;

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
fn b27_a_file_that_breaks_while_it_runs_changes_nothing_but_readiness() {
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
fn b12_of_two_aggregators_the_other_takes_what_a_killed_one_does_not() {
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
