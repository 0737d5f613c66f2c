//! From the streams into the queue: each batch is answered when its own commit is durable.

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::ingest::{Intake, IntakeResult};
use crate::queue::{AppendError, Queue, StoredBatch};

/// Hands the batches of all streams to the queue; each answer waits for its own commit.
pub(super) async fn append_all(mut waiting: mpsc::Receiver<Intake>, queue: Arc<Queue>) {
    while let Some(intake) = waiting.recv().await {
        let Intake { node, received_ms, batch, done } = intake;
        let append = queue.append(StoredBatch {
            node,
            received_ms,
            records: batch.records,
            raw_bytes: batch.raw_bytes,
            crc32c: batch.crc32c,
            body: batch.body,
        });
        tokio::spawn(async move {
            let result = match append.await {
                Ok(_) => IntakeResult::Durable,
                Err(AppendError::Full { retry_after, .. }) => {
                    let retry_ms = u32::try_from(retry_after.as_millis()).unwrap_or(u32::MAX);
                    IntakeResult::Busy { retry_ms }
                }
                Err(
                    error @ (AppendError::TooLarge | AppendError::Commit(_) | AppendError::Closed),
                ) => {
                    tracing::error!(%error, "a batch could not be queued; it is not acknowledged");
                    IntakeResult::Busy { retry_ms: 1000 }
                }
            };
            // The stream may be gone; the batch is safe either way.
            done.send(result).ok();
        });
    }
}
