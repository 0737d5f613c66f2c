//! A story's stage: a directory that goes with it, a node, and the programs started on them.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::eventually::eventually;
use crate::export::{self, Document};
use crate::http;
use crate::ledger::{Again, Verdict};
use crate::node::{NODE_NAME, Node, Zone};
use crate::process::Process;
use crate::programs;

/// The cluster that every story's programs belong to: the programs' own default.
pub const CLUSTER: &str = "default";

/// A node and where its programs keep their data.
#[derive(Debug)]
pub struct Rig {
    directory: TempDir,
    started: u32,
    /// The node.
    pub node: Node,
    /// Further lines of the forwarder's configuration.
    pub settings: String,
}

impl Default for Rig {
    fn default() -> Self {
        Self::new()
    }
}

impl Rig {
    /// A new node in Seoul. `NARU_KEEP=1` keeps the directory and prints where it is.
    #[must_use]
    pub fn new() -> Self {
        let mut directory = tempfile::tempdir().unwrap();
        if std::env::var_os("NARU_KEEP").is_some() {
            directory.disable_cleanup(true);
            println!("kept: {}", directory.path().display());
        }
        let node = Node::new(&directory.path().join("pods"), Zone::SEOUL);
        Self { directory, started: 0, node, settings: String::new() }
    }

    /// A path in the story's directory.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// `naru-aggregator standalone` on the node's pods, on free ports.
    #[must_use]
    pub fn standalone(&mut self) -> Process {
        let pods = self.node.pods().to_owned();
        self.standalone_on(&pods, &[])
    }

    /// The same on another pods directory and with further arguments.
    #[must_use]
    pub fn standalone_on(&mut self, pods: &Path, arguments: &[&str]) -> Process {
        let mut command = Command::new(programs::aggregator());
        command
            .arg("standalone")
            .args(["--http", "127.0.0.1:0", "--data-dir"])
            .arg(self.standalone_data())
            .arg("--pods-dir")
            .arg(pods)
            .args(arguments);
        self.start(&mut command, "standalone")
    }

    /// Its data directory.
    #[must_use]
    pub fn standalone_data(&self) -> PathBuf {
        self.path("standalone-data")
    }

    /// `naru-forwarder run` on the node's pods.
    #[must_use]
    pub fn forwarder(&mut self, aggregator: SocketAddr) -> Process {
        self.forwarder_with(&format!("address: {aggregator}"))
    }

    /// The same with these keys of `aggregator`, in YAML's short form.
    #[must_use]
    pub fn forwarder_with(&mut self, aggregator: &str) -> Process {
        let mut command = self.forwarder_command(aggregator);
        self.start(&mut command, "forwarder")
    }

    /// The same, run by another program, which takes a command as its last arguments.
    #[must_use]
    pub fn forwarder_by(&mut self, by: &[&str], aggregator: SocketAddr) -> Process {
        let command = self.forwarder_command(&format!("address: {aggregator}"));
        let mut outer = Command::new(by[0]);
        outer.args(&by[1..]).arg(command.get_program()).args(command.get_args());
        self.start(&mut outer, "forwarder")
    }

    fn forwarder_command(&self, aggregator: &str) -> Command {
        let config = self.configure_forwarder(aggregator);
        let mut command = Command::new(programs::forwarder());
        command.args(["run", "--config"]).arg(config);
        command
    }

    /// Writes its configuration and returns where that is. How full this machine's disk is makes no difference.
    #[must_use]
    pub fn configure_forwarder(&self, aggregator: &str) -> PathBuf {
        let config = self.path("forwarder.yaml");
        let text = format!(
            "cluster: {CLUSTER}\n\
             node: {NODE_NAME}\n\
             data_dir: {}\n\
             http: 127.0.0.1:0\n\
             aggregator: {{{aggregator}}}\n\
             hold: {{free_percent: 0}}\n\
             containers:\n  path: {}\n{}",
            self.forwarder_data().display(),
            self.node.pods().display(),
            self.settings,
        );
        fs::write(&config, text).unwrap();
        config
    }

    /// Its data directory.
    #[must_use]
    pub fn forwarder_data(&self) -> PathBuf {
        self.path("forwarder-data")
    }

    /// What the running forwarder answers over the socket in its data directory: status and text.
    ///
    /// # Errors
    /// Nobody answers.
    pub fn ask_forwarder(&self, path: &str) -> Result<(u16, String), String> {
        let answer = http::get_at_socket(&self.forwarder_data().join("forwarder.sock"), path);
        let answer = answer.map_err(|failure| failure.to_string())?;
        Ok((answer.status, String::from_utf8_lossy(&answer.body).into_owned()))
    }

    /// Starts a program as this node.
    #[must_use]
    pub fn start(&mut self, command: &mut Command, name: &str) -> Process {
        self.started += 1;
        let name = format!("{name}-{}", self.started);
        Process::start(command.env("NODE_NAME", NODE_NAME), self.directory.path(), &name)
    }

    /// Waits until there are as many documents as lines.
    pub fn caught_up(&self, address: SocketAddr) {
        let written = self.node.ledger().written() as u64;
        eventually(&format!("{written} lines are indexed"), || match export::total(address, "*") {
            Ok(total) if total >= written => Ok(()),
            Ok(total) => Err(format!("{total} documents")),
            Err(failure) => Err(failure),
        });
    }

    /// Reads everything back as a user does, and prints and returns the ledger's judgement.
    #[must_use]
    pub fn judge(&self, address: SocketAddr, story: &str, again: Option<Again>) -> Verdict {
        let limit = self.node.ledger().written() * 2 + 1000;
        self.judge_documents(&export::by_command(address, limit, "*"), story, again)
    }

    /// The same of documents that were read back in another way.
    #[must_use]
    pub fn judge_documents(
        &self,
        documents: &[Document],
        story: &str,
        again: Option<Again>,
    ) -> Verdict {
        let verdict = self.node.ledger().judge(documents.iter().map(Document::indexed));
        verdict.print(story, again);
        verdict
    }
}
