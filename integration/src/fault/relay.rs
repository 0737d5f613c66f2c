//! Between a forwarder and an aggregator: loses acknowledgements.
//!
//! With [`Relay::lose_each_once`] the acknowledgement of every byte is lost the first time: an ack of a batch that holds
//! anything that was never sent before is swallowed, and after a few of them the stream is cut, so that the forwarder
//! has to send it all again. With [`Relay::lose_some`] that befalls one such ack in so many. A relay also keeps the gaps
//! that pass it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use naru_proto::ids::FileId;
use naru_proto::wire::ingest_client::IngestClient;
use naru_proto::wire::ingest_server::{Ingest, IngestServer};
use naru_proto::wire::{self, client_message, server_message};
use naru_proto::{batch, limits};
use tokio::runtime::{self, Runtime};
use tokio::sync::{Notify, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;
use tonic::{Request, Response, Status, Streaming};
use zstd_safe::DCtx;

use crate::sink::serve;

/// Messages under way in each direction of a stream.
const UNDER_WAY: usize = 16;

/// A running relay; dropping it stops it.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    cut: Arc<Notify>,
    _runtime: Runtime,
}

/// What a relay has done.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Done {
    /// Streams that were opened.
    pub streams: u64,
    /// Streams that were cut.
    pub cuts: u64,
    /// Acknowledged batches that the forwarder never heard of.
    pub acks_lost: u64,
    /// Acknowledged batches that it did hear of.
    pub acks_passed: u64,
    /// Bytes of records that had been sent before.
    pub bytes_again: u64,
}

#[derive(Debug)]
struct State {
    losses_per_stream: u64,
    /// Of the acknowledgements that may be lost, one in so many is.
    one_in: u32,
    random: fastrand::Rng,
    gaps: Vec<wire::Gap>,
    /// Of each file, ranges of bytes that were sent; disjoint and sorted.
    sent: HashMap<FileId, Vec<(u64, u64)>>,
    done: Done,
}

impl Relay {
    /// Relays to an aggregator; every `losses_per_stream` lost acknowledgements the stream is cut.
    #[must_use]
    pub fn lose_each_once(upstream: SocketAddr, losses_per_stream: u64) -> Self {
        Self::start(upstream, losses_per_stream, 1, fastrand::Rng::with_seed(0))
    }

    /// The same, but of the acknowledgements that could be lost one in `one_in` is.
    #[must_use]
    pub fn lose_some(
        upstream: SocketAddr,
        losses_per_stream: u64,
        one_in: u32,
        random: fastrand::Rng,
    ) -> Self {
        Self::start(upstream, losses_per_stream, one_in, random)
    }

    fn start(
        upstream: SocketAddr,
        losses_per_stream: u64,
        one_in: u32,
        random: fastrand::Rng,
    ) -> Self {
        assert!(losses_per_stream > 0 && one_in > 0);
        let (gaps, sent, done) = Default::default();
        let state = State { losses_per_stream, one_in, random, gaps, sent, done };
        let state = Arc::new(Mutex::new(state));
        let runtime =
            runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let cut = Arc::<Notify>::default();
        let service = Service { upstream, state: Arc::clone(&state), cut: Arc::clone(&cut) };
        let service = IngestServer::new(service)
            .max_decoding_message_size(limits::MESSAGE_MAX_BYTES)
            .max_encoding_message_size(limits::MESSAGE_MAX_BYTES);
        let address = serve(&runtime, service);
        Self { address, state, cut, _runtime: runtime }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cuts the streams that there are, however few acknowledgements they have lost.
    pub fn cut(&self) {
        self.cut.notify_waiters();
    }

    /// The gaps that were declared.
    #[must_use]
    pub fn gaps(&self) -> Vec<wire::Gap> {
        self.state.lock().unwrap().gaps.clone()
    }

    /// What it has done so far.
    #[must_use]
    pub fn done(&self) -> Done {
        self.state.lock().unwrap().done
    }
}

#[derive(Debug)]
struct Service {
    upstream: SocketAddr,
    state: Arc<Mutex<State>>,
    cut: Arc<Notify>,
}

type Answers = mpsc::Sender<Result<wire::ServerMessage, Status>>;

#[tonic::async_trait]
impl Ingest for Service {
    type ShipStream = ReceiverStream<Result<wire::ServerMessage, Status>>;

    async fn ship(
        &self,
        request: Request<Streaming<wire::ClientMessage>>,
    ) -> Result<Response<Self::ShipStream>, Status> {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.upstream));
        let connecting = async { endpoint?.connect().await };
        let channel = connecting.await.map_err(|error| Status::unavailable(error.to_string()))?;
        let mut upstream =
            IngestClient::new(channel).max_encoding_message_size(limits::MESSAGE_MAX_BYTES);
        let (forward, forwarded) = mpsc::channel(UNDER_WAY);
        let (answers, answered) = mpsc::channel(UNDER_WAY);
        let (state, cut) = (Arc::clone(&self.state), Arc::clone(&self.cut));
        state.lock().unwrap().done.streams += 1;
        drop(tokio::spawn(async move {
            let pump = Pump { state, fresh: Arc::default() };
            let sending = pump.send(request.into_inner(), forward);
            let receiving = async {
                let stream = upstream.ship(ReceiverStream::new(forwarded)).await?.into_inner();
                pump.receive(stream, &answers).await
            };
            // Whichever side ends first ends both; both halves of the stream are dropped with them.
            let ended = tokio::select! {
                ended = sending => ended,
                ended = receiving => ended,
                () = cut.notified() => Err(Status::unavailable("the relay cut the stream")),
            };
            if let Err(status) = ended {
                // The forwarder may have gone.
                drop(answers.send(Err(status)).await);
            }
        }));
        Ok(Response::new(ReceiverStream::new(answered)))
    }
}

/// One stream.
struct Pump {
    state: Arc<Mutex<State>>,
    /// Of each batch under way, whether it holds anything that was never sent before.
    fresh: Arc<Mutex<HashMap<u64, bool>>>,
}

impl Pump {
    async fn send(
        &self,
        mut messages: Streaming<wire::ClientMessage>,
        forward: mpsc::Sender<wire::ClientMessage>,
    ) -> Result<(), Status> {
        while let Some(message) = messages.message().await? {
            match &message.kind {
                Some(client_message::Kind::Batch(batch)) => {
                    let fresh = self.state.lock().unwrap().note(batch)?;
                    self.fresh.lock().unwrap().insert(batch.number, fresh);
                }
                Some(client_message::Kind::Gap(gap)) => {
                    self.state.lock().unwrap().gaps.push(gap.clone());
                }
                _ => {}
            }
            let sent = forward.send(message).await;
            sent.map_err(|_| Status::unavailable("the aggregator has gone"))?;
        }
        Ok(())
    }

    async fn receive(
        &self,
        mut messages: Streaming<wire::ServerMessage>,
        answers: &Answers,
    ) -> Result<(), Status> {
        let mut lost = 0;
        while let Some(mut message) = messages.message().await? {
            if let Some(server_message::Kind::Ack(ack)) = &mut message.kind {
                lost += self.lose(ack);
                if ack.numbers.is_empty() {
                    self.cut_after(lost)?;
                    continue;
                }
            }
            let sent = answers.send(Ok(message)).await;
            sent.map_err(|_| Status::cancelled("the forwarder has gone"))?;
            self.cut_after(lost)?;
        }
        Ok(())
    }

    /// Takes out of an ack what must not be heard; returns how much that was.
    fn lose(&self, ack: &mut wire::Ack) -> u64 {
        let mut fresh = self.fresh.lock().unwrap();
        let mut state = self.state.lock().unwrap();
        let before = ack.numbers.len();
        let one_in = state.one_in;
        ack.numbers
            .retain(|number| fresh.remove(number) == Some(false) || state.random.u32(..one_in) > 0);
        let lost = (before - ack.numbers.len()) as u64;
        state.done.acks_lost += lost;
        state.done.acks_passed += ack.numbers.len() as u64;
        lost
    }

    fn cut_after(&self, lost: u64) -> Result<(), Status> {
        let mut state = self.state.lock().unwrap();
        if lost < state.losses_per_stream {
            return Ok(());
        }
        state.done.cuts += 1;
        Err(Status::unavailable("the relay cut the stream"))
    }
}

impl State {
    /// Enters what a batch holds; returns whether anything of it is new.
    fn note(&mut self, batch: &wire::Batch) -> Result<bool, Status> {
        let frames = batch::frames(&mut DCtx::create(), &batch.body, batch.raw_bytes as usize)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let mut fresh = false;
        for extent in frames.iter().flat_map(|frame| &frame.extents) {
            let ranges = self.sent.entry(extent.file).or_default();
            let new = add(ranges, extent.start, extent.end_exclusive());
            self.done.bytes_again += extent.length - new;
            fresh |= new > 0;
        }
        Ok(fresh)
    }
}

/// Adds a range to disjoint sorted ones; returns how many of its bytes are new.
fn add(ranges: &mut Vec<(u64, u64)>, start: u64, end: u64) -> u64 {
    let first = ranges.partition_point(|range| range.1 < start);
    let last = ranges.partition_point(|range| range.0 <= end);
    let touched = ranges.get(first..last).unwrap_or_default();
    let known: u64 =
        touched.iter().map(|range| range.1.min(end).saturating_sub(range.0.max(start))).sum();
    let merged = (
        touched.first().map_or(start, |range| range.0.min(start)),
        touched.last().map_or(end, |range| range.1.max(end)),
    );
    ranges.splice(first..last.max(first), [merged]);
    end - start - known
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_know_what_is_new() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..200 {
            let mut ranges = Vec::new();
            let mut model = [false; 64];
            for _ in 0..20 {
                let start = random.usize(..60);
                let end = random.usize(start + 1..=64);
                let new = model[start..end].iter().filter(|known| !**known).count();
                model[start..end].fill(true);
                assert_eq!(add(&mut ranges, start as u64, end as u64), new as u64);
                assert!(ranges.is_sorted_by(|a, b| a.1 < b.0), "{ranges:?}");
            }
        }
    }
}
