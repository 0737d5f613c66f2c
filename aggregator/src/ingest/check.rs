//! The check before a batch is handed over: CPU work, off the runtime's threads and on no more threads than cores.

use std::sync::{Arc, Mutex, PoisonError};

use naru_proto::batch::{self, BatchError};
use naru_proto::wire;
use tokio::sync::Semaphore;
use zstd_safe::DCtx;

use crate::decode::decodable;

/// Checks batches; keeps a decompression context for each thread that may.
pub(super) struct Checker {
    turns: Arc<Semaphore>,
    contexts: Arc<Mutex<Vec<DCtx<'static>>>>,
}

/// Why a batch is not handed over.
pub(super) enum Unchecked {
    /// It is bad.
    Bad(BatchError),
    /// The check itself failed, which is a defect of ours.
    Failed,
}

impl Checker {
    pub(super) fn new(threads: usize) -> Self {
        Self { turns: Arc::new(Semaphore::new(threads.max(1))), contexts: Arc::default() }
    }

    /// Gives the batch back if it is what it says it is.
    pub(super) async fn check(
        &self,
        node: Arc<str>,
        batch: wire::Batch,
    ) -> Result<wire::Batch, Unchecked> {
        let Ok(turn) = Arc::clone(&self.turns).acquire_owned().await else {
            return Err(Unchecked::Failed);
        };
        let contexts = Arc::clone(&self.contexts);
        let checking = tokio::task::spawn_blocking(move || {
            let kept = contexts.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let mut context = kept.unwrap_or_else(DCtx::create);
            let checked = batch::check(&mut context, &batch, &node, decodable);
            contexts.lock().unwrap_or_else(PoisonError::into_inner).push(context);
            drop(turn);
            checked.map(|()| batch)
        });
        match checking.await {
            Ok(checked) => checked.map_err(Unchecked::Bad),
            Err(error) => {
                tracing::error!(%error, "check a batch");
                Err(Unchecked::Failed)
            }
        }
    }
}
