//! The session against an aggregator that the test plays, in memory. Time is paused: waiting costs none.

use naru_proto::wire::ingest_server::{Ingest, IngestServer};
use naru_proto::wire::{Ack, Credit, Drain, Gap, Refuse, RefuseReason, RetryWhere, Welcome};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::*;
use crate::channel::{self, TailEnd};
use crate::connect::{Target, in_memory};

mod policy;
mod refused;

/// One stream, as the test sees it.
struct Opened {
    inbound: Streaming<ClientMessage>,
    outbound: mpsc::Sender<Result<ServerMessage, Status>>,
    at: Instant,
}

struct Server(mpsc::Sender<Opened>);

#[tonic::async_trait]
impl Ingest for Server {
    type ShipStream = ReceiverStream<Result<ServerMessage, Status>>;

    async fn ship(
        &self,
        request: Request<Streaming<ClientMessage>>,
    ) -> Result<Response<Self::ShipStream>, Status> {
        let (outbound, messages) = mpsc::channel(16);
        let opened = Opened { inbound: request.into_inner(), outbound, at: Instant::now() };
        self.0.send(opened).await.ok();
        Ok(Response::new(ReceiverStream::new(messages)))
    }
}

/// A session and both of its ends.
struct Played {
    tail: TailEnd,
    streams: mpsc::Receiver<Opened>,
    session: JoinHandle<()>,
    health: Health,
}

fn play() -> Played {
    play_to(Target::plain("127.0.0.1:1".into()))
}

fn play_to(target: Target) -> Played {
    let (offered, connections) = mpsc::channel(1);
    in_memory::offer(offered);
    let (opened, streams) = mpsc::channel(1);
    let incoming = ReceiverStream::new(connections);
    let server = tonic::transport::Server::builder().add_service(IngestServer::new(Server(opened)));
    tokio::spawn(server.serve_with_incoming(incoming));
    let (tail, end) = channel::pair().unwrap();
    let introduction = Introduction { node: "n".into(), cluster: "c".into() };
    let connector = Connector::new(target).unwrap();
    let health = Health::default();
    let session = Session::new(introduction, connector, end, Metrics::default(), health.clone());
    Played { tail, streams, session: tokio::spawn(session.run()), health }
}

impl Opened {
    async fn say(&self, kind: server_message::Kind) {
        self.outbound.send(Ok(ServerMessage { kind: Some(kind) })).await.unwrap();
    }

    async fn welcome(&mut self, credit_batches: u32) {
        let hello = self.hear().await;
        assert!(matches!(hello, Some(client_message::Kind::Hello(_))));
        self.say(server_message::Kind::Welcome(Welcome { credit_batches, ..Welcome::default() }))
            .await;
    }

    async fn hear(&mut self) -> Option<client_message::Kind> {
        self.inbound.message().await.ok().flatten().and_then(|message| message.kind)
    }

    async fn batch(&mut self) -> u64 {
        self.whole_batch().await.number
    }

    async fn whole_batch(&mut self) -> wire::Batch {
        loop {
            match self.hear().await {
                Some(client_message::Kind::Batch(batch)) => return batch,
                Some(_) => {}
                None => panic!("the stream ended"),
            }
        }
    }
}

fn batch(number: u64) -> Outbound {
    Outbound::Batch(wire::Batch { number, body: vec![1].into(), ..wire::Batch::default() })
}

#[tokio::test(start_paused = true)]
async fn b15_an_aggregator_that_closes_at_once_is_not_hammered() {
    for broken in [false, true] {
        let mut played = play();
        let started = Instant::now();
        for _ in 0..40 {
            let mut stream = played.streams.recv().await.unwrap();
            stream.welcome(1).await;
            if broken {
                stream.outbound.send(Err(Status::unavailable("no"))).await.unwrap();
            }
        }
        // 40 waits of 10 s on average at the cap; by chance less.
        let took = started.elapsed();
        assert!(took > Duration::from_secs(60), "40 streams in {took:?}");
        played.session.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn refusals_without_a_wait_do_not_make_a_storm() {
    let mut played = play();
    played.tail.outbound.send(batch(1)).await.unwrap();
    let started = Instant::now();
    for _ in 0..40 {
        let mut stream = played.streams.recv().await.unwrap();
        stream.welcome(1).await;
        let refuse = Refuse {
            number: stream.batch().await,
            reason: RefuseReason::Draining.into(),
            r#where: RetryWhere::Elsewhere.into(),
            ..Refuse::default()
        };
        stream.say(server_message::Kind::Refuse(refuse)).await;
        while stream.hear().await.is_some() {}
    }
    let took = started.elapsed();
    assert!(took > Duration::from_secs(60), "40 streams in {took:?}");
    played.session.abort();
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_did_its_work_is_followed_by_another_at_once() {
    let mut played = play();
    let mut last = Instant::now();
    for number in 1..=20 {
        let mut stream = played.streams.recv().await.unwrap();
        assert!(stream.at - last < Duration::from_millis(250), "{:?}", stream.at - last);
        stream.welcome(1).await;
        played.tail.outbound.send(batch(number)).await.unwrap();
        assert_eq!(stream.batch().await, number);
        stream.say(server_message::Kind::Ack(Ack { numbers: vec![number] })).await;
        assert_eq!(played.tail.acked.recv().await, Some(vec![number]));
        last = Instant::now();
    }
    played.session.abort();
}

#[tokio::test(start_paused = true)]
async fn b15_what_is_not_acknowledged_goes_elsewhere_after_15_s() {
    let mut played = play();
    played.tail.outbound.send(batch(1)).await.unwrap();
    let mut stream = played.streams.recv().await.unwrap();
    stream.welcome(2).await;
    assert_eq!(stream.batch().await, 1);
    let sent = Instant::now();
    let mut next = played.streams.recv().await.unwrap();
    let waited = next.at - sent;
    assert!(waited >= ACK_TIMEOUT && waited < ACK_TIMEOUT + Duration::from_secs(1), "{waited:?}");
    next.welcome(1).await;
    assert_eq!(next.batch().await, 1);
    drop(stream);
    next.say(server_message::Kind::Ack(Ack { numbers: vec![1] })).await;
    assert_eq!(played.tail.acked.recv().await, Some(vec![1]));
    drop(played.tail);
    played.session.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn credit_is_kept_to_and_a_refused_batch_waits_its_time() {
    let mut played = play();
    let mut stream = played.streams.recv().await.unwrap();
    stream.welcome(2).await;
    let senders = played.tail.outbound.clone();
    let feed = tokio::spawn(async move {
        for number in 1..=4 {
            senders.send(batch(number)).await.unwrap();
        }
    });
    assert_eq!((stream.batch().await, stream.batch().await), (1, 2));
    let more = tokio::time::timeout(Duration::from_secs(5), stream.batch()).await;
    assert!(more.is_err(), "there is no credit");
    let refused = Instant::now();
    let refuse = Refuse {
        number: 1,
        reason: RefuseReason::Busy.into(),
        r#where: RetryWhere::Here.into(),
        retry_ms: 3000,
        ..Refuse::default()
    };
    stream.say(server_message::Kind::Refuse(refuse)).await;
    stream.say(server_message::Kind::Credit(Credit { batches: 3 })).await;
    assert_eq!((stream.batch().await, stream.batch().await), (3, 4));
    assert_eq!(stream.batch().await, 1);
    assert!(refused.elapsed() >= Duration::from_secs(3));
    stream.say(server_message::Kind::Ack(Ack { numbers: vec![4, 1, 3, 2, 9, 2] })).await;
    assert_eq!(played.tail.acked.recv().await, Some(vec![4, 1, 3, 2]));
    feed.await.unwrap();
    drop(played.tail);
    played.session.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn b12_a_draining_stream_takes_acknowledgements_and_sends_nothing() {
    let mut played = play();
    let mut stream = played.streams.recv().await.unwrap();
    stream.welcome(9).await;
    played.tail.outbound.send(batch(1)).await.unwrap();
    assert_eq!(stream.batch().await, 1);
    stream.say(server_message::Kind::Drain(Drain { reconnect_ms: 100 })).await;
    // The answer to a message that comes after it says that it was heard.
    played.tail.outbound.send(batch(2)).await.unwrap();
    stream.say(server_message::Kind::Ack(Ack { numbers: vec![1] })).await;
    assert_eq!(played.tail.acked.recv().await, Some(vec![1]));
    let mut next = played.streams.recv().await.unwrap();
    next.welcome(9).await;
    assert_eq!(next.batch().await, 2);
    played.session.abort();
}

#[tokio::test(start_paused = true)]
async fn a_declared_gap_survives_a_stream_that_breaks() {
    let mut played = play();
    let gap = Gap { start: 7, ..Gap::default() };
    played.tail.outbound.send(Outbound::Gap(9, gap.clone())).await.unwrap();
    for _ in 0..3 {
        let mut stream = played.streams.recv().await.unwrap();
        stream.welcome(0).await;
        // It was handed to a stream whose server never looks at it.
        assert_eq!(stream.hear().await, Some(client_message::Kind::Gap(gap.clone())));
        stream.outbound.send(Err(Status::unavailable("gone"))).await.unwrap();
    }
    let mut stream = played.streams.recv().await.unwrap();
    stream.welcome(0).await;
    assert_eq!(stream.hear().await, Some(client_message::Kind::Gap(gap)));
    tokio::time::sleep(Duration::from_secs(60)).await;
    drop(stream);
    let mut stream = played.streams.recv().await.unwrap();
    stream.welcome(0).await;
    let again = tokio::time::timeout(Duration::from_secs(5), stream.hear()).await;
    assert!(again.is_err(), "a stream that lived on has delivered it");
    played.session.abort();
}

/// A moment must not pass between what is looked for and what is waited for: at every one, a batch that was refused is
/// either sent or the moment at which it may be is waited for.
#[tokio::test(start_paused = true)]
async fn a_batch_that_waits_is_sent_when_it_is_due_and_not_seconds_later() {
    let (_tail, end) = channel::pair().unwrap();
    let introduction = Introduction { node: "n".into(), cluster: "c".into() };
    let connector = Connector::new(Target::plain("127.0.0.1:1".into())).unwrap();
    let (metrics, health) = (Metrics::default(), Health::default());
    let mut session = Session::new(introduction, connector, end, metrics, health);
    let (outgoing, _messages) = mpsc::channel(1);
    let stream = Stream::new(outgoing, 1);
    session.take(Some(batch(1)));
    let due = Instant::now() + Duration::from_millis(100);
    session.unacknowledged.get_mut(&1).unwrap().not_before = Some(due);
    for step in 0..=200 {
        let now = due - Duration::from_nanos(100) + Duration::from_nanos(step);
        let sent = session.next_to_send(&stream, now).is_some();
        let looks_again = session.next_deadline(&stream, now);
        assert!(sent || looks_again == due, "{:?} later", looks_again - due);
        assert_eq!(sent, now >= due);
    }
}

#[tokio::test(start_paused = true)]
async fn every_part_of_a_status_is_told_and_of_each_file_the_newest() {
    // While no stream is up, they gather.
    in_memory::down(&[address(1)]);
    let mut played = play();
    let status = |files: std::ops::Range<u32>, size| {
        let file = |n: u32| wire::FileStatus {
            file_id: n.to_be_bytes().to_vec().into(),
            size,
            ..wire::FileStatus::default()
        };
        Outbound::Status(wire::Status { files: files.map(file).collect() })
    };
    for part in [status(0..1000, 1), status(1000..2000, 1), status(2000..2500, 1), status(3..4, 2)]
    {
        played.tail.outbound.send(part).await.unwrap();
    }
    played.tail.outbound.reserve_many(2).await.unwrap();
    in_memory::down(&[]);
    let mut told = BTreeMap::new();
    let mut stream = played.streams.recv().await.unwrap();
    stream.welcome(0).await;
    while told.len() < 2500 || told.values().sum::<u64>() < 2501 {
        match tokio::time::timeout(Duration::from_secs(60), stream.hear()).await {
            Ok(Some(client_message::Kind::Status(status))) => {
                told.extend(status.files.into_iter().map(|file| (file.file_id, file.size)));
            }
            other => panic!("{} files are told of, then {other:?}", told.len()),
        }
    }
    assert_eq!((told.len(), told[&3_u32.to_be_bytes()[..]]), (2500, 2));
    played.session.abort();
}

fn three() -> Target {
    let addresses = ["127.0.0.1:1", "127.0.0.2:1,127.0.0.3:1"];
    let addresses = addresses.iter().flat_map(|list| list.split(',')).map(str::to_owned).collect();
    Target { addresses, ..Target::plain(String::new()) }
}

fn address(n: u8) -> std::net::SocketAddr {
    ([127, 0, 0, n], 1).into()
}

#[tokio::test(start_paused = true)]
async fn a_round_tries_every_address_once_before_it_waits() {
    in_memory::down(&[address(1), address(2)]);
    let mut played = play_to(three());
    let started = Instant::now();
    let mut stream = played.streams.recv().await.unwrap();
    stream.welcome(1).await;
    assert_eq!(started.elapsed(), Duration::ZERO, "no backoff while there is another address");
    let dialled = in_memory::dialled();
    assert_eq!(dialled.last(), Some(&address(3)));
    assert!(dialled.len() <= 3, "{dialled:?}");

    in_memory::down(&[address(1), address(2), address(3)]);
    drop(stream);
    let mut rounds = Vec::new();
    while rounds.len() < 30 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        rounds.extend(in_memory::dialled());
    }
    for round in rounds.chunks_exact(3) {
        let mut once = round.to_vec();
        once.sort();
        assert_eq!(once, [address(1), address(2), address(3)], "{rounds:?}");
    }
    assert_eq!(rounds.first_chunk::<3>().unwrap()[2], address(3), "where it broke is tried last");
    played.session.abort();
}

#[tokio::test(start_paused = true)]
async fn b12_what_ends_a_stream_leads_elsewhere() {
    #[derive(Debug, Clone, Copy)]
    enum Ends {
        Drain,
        Elsewhere,
        Silence,
        Break,
    }
    for ends in [Ends::Drain, Ends::Elsewhere, Ends::Silence, Ends::Break] {
        let mut played = play_to(three());
        let mut stream = played.streams.recv().await.unwrap();
        for number in 1..=20 {
            stream.welcome(1).await;
            let before = *in_memory::dialled().last().unwrap();
            played.tail.outbound.send(batch(number)).await.unwrap();
            let number = stream.batch().await;
            match ends {
                Ends::Drain => {
                    stream.say(server_message::Kind::Drain(Drain { reconnect_ms: 1 })).await;
                    stream.say(server_message::Kind::Ack(Ack { numbers: vec![number] })).await;
                    assert_eq!(played.tail.acked.recv().await, Some(vec![number]));
                }
                Ends::Elsewhere => {
                    let refuse = Refuse {
                        number,
                        reason: RefuseReason::Busy.into(),
                        r#where: RetryWhere::Elsewhere.into(),
                        ..Refuse::default()
                    };
                    stream.say(server_message::Kind::Refuse(refuse)).await;
                }
                Ends::Silence => {}
                Ends::Break => {
                    stream.outbound.send(Err(Status::unavailable("gone"))).await.unwrap();
                }
            }
            let next = played.streams.recv().await.unwrap();
            let after = in_memory::dialled();
            assert_eq!(after.len(), 1, "{ends:?}: the first that is tried takes it");
            assert_ne!(after, [before], "{ends:?}");
            in_memory::redial(after);
            stream = next;
        }
        played.session.abort();
    }
}

/// Whatever the reason and wherever it may be tried again: a refused batch is sent until it is acknowledged.
#[tokio::test(start_paused = true)]
async fn b12_every_refusal_leads_to_another_attempt() {
    use RefuseReason as R;
    let reasons = [
        R::Unspecified,
        R::Busy,
        R::NoCredit,
        R::Checksum,
        R::TooLarge,
        R::Invalid,
        R::WrongNode,
        R::UnknownFormat,
        R::Draining,
    ];
    for reason in reasons {
        for place in
            [RetryWhere::Unspecified, RetryWhere::Here, RetryWhere::Elsewhere, RetryWhere::Never]
        {
            let mut played = play();
            played.tail.outbound.send(batch(1)).await.unwrap();
            let mut stream = played.streams.recv().await.unwrap();
            stream.welcome(9).await;
            assert_eq!(stream.batch().await, 1);
            let refuse = Refuse {
                number: 1,
                reason: reason.into(),
                r#where: place.into(),
                retry_ms: 10,
                ..Refuse::default()
            };
            stream.say(server_message::Kind::Refuse(refuse)).await;
            if matches!(place, RetryWhere::Elsewhere | RetryWhere::Unspecified) {
                stream = played.streams.recv().await.unwrap();
                stream.welcome(9).await;
            }
            assert_eq!(stream.batch().await, 1, "{reason:?} {place:?}");
            stream.say(server_message::Kind::Ack(Ack { numbers: vec![1] })).await;
            assert_eq!(played.tail.acked.recv().await, Some(vec![1]));
            played.session.abort();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn b15_an_aggregator_without_credit_is_sent_nothing_for_as_long_as_it_likes() {
    let mut played = play();
    let mut stream = played.streams.recv().await.unwrap();
    stream.welcome(0).await;
    played.tail.outbound.send(batch(1)).await.unwrap();
    // It is alive, and grants nothing; that is no reason to leave.
    let heard = tokio::time::timeout(Duration::from_secs(3600), stream.batch()).await;
    assert!(heard.is_err(), "there is no credit");
    assert!(played.streams.try_recv().is_err(), "it stays");
    stream.say(server_message::Kind::Credit(Credit { batches: 1 })).await;
    assert_eq!(stream.batch().await, 1);
    played.session.abort();
}
