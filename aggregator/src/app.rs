//! `naru-aggregator run`: receives from the forwarders of a cluster and delivers to Elasticsearch, until it is told to stop.

use std::path::Path;
use std::time::Duration;

use prometheus_client::registry::Registry;

use crate::config::Config;
use crate::deliver::Destination;
use crate::elasticsearch::client::{Client, ClientError};
use crate::elasticsearch::namespaces::Namespaces;
use crate::elasticsearch::search::Search;
use crate::elasticsearch::{Indices, Settings};
use crate::search::backend::Backend;
use crate::stages::{Extra, Plan, StageError, Stages, Storage, listen};

/// With the 5 s that streams may take to end it is less than the 30 s that Kubernetes gives a pod.
const DELIVERY_GRACE: Duration = Duration::from_secs(20);

/// Why it did not start, or ended although nobody asked it to.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// See [`StageError`].
    #[error(transparent)]
    Stage(#[from] StageError),
    /// See [`ClientError`].
    #[error("elasticsearch: {0}")]
    Client(#[from] ClientError),
}

/// Runs until `shutdown`, then drains.
///
/// # Errors
/// See [`RunError`].
pub async fn run(config: Config, shutdown: impl Future<Output = ()>) -> Result<(), RunError> {
    config.security.allows(config.listen).map_err(StageError::from)?;
    let settings = config.elasticsearch;
    let client = Client::new(&settings)?;
    // Whoever reaches the port may ask: beyond loopback there are probes and metrics only.
    let search =
        config.http.ip().is_loopback().then(|| {
            Backend::elasticsearch(Search::new(client.clone(), settings.index.wildcard()))
        });
    // Ports first: nothing is opened by a process that cannot serve.
    let http = listen(config.http).await?;
    let grpc = listen(config.listen).await?;
    let plan = Plan {
        cluster: config.cluster.clone(),
        data_dir: config.data_dir.clone(),
        queue_max_bytes: config.queue_max_bytes,
        retain: config.retain,
        parked: Some(config.parked.clone()),
        letters_max_bytes: config.letters_max_bytes,
        letters_max_age: config.letters_max_age,
        security: config.security.clone(),
        excluded: config.excluded.clone(),
        delivery_grace: DELIVERY_GRACE,
    };
    let storage = Storage::open(&plan)?;
    let indices = indices(&settings, &plan.data_dir)?;
    let destination = Destination::Elasticsearch(Box::new(settings.clone()), client, indices);
    let mut registry = Registry::default();
    let mut stages = Stages::start(&plan, storage, destination, grpc, &mut registry)?;
    let extra = Extra { search, not_ready: Box::new(|| None), refresh: Box::new(|| ()) };
    let receiving_on = stages.receiving_on();
    let listening_on = stages.serve(http, registry, extra)?;
    println!("keeping   {}", config.data_dir.display());
    println!("receiving on {receiving_on}");
    println!("listening on http://{listening_on}");
    tracing::info!(
        cluster = config.cluster,
        %receiving_on,
        hosts = ?settings.hosts,
        "started"
    );
    let ended = tokio::select! {
        () = shutdown => Ok(()),
        error = stages.ended() => Err(error.into()),
    };
    stages.stop().await;
    ended
}

/// In a data directory that is taken.
fn indices(settings: &Settings, data_dir: &Path) -> Result<Indices, StageError> {
    let file = data_dir.join("namespaces");
    let namespaces = Namespaces::open(&file, settings.max_namespaces)
        .map_err(|source| StageError::DataDir { path: file, source })?;
    Ok(Indices::new(settings.index.clone(), namespaces))
}
