//! A bare bulk loader: what a server takes at most from a client that does nothing else.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use std::vec::IntoIter;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::runtime;
use tokio::task::JoinSet;

use super::bulk::Bulk;
use crate::http::Failure;

/// What came of a load.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// Bulks that were answered.
    pub requests: u64,
    /// Documents in them.
    pub documents: u64,
    /// Bytes of their bodies.
    pub bytes: u64,
    /// Documents by the status of their item; by that of the whole request where that was not 200.
    pub statuses: BTreeMap<u16, u64>,
    /// From the first request to the last answer.
    pub elapsed: Duration,
}

impl Loaded {
    /// Documents with this status.
    #[must_use]
    pub fn with_status(&self, status: u16) -> u64 {
        self.statuses.get(&status).copied().unwrap_or_default()
    }
}

/// Sends the bulks over `connections` connections, each with one request at a time, and never one again.
#[must_use]
pub fn load(address: SocketAddr, bulks: Vec<Bulk>, connections: usize) -> Loaded {
    let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let waiting = Arc::new(Mutex::new(bulks.into_iter()));
    let begun = Instant::now();
    let parts = runtime.block_on(async {
        let mut senders = JoinSet::new();
        for _ in 0..connections {
            senders.spawn(send_all(address, Arc::clone(&waiting)));
        }
        senders.join_all().await
    });
    let elapsed = begun.elapsed();
    let mut loaded = Loaded { elapsed, ..Loaded::default() };
    for part in parts.into_iter().map(Result::unwrap) {
        loaded.requests += part.requests;
        loaded.documents += part.documents;
        loaded.bytes += part.bytes;
        for (status, count) in part.statuses {
            *loaded.statuses.entry(status).or_default() += count;
        }
    }
    loaded
}

async fn send_all(
    address: SocketAddr,
    waiting: Arc<Mutex<IntoIter<Bulk>>>,
) -> Result<Loaded, Failure> {
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(TcpStream::connect(address).await?)).await?;
    // It ends with the sender.
    drop(tokio::spawn(connection));
    let mut loaded = Loaded::default();
    loop {
        let Some(bulk) = waiting.lock().unwrap().next() else { return Ok(loaded) };
        loaded.requests += 1;
        loaded.documents += bulk.documents as u64;
        loaded.bytes += bulk.body.len() as u64;
        for status in send_one(&mut sender, address, bulk).await? {
            *loaded.statuses.entry(status).or_default() += 1;
        }
    }
}

/// The status of each item.
async fn send_one(
    sender: &mut SendRequest<Full<Bytes>>,
    address: SocketAddr,
    bulk: Bulk,
) -> Result<Vec<u16>, Failure> {
    let request = Request::post("/_bulk?filter_path=items.*.status")
        .header(HOST, address.to_string())
        .header(CONTENT_TYPE, "application/x-ndjson")
        .body(Full::new(bulk.body))?;
    let response = sender.send_request(request).await?;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await?.to_bytes();
    if status != 200 {
        return Ok(vec![status; bulk.documents]);
    }
    let answer: Answer = serde_json::from_slice(&body)?;
    if answer.items.len() != bulk.documents {
        return Err(format!("{} answers to {}", answer.items.len(), bulk.documents).into());
    }
    Ok(answer.items.into_iter().map(|item| item.create.status).collect())
}

#[derive(Deserialize)]
struct Answer {
    items: Vec<Action>,
}

#[derive(Deserialize)]
struct Action {
    create: Outcome,
}

#[derive(Deserialize)]
struct Outcome {
    status: u16,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bulk_sink::{Answer, BulkSink};
    use crate::elasticsearch::bulk::{Ready, bulks};

    #[test]
    fn every_document_is_counted_by_its_status() {
        let sink = BulkSink::scripted(|request| match request.number {
            0 => Answer::Refuse { status: 429, body: String::new() }.into(),
            _ => Answer::Store.into(),
        });
        let ids: Vec<String> = (0..60).map(|number| format!("{number:02}")).collect();
        let documents = ids.iter().map(|id| Ready { index: "logs", id, source: b"{}" });
        // An action and its source are 45 bytes: ten fit.
        let loaded = load(sink.address(), bulks(documents, 450), 3);
        assert_eq!((loaded.requests, loaded.documents), (6, 60));
        assert_eq!((loaded.with_status(429), loaded.with_status(201)), (10, 50));
        assert_eq!(loaded.bytes, sink.received().bytes);
        assert_eq!(sink.documents().len(), 50);
    }
}
