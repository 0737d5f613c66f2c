//! The aggregator's delivery alone, in this process: a real queue, real dead letters, and whatever stands for Elasticsearch.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use naru_aggregator::deliver::{Delivery, Destination, Metrics, Parked, ParkedConfig, Trouble};
use naru_aggregator::elasticsearch::client::Client;
use naru_aggregator::elasticsearch::namespaces::Namespaces;
use naru_aggregator::elasticsearch::{Host, Indices, Settings};
use naru_aggregator::queue::{Letter, Letters, LettersConfig, Queue, QueueConfig, StoredBatch};
use naru_proto::body::BodyWriter;
use naru_proto::frame::{Container, Ends, Extent, Flags, Format, Frame, Source, Writer};
use naru_proto::ids::{ClusterKey, FileId};
use naru_proto::time::format_rfc3339_ns;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tempfile::TempDir;
use tokio::runtime::{self, Runtime};

use crate::eventually::eventually;
use crate::metrics::Metrics as Sampled;
use crate::rig::CLUSTER;

/// 2026-11-22T00:30:00Z.
const START_NS: i64 = 1_795_307_400_000_000_000;
const GRACE: Duration = Duration::from_secs(5);
const NAMESPACE: &str = "shop";

/// A queue whose entries are delivered; dropping it stops it where it is.
pub struct Delivering {
    queue: Queue,
    letters: Letters,
    parked: Option<Parked>,
    delivered: Metrics,
    registry: Registry,
    /// Why it waits.
    pub trouble: Trouble,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    runtime: Runtime,
    written: u64,
    offset: u64,
    day: i64,
    step_ns: i64,
    namespace: String,
    directory: TempDir,
}

/// Settings for one host, with what makes a test short.
#[must_use]
pub fn settings(url: &str) -> Settings {
    Settings {
        request_timeout: Duration::from_secs(5),
        ..Settings::new(vec![Host::parse(url).unwrap()])
    }
}

impl Delivering {
    /// Begins to deliver what will be appended.
    #[must_use]
    pub fn start(settings: Settings) -> Self {
        Self::start_with(settings, [])
    }

    /// The same when these are in the queue before: a backlog.
    #[must_use]
    pub fn start_with(settings: Settings, backlog: impl IntoIterator<Item = StoredBatch>) -> Self {
        Self::start_as(settings, backlog, None)
    }

    /// What waits for its index is parked; the defaults may be changed before.
    #[must_use]
    pub fn start_parking(settings: Settings, change: impl FnOnce(&mut ParkedConfig)) -> Self {
        let mut config = ParkedConfig { reserve_percent: 0, ..ParkedConfig::new("") };
        change(&mut config);
        Self::start_as(settings, [], Some(config))
    }

    fn start_as(
        settings: Settings,
        backlog: impl IntoIterator<Item = StoredBatch>,
        parking: Option<ParkedConfig>,
    ) -> Self {
        // Whoever installed one before is right as well.
        drop(rustls::crypto::ring::default_provider().install_default());
        let directory = tempfile::tempdir().unwrap();
        let runtime = runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let (queue, letters) = open(directory.path());
        for batch in backlog {
            runtime.block_on(queue.append(batch)).unwrap();
        }
        let metrics = Metrics::default();
        let mut registry = Registry::default();
        metrics.register(registry.sub_registry_with_prefix("naru_aggregator"));
        let client = Client::new(&settings).unwrap();
        let trouble = Trouble::default();
        let file = directory.path().join("namespaces");
        let namespaces = Namespaces::open(&file, settings.max_namespaces).unwrap();
        let indices = Indices::new(settings.index.clone(), namespaces);
        let destination = Destination::Elasticsearch(Box::new(settings), client, indices);
        let mut delivery = Delivery::new(
            queue.reader().unwrap(),
            ClusterKey::of(CLUSTER),
            destination,
            letters.clone(),
            metrics.clone(),
            trouble.clone(),
        );
        let parked = parking.map(|config| {
            Parked::open(ParkedConfig { dir: directory.path().join("parked"), ..config }).unwrap()
        });
        if let Some(parked) = &parked {
            delivery = delivery.parking(parked.clone());
        }
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || delivery.run(&stopped, GRACE));
        Self {
            queue,
            letters,
            parked,
            delivered: metrics,
            registry,
            trouble,
            stop,
            thread: Some(thread),
            runtime,
            written: 0,
            offset: 0,
            day: 0,
            step_ns: 1_000_000,
            namespace: NAMESPACE.to_owned(),
            directory,
        }
    }

    /// Appends a batch with one line for each text; it is durable on return.
    pub fn append<'a>(&mut self, texts: impl IntoIterator<Item = &'a str>) {
        let mut bytes = String::new();
        let mut records = 0;
        for text in texts {
            let start_ns = START_NS + self.day * 86_400_000_000_000;
            let time = format_rfc3339_ns(start_ns + self.written as i64 * self.step_ns);
            writeln!(bytes, "{} stdout F {text}", String::from_utf8_lossy(&time)).unwrap();
            self.written += 1;
            records += 1;
        }
        let batch = batch_of(&self.namespace, self.offset, bytes.as_bytes(), records);
        self.offset += bytes.len() as u64;
        self.runtime.block_on(self.queue.append(batch)).unwrap();
    }

    /// What is appended from now on is of so many days after 2026-11-22, and in that day's index.
    pub fn set_day(&mut self, day: i64) {
        self.day = day;
    }

    /// Between the times of two lines that are appended from now on.
    pub fn set_step_ns(&mut self, step_ns: i64) {
        self.step_ns = step_ns;
    }

    /// What is appended from now on is of a container in this namespace.
    pub fn set_namespace(&mut self, namespace: &str) {
        namespace.clone_into(&mut self.namespace);
    }

    /// Appends `count` numbered lines, some hundred a batch.
    pub fn append_numbered(&mut self, count: usize) {
        let texts: Vec<String> =
            (0..count).map(|n| format!("line {}", self.written + n as u64)).collect();
        for texts in texts.chunks(300) {
            self.append(texts.iter().map(String::as_str));
        }
    }

    /// Lines so far.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Whether each entry has completed.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.queue.stats().entries == 0
    }

    /// Entries that are not completed.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.queue.stats().entries
    }

    /// The side chains that are on the disk.
    #[must_use]
    pub fn chains(&self) -> Vec<String> {
        let Ok(chains) = std::fs::read_dir(self.directory.path().join("parked")) else {
            return Vec::new();
        };
        chains.map(|chain| chain.unwrap().file_name().into_string().unwrap()).collect()
    }

    /// What was given up.
    #[must_use]
    pub fn letters(&self) -> Vec<Letter> {
        self.letters.iter().map(|(_, letter)| letter).collect()
    }

    /// Waits until each line has its outcome.
    pub fn drained(&self) {
        eventually("the queue is drained", || {
            if self.is_drained() { Ok(()) } else { Err(format!("{:?}", self.trouble.reason())) }
        });
    }

    /// Waits until it says that it waits, and why.
    #[must_use]
    pub fn waits_because(&self, words: &[&str]) -> String {
        eventually(&format!("it waits because of {words:?}"), || {
            let reason = self.trouble.reason().unwrap_or_default();
            if words.iter().all(|word| reason.contains(word)) { Ok(reason) } else { Err(reason) }
        })
    }

    /// What it counts.
    #[must_use]
    pub fn metrics(&self) -> Sampled {
        if let Some(parked) = &self.parked {
            parked.refresh(&self.delivered);
        }
        let mut text = String::new();
        encode(&mut text, &self.registry).unwrap();
        Sampled::of(text)
    }

    /// Stops it; what is not delivered stays in the queue.
    pub fn stop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Delivering {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

/// A batch of whole CRI lines that begin at an offset of the only file there is.
#[must_use]
pub fn batch(offset: u64, lines: &[u8], records: u32) -> StoredBatch {
    batch_of(NAMESPACE, offset, lines, records)
}

fn batch_of(namespace: &str, offset: u64, lines: &[u8], records: u32) -> StoredBatch {
    let mut body = BodyWriter::default();
    body.push(&header(namespace, offset, lines.len() as u64), lines);
    let raw_bytes = body.raw_bytes() as u32;
    let body = Bytes::from(body.finish());
    StoredBatch {
        node: "node-1".to_owned(),
        received_ms: 1_795_307_400_000,
        records,
        raw_bytes,
        crc32c: crc32c::crc32c(&body),
        body,
    }
}

fn open(directory: &Path) -> (Queue, Letters) {
    let (queue, _) = Queue::open(QueueConfig::new(directory.join("queue"))).unwrap();
    let letters = Letters::open(LettersConfig::new(directory.join("letters"), 1 << 30)).unwrap();
    (queue, letters)
}

fn header(namespace: &str, start: u64, length: u64) -> naru_proto::wire::Frame {
    let container = Container {
        namespace: namespace.into(),
        pod: "web-0".into(),
        pod_uid: "0f0e8b9e-6d3b-4c0e-9d53-0123456789ab".into(),
        container: "web".into(),
        restart: 0,
    };
    let frame = Frame {
        source: Source { node: "node-1".into(), writer: Writer::Container(container) },
        format: Format::Cri,
        extents: vec![Extent { file: FileId([7; 12]), start, length }],
        ends: Ends::Lines,
        id_time_ns: None,
        read_time_ns: None,
        iostream: None,
        line_start: None,
        container_id: String::new(),
        flags: Flags::default(),
        bytes: Bytes::new(),
    };
    frame.into()
}
