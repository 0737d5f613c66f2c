//! A node whose wire is protected: certificates and tokens in files, for both ends, all of them right to begin with.

use std::fs;
use std::path::PathBuf;

use naru_aggregator::ingest::{Authentication, Security, TlsFiles};
use naru_proto::frame::IoStream::Stdout;

use crate::eventually::eventually;
use crate::metrics::Metrics;
use crate::node::{Container, NODE_NAME};
use crate::pki::Ca;
use crate::process::Process;
use crate::receiver::Receiver;
use crate::rig::Rig;

/// The name that the forwarder calls the aggregator by.
pub const SERVER: &str = "naru-aggregator";
/// The token that both sides begin with.
pub const TOKEN: &str = "correct-horse-battery-staple";

/// A node with certificates and tokens in files, all of them right.
#[derive(Debug)]
pub struct Stage {
    /// Where its files are.
    pub rig: Rig,
    /// Who signed the certificates.
    pub ca: Ca,
    container: Container,
}

impl Default for Stage {
    fn default() -> Self {
        Self::new()
    }
}

impl Stage {
    /// Everything in place, nothing started.
    #[must_use]
    pub fn new() -> Self {
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

    /// A path in the story's directory.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.rig.path(name)
    }

    /// Replaces a file as a whole.
    pub fn put(&self, name: &str, text: &str) {
        fs::write(self.path("new"), text).unwrap();
        fs::rename(self.path("new"), self.path(name)).unwrap();
    }

    fn security(&self, authentication: Authentication) -> Security {
        let server = self.path("server");
        let tls = Some(TlsFiles { certificate: server.clone(), key: server });
        Security { tls, authentication, plaintext: false }
    }

    /// An aggregator that asks for the token.
    #[must_use]
    pub fn by_token(&self) -> Security {
        self.security(Authentication::Token { file: self.path("tokens") })
    }

    /// An aggregator that asks for the node's certificate.
    #[must_use]
    pub fn by_certificate(&self) -> Security {
        self.security(Authentication::Certificate { ca: self.path("ca") })
    }

    /// A forwarder that has a certificate and a token, whichever is asked for.
    #[must_use]
    pub fn forwarder(&mut self, aggregators: &[&Receiver]) -> Process {
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

    /// Writes so many lines.
    pub fn write(&mut self, lines: usize) {
        for _ in 0..lines {
            self.container.line(Stdout, "x".repeat(100));
        }
    }

    /// Waits until everything is there.
    pub fn caught_up(&self, receiver: &Receiver) {
        let written = self.rig.node.ledger().written();
        eventually(&format!("{written} lines arrive"), || {
            let count = receiver.document_count();
            if count >= written { Ok(()) } else { Err(format!("{count}; {:?}", self.readiness())) }
        });
    }

    /// Every line is there once, and nothing else.
    pub fn judge(&self, receiver: &Receiver, story: &str) {
        let verdict = self.rig.node.ledger().judge(receiver.documents());
        verdict.print(story, None);
        verdict.assert_closed();
    }

    /// What `/readyz` says: status and text.
    ///
    /// # Errors
    /// Nobody answers.
    pub fn readiness(&self) -> Result<(u16, String), String> {
        self.rig.ask_forwarder("/readyz")
    }

    /// The forwarder's metrics.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        Metrics::of(self.rig.ask_forwarder("/metrics").unwrap().1)
    }

    /// Waits until `/readyz` gives this reason.
    pub fn not_ready_because(&self, reason: &str) {
        eventually(&format!("it is not ready: {reason}"), || match self.readiness() {
            Ok((503, text)) if text.contains(reason) => Ok(()),
            other => Err(format!("{other:?}")),
        });
    }

    /// Waits until `/readyz` says so.
    pub fn ready(&self) {
        eventually("it is ready", || match self.readiness() {
            Ok((200, _)) => Ok(()),
            other => Err(format!("{other:?}")),
        });
    }
}
