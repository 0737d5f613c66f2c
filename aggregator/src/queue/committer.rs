//! The committer: one thread that gathers what waits, commits it with one fdatasync, and only then
//! acknowledges all of it.
//!
//! Batches gather while the commit before is on its way to the disk; it does not linger for more
//! (measured: docs/decisions/0001).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

use super::Shared;
use super::entry::{Entry, Sequence, StoredBatch};
use super::intake::Waiting;
use super::part::Kind;
use super::segment::StorageError;
use super::writer::{Commit, Writer};

/// One entry takes batches up to this, or one larger batch alone.
const ENTRY_MAX_BYTES: usize = 1 << 20;
/// Bounds the acknowledgements of one commit where batches are tiny.
const ENTRY_MAX_BATCHES: usize = 1024;
/// Appends that wait to be gathered. Of batches of 1 MiB, they are the aggregator's byte pool.
pub(super) const WAITING_MAX_BATCHES: usize = 64;

/// A batch that waits for its commit.
pub(super) struct Request {
    pub(super) batch: StoredBatch,
    pub(super) ack: oneshot::Sender<Result<Sequence, CommitError>>,
    /// Held until the batch is written, or not.
    pub(super) waiting: Waiting,
}

/// The commit that a batch was in failed: nothing of it may be acknowledged.
#[derive(Debug, Clone, Error)]
#[error("the commit failed")]
pub struct CommitError(#[source] Arc<StorageError>);

/// The committer's own state.
pub(super) struct Committer {
    shared: Arc<Shared>,
    writer: Writer,
    requests: mpsc::Receiver<Request>,
    /// Did not fit into the entry before.
    held: Option<Request>,
    body: Vec<u8>,
}

impl Committer {
    pub(super) fn new(
        shared: Arc<Shared>,
        writer: Writer,
        requests: mpsc::Receiver<Request>,
    ) -> Self {
        Self { shared, writer, requests, held: None, body: Vec::new() }
    }

    /// Commits until the last sender is gone.
    pub(super) fn run(mut self) {
        while let Some(first) = self.held.take().or_else(|| self.requests.blocking_recv()) {
            let group = self.gather(first);
            self.shared.intake.commit_began();
            self.commit(group);
            self.shared.intake.commit_ended();
        }
    }

    fn gather(&mut self, first: Request) -> Vec<Request> {
        let mut bytes = first.batch.stored_bytes();
        let mut group = vec![first];
        while group.len() < ENTRY_MAX_BATCHES
            && let Ok(request) = self.requests.try_recv()
        {
            bytes += request.batch.stored_bytes();
            if bytes > ENTRY_MAX_BYTES {
                self.held = Some(request);
                break;
            }
            group.push(request);
        }
        group
    }

    fn commit(&mut self, group: Vec<Request>) {
        let (batches, waiters): (Vec<_>, Vec<_>) = group
            .into_iter()
            .map(|request| (request.batch, (request.ack, request.waiting)))
            .unzip();
        let count = batches.len();
        let entry = Entry { metadata: Vec::new(), batches };
        self.body.clear();
        entry.encode(&mut self.body);
        drop(entry);
        let result = self.writer.commit(&Commit {
            kind: Kind::Batches,
            batches: count as u16,
            committed_ms: now_ms(),
            body: &self.body,
        });
        // One oversized batch must not be remembered for ever.
        self.body.shrink_to(2 * ENTRY_MAX_BYTES);
        self.shared.intake.set_queue_bytes(self.shared.chain.bytes());
        let result = match result {
            Ok(sequence) => {
                self.shared.leases.committed(sequence, count as u64);
                Ok(sequence)
            }
            Err(error) => {
                tracing::error!(?error, batches = count, "a commit failed; not acknowledged");
                self.shared.failed_commits.fetch_add(1, Ordering::Relaxed);
                Err(CommitError(Arc::new(error)))
            }
        };
        for (ack, waiting) in waiters {
            drop(waiting);
            // Whoever asked may be gone; the batch is in the queue all the same.
            ack.send(result.clone()).ok();
        }
    }
}

/// Milliseconds since 1970; 0 before.
pub(super) fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}
