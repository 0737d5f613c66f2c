//! Several nodes and several aggregators in front of one Elasticsearch: each program a process of its own, TLS and a token
//! between them, one ledger over all nodes.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::bulk_sink::BulkSink;
use crate::elasticsearch::{Server, export_all};
use crate::eventually::{PATIENCE, eventually, eventually_within};
use crate::http;
use crate::ledger::{Again, Ledger, Verdict};
use crate::metrics::Metrics;
use crate::node::{Node, Zone};
use crate::pki::Ca;
use crate::ports::free_address;
use crate::process::Process;
use crate::programs;
use crate::rig::CLUSTER;

const TOKEN: &str = "correct-horse-battery-staple";
/// The name that the forwarders know the aggregators by.
const NAME: &str = "naru-aggregator";

/// See the module.
#[derive(Debug)]
pub struct Cluster {
    /// Their nodes and their forwarders.
    pub nodes: Vec<Member>,
    /// The aggregators.
    pub aggregators: Vec<Aggregator>,
    ledger: Ledger,
    starts: u32,
    told: Told,
    /// After those who write in it.
    directory: TempDir,
}

/// A node and the forwarder on it.
#[derive(Debug)]
pub struct Member {
    name: String,
    /// The node.
    pub node: Node,
    forwarder: Option<Process>,
    /// Stands by.
    successor: Option<Process>,
    /// Where it sends, when not to the aggregators.
    pub sends_to: Option<SocketAddr>,
    /// Further lines of its configuration.
    pub settings: String,
}

/// One aggregator.
#[derive(Debug)]
pub struct Aggregator {
    address: SocketAddr,
    process: Option<Process>,
}

/// What aggregators told before each of them ended; less than there was, for what happened after is not in it.
#[derive(Debug, Default, Clone, Copy)]
struct Told {
    records: u64,
    bytes: u64,
    indexed: u64,
    duplicates: u64,
}

/// How the programs of a cluster are set up.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How many nodes there are.
    pub nodes: usize,
    /// How many aggregators there are.
    pub aggregators: usize,
    /// Whether there is TLS between them: a relay cannot read what is.
    pub tls: bool,
    /// Where documents go.
    pub elasticsearch: String,
    /// Further keys of `elasticsearch`, as lines of YAML with their indentation.
    pub settings: String,
}

impl Cluster {
    /// Nothing is started yet.
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        let mut directory = tempfile::tempdir().unwrap();
        if std::env::var_os("NARU_KEEP").is_some() {
            directory.disable_cleanup(true);
            println!("kept: {}", directory.path().display());
        }
        let ledger = Ledger::default();
        let root = directory.path();
        let ca = Ca::new();
        fs::write(root.join("ca.pem"), ca.pem()).unwrap();
        fs::write(root.join("server.pem"), ca.sign(NAME)).unwrap();
        fs::write(root.join("token"), TOKEN).unwrap();
        let member = |number: usize| {
            let name = format!("node-{number}");
            let pods = root.join(format!("{name}-pods"));
            let node = Node::in_ledger(&pods, Zone::SEOUL, ledger.clone());
            Member {
                name,
                node,
                forwarder: None,
                successor: None,
                sends_to: None,
                settings: String::new(),
            }
        };
        let nodes = (0..plan.nodes).map(member).collect();
        let aggregators = (0..plan.aggregators)
            .map(|_| Aggregator { address: free_address(), process: None })
            .collect();
        let cluster =
            Self { nodes, aggregators, ledger, starts: 0, told: Told::default(), directory };
        for number in 0..plan.aggregators {
            cluster.configure_aggregator(number, plan);
        }
        for number in 0..plan.nodes {
            cluster.configure_forwarder(number, plan.tls);
        }
        cluster
    }

    /// A path in the story's directory.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn configure_aggregator(&self, number: usize, plan: &Plan) {
        let security = if plan.tls {
            let server = self.path("server.pem");
            let server = server.display();
            format!(
                "listen: {{address: {}, tls: {{certificate: {server}, key: {server}}}}}\n\
                 forwarders: {{authentication: token, token: {}}}\n",
                self.aggregators[number].address,
                self.path("token").display(),
            )
        } else {
            let address = self.aggregators[number].address;
            format!("listen: {{address: {address}}}\nforwarders: {{authentication: none}}\n")
        };
        let text = format!(
            "cluster: {CLUSTER}\ndata_dir: {}\n{security}http: 127.0.0.1:0\n\
             elasticsearch:\n  hosts: [{}]\n{}",
            self.path(&format!("aggregator-{number}")).display(),
            plan.elasticsearch,
            plan.settings,
        );
        fs::write(self.path(&format!("aggregator-{number}.yaml")), text).unwrap();
    }

    /// Writes a forwarder's configuration; it holds from its next start on.
    pub fn configure_forwarder(&self, number: usize, tls: bool) {
        let member = &self.nodes[number];
        let addresses: Vec<String> = match member.sends_to {
            Some(address) => vec![address.to_string()],
            None => self.aggregators.iter().map(|one| one.address.to_string()).collect(),
        };
        let security = if tls {
            let (ca, token) = (self.path("ca.pem"), self.path("token"));
            let (ca, token) = (ca.display(), token.display());
            format!(", tls: {{ca: {ca}, server_name: {NAME}}}, token: {token}")
        } else {
            String::new()
        };
        let text = format!(
            "cluster: {CLUSTER}\nnode: {}\ndata_dir: {}\nhttp: 127.0.0.1:0\nhold: {{free_percent: 0}}\n\
             aggregator: {{address: \"{}\"{security}}}\ncontainers:\n  path: {}\n{}",
            member.name,
            self.path(&format!("{}-data", member.name)).display(),
            addresses.join(","),
            member.node.pods().display(),
            member.settings,
        );
        fs::write(self.path(&format!("{}.yaml", member.name)), text).unwrap();
    }

    /// Starts every program that does not run.
    pub fn start(&mut self) {
        for number in 0..self.aggregators.len() {
            self.start_aggregator(number);
        }
        for number in 0..self.nodes.len() {
            self.start_forwarder(number);
        }
    }

    /// Starts an aggregator, if it does not run.
    pub fn start_aggregator(&mut self, number: usize) {
        if self.aggregators[number].process.is_none() {
            let config = self.path(&format!("aggregator-{number}.yaml"));
            let mut command = Command::new(programs::aggregator());
            command.args(["run", "--config"]).arg(config);
            let process = self.spawn(&mut command, &format!("aggregator-{number}"));
            self.aggregators[number].process = Some(process);
        }
    }

    /// Starts a forwarder, if it does not run.
    pub fn start_forwarder(&mut self, number: usize) {
        if self.nodes[number].forwarder.is_none() {
            self.nodes[number].forwarder = Some(self.another_forwarder(number));
        }
    }

    fn another_forwarder(&mut self, number: usize) -> Process {
        let config = self.path(&format!("{}.yaml", self.nodes[number].name));
        let mut command = Command::new(programs::forwarder());
        command.args(["run", "--config"]).arg(config);
        self.spawn(&mut command, &format!("forwarder-{number}"))
    }

    /// Starts a second forwarder of a node, as a rolling update with a surge does.
    pub fn start_successor(&mut self, number: usize) {
        self.nodes[number].successor = Some(self.another_forwarder(number));
    }

    /// SIGTERM to a node's first forwarder, once the second has found the place taken.
    pub fn ask_for_hand_over(&mut self, number: usize) {
        let member = &mut self.nodes[number];
        let successor = member.successor.as_ref().expect("there is a second");
        eventually("the second stands by", || match successor.log() {
            log if log.contains("standing by") => Ok(()),
            log => Err(log),
        });
        member.forwarder.as_ref().expect("there is a first").ask_to_end();
    }

    /// Waits for the end of the first: the second is the node's forwarder from now on.
    pub fn finish_hand_over(&mut self, number: usize) {
        let member = &mut self.nodes[number];
        let mut first = member.forwarder.take().expect("there was a first");
        assert!(first.ended_within(PATIENCE).success(), "{}", first.log_tail());
        member.forwarder = member.successor.take();
    }

    fn spawn(&mut self, command: &mut Command, name: &str) -> Process {
        self.starts += 1;
        let name = format!("{name}-{}", self.starts);
        Process::start(command, self.directory.path(), &name)
    }

    /// `kill -9` of a forwarder.
    pub fn kill_forwarder(&mut self, number: usize) {
        if let Some(mut process) = self.nodes[number].forwarder.take() {
            process.kill();
        }
    }

    /// `kill -9` of an aggregator, which is asked before what it did, if it can answer.
    pub fn kill_aggregator(&mut self, number: usize) {
        if let Some(mut process) = self.aggregators[number].process.take() {
            if process.stdout().contains("listening on") {
                let metrics = Metrics::scrape(process.http_address());
                self.told.add(metrics.as_ref());
            }
            process.kill();
        }
    }

    /// The running aggregator.
    pub fn aggregator(&mut self, number: usize) -> &mut Process {
        self.aggregators[number].process.as_mut().expect("it does not run")
    }

    /// The running forwarder.
    pub fn forwarder(&mut self, number: usize) -> &mut Process {
        self.nodes[number].forwarder.as_mut().expect("it does not run")
    }

    /// The metrics of a running forwarder, over the socket in its data directory; None while nobody answers there.
    #[must_use]
    pub fn forwarder_metrics(&self, number: usize) -> Option<Metrics> {
        let data = self.path(&format!("{}-data", self.nodes[number].name));
        let answer = http::get_at_socket(&data.join("forwarder.sock"), "/metrics").ok()?;
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        (answer.status == 200).then(|| Metrics::of(text))
    }

    /// Waits until each aggregator that was started listens.
    pub fn wait_for_aggregators(&mut self) {
        for process in self.aggregators.iter_mut().filter_map(|one| one.process.as_mut()) {
            assert_ne!(process.address_after("listening on").port(), 0);
        }
    }

    /// Where an aggregator receives.
    #[must_use]
    pub fn receiving_on(&self, number: usize) -> SocketAddr {
        self.aggregators[number].address
    }

    /// What all nodes wrote.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Waits until the server holds as many documents as lines were written.
    pub fn caught_up(&self, server: &Server, patience: Duration) {
        let written = self.ledger.written() as u64;
        eventually_within(patience, &format!("{written} lines are indexed"), || {
            let count = server.try_count()?;
            if count >= written { Ok(()) } else { Err(format!("{count} documents")) }
        });
    }

    /// Waits until at least half of what is written now is there: delivery goes on.
    pub fn caught_up_half(&self, server: &Server) {
        let half = self.ledger.written() as u64 / 2;
        eventually_within(Duration::from_secs(120), "delivery goes on", || {
            let count = server.try_count()?;
            if count >= half { Ok(()) } else { Err(format!("{count} documents of {half}")) }
        });
    }

    /// The same of a sink that stands in for a server.
    pub fn caught_up_in(&self, sink: &BulkSink, patience: Duration) {
        let written = self.ledger.written();
        eventually_within(patience, &format!("{written} lines are indexed"), || {
            let count = sink.stored();
            if count >= written { Ok(()) } else { Err(format!("{count} documents")) }
        });
    }

    /// Everything read back from all indices, judged and printed; what was sent again is what aggregators told of it.
    #[must_use]
    pub fn judge(&mut self, server: &Server, story: &str) -> (Verdict, Again) {
        let again = self.again();
        let documents = export_all(server);
        let verdict = self.ledger.judge(documents.iter().map(crate::export::Document::indexed));
        verdict.print(story, Some(again));
        (verdict, again)
    }

    /// What was sent again, as aggregators told of it.
    pub fn again(&mut self) -> Again {
        let mut told = self.told;
        for aggregator in &mut self.aggregators {
            if let Some(process) = &mut aggregator.process {
                told.add(Some(&process.metrics()));
            }
        }
        Again {
            bytes: told.duplicates * told.bytes / told.records.max(1),
            duplicates: told.duplicates,
        }
    }

    /// SIGTERM to every program: each must end well.
    pub fn stop(&mut self) {
        for member in &mut self.nodes {
            if let Some(mut forwarder) = member.forwarder.take() {
                assert!(forwarder.terminate().success(), "{}", forwarder.log_tail());
            }
        }
        for aggregator in &mut self.aggregators {
            if let Some(mut process) = aggregator.process.take() {
                assert!(process.terminate().success(), "{}", process.log_tail());
            }
        }
    }
}

impl Told {
    fn add(&mut self, metrics: Option<&Metrics>) {
        let Some(metrics) = metrics else { return };
        let outcome = |of| metrics.count("naru_aggregator_documents_total", of);
        self.records += metrics.count("naru_aggregator_records_total", "");
        self.bytes += metrics.count("naru_aggregator_bytes_raw_total", "");
        self.indexed += outcome("outcome=\"indexed\"");
        self.duplicates += outcome("outcome=\"duplicate\"");
    }
}
