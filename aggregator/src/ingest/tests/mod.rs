//! The service over real loopback sockets, with a client that does what it likes: the two ends.

mod hostile;
mod secured;
mod streams;

use std::net::SocketAddr;

use bytes::Bytes;
use naru_proto::body::BodyWriter;
use naru_proto::wire::ingest_client::IngestClient;
use naru_proto::wire::server_message::Kind as FromServer;
use naru_proto::wire::{RefuseReason, RetryWhere, client_message::Kind as ToServer};
use prometheus_client::registry::Registry;
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
    served: JoinHandle<Result<(), ServeError>>,
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
            intake.done.send(IntakeResult::Durable).ok();
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
        Self::over(channel, None).await.unwrap()
    }

    /// With a token where there is one.
    async fn over(channel: transport::Channel, token: Option<&str>) -> Result<Self, Status> {
        let (to_server, messages) = mpsc::channel(64);
        let mut request = Request::new(ReceiverStream::new(messages));
        if let Some(token) = token {
            let value = format!("Bearer {token}").parse().unwrap();
            request.metadata_mut().insert("authorization", value);
        }
        let from_server = within(IngestClient::new(channel).ship(request)).await?.into_inner();
        Ok(Self { to_server, from_server, available: 0, drained: false })
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
