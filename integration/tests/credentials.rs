//! Certificates, keys and tokens are renewed on both ends while lines flow, in the right order and in wrong ones: no line is
//! lost, none is there twice, and while it is wrong the forwarder says why.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use naru_aggregator::ingest::Security;
use naru_integration::eventually::eventually;
use naru_integration::guarded::{SERVER, Stage, TOKEN};
use naru_integration::node::{Container, NODE_NAME};
use naru_integration::pace::{self, Pace};
use naru_integration::pki::Ca;
use naru_integration::receiver::Receiver;
use naru_proto::frame::IoStream::Stdout;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

/// How often everything is renewed.
const ROUNDS: usize = 3;
/// A stream lives so long, instead of minutes: what is new in a file is in use at the next.
const STREAM_AGE: Duration = Duration::from_millis(200);
/// Lines go on to be written this long after it was said what is wrong.
const WRONG_FOR: Duration = Duration::from_secs(2);

/// A container that writes 200 lines a second until it is told to stop.
struct Writing {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Writing {
    fn start(mut container: Container) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut pace = Pace::new(Duration::from_millis(20));
            while !stopped.load(Ordering::Acquire) {
                for _ in 0..4 {
                    container.line(Stdout, "x".repeat(100));
                }
                pace.next();
            }
        });
        Self { stop, thread }
    }

    fn stop(self) {
        self.stop.store(true, Ordering::Release);
        self.thread.join().unwrap();
    }
}

/// Whether a server shows a certificate of this authority.
fn shows(address: SocketAddr, ca: &Ca) -> Result<(), String> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.pem().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(SERVER).unwrap();
    let mut connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = TcpStream::connect(address).map_err(|error| error.to_string())?;
    while connection.is_handshaking() {
        connection.complete_io(&mut stream).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Waits until the forwarder has read its files again and has a stream with what it read.
fn streams_anew(stage: &Stage) {
    let opened = || stage.metrics().count("naru_forwarder_streams_opened_total", "");
    let before = opened();
    // One may have been on its way.
    eventually("it opens new streams", || match opened() {
        now if now >= before + 2 => Ok(()),
        now => Err(format!("{now}, {before} before; {:?}", stage.readiness())),
    });
}

/// Renews everything in the order in which nobody is ever refused: who is trusted, then who one is, then who is not trusted
/// any more.
fn renew(stage: &mut Stage, receiver: &Receiver, round: usize) {
    let (old_token, token) = (token_of(round), token_of(round + 1));
    let new = Ca::new();
    stage.put("ca", &format!("{}{}", stage.ca.pem(), new.pem()));
    stage.put("tokens", &format!("{old_token}\n{token}\n"));
    streams_anew(stage);
    // The aggregator looks at all its files at once: when it shows the new certificate, it has the rest too.
    stage.put("server", &new.sign(SERVER));
    eventually("the aggregator has new files", || shows(receiver.address(), &new));
    stage.put("node", &new.sign(NODE_NAME));
    stage.put("token", &token);
    streams_anew(stage);
    stage.put("ca", new.pem());
    stage.put("tokens", &token);
    streams_anew(stage);
    stage.ca = new;
}

fn token_of(round: usize) -> String {
    format!("{TOKEN}-{round}")
}

/// Puts something wrong in a file, sees the forwarder say why it is not ready, and mends it.
fn wrong(stage: &Stage, file: &str, (text, right): (&str, &str), reason: &str) {
    stage.put(file, text);
    stage.not_ready_because(reason);
    let written = stage.rig.node.ledger().written();
    pace::lasts(WRONG_FOR);
    stage.not_ready_because(reason);
    assert!(stage.rig.node.ledger().written() > written, "lines flow all the time");
    println!("{file}: {:?}", stage.readiness());
    stage.put(file, right);
    stage.ready();
}

fn renewed_under_load(story: &str, security: fn(&Stage) -> Security, wrong_client: fn(&Stage)) {
    let mut stage = Stage::new();
    stage.put("token", &token_of(0));
    stage.put("tokens", &token_of(0));
    let receiver = Receiver::restless(security(&stage), STREAM_AGE);
    let writing = Writing::start(stage.rig.node.start("shop", "busy-0", "web"));
    let mut forwarder = stage.forwarder(&[&receiver]);
    stage.ready();
    for round in 0..ROUNDS {
        renew(&mut stage, &receiver, round);
    }
    // In this order nobody was ever in doubt of anybody.
    forwarder.assert_quiet(&[]);

    let right = stage.ca.sign(SERVER);
    let foreign = Ca::new().sign(SERVER);
    wrong(&stage, "server", (&foreign, &right), "is not signed by the CA in aggregator.tls.ca");
    let expired = stage.ca.sign_expired(SERVER);
    wrong(&stage, "server", (&expired, &right), "expired");
    let ca = stage.ca.pem().to_owned();
    wrong(&stage, "ca", ("half a certif", &ca), "no readable certificate in PEM");
    wrong_client(&stage);

    writing.stop();
    stage.caught_up(&receiver);
    assert_eq!(stage.metrics().sum("naru_forwarder_lost_bytes_total", "").unwrap_or_default(), 0.0);
    let streams = stage.metrics().count("naru_forwarder_streams_opened_total", "");
    println!("{story}: {streams} streams, {ROUNDS} renewals of everything");
    assert!(forwarder.terminate().success());
    stage.judge(&receiver, story);
    let expected = ["no aggregator", "certificates or the token are not as they should be"];
    forwarder.assert_quiet(&expected);
}

#[test]
fn b27_certificates_and_tokens_renewed_under_load_lose_nothing() {
    renewed_under_load("tokens renewed", Stage::by_token, |stage| {
        let right = token_of(ROUNDS);
        wrong(stage, "token", ("guess", &right), "the token is not one of this aggregator's");
    });
}

#[test]
fn b27_client_certificates_renewed_under_load_lose_nothing() {
    renewed_under_load("certificates renewed", Stage::by_certificate, |stage| {
        let right = stage.ca.sign(NODE_NAME);
        let expired = stage.ca.sign_expired(NODE_NAME);
        wrong(stage, "node", (&expired, &right), "does not accept this forwarder's certificate");
        let foreign = Ca::new().sign(NODE_NAME);
        wrong(stage, "node", (&foreign, &right), "does not accept this forwarder's certificate");
    });
}
