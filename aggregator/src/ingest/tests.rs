//! The service over real loopback sockets, with a client that does what it likes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use bytes::Bytes;
use naru_proto::body::BodyWriter;
use naru_proto::wire::ingest_client::IngestClient;
use naru_proto::wire::server_message::Kind as FromServer;
use naru_proto::wire::{RefuseReason, RetryWhere, client_message::Kind as ToServer};
use prometheus_client::registry::Registry;
use prost::Message;
use tokio::task::JoinHandle;
use tonic::Code;

use super::*;

/// Any wait in these tests: none is for time to pass, so only a hang reaches it.
const HANG: Duration = Duration::from_secs(30);

struct Server {
    address: SocketAddr,
    service: Service,
    metrics: Metrics,
    stop: oneshot::Sender<()>,
    served: JoinHandle<Result<(), Error>>,
}

impl Server {
    async fn start(config: IngestConfig, sink: mpsc::Sender<Intake>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let metrics = Metrics::register(&mut Registry::default());
        let service = Service::new(config, sink, metrics.clone());
        let (stop, stopped) = oneshot::channel();
        let shutdown = async { drop(stopped.await) };
        let served = tokio::spawn(service.clone().serve(listener, shutdown));
        Self { address, service, metrics, stop, served }
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        within(self.served).await.unwrap().unwrap();
    }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(HANG, future).await.expect("it hangs")
}

/// A queue that makes everything durable at once, and remembers it.
fn durable_sink() -> (mpsc::Sender<Intake>, JoinHandle<Vec<(String, wire::Batch)>>) {
    let (sink, mut intakes) = mpsc::channel::<Intake>(4);
    let taken = tokio::spawn(async move {
        let mut taken = Vec::new();
        while let Some(intake) = intakes.recv().await {
            taken.push((intake.node, intake.batch));
            assert!(intake.received_ms > 0);
            // A stream that has ended does not listen any more.
            drop(intake.done.send(IntakeResult::Durable));
        }
        taken
    });
    (sink, taken)
}

struct Client {
    to_server: mpsc::Sender<wire::ClientMessage>,
    from_server: Streaming<wire::ServerMessage>,
    available: i64,
    drained: bool,
}

impl Client {
    async fn connect(address: SocketAddr) -> Self {
        let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}"));
        let channel = within(endpoint.unwrap().connect()).await.unwrap();
        let (to_server, messages) = mpsc::channel(64);
        let mut client = IngestClient::new(channel);
        let response = within(client.ship(ReceiverStream::new(messages))).await.unwrap();
        Self { to_server, from_server: response.into_inner(), available: 0, drained: false }
    }

    async fn open(address: SocketAddr, node: &str) -> Self {
        let mut client = Self::connect(address).await;
        client.send(hello(node, "default")).await;
        match client.hear().await {
            Ok(Some(FromServer::Welcome(welcome))) => {
                assert_eq!(welcome.limits, Some(naru_proto::limits::announced()));
            }
            other => panic!("not Welcome: {other:?}"),
        }
        client
    }

    async fn send(&mut self, kind: ToServer) {
        self.available -= i64::from(matches!(kind, ToServer::Batch(_)));
        // A stream that has ended takes nothing; what it says tells why.
        drop(self.to_server.send(wire::ClientMessage { kind: Some(kind) }).await);
    }

    /// The next message, credit counted; None when the stream has ended with OK.
    async fn hear(&mut self) -> Result<Option<FromServer>, Status> {
        let kind = within(self.from_server.message()).await?.and_then(|message| message.kind);
        match &kind {
            Some(FromServer::Welcome(welcome)) => {
                self.available += i64::from(welcome.credit_batches);
            }
            Some(FromServer::Credit(credit)) => self.available += i64::from(credit.batches),
            Some(FromServer::Drain(_)) => self.drained = true,
            _ => {}
        }
        Ok(kind)
    }

    async fn wait_for_credit(&mut self) {
        while self.available <= 0 {
            match self.hear().await {
                Ok(Some(FromServer::Credit(_))) => {}
                other => panic!("not Credit: {other:?}"),
            }
        }
    }

    /// Sends a batch when it may, and waits for its answer: None is an acknowledgement.
    async fn ship(&mut self, batch: wire::Batch) -> Option<wire::Refuse> {
        self.wait_for_credit().await;
        let number = batch.number;
        self.send(ToServer::Batch(batch)).await;
        loop {
            match self.hear().await {
                Ok(Some(FromServer::Ack(ack))) if ack.numbers.contains(&number) => return None,
                Ok(Some(FromServer::Refuse(refuse))) if refuse.number == number => {
                    return Some(refuse);
                }
                Ok(Some(FromServer::Credit(_) | FromServer::Drain(_))) => {}
                other => panic!("no answer to {number}: {other:?}"),
            }
        }
    }

    /// Ships a good batch; only credit that was lent may be missing, and then its turn comes.
    async fn ship_in_turn(&mut self, batch: &wire::Batch) {
        while let Some(refusal) = self.ship(batch.clone()).await {
            assert_eq!(refusal.reason(), RefuseReason::NoCredit);
        }
    }

    /// How the stream ended.
    async fn end(&mut self) -> Result<(), Status> {
        while self.hear().await?.is_some() {}
        Ok(())
    }
}

fn hello(node: &str, cluster: &str) -> ToServer {
    ToServer::Hello(wire::Hello {
        node: node.into(),
        cluster: cluster.into(),
        ..wire::Hello::default()
    })
}

fn frame(node: &str, bytes: &[u8]) -> (wire::Frame, Vec<u8>) {
    let source = wire::Source {
        node: node.into(),
        writer: Some(wire::source::Writer::HostFile(wire::HostFile { path: "/v".into() })),
    };
    let extent = wire::Extent {
        file_id: Bytes::from_static(&[1; 12]),
        start: 0,
        length: bytes.len() as u64,
    };
    let header = wire::Frame {
        source: Some(source),
        format: wire::Format::Plain.into(),
        extents: vec![extent],
        ends: wire::Ends::Lines.into(),
        ..wire::Frame::default()
    };
    (header, bytes.to_vec())
}

fn batch_of(number: u64, frames: &[(wire::Frame, Vec<u8>)]) -> wire::Batch {
    let mut writer = BodyWriter::default();
    let mut records = 0;
    for (header, bytes) in frames {
        writer.push(header, bytes);
        records += memchr::memchr_iter(b'\n', bytes).count() as u32;
    }
    let raw_bytes = writer.raw_bytes() as u32;
    let body = Bytes::from(writer.finish());
    wire::Batch { number, crc32c: crc32c::crc32c(&body), records, raw_bytes, body }
}

fn batch(number: u64, node: &str) -> wire::Batch {
    batch_of(number, &[frame(node, format!("line {number}\nand another\n").as_bytes())])
}

fn with_body(mut batch: wire::Batch, body: Vec<u8>) -> wire::Batch {
    batch.crc32c = crc32c::crc32c(&body);
    batch.body = body.into();
    batch
}

/// splitmix64.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % end as u64) as usize
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.below(256) as u8).collect()
    }
}

fn compressed(raw: &[u8]) -> Vec<u8> {
    let mut out = vec![0; zstd_safe::compress_bound(raw.len())];
    let length = zstd_safe::compress(&mut out[..], raw, 1).unwrap();
    out.truncate(length);
    out
}

/// A batch that is wrong in one way, and the reason that it is to be refused for.
fn hostile(random: &mut Random, number: u64) -> (wire::Batch, RefuseReason) {
    use RefuseReason::{Checksum, Invalid, TooLarge, UnknownFormat, WrongNode};
    let good = batch(number, "node-1");
    let one = |change: &mut dyn FnMut(&mut wire::Frame)| {
        let (mut header, bytes) = frame("node-1", b"a\nb\n");
        change(&mut header);
        batch_of(number, &[frame("node-1", b"first\n"), (header, bytes)])
    };
    match random.below(22) {
        0 => (wire::Batch { crc32c: good.crc32c ^ 1, ..good }, Checksum),
        1 => {
            let mut body = good.body.to_vec();
            let at = random.below(body.len());
            body[at] ^= 1 << random.below(8);
            (wire::Batch { body: body.into(), ..good }, Checksum)
        }
        2 => {
            let length = BATCH_COMPRESSED_MAX_BYTES + 1 + random.below(60_000);
            (with_body(good, vec![7; length]), TooLarge)
        }
        3 => {
            let length = random.below(5000) + 1;
            (with_body(good, random.bytes(length)), Invalid)
        }
        4 => {
            let cut = good.body.len() - 1 - random.below(good.body.len() - 1);
            let body = good.body.slice(..cut).to_vec();
            (with_body(good, body), Invalid)
        }
        5 => {
            // 4 MiB of zeros in one frame.
            let bomb = compressed(&vec![0; 4 << 20]);
            (wire::Batch { raw_bytes: 4 << 20, ..with_body(good, bomb) }, Invalid)
        }
        6 => {
            // Far more than it declares.
            let bomb = compressed(&vec![0; 200 << 10]).repeat(200);
            (with_body(good, bomb), Invalid)
        }
        7 => (wire::Batch { raw_bytes: u32::MAX - random.below(100) as u32, ..good }, Invalid),
        8 => (wire::Batch { raw_bytes: good.raw_bytes + 1, ..good }, Invalid),
        9 => (wire::Batch { raw_bytes: good.raw_bytes - 1, ..good }, Invalid),
        10 => (wire::Batch { records: good.records + 1, ..good }, Invalid),
        11 => (wire::Batch { records: random.below(2) as u32, ..good }, Invalid),
        12 => (batch(number, "node-2"), WrongNode),
        13 => (batch(number, "node-1 "), WrongNode),
        14 => (one(&mut |frame| frame.extents[0].start = u64::MAX), Invalid),
        15 => (one(&mut |frame| frame.extents[0].length += 1), Invalid),
        16 => (one(&mut |frame| frame.extents[0].file_id = Bytes::from_static(b"x")), Invalid),
        17 => (one(&mut |frame| frame.source = None), Invalid),
        18 => (one(&mut |frame| frame.format = wire::Format::JsonFile.into()), UnknownFormat),
        19 => (one(&mut |frame| frame.ends = 77), UnknownFormat),
        20 => {
            let long = [vec![b'x'; naru_proto::limits::RECORD_MAX_BYTES], vec![b'\n']].concat();
            (batch_of(number, &[frame("node-1", &long)]), TooLarge)
        }
        _ => {
            // A frame that says that it is longer than all there is.
            let mut raw = vec![0xff, 0xff, 0xff, 0x7f];
            let length = random.below(300);
            raw.extend(random.bytes(length));
            let body = compressed(&raw);
            (wire::Batch { raw_bytes: raw.len() as u32, ..with_body(good, body) }, Invalid)
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_batches_are_refused_and_the_connection_is_kept() {
    let (sink, taken) = durable_sink();
    let server = Server::start(IngestConfig::new("default"), sink).await;
    let mut client = Client::open(server.address, "node-1").await;
    let mut random = Random(20_261_122);
    let mut expected = BTreeMap::<i32, u64>::new();
    let mut good = Vec::new();
    for number in 1..=600 {
        let refuse = if random.below(3) == 0 {
            let batch = batch(number, "node-1");
            good.push(batch.clone());
            let refuse = client.ship(batch).await;
            assert_eq!(refuse, None);
            continue;
        } else {
            let (batch, reason) = hostile(&mut random, number);
            *expected.entry(reason.into()).or_default() += 1;
            let refuse = client.ship(batch).await.expect("a refusal");
            assert_eq!(refuse.reason(), reason, "{number}: {}", refuse.detail);
            refuse
        };
        assert!(!refuse.detail.is_empty() && refuse.detail.len() < 2000, "{}", refuse.detail);
        let elsewhere = refuse.reason() == RefuseReason::UnknownFormat;
        let here = refuse.reason() == RefuseReason::Checksum;
        match refuse.r#where() {
            RetryWhere::Elsewhere => assert!(elsewhere),
            RetryWhere::Here => assert!(here),
            RetryWhere::Never => assert!(!elsewhere && !here),
            RetryWhere::Unspecified => panic!("where is not said"),
        }
    }
    assert_eq!(expected.len(), 5, "every reason had its turn: {expected:?}");
    for (reason, count) in expected {
        let reason = RefuseReason::try_from(reason).unwrap();
        assert_eq!(server.metrics.refused(reason), count, "{reason:?}");
    }
    assert_eq!(server.metrics.batches_acknowledged.get(), good.len() as u64);
    assert_eq!(server.metrics.batches_received.get(), 600);
    assert_eq!(server.metrics.records.get(), good.len() as u64 * 2);
    drop(client);
    server.stop().await;
    let taken = within(taken).await.unwrap();
    assert!(taken.iter().all(|(node, _)| node == "node-1"));
    assert!(taken.into_iter().map(|(_, batch)| batch).eq(good), "what was good, and nothing else");
}

#[tokio::test]
async fn a_message_over_the_limit_ends_the_stream_alone() {
    let (sink, _taken) = durable_sink();
    let server = Server::start(IngestConfig::new("default"), sink).await;
    let mut other = Client::open(server.address, "node-2").await;
    let mut client = Client::open(server.address, "node-1").await;
    let huge = with_body(batch(1, "node-1"), vec![0; MESSAGE_MAX_BYTES]);
    assert!(huge.encoded_len() > MESSAGE_MAX_BYTES);
    client.send(ToServer::Batch(huge)).await;
    assert_eq!(client.end().await.unwrap_err().code(), Code::OutOfRange);
    assert_eq!(other.ship(batch(1, "node-2")).await, None);
    drop(other);
    server.stop().await;
}

#[tokio::test]
async fn who_may_not_ship_is_told_why() {
    let (sink, _taken) = durable_sink();
    let server = Server::start(IngestConfig::new("default"), sink).await;
    let check = async |first: ToServer, code: Code, label: &'static str| {
        let mut client = Client::connect(server.address).await;
        client.send(first).await;
        let status = client.end().await.unwrap_err();
        assert_eq!(status.code(), code, "{status:?}");
        assert!(!status.message().is_empty());
        assert_eq!(server.metrics.broken(label), 1, "{label}");
    };
    let too_early = ToServer::Batch(batch(1, "node-1"));
    check(too_early, Code::FailedPrecondition, "no_hello").await;
    check(hello("node-1", "other"), Code::FailedPrecondition, "wrong_cluster").await;
    check(hello("", "default"), Code::InvalidArgument, "bad_name").await;
    let mut client = Client::open(server.address, "node-1").await;
    assert_eq!(client.ship(batch(7, "node-1")).await, None);
    client.wait_for_credit().await;
    client.send(ToServer::Batch(batch(7, "node-1"))).await;
    assert_eq!(client.end().await.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(server.metrics.broken("bad_number"), 1);
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_says_nothing_is_sent_away() {
    let (sink, _taken) = durable_sink();
    let hello_timeout = Duration::from_millis(20);
    let config = IngestConfig { hello_timeout, ..IngestConfig::new("default") };
    let server = Server::start(config, sink).await;
    let mut client = Client::connect(server.address).await;
    assert_eq!(client.end().await.unwrap_err().code(), Code::FailedPrecondition);
    assert_eq!(server.metrics.broken("no_hello"), 1);
    server.stop().await;
}

#[tokio::test]
async fn a_batch_is_acknowledged_only_once_it_is_durable() {
    let (sink, mut intakes) = mpsc::channel::<Intake>(8);
    let server = Server::start(IngestConfig::new("default"), sink).await;
    let mut client = Client::open(server.address, "node-1").await;
    assert_eq!(client.available, 1, "an idle stream has the least");

    // Two batches in flight: the first answer is for the one that is durable first.
    client.send(ToServer::Batch(batch(1, "node-1"))).await;
    let first = within(intakes.recv()).await.unwrap();
    client.wait_for_credit().await;
    client.send(ToServer::Batch(batch(2, "node-1"))).await;
    let second = within(intakes.recv()).await.unwrap();
    assert_eq!((first.batch.number, second.batch.number), (1, 2));
    assert_eq!(server.metrics.batches_acknowledged.get(), 0);
    let ack = async |client: &mut Client| loop {
        match client.hear().await.unwrap().unwrap() {
            FromServer::Credit(_) => {}
            FromServer::Ack(ack) => break ack.numbers,
            other => panic!("{other:?}"),
        }
    };
    second.done.send(IntakeResult::Durable).unwrap();
    assert_eq!(ack(&mut client).await, [2]);
    first.done.send(IntakeResult::Durable).unwrap();
    assert_eq!(ack(&mut client).await, [1]);

    let answers = tokio::spawn(async move {
        for result in [
            Some(IntakeResult::Busy { retry_ms: 40 }),
            Some(IntakeResult::Busy { retry_ms: 60_000 }),
            None,
            Some(IntakeResult::Durable),
        ] {
            let intake = intakes.recv().await.unwrap();
            match result {
                Some(result) => intake.done.send(result).unwrap(),
                None => drop(intake),
            }
        }
    });
    let mut busy = async |number, retry_where, retry_ms| {
        let refuse = client.ship(batch(number, "node-1")).await.unwrap();
        assert_eq!(refuse.reason(), RefuseReason::Busy);
        assert_eq!(refuse.r#where(), retry_where);
        assert_eq!(refuse.retry_ms, retry_ms);
    };
    busy(3, RetryWhere::Here, 40).await;
    busy(4, RetryWhere::Elsewhere, 60_000).await;
    busy(5, RetryWhere::Elsewhere, 1001).await;
    assert_eq!(client.ship(batch(4, "node-1")).await, None, "a refused number may come again");
    within(answers).await.unwrap();
    let refuse = client.ship(batch(6, "node-1")).await.unwrap();
    assert_eq!(refuse.reason(), RefuseReason::Busy, "nobody takes anything any more");
    drop(client);
    server.stop().await;
}

#[tokio::test]
async fn acknowledgements_that_are_ready_together_travel_together() {
    let (sink, mut intakes) = mpsc::channel::<Intake>(8);
    let server = Server::start(IngestConfig::new("default"), sink).await;
    let mut client = Client::open(server.address, "node-1").await;
    let mut held = Vec::new();
    for number in 1..=4 {
        client.wait_for_credit().await;
        client.send(ToServer::Batch(batch(number, "node-1"))).await;
        held.push(within(intakes.recv()).await.unwrap());
    }
    // Without a pause between them: on one thread, the stream looks when all are there.
    for intake in held {
        intake.done.send(IntakeResult::Durable).unwrap();
    }
    let numbers = loop {
        match client.hear().await.unwrap().unwrap() {
            FromServer::Ack(ack) => break ack.numbers,
            FromServer::Credit(_) => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(BTreeSet::from_iter(numbers), BTreeSet::from([1, 2, 3, 4]));
    drop(client);
    server.stop().await;
}

#[tokio::test]
async fn a_batch_without_credit_is_refused() {
    let (sink, mut intakes) = mpsc::channel::<Intake>(8);
    let config = IngestConfig { credit_batches: 1, ..IngestConfig::new("default") };
    let server = Server::start(config, sink).await;
    let mut client = Client::open(server.address, "node-1").await;
    client.send(ToServer::Batch(batch(1, "node-1"))).await;
    let first = within(intakes.recv()).await.unwrap();
    client.send(ToServer::Batch(batch(2, "node-1"))).await;
    match client.hear().await.unwrap() {
        Some(FromServer::Refuse(refuse)) => {
            assert_eq!((refuse.number, refuse.reason()), (2, RefuseReason::NoCredit));
            assert_eq!(refuse.r#where(), RetryWhere::Here);
        }
        other => panic!("{other:?}"),
    }
    first.done.send(IntakeResult::Durable).unwrap();
    assert!(matches!(client.hear().await, Ok(Some(FromServer::Ack(_)))));
    assert_eq!(client.available, -1);
    client.wait_for_credit().await;
    client.send(ToServer::Batch(batch(2, "node-1"))).await;
    let again = within(intakes.recv()).await.unwrap();
    assert_eq!(again.batch.number, 2);
    drop(again);
    drop(client);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_streams_all_get_their_turn() {
    const STREAMS: usize = 200;
    const BATCHES: u64 = 20;
    let (sink, taken) = durable_sink();
    let config = IngestConfig { credit_batches: 8, ..IngestConfig::new("default") };
    let server = Server::start(config, sink).await;
    let address = server.address;
    // As many as there are permits, and they never send: what they hold must be lent.
    let mut idle = Vec::new();
    for number in 0..8 {
        let client = Client::open(address, &format!("idle-{number}")).await;
        assert_eq!(client.available, 1);
        idle.push(client);
    }
    let ships = (0..STREAMS).map(|number| {
        tokio::spawn(async move {
            let node = format!("node-{number}");
            let mut client = Client::open(address, &node).await;
            for number in 1..=BATCHES {
                client.ship_in_turn(&batch(number, &node)).await;
            }
        })
    });
    for ship in ships.collect::<Vec<_>>() {
        within(ship).await.unwrap();
    }
    for (number, client) in idle.iter_mut().enumerate() {
        client.ship_in_turn(&batch(1, &format!("idle-{number}"))).await;
    }
    drop(idle);
    server.stop().await;
    let taken = within(taken).await.unwrap();
    let distinct: BTreeSet<_> = taken.iter().map(|(node, batch)| (node, batch.number)).collect();
    assert_eq!(distinct.len(), STREAMS * BATCHES as usize + 8);
    assert_eq!(taken.len(), distinct.len());
}

#[tokio::test]
async fn an_old_stream_is_drained_and_ends_well() {
    let (sink, mut intakes) = mpsc::channel::<Intake>(8);
    let age = Duration::from_millis(500);
    let config =
        IngestConfig { stream_age_min: age, stream_age_max: age, ..IngestConfig::new("default") };
    let server = Server::start(config, sink).await;
    let mut client = Client::open(server.address, "node-1").await;
    client.send(ToServer::Batch(batch(1, "node-1"))).await;
    let intake = within(intakes.recv()).await.unwrap();
    while !client.drained {
        assert!(client.hear().await.unwrap().is_some());
    }
    client.send(ToServer::Batch(batch(2, "node-1"))).await;
    match client.hear().await.unwrap() {
        Some(FromServer::Refuse(refuse)) => {
            assert_eq!((refuse.number, refuse.reason()), (2, RefuseReason::Draining));
            assert_eq!(refuse.r#where(), RetryWhere::Elsewhere);
        }
        other => panic!("{other:?}"),
    }
    intake.done.send(IntakeResult::Durable).unwrap();
    match client.hear().await.unwrap() {
        Some(FromServer::Ack(ack)) => assert_eq!(ack.numbers, [1]),
        other => panic!("{other:?}"),
    }
    client.end().await.unwrap();
    server.stop().await;
}

#[tokio::test]
async fn a_shutdown_answers_what_is_in_flight() {
    let (sink, mut intakes) = mpsc::channel::<Intake>(8);
    let server = Server::start(IngestConfig::new("default"), sink).await;
    let mut client = Client::open(server.address, "node-1").await;
    client.send(ToServer::Batch(batch(1, "node-1"))).await;
    let intake = within(intakes.recv()).await.unwrap();
    let Server { stop, mut served, .. } = server;
    stop.send(()).unwrap();
    while !client.drained {
        assert!(client.hear().await.unwrap().is_some());
    }
    assert!(!served.is_finished(), "it waits for what is in flight");
    intake.done.send(IntakeResult::Durable).unwrap();
    match client.hear().await.unwrap() {
        Some(FromServer::Ack(ack)) => assert_eq!(ack.numbers, [1]),
        other => panic!("{other:?}"),
    }
    client.end().await.unwrap();
    within(&mut served).await.unwrap().unwrap();
}

#[tokio::test]
async fn losses_and_states_are_taken_from_a_stream() {
    let (sink, _taken) = durable_sink();
    let server = Server::start(IngestConfig::new("default"), sink).await;
    let mut client = Client::open(server.address, "node-1").await;
    let gap = wire::Gap {
        start: 5,
        end_exclusive: Some(9),
        reason: wire::GapReason::Truncated.into(),
        ..wire::Gap::default()
    };
    client.send(ToServer::Gap(gap)).await;
    let files = vec![wire::FileStatus::default(); 3];
    client.send(ToServer::Status(wire::Status { files })).await;
    drop(client.to_server.send(wire::ClientMessage { kind: None }).await);
    assert_eq!(client.ship(batch(1, "node-1")).await, None);
    assert_eq!(server.metrics.gaps("truncated"), 1);
    assert_eq!(server.metrics.gap_bytes.get(), 4);
    assert_eq!(server.metrics.status_files.get(), 3);
    assert_eq!(server.metrics.messages_unknown.get(), 1);
    let gaps = server.service.recent_gaps();
    assert_eq!(gaps.first().map(|gap| (gap.node.as_str(), gap.start)), Some(("node-1", 5)));
    assert_eq!(gaps.len(), 1);
    // The client closes its side first: its stream ends by itself.
    let (closed, _) = mpsc::channel(1);
    client.to_server = closed;
    client.end().await.unwrap();
    server.stop().await;
}
