//! The loop of one stream: messages in, answers out, until it is drained, the client leaves, or it breaks the protocol.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use naru_proto::batch::BatchError;
use naru_proto::capabilities;
use naru_proto::wire::server_message::Kind;
use naru_proto::wire::{self, RefuseReason, RetryWhere};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};
use tonic::{Status, Streaming};

use super::admission::Seat;
use super::check::Unchecked;
use super::session::{Breach, Session, Step};
use super::{Client, Intake, IntakeResult, Shared, now};

/// A client that does not take an answer for that long is gone.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Drained clients come back within this time, each at its own moment.
const RECONNECT_MAX_MS: u64 = 1000;
/// For what should pass at once: about a commit of the queue.
const RETRY_SOON_MS: u32 = 100;
/// For what does not pass by itself here.
const RETRY_LATER_MS: u32 = 1000;
/// A detail is a sentence for a log.
const DETAIL_MAX_CHARS: usize = 256;

type Answers = mpsc::Sender<Result<wire::ServerMessage, Status>>;

/// Why a stream ends before its client wants it to.
enum End {
    /// Drained, or the client is done.
    Done,
    /// The client does not listen any more.
    Gone,
    /// The client broke the protocol.
    Breach(Breach),
    /// Something that only a status can tell.
    Status(Status),
}

impl From<Breach> for End {
    fn from(breach: Breach) -> Self {
        Self::Breach(breach)
    }
}

/// Serves one stream.
pub(super) async fn run(
    shared: Arc<Shared>,
    client: Client,
    inbound: Streaming<wire::ClientMessage>,
    answers: Answers,
) {
    shared.metrics.streams_opened.inc();
    let status = match serve(&shared, &client, inbound, &answers).await {
        End::Done | End::Gone => return,
        End::Breach(breach) => {
            tracing::warn!(%breach, "end a stream whose client broke the protocol");
            shared.metrics.stream_broken(breach.label());
            breach.status()
        }
        End::Status(status) => status,
    };
    // Whether it arrives or not, the stream ends.
    if timeout(ANSWER_TIMEOUT, answers.send(Err(status))).await.is_err() {
        tracing::debug!("the client did not take its status");
    }
}

async fn serve(
    shared: &Arc<Shared>,
    client: &Client,
    mut inbound: Streaming<wire::ClientMessage>,
    answers: &Answers,
) -> End {
    let mut session = Session::new(&shared.config.cluster);
    let hello = match timeout(shared.config.hello_timeout, inbound.message()).await {
        Ok(Ok(Some(message))) => message,
        Ok(Ok(None)) => return End::Gone,
        Ok(Err(status)) => return End::Status(status),
        Err(_) => return Breach::NoHello.into(),
    };
    let hello = match session.step(hello) {
        Ok(Step::Welcome(hello)) => hello,
        Ok(_) => return Breach::NoHello.into(),
        Err(breach) => return breach.into(),
    };
    // Frames of another node than this one are refused with their batch.
    if let Err(denied) = client.nodes.allow(&hello.node) {
        return End::Status(shared.deny(client.peer, &denied));
    }
    let Some(seat) = shared.admission.open(now()) else {
        return End::Status(Status::unavailable("too many streams"));
    };
    tracing::debug!(node = hello.node, version = hello.version, "open a stream");
    let takes_policy = hello.capabilities.iter().any(|name| name == capabilities::POLICY);
    let stream = Stream {
        shared,
        node: hello.node.into(),
        session,
        seat,
        answers,
        in_flight: JoinSet::new(),
        client_done: false,
        takes_policy,
    };
    stream.run(inbound).await
}

struct Stream<'a> {
    shared: &'a Arc<Shared>,
    node: Arc<str>,
    session: Session,
    seat: Seat,
    answers: &'a Answers,
    in_flight: JoinSet<Answer>,
    /// It has closed its side: it sends no more, and waits for answers.
    client_done: bool,
    /// It has said that it understands one.
    takes_policy: bool,
}

/// What becomes of a batch.
struct Answer {
    number: u64,
    refusal: Option<Refusal>,
}

struct Refusal {
    reason: RefuseReason,
    retry_where: RetryWhere,
    retry_ms: u32,
    detail: String,
}

impl Stream<'_> {
    async fn run(mut self, mut inbound: Streaming<wire::ClientMessage>) -> End {
        if let Err(end) = self.welcome().await {
            return end;
        }
        let mut stop = self.shared.stop.subscribe();
        let linger = self.shared.config.drain_linger;
        let mut end_at = Instant::now() + self.age();
        loop {
            if self.client_done && self.in_flight.is_empty() {
                return End::Done;
            }
            let draining = self.session.is_draining();
            let step = tokio::select! {
                message = inbound.message(), if !self.client_done => self.message(message).await,
                Some(answer) = self.in_flight.join_next() => self.answer(answer).await,
                () = self.seat.changed(), if !draining => self.credit().await,
                () = sleep_until(end_at), if !draining => {
                    end_at = Instant::now() + linger;
                    self.drain().await
                }
                () = stopped(&mut stop), if !draining => {
                    end_at = Instant::now() + linger;
                    self.drain().await
                }
                () = sleep_until(end_at), if draining && self.in_flight.is_empty() => {
                    Err(End::Done)
                }
            };
            if let Err(end) = step {
                return end;
            }
        }
    }

    async fn welcome(&self) -> Result<(), End> {
        let welcome = wire::Welcome {
            capabilities: self.shared.config.capabilities.clone(),
            limits: Some(naru_proto::limits::announced()),
            credit_batches: self.seat.announce(),
        };
        self.send(Kind::Welcome(welcome)).await?;
        match self.takes_policy {
            true => self.send(Kind::Policy(self.shared.config.policy.clone())).await,
            false => Ok(()),
        }
    }

    async fn message(
        &mut self,
        message: Result<Option<wire::ClientMessage>, Status>,
    ) -> Result<(), End> {
        let message = match message {
            Ok(Some(message)) => message,
            Ok(None) => {
                self.client_done = true;
                return Ok(());
            }
            // Over the size of a message, not one at all, or the connection broke.
            Err(status) => return Err(End::Status(status)),
        };
        match self.session.step(message)? {
            Step::Take(batch) => self.take(batch).await,
            Step::RefuseDraining(number) => {
                self.shared.metrics.batches_received.inc();
                let refusal = Refusal {
                    reason: RefuseReason::Draining,
                    retry_where: RetryWhere::Elsewhere,
                    retry_ms: 0,
                    detail: "this stream is drained".into(),
                };
                self.refuse(number, refusal).await
            }
            Step::Gap(gap) => {
                self.shared.gaps.declare(&self.node, gap, &self.shared.metrics);
                Ok(())
            }
            Step::Status(status) => {
                self.shared.metrics.status_files.inc_by(status.files.len() as u64);
                Ok(())
            }
            Step::Unknown => {
                self.shared.metrics.messages_unknown.inc();
                Ok(())
            }
            Step::Welcome(_) => Err(Breach::SecondHello.into()),
        }
    }

    async fn take(&mut self, batch: wire::Batch) -> Result<(), End> {
        self.shared.metrics.batches_received.inc();
        if self.seat.spend(now()) {
            self.in_flight.spawn(take(Arc::clone(self.shared), Arc::clone(&self.node), batch));
            return Ok(());
        }
        let refusal = Refusal {
            reason: RefuseReason::NoCredit,
            retry_where: RetryWhere::Here,
            retry_ms: RETRY_SOON_MS,
            detail: "no credit is left for this batch".into(),
        };
        self.refuse(batch.number, refusal).await
    }

    /// Answers a batch, and with it all others that are ready.
    async fn answer(&mut self, first: Result<Answer, JoinError>) -> Result<(), End> {
        let mut numbers = Vec::new();
        let mut refusals = Vec::new();
        let mut next = Some(first);
        while let Some(answer) = next {
            let Answer { number, refusal } = answer.map_err(|error| {
                tracing::error!(%error, "take a batch");
                End::Status(Status::internal("a batch could not be taken"))
            })?;
            match refusal {
                None => numbers.push(number),
                Some(refusal) => refusals.push((number, refusal)),
            }
            next = self.in_flight.try_join_next();
        }
        self.seat.answered((numbers.len() + refusals.len()) as u32, now());
        if !numbers.is_empty() {
            self.shared.metrics.batches_acknowledged.inc_by(numbers.len() as u64);
            self.send(Kind::Ack(wire::Ack { numbers })).await?;
        }
        for (number, refusal) in refusals {
            self.refuse(number, refusal).await?;
        }
        Ok(())
    }

    async fn refuse(&mut self, number: u64, refusal: Refusal) -> Result<(), End> {
        self.shared.metrics.batch_refused(refusal.reason);
        tracing::debug!(
            node = &*self.node,
            number,
            reason = ?refusal.reason,
            detail = refusal.detail,
            "refuse a batch"
        );
        self.session.refused(number);
        let refuse = wire::Refuse {
            number,
            reason: refusal.reason.into(),
            detail: refusal.detail,
            retry_ms: refusal.retry_ms,
            r#where: refusal.retry_where.into(),
        };
        self.send(Kind::Refuse(refuse)).await
    }

    async fn credit(&self) -> Result<(), End> {
        match self.seat.announce() {
            0 => Ok(()),
            batches => self.send(Kind::Credit(wire::Credit { batches })).await,
        }
    }

    async fn drain(&mut self) -> Result<(), End> {
        self.session.drain();
        let reconnect_ms = (random() % RECONNECT_MAX_MS) as u32;
        self.send(Kind::Drain(wire::Drain { reconnect_ms })).await
    }

    async fn send(&self, kind: Kind) -> Result<(), End> {
        let message = wire::ServerMessage { kind: Some(kind) };
        match timeout(ANSWER_TIMEOUT, self.answers.send(Ok(message))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(End::Gone),
        }
    }

    /// Between 20 % under the least age and 20 % over the greatest.
    fn age(&self) -> Duration {
        let config = &self.shared.config;
        let (least, most) =
            (config.stream_age_min.mul_f64(0.8), config.stream_age_max.mul_f64(1.2));
        let place = random() as f64 / u64::MAX as f64;
        least + most.saturating_sub(least).mul_f64(place)
    }
}

/// Checks a batch, hands it over, and waits until it is durable.
async fn take(shared: Arc<Shared>, node: Arc<str>, batch: wire::Batch) -> Answer {
    let number = batch.number;
    let arrived = Instant::now();
    let received_ms = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as i64);
    let batch = match shared.checker.check(Arc::clone(&node), batch).await {
        Ok(batch) => batch,
        Err(Unchecked::Bad(error)) => return Answer { number, refusal: Some(bad(&error)) },
        Err(Unchecked::Failed) => return Answer { number, refusal: Some(busy(RETRY_LATER_MS)) },
    };
    let (records, raw, compressed) = (batch.records, batch.raw_bytes, batch.body.len() as u64);
    let (done, result) = oneshot::channel();
    let intake = Intake { node: node.to_string(), received_ms, batch, done };
    let sent = shared.sink.send(intake).await;
    let result = match sent {
        Ok(()) => result.await.ok(),
        Err(_) => None,
    };
    let refusal = match result {
        Some(IntakeResult::Durable) => {
            shared.metrics.records.inc_by(u64::from(records));
            shared.metrics.bytes_raw.inc_by(u64::from(raw));
            shared.metrics.bytes_compressed.inc_by(compressed);
            shared.metrics.ack_seconds.observe(arrived.elapsed().as_secs_f64());
            None
        }
        Some(IntakeResult::Busy { retry_ms }) => Some(busy(retry_ms)),
        // Nobody makes anything durable here any more.
        None => Some(busy(RETRY_LATER_MS.saturating_add(1))),
    };
    Answer { number, refusal }
}

fn bad(error: &BatchError) -> Refusal {
    let (reason, retry_where) = error.refusal();
    let detail = error.to_string().chars().take(DETAIL_MAX_CHARS).collect();
    Refusal { reason, retry_where, retry_ms: RETRY_SOON_MS, detail }
}

fn busy(retry_ms: u32) -> Refusal {
    let short = retry_ms <= RETRY_LATER_MS;
    Refusal {
        reason: RefuseReason::Busy,
        retry_where: if short { RetryWhere::Here } else { RetryWhere::Elsewhere },
        retry_ms,
        detail: "the queue takes nothing now".into(),
    }
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // The sender is shared with this stream, so it is not dropped before.
    if stop.wait_for(|stop| *stop).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Random enough to spread clients in time.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}
