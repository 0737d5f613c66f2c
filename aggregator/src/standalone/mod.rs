//! `naru-aggregator standalone`: forwarder, aggregator and store in one process, nothing else to run.
//!
//! The same stages as in a cluster, over loopback: what works here works there. This module wires them, in the order in
//! which a line passes them, and stops them in the same order. It is the only one that knows the forwarder.

mod demo;
mod metrics;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use naru_forwarder::app::Forwarder;
use naru_forwarder::config::{Config as ForwarderConfig, Containers, Hold, Input, default_node};
use naru_forwarder::connect::Target;
use naru_forwarder::discover::host::HostPattern;
use prometheus_client::registry::Registry;

use crate::deliver::Destination;
use crate::ingest::Security;
use crate::queue::Retain;
use crate::search::backend::Backend;
use crate::stages::{Extra, Plan, StageError, Stages, Storage, listen, spawn};
use crate::store::{Store, StoreConfig};

/// Part of every document's id; a data directory belongs to one.
const CLUSTER: &str = "default";
/// What the store may take of the disk.
const STORE_MAX_BYTES: u64 = 10 << 30;
const QUEUE_MAX_BYTES: u64 = 20 << 30;
const LETTERS_MAX_BYTES: u64 = 1 << 30;
/// How long a stop may take to deliver what is queued; the rest is delivered at the next start.
const DELIVERY_GRACE: Duration = Duration::from_secs(10);
const PODS_DIR: &str = "/var/log/pods";
const HOST_FILES: [&str; 3] = ["/var/log/*.log", "/var/log/syslog", "/var/log/messages"];

/// The command's arguments.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Where everything is kept: positions, queue, index.
    #[arg(long, value_name = "DIR", default_value = "./naru-data")]
    data_dir: PathBuf,
    /// The kubelet's log directory [default: /var/log/pods where it exists].
    #[arg(long, value_name = "DIR")]
    pods_dir: Option<PathBuf>,
    /// Log files of the host, a path or a pattern; may be repeated
    /// [default: /var/log/*.log, syslog and messages, unless --pods-dir or --demo is given].
    #[arg(long = "files", value_name = "GLOB")]
    files: Vec<String>,
    /// Where search, probes and metrics are served.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7480")]
    http: SocketAddr,
    /// Write a few pods' logs below the data directory and tail those.
    #[arg(long)]
    demo: bool,
    /// Build documents and forget them, to measure what the rest costs.
    #[arg(long, hide = true)]
    discard: bool,
}

/// What is tailed.
struct Inputs {
    pods_dir: Option<PathBuf>,
    files: Vec<HostPattern>,
}

/// Why it did not start, or ended although nobody asked it to.
#[derive(Debug, thiserror::Error)]
pub enum StandaloneError {
    /// An argument that makes no sense.
    #[error("{0}")]
    Argument(String),
    /// See [`StageError`].
    #[error(transparent)]
    Stage(#[from] StageError),
    /// See [`crate::store::StoreError`].
    #[error("cannot open the store: {0}")]
    Store(#[from] crate::store::StoreError),
    /// See [`naru_forwarder::app::StartError`].
    #[error("cannot start the forwarder: {0}")]
    Forwarder(#[from] naru_forwarder::app::StartError),
    /// See [`naru_forwarder::app::RunError`].
    #[error("{0}; what is queued is safe, start again")]
    Ended(#[from] naru_forwarder::app::RunError),
}

/// Runs until `shutdown`, then drains.
///
/// # Errors
/// See [`StandaloneError`].
pub async fn run(
    arguments: Arguments,
    shutdown: impl Future<Output = ()>,
) -> Result<(), StandaloneError> {
    let data_dir = absolute(&arguments.data_dir)?;
    let inputs = inputs(&arguments, &data_dir)?;
    // Ports first: nothing is opened by a process that cannot serve.
    let http = listen(arguments.http).await?;
    let grpc = listen(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    let plan = Plan {
        cluster: CLUSTER.to_owned(),
        data_dir: data_dir.clone(),
        queue_max_bytes: QUEUE_MAX_BYTES,
        retain: Retain::default(),
        // The store takes everything, or nothing.
        parked: None,
        letters_max_bytes: LETTERS_MAX_BYTES,
        letters_max_age: None,
        security: Security::loopback(),
        excluded: Vec::new(),
        delivery_grace: DELIVERY_GRACE,
    };
    let storage = Storage::open(&plan)?;
    let store = Arc::new(Store::open(StoreConfig {
        dir: data_dir.join("store"),
        retention_max_bytes: STORE_MAX_BYTES,
        retention_max_age: None,
    })?);
    let destination = match arguments.discard {
        true => Destination::Discard,
        false => Destination::Store(Arc::clone(&store)),
    };
    let mut registry = Registry::default();
    let mut stages = Stages::start(&plan, storage, destination, grpc, &mut registry)?;
    let receiving_on = stages.receiving_on();
    let forwarder = Forwarder::start(
        ForwarderConfig {
            cluster: CLUSTER.to_owned(),
            node: default_node(&|name| std::env::var(name).ok()),
            data_dir: data_dir.join("forwarder"),
            aggregator: Target::plain(receiving_on.to_string()),
            containers: inputs.pods_dir.as_deref().map(Containers::at),
            files: inputs.files.iter().cloned().map(Input::from).collect(),
            since: None,
            hold: Hold::default(),
            http: None,
        },
        &mut registry,
    )?;
    let gauges = metrics::StoreGauges::register(&mut registry, &store);
    let health = forwarder.health.clone();
    let extra = Extra {
        search: Some(Backend::new(store)),
        not_ready: Box::new(move || health.not_ready()),
        refresh: Box::new(move || gauges.refresh()),
    };
    let listening_on = stages.serve(http, registry, extra)?;
    introduce(&inputs, listening_on, receiving_on, &data_dir);
    let stop_demo = Arc::new(AtomicBool::new(false));
    if arguments.demo {
        demonstrate(inputs.pods_dir.unwrap_or_default(), Arc::clone(&stop_demo))?;
    }
    let ended = tokio::select! {
        ended = forwarder.run(shutdown) => ended.map_err(StandaloneError::from),
        error = stages.ended() => Err(error.into()),
    };
    stop_demo.store(true, Ordering::Release);
    stages.stop().await;
    ended
}

fn demonstrate(root: PathBuf, stop: Arc<AtomicBool>) -> Result<(), StageError> {
    spawn("demo", move || {
        if let Err(error) = demo::write(&root, &stop) {
            tracing::warn!(%error, path = %root.display(), "the demonstration cannot write");
        }
    })
}

fn inputs(arguments: &Arguments, data_dir: &Path) -> Result<Inputs, StandaloneError> {
    let pods_dir = match (&arguments.pods_dir, arguments.demo) {
        (Some(_), true) => {
            return Err(StandaloneError::Argument(
                "--demo tails its own logs; leave out --pods-dir".to_owned(),
            ));
        }
        (None, true) => Some(data_dir.join("demo")),
        (Some(path), false) => Some(absolute(path)?),
        (None, false) => Some(PathBuf::from(PODS_DIR)).filter(|path| path.is_dir()),
    };
    let chosen = arguments.pods_dir.is_some() || arguments.demo || !arguments.files.is_empty();
    let defaults = HOST_FILES.map(str::to_owned);
    let texts = if chosen { &arguments.files[..] } else { &defaults[..] };
    let files = texts.iter().map(|text| {
        let path = absolute(Path::new(text))?;
        HostPattern::new(&path.to_string_lossy())
            .map_err(|error| StandaloneError::Argument(format!("--files {text:?}: {}", error.msg)))
    });
    Ok(Inputs { pods_dir, files: files.collect::<Result<_, _>>()? })
}

/// Says what is tailed, where it listens, and what to try.
fn introduce(inputs: &Inputs, http: SocketAddr, grpc: SocketAddr, data_dir: &Path) {
    if let Some(pods_dir) = &inputs.pods_dir {
        println!("tailing   {}", pods_dir.display());
    }
    for pattern in &inputs.files {
        println!("tailing   {}", pattern.as_str());
    }
    println!("keeping   {}", data_dir.display());
    println!("receiving on {grpc}");
    println!("listening on http://{http}");
    println!("try       naru-aggregator search --url http://{http} 'error OR warn'");
}

fn absolute(path: &Path) -> Result<PathBuf, StageError> {
    std::path::absolute(path)
        .map_err(|source| StageError::DataDir { path: path.to_path_buf(), source })
}
