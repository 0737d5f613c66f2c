//! What answers a search: few at a time, none for ever, off the runtime.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::histogram::{Histogram, HistogramRequest, TooManyBuckets};
use super::request::{SearchPage, SearchRequest};
use crate::elasticsearch::search as elasticsearch;
use crate::store::{self, Store};

/// Searches that the store answers at once: one core of a small machine stays free for what delivers.
const STORE_CONCURRENT: usize = 2;
/// Searches that Elasticsearch is asked at once: each holds a page or two of memory here.
const ELASTICSEARCH_CONCURRENT: usize = 8;
/// Searches that wait for their turn; more are refused.
const MAX_WAITING: usize = 32;
/// A search over a month of logs takes seconds; nobody waits longer than this.
const TIME_LIMIT: Duration = Duration::from_secs(30);

/// Answers searches.
#[derive(Debug, Clone)]
pub struct Backend {
    holder: Holder,
    running: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    time_limit: Duration,
}

/// What holds the documents.
#[derive(Debug, Clone)]
enum Holder {
    Store(Arc<Store>),
    Elasticsearch(elasticsearch::Search),
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
    /// It asks for too many buckets.
    #[error(transparent)]
    TooManyBuckets(#[from] TooManyBuckets),
    /// Elasticsearch will not do it.
    #[error("Elasticsearch refused the query: {0}")]
    Refused(String),
    /// Too many others wait.
    #[error("too many searches are waiting; try again")]
    Busy,
    /// What holds the documents failed.
    #[error("the search failed: {0}")]
    Failed(String),
}

impl Backend {
    /// Answers from this store.
    #[must_use]
    pub fn new(store: Arc<Store>) -> Self {
        Self::of(Holder::Store(store), STORE_CONCURRENT)
    }

    /// Answers from Elasticsearch.
    #[must_use]
    pub fn elasticsearch(search: elasticsearch::Search) -> Self {
        Self::of(Holder::Elasticsearch(search), ELASTICSEARCH_CONCURRENT)
    }

    fn of(holder: Holder, concurrent: usize) -> Self {
        Self {
            holder,
            running: Arc::new(Semaphore::new(concurrent)),
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
        let turn = self.turn(deadline).await?;
        match &self.holder {
            Holder::Store(store) => {
                let store = Arc::clone(store);
                blocking(turn, move || store.search(&request, deadline))
                    .await?
                    .map_err(|failure| self.store_error(failure))
            }
            Holder::Elasticsearch(search) => search
                .search(&request, deadline)
                .await
                .map_err(|failure| self.elasticsearch_error(failure)),
        }
    }

    /// Has documents counted over time.
    ///
    /// # Errors
    /// Says why there is no answer.
    pub async fn histogram(&self, request: HistogramRequest) -> Result<Histogram, SearchError> {
        use elasticsearch::HistogramFailure;
        let deadline = Instant::now() + self.time_limit;
        let _place = self.waiting.try_acquire().map_err(|_| SearchError::Busy)?;
        let turn = self.turn(deadline).await?;
        match &self.holder {
            Holder::Store(store) => {
                let store = Arc::clone(store);
                blocking(turn, move || store.histogram(&request, deadline))
                    .await?
                    .map_err(|failure| self.store_error(failure))
            }
            Holder::Elasticsearch(search) => {
                search.histogram(&request, deadline).await.map_err(|failure| match failure {
                    HistogramFailure::Search(failure) => self.elasticsearch_error(failure),
                    HistogramFailure::TooManyBuckets(error) => error.into(),
                })
            }
        }
    }

    async fn turn(&self, deadline: Instant) -> Result<OwnedSemaphorePermit, SearchError> {
        let turn = Arc::clone(&self.running).acquire_owned();
        match tokio::time::timeout_at(deadline.into(), turn).await {
            Ok(Ok(turn)) => Ok(turn),
            Ok(Err(_)) => Err(SearchError::Busy),
            Err(_) => Err(SearchError::TimeLimit(self.time_limit)),
        }
    }

    fn store_error(&self, failure: store::SearchFailure) -> SearchError {
        use store::SearchFailure;
        match failure {
            SearchFailure::Deadline => SearchError::TimeLimit(self.time_limit),
            SearchFailure::TooBroad(prefix) => SearchError::TooBroad(prefix),
            SearchFailure::TooManyBuckets(error) => error.into(),
        }
    }

    fn elasticsearch_error(&self, failure: elasticsearch::SearchFailure) -> SearchError {
        use elasticsearch::SearchFailure;
        match failure {
            SearchFailure::Deadline => SearchError::TimeLimit(self.time_limit),
            SearchFailure::TooBroad(prefix) => SearchError::TooBroad(prefix),
            SearchFailure::Busy => SearchError::Busy,
            SearchFailure::Refused(reason) => SearchError::Refused(reason),
            SearchFailure::Failed(reason) => SearchError::Failed(reason),
        }
    }
}

/// Runs work that blocks. The turn ends with the work, also when nobody waits for the answer any more.
async fn blocking<T: Send + 'static>(
    turn: OwnedSemaphorePermit,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, SearchError> {
    let answer = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        work()
    });
    answer.await.map_err(|panic| SearchError::Failed(panic.to_string()))
}
