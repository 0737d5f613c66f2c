//! What answers a search: few at a time, none for ever, off the runtime.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use super::request::{SearchPage, SearchRequest};
use crate::store::{SearchFailure, Store};

/// Searches answered at once: one core of a small machine stays free for what delivers.
const MAX_CONCURRENT: usize = 2;
/// Searches that wait for their turn; more are refused.
const MAX_WAITING: usize = 32;
/// A search over a month of logs takes seconds; nobody waits longer than this.
const TIME_LIMIT: Duration = Duration::from_secs(30);

/// Answers searches from the embedded store.
#[derive(Debug, Clone)]
pub struct Backend {
    store: Arc<Store>,
    running: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    time_limit: Duration,
}

/// Why a search has no answer.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    /// It took too long.
    #[error("the search took longer than {} s; a shorter time range or a rarer word is faster", .0.as_secs())]
    TimeLimit(Duration),
    /// It asks for too much.
    #[error("`{0}*` begins too many words for a phrase; write more of the word")]
    TooBroad(String),
    /// Too many others wait.
    #[error("too many searches are waiting; try again")]
    Busy,
    /// The store failed.
    #[error("the search failed: {0}")]
    Failed(String),
}

impl Backend {
    /// Answers from this store.
    #[must_use]
    pub fn new(store: Arc<Store>) -> Self {
        Self {
            store,
            running: Arc::new(Semaphore::new(MAX_CONCURRENT)),
            waiting: Arc::new(Semaphore::new(MAX_WAITING)),
            time_limit: TIME_LIMIT,
        }
    }

    /// Has a search answered.
    ///
    /// # Errors
    /// Says why there is no answer.
    pub async fn search(&self, request: SearchRequest) -> Result<SearchPage, SearchError> {
        let deadline = Instant::now() + self.time_limit;
        let _place = self.waiting.try_acquire().map_err(|_| SearchError::Busy)?;
        let turn = Arc::clone(&self.running).acquire_owned();
        let turn = match tokio::time::timeout_at(deadline.into(), turn).await {
            Ok(Ok(turn)) => turn,
            Ok(Err(_)) => return Err(SearchError::Busy),
            Err(_) => return Err(SearchError::TimeLimit(self.time_limit)),
        };
        let store = Arc::clone(&self.store);
        let answer = tokio::task::spawn_blocking(move || {
            // The turn ends with the work, also when nobody waits for the answer any more.
            let _turn = turn;
            store.search(&request, deadline)
        });
        match answer.await {
            Ok(Ok(page)) => Ok(page),
            Ok(Err(SearchFailure::Deadline)) => Err(SearchError::TimeLimit(self.time_limit)),
            Ok(Err(SearchFailure::TooBroad(prefix))) => Err(SearchError::TooBroad(prefix)),
            Err(panic) => Err(SearchError::Failed(panic.to_string())),
        }
    }
}
