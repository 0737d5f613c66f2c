//! The stream to an aggregator: batches out within its credit, acknowledgements back.
//!
//! A batch is kept until it is acknowledged and sent again on the next stream if it was not; the aggregator's ids make
//! that harmless. Nothing is ever given up here: the files still have it. The session holds no file and no position.

use std::collections::BTreeMap;
use std::time::Duration;

use naru_proto::wire::{self, ClientMessage, ServerMessage, client_message, server_message};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};
use tonic::Streaming;

use crate::backoff::Backoff;
use crate::chance;
use crate::channel::{Outbound, SessionEnd};
use crate::connect::Connector;
use crate::health::Health;
use crate::metrics::Metrics;

mod divide;
mod notices;
mod open;
mod refused;

use notices::Notices;
use refused::{FIRST_PART, Never};

const WELCOME_TIMEOUT: Duration = Duration::from_secs(10);
/// Longer than any queue's commit; an aggregator that needs more is hung, or its node is gone.
const ACK_TIMEOUT: Duration = Duration::from_secs(15);
/// How long in-flight batches may still be answered after a Drain.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
const BACKOFF_BASE: Duration = Duration::from_millis(200);
const BACKOFF_MAX: Duration = Duration::from_secs(20);
/// Messages handed to the transport and not yet taken by it.
const TRANSPORT_QUEUE: usize = 2;

/// Who the client says it is.
#[derive(Debug, Clone)]
pub struct Introduction {
    /// The node's name.
    pub node: String,
    /// The cluster's name.
    pub cluster: String,
}

/// Sends what the tailing thread hands over until that ends and everything is acknowledged.
pub struct Session {
    introduction: Introduction,
    connector: Connector,
    end: SessionEnd,
    metrics: Metrics,
    health: Health,
    /// Not yet acknowledged, by number: batches, and parts of those that were divided.
    unacknowledged: BTreeMap<u64, Sent>,
    /// The number of the next part.
    next_part: u64,
    /// Declared losses, and how far files are.
    notices: Notices,
    /// Batches, of all streams.
    acknowledged: u64,
    /// The tailing thread has nothing more.
    closed: bool,
}

struct Sent {
    batch: wire::Batch,
    /// The number of the whole batch; its own where it was not divided.
    of: u64,
    /// On any stream.
    ever: bool,
    /// On this stream, and neither acknowledged nor refused.
    outstanding_since: Option<Instant>,
    /// Which message of this stream it was last; 0 if none.
    message: u64,
    /// The number that it has on this stream; 0 if none.
    on_stream: u64,
    /// It was refused and waits.
    not_before: Option<Instant>,
    /// It was refused for ever, for that, and is not divided any further.
    never: Option<Never>,
}

/// How a stream ended.
enum Ended {
    /// All is acknowledged, nothing more comes.
    Done,
    /// Another is opened after this wait; elsewhere where there is an elsewhere.
    Reopen(Duration),
    /// It broke: wait by the backoff.
    Broken,
}

/// One open stream.
struct Stream {
    outgoing: mpsc::Sender<ClientMessage>,
    credit: u32,
    draining: Option<(Instant, Duration)>,
    /// The highest number of a batch so far: they grow on a stream, but for what was refused on it.
    last_number: u64,
    /// Parts were sent: whatever comes again has a new number, for an aggregator does not remember all that it refused.
    divided: bool,
}

impl Stream {
    fn new(outgoing: mpsc::Sender<ClientMessage>, credit: u32) -> Self {
        Self { outgoing, credit, draining: None, last_number: 0, divided: false }
    }

    /// The number that a batch or a part goes out under.
    fn number(&mut self, sent: &Sent) -> u64 {
        let own = sent.batch.number;
        if sent.on_stream != 0 && !self.divided {
            return sent.on_stream;
        }
        let is_part = own >= FIRST_PART;
        self.divided |= is_part;
        let next = self.last_number + 1;
        self.last_number = if is_part { next } else { next.max(own) };
        self.last_number
    }
}

impl Session {
    /// Of this client, to those aggregators.
    #[must_use]
    pub fn new(
        introduction: Introduction,
        connector: Connector,
        end: SessionEnd,
        metrics: Metrics,
        health: Health,
    ) -> Self {
        Self {
            introduction,
            connector,
            end,
            metrics,
            health,
            unacknowledged: BTreeMap::new(),
            next_part: FIRST_PART,
            notices: Notices::default(),
            acknowledged: 0,
            closed: false,
        }
    }

    /// Runs until the tailing thread has ended and everything it sent is acknowledged.
    pub async fn run(mut self) {
        let mut backoff = Backoff::new(BACKOFF_BASE, BACKOFF_MAX);
        let mut avoid = None;
        loop {
            let ended = match self.open(avoid).await {
                Some((stream, inbound, address)) => {
                    avoid = Some(address);
                    let (opened, acknowledged) = (Instant::now(), self.acknowledged);
                    let ended = self.serve(stream, inbound).await;
                    self.forget_stream();
                    // One that welcomes and ends at once is not a success: it would be asked again without a pause.
                    if self.acknowledged > acknowledged || opened.elapsed() >= ACK_TIMEOUT {
                        backoff.reset();
                        ended
                    } else {
                        match ended {
                            Ended::Reopen(wait) => {
                                Ended::Reopen(wait.max(backoff.next(chance::fraction())))
                            }
                            Ended::Done | Ended::Broken => ended,
                        }
                    }
                }
                None => Ended::Broken,
            };
            let wait = match ended {
                Ended::Done => return,
                Ended::Reopen(wait) => wait,
                Ended::Broken => backoff.next(chance::fraction()),
            };
            if self.wait_or_done(wait).await {
                return;
            }
        }
    }

    async fn serve(&mut self, mut stream: Stream, mut inbound: Streaming<ServerMessage>) -> Ended {
        loop {
            self.tell();
            if self.closed && self.unacknowledged.is_empty() {
                return Ended::Done;
            }
            if let Some(ended) = self.leave_if_due(&stream) {
                return ended;
            }
            // One moment for both: what becomes ready between two of them would be neither sent nor waited for.
            let now = Instant::now();
            let next = self.next_to_send(&stream, now);
            let deadline = self.next_deadline(&stream, now);
            let may_take = next.is_none() && self.may_take() && stream.draining.is_none();
            let outgoing = stream.outgoing.clone();
            // Every arm may be dropped at its await: a message is taken from its channel or it is not.
            tokio::select! {
                message = inbound.message() => match message {
                    Ok(Some(ServerMessage { kind: Some(kind) })) => {
                        if let Some(ended) = self.handle(&mut stream, kind).await {
                            return ended;
                        }
                    }
                    Ok(Some(ServerMessage { kind: None })) => {}
                    Ok(None) => return Ended::Reopen(Duration::ZERO),
                    Err(status) => {
                        let reason = open::said(&status);
                        tracing::warn!(reason, "the stream broke");
                        self.health.disconnected(format!("the stream broke: {reason}"));
                        return Ended::Broken;
                    }
                },
                permit = outgoing.reserve(), if next.is_some() => match (permit, next) {
                    (Ok(permit), Some(next)) => permit.send(self.sending(&mut stream, next)),
                    _ => return Ended::Broken,
                },
                outbound = self.end.outbound.recv(), if may_take => self.take(outbound),
                () = sleep_until(deadline) => {}
            }
        }
    }

    fn take(&mut self, outbound: Option<Outbound>) {
        match outbound {
            Some(Outbound::Batch(batch)) => {
                self.unacknowledged.insert(batch.number, Sent::new(batch));
            }
            Some(Outbound::Gap(number, gap)) => self.notices.push_gap(number, gap),
            Some(Outbound::Status(status)) => self.notices.push_status(status),
            None => self.closed = true,
        }
    }

    fn may_take(&self) -> bool {
        !self.closed && !self.notices.is_full()
    }

    /// What goes out next: a notice (0) or the oldest batch that may.
    fn next_to_send(&self, stream: &Stream, now: Instant) -> Option<u64> {
        if stream.draining.is_some() {
            return None;
        }
        if !self.notices.is_empty() {
            return Some(0);
        }
        let ready = |sent: &Sent| {
            sent.outstanding_since.is_none() && sent.not_before.is_none_or(|at| at <= now)
        };
        let may = self.unacknowledged.values().filter(|sent| stream.credit > 0 && ready(sent));
        // A part is as old as its whole.
        may.min_by_key(|sent| sent.of).map(|sent| sent.batch.number)
    }

    fn sending(&mut self, stream: &mut Stream, number: u64) -> ClientMessage {
        if number == 0 {
            return ClientMessage { kind: self.notices.next(Instant::now()) };
        }
        let message = self.notices.message();
        let kind = self.unacknowledged.get_mut(&number).map(|sent| {
            stream.credit -= 1;
            sent.message = message;
            sent.on_stream = stream.number(sent);
            sent.outstanding_since = Some(Instant::now());
            let bytes = sent.batch.body.len() as u64;
            self.metrics.sent_bytes.inc_by(bytes);
            if std::mem::replace(&mut sent.ever, true) {
                self.metrics.resent_bytes.inc_by(bytes);
                self.metrics.resent_records.inc_by(u64::from(sent.batch.records));
            }
            client_message::Kind::Batch(wire::Batch {
                number: sent.on_stream,
                ..sent.batch.clone()
            })
        });
        ClientMessage { kind }
    }

    async fn handle(&mut self, stream: &mut Stream, kind: server_message::Kind) -> Option<Ended> {
        match kind {
            server_message::Kind::Ack(ack) => {
                self.acknowledged(ack.numbers).await;
                None
            }
            server_message::Kind::Refuse(refuse) => self.refused(&refuse),
            server_message::Kind::Credit(credit) => {
                stream.credit = stream.credit.saturating_add(credit.batches);
                None
            }
            server_message::Kind::Drain(drain) => {
                let wait = Duration::from_millis(u64::from(drain.reconnect_ms));
                tracing::info!("the aggregator drains this stream");
                stream.draining = Some((Instant::now() + DRAIN_TIMEOUT, wait));
                None
            }
            server_message::Kind::Policy(policy) => {
                self.end.policy.send_replace(Some(policy));
                self.end.wake.wake();
                None
            }
            // Not announced as a capability, so not sent.
            server_message::Kind::Settled(_) => None,
            server_message::Kind::Welcome(_) => None,
        }
    }

    async fn acknowledged(&mut self, numbers: Vec<u64>) {
        let (mut whole, mut count, mut set_apart) = (Vec::new(), 0, false);
        for number in numbers {
            let Some(number) = self.sent_as(number) else { continue };
            let Some(sent) = self.unacknowledged.remove(&number) else { continue };
            self.notices.handled_before(sent.message);
            self.metrics.acknowledged_bytes.inc_by(sent.batch.body.len() as u64);
            self.metrics.acknowledged_records.inc_by(u64::from(sent.batch.records));
            count += 1;
            set_apart |= sent.of != number || sent.never.is_some();
            // Of a divided batch the last part.
            if sent.of == number || self.unacknowledged.values().all(|other| other.of != sent.of) {
                whole.push(sent.of);
            }
        }
        self.acknowledged += count;
        if set_apart {
            self.tell_apart();
        }
        // The tailing thread never waits for this task, so it takes them soon; after its end nobody needs them.
        if !whole.is_empty() && self.end.acked.send(whole).await.is_ok() {
            self.end.wake.wake();
        }
    }

    /// Which batch or part has a number on this stream.
    fn sent_as(&self, on_stream: u64) -> Option<u64> {
        let mut sent = self.unacknowledged.values().filter(|_| on_stream != 0);
        sent.find(|sent| sent.on_stream == on_stream).map(|sent| sent.batch.number)
    }

    /// Says which declared losses an aggregator has; if there is no room now, at the next turn.
    fn tell(&mut self) {
        let Ok(permit) = self.end.told.try_reserve() else { return };
        let told = self.notices.take_told(Instant::now());
        if !told.is_empty() {
            permit.send(told);
            self.end.wake.wake();
        }
    }

    /// Whether this stream has nothing more to give.
    fn leave_if_due(&self, stream: &Stream) -> Option<Ended> {
        let now = Instant::now();
        let outstanding = self.unacknowledged.values().filter_map(|sent| sent.outstanding_since);
        let oldest = outstanding.min();
        if let Some((until, wait)) = stream.draining {
            return (oldest.is_none() || until <= now).then_some(Ended::Reopen(wait));
        }
        if oldest.is_some_and(|since| since + ACK_TIMEOUT <= now) {
            tracing::warn!("no acknowledgement for 15 s; trying elsewhere");
            self.health.disconnected("the aggregator does not acknowledge".to_owned());
            return Some(Ended::Reopen(BACKOFF_BASE.mul_f64(chance::fraction())));
        }
        None
    }

    /// When to look again although nothing has come.
    fn next_deadline(&self, stream: &Stream, now: Instant) -> Instant {
        let of_batches = self.unacknowledged.values().filter_map(|sent| {
            sent.outstanding_since.map(|since| since + ACK_TIMEOUT).or(sent.not_before)
        });
        of_batches
            .chain(stream.draining.map(|(until, _)| until))
            .chain(self.notices.told_at())
            .filter(|at| *at > now)
            .min()
            .unwrap_or(now + ACK_TIMEOUT)
    }

    /// What was outstanding on a stream that ended goes out first on the next, in order.
    fn forget_stream(&mut self) {
        for sent in self.unacknowledged.values_mut() {
            sent.outstanding_since = None;
            sent.message = 0;
            sent.on_stream = 0;
            sent.not_before = None;
        }
        self.notices.stream_ended(Instant::now());
    }

    /// Waits; true when there is nothing left to do.
    async fn wait_or_done(&mut self, wait: Duration) -> bool {
        let deadline = sleep(wait);
        tokio::pin!(deadline);
        loop {
            if self.closed && self.unacknowledged.is_empty() {
                return true;
            }
            let may_take = self.may_take() && self.unacknowledged.is_empty();
            tokio::select! {
                () = &mut deadline => return false,
                outbound = self.end.outbound.recv(), if may_take => self.take(outbound),
            }
        }
    }
}

#[cfg(test)]
mod tests;
