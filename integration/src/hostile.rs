//! A client that speaks the protocol and lies.

use std::net::SocketAddr;

use bytes::Bytes;
use naru_proto::body::BodyWriter;
use naru_proto::frame::{Container, Extent, Format, Source, Writer};
use naru_proto::ids::FileId;
use naru_proto::wire::ingest_client::IngestClient;
use naru_proto::wire::{self, client_message, server_message};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Endpoint;

/// Far more than any story sends before it reads the answers.
const UNDER_WAY: usize = 64;

/// One stream to an aggregator.
#[derive(Debug)]
pub struct Client {
    send: mpsc::Sender<wire::ClientMessage>,
    receive: Streaming<wire::ServerMessage>,
}

/// What became of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It is durable.
    Ack,
    /// It was not taken.
    Refuse {
        /// [`wire::RefuseReason`].
        reason: wire::RefuseReason,
        /// [`wire::RetryWhere`].
        retry: wire::RetryWhere,
    },
}

impl Client {
    /// Opens a stream and says Hello; returns after the Welcome.
    pub async fn connect(address: SocketAddr, node: &str, cluster: &str) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        let mut client = IngestClient::new(endpoint.connect().await.unwrap())
            .max_encoding_message_size(usize::MAX);
        let (send, messages) = mpsc::channel(UNDER_WAY);
        let hello = wire::Hello {
            node: node.into(),
            cluster: cluster.into(),
            version: "hostile".into(),
            ..wire::Hello::default()
        };
        let hello = wire::ClientMessage { kind: Some(client_message::Kind::Hello(hello)) };
        send.send(hello).await.unwrap();
        let receive = client.ship(ReceiverStream::new(messages)).await.unwrap().into_inner();
        let mut client = Self { send, receive };
        let welcome = client.receive.message().await.unwrap().unwrap();
        assert!(matches!(welcome.kind, Some(server_message::Kind::Welcome(_))), "{welcome:?}");
        client
    }

    /// Sends a batch and waits for what becomes of it.
    pub async fn ship(&mut self, batch: wire::Batch) -> Answer {
        let number = batch.number;
        let message = wire::ClientMessage { kind: Some(client_message::Kind::Batch(batch)) };
        self.send.send(message).await.unwrap();
        loop {
            let message = self.receive.message().await.expect("the stream lives on");
            match message.expect("the stream lives on").kind {
                Some(server_message::Kind::Ack(ack)) if ack.numbers.contains(&number) => {
                    return Answer::Ack;
                }
                Some(server_message::Kind::Refuse(refuse)) if refuse.number == number => {
                    return Answer::Refuse { reason: refuse.reason(), retry: refuse.r#where() };
                }
                _ => {}
            }
        }
    }
}

/// A frame of two lines that nothing is wrong with, and its bytes apart.
#[must_use]
pub fn frame(node: &str) -> (wire::Frame, &'static [u8]) {
    let bytes = b"2026-11-22T00:30:00Z stdout F one\n2026-11-22T00:30:00.1Z stdout F two\n";
    let container = Container {
        namespace: "shop".into(),
        pod: "hostile-0".into(),
        pod_uid: "u".into(),
        container: "web".into(),
        restart: 0,
    };
    let source = Source { node: node.into(), writer: Writer::Container(container) };
    let extent = Extent { file: FileId([7; 12]), start: 0, length: bytes.len() as u64 };
    let frame = wire::Frame {
        source: Some(source.into()),
        format: Format::Cri.into(),
        extents: vec![(&extent).into()],
        ends: wire::Ends::Lines.into(),
        ..wire::Frame::default()
    };
    (frame, bytes)
}

/// A batch of one frame that declares what it holds.
#[must_use]
pub fn batch(number: u64, header: &wire::Frame, bytes: &[u8]) -> wire::Batch {
    let mut writer = BodyWriter::default();
    writer.push(header, bytes);
    let raw_bytes = u32::try_from(writer.raw_bytes()).unwrap();
    let records = memchr::memchr_iter(b'\n', bytes).count();
    batch_of(number, writer.finish(), raw_bytes, u32::try_from(records).unwrap())
}

/// A batch of any body, with the right checksum.
#[must_use]
pub fn batch_of(number: u64, body: Vec<u8>, raw_bytes: u32, records: u32) -> wire::Batch {
    wire::Batch {
        number,
        crc32c: crc32c::crc32c(&body),
        records,
        raw_bytes,
        body: Bytes::from(body),
    }
}
