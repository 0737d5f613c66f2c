//! Stands in for Elasticsearch where a real one is too slow or too well behaved: it answers `_bulk` at once, or as a
//! script says.
//!
//! [`BulkSink::null`] is for benchmarks. [`BulkSink::scripted`] is for what a real server cannot be made to do: an answer
//! that is cut off, one with a wrong number of items, a connection reset after everything was stored.

mod reply;
mod serve;
#[cfg(test)]
mod tests;

pub use reply::{Answer, Fate, Reply};

use std::collections::HashMap;
use std::fmt;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::runtime::{self, Runtime};

use crate::elasticsearch::bulk::Item;
use crate::export::Document;
use crate::ledger::{Ledger, Verdict};

/// A running sink; dropping it stops it.
#[derive(Debug)]
pub struct BulkSink {
    address: SocketAddr,
    state: Arc<State>,
    _runtime: Runtime,
}

/// A `_bulk` request as the script sees it.
#[derive(Debug, Clone)]
pub struct BulkRequest {
    /// How many came before it.
    pub number: u64,
    /// With its query.
    pub path: String,
    /// Bytes of its body after decompression.
    pub bytes: usize,
    /// What it wants to be indexed.
    pub items: Vec<Item>,
}

/// What a sink has received so far, requests that it refused included.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// `_bulk` requests.
    pub requests: u64,
    /// Items in them.
    pub documents: u64,
    /// Bytes of their bodies after decompression.
    pub bytes: u64,
    /// Bytes of their bodies as they came.
    pub wire_bytes: u64,
    /// Items answered with 409; 0 where nothing is kept.
    pub duplicates: u64,
}

type Script = Box<dyn Fn(&BulkRequest) -> Reply + Send + Sync>;

/// What becomes of the documents.
enum Mode {
    /// Only their number is kept; the bodies are not even collected.
    Null,
    /// Stored by index and id, as far as the script says so.
    Scripted(Script),
}

struct State {
    mode: Mode,
    requests: AtomicU64,
    documents: AtomicU64,
    bytes: AtomicU64,
    wire_bytes: AtomicU64,
    duplicates: AtomicU64,
    stored: Mutex<HashMap<(String, String), Bytes>>,
    others: Mutex<Vec<String>>,
}

impl BulkSink {
    /// Counts, and keeps nothing: every item is answered with 201.
    #[must_use]
    pub fn null() -> Self {
        Self::start(Mode::Null)
    }

    /// Keeps every document: the first of an id is answered with 201, a later `create` with 409.
    #[must_use]
    pub fn keeping() -> Self {
        Self::scripted(|_| Answer::Store.into())
    }

    /// Does with every `_bulk` request what the script says.
    #[must_use]
    pub fn scripted(script: impl Fn(&BulkRequest) -> Reply + Send + Sync + 'static) -> Self {
        Self::start(Mode::Scripted(Box::new(script)))
    }

    /// The same where one was before that has been dropped.
    #[must_use]
    pub fn keeping_at(address: SocketAddr) -> Self {
        Self::start_at(Mode::Scripted(Box::new(|_| Answer::Store.into())), address)
    }

    fn start(mode: Mode) -> Self {
        Self::start_at(mode, SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    fn start_at(mode: Mode, address: SocketAddr) -> Self {
        let state = Arc::new(State {
            mode,
            requests: AtomicU64::new(0),
            documents: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            wire_bytes: AtomicU64::new(0),
            duplicates: AtomicU64::new(0),
            stored: Mutex::default(),
            others: Mutex::default(),
        });
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let runtime =
            runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        drop(runtime.spawn(serve::accept_all(Arc::clone(&state), listener)));
        Self { address, state, _runtime: runtime }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The same as `elasticsearch.hosts` takes it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it has received so far.
    #[must_use]
    pub fn received(&self) -> Received {
        let count = |counter: &AtomicU64| counter.load(Ordering::Acquire);
        Received {
            requests: count(&self.state.requests),
            documents: count(&self.state.documents),
            bytes: count(&self.state.bytes),
            wire_bytes: count(&self.state.wire_bytes),
            duplicates: count(&self.state.duplicates),
        }
    }

    /// How many documents it has stored.
    #[must_use]
    pub fn stored(&self) -> usize {
        self.state.stored.lock().unwrap().len()
    }

    /// Has a ledger judge what it has stored, document by document: no second copy of them all is made.
    #[must_use]
    pub fn judged_by(&self, ledger: &Ledger) -> Verdict {
        let stored = self.state.stored.lock().unwrap();
        ledger.judge(stored.iter().map(|((index, id), source)| {
            let source = serde_json::from_slice(source).unwrap();
            Document { id: id.clone(), index: index.clone(), source }.indexed()
        }))
    }

    /// What it has stored.
    #[must_use]
    pub fn documents(&self) -> Vec<Document> {
        let stored = self.state.stored.lock().unwrap();
        let documents = stored.iter().map(|((index, id), source)| Document {
            id: id.clone(),
            index: index.clone(),
            source: serde_json::from_slice(source).unwrap(),
        });
        documents.collect()
    }

    /// Every request that was no `_bulk`, as `GET /`.
    #[must_use]
    pub fn other_requests(&self) -> Vec<String> {
        self.state.others.lock().unwrap().clone()
    }
}

impl State {
    /// Stores an item; returns its status.
    fn store(&self, item: &Item) -> u16 {
        let mut stored = self.stored.lock().unwrap();
        let id = item.id.clone().unwrap_or_else(|| format!("generated-{}", stored.len()));
        let key = (item.index.clone(), id);
        let known = stored.contains_key(&key);
        if known && item.action == "create" {
            self.duplicates.fetch_add(1, Ordering::Release);
            return 409;
        }
        // A copy: the slice would keep the whole body.
        stored.insert(key, Bytes::copy_from_slice(&item.source));
        if known { 200 } else { 201 }
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("requests", &self.requests).finish_non_exhaustive()
    }
}
