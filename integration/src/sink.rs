//! Stands in for an aggregator where a story or a benchmark is about the forwarder alone: it acknowledges at once and
//! keeps, if asked, what the records would become.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use naru_proto::frame::{Frame, Record, Writer};
use naru_proto::ids::{ClusterKey, FileDocumentIds, IdTime};
use naru_proto::wire::ingest_server::{Ingest, IngestServer};
use naru_proto::wire::{self, client_message, server_message};
use naru_proto::{batch, cri, limits};
use tokio::runtime::{self, Runtime};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};
use zstd_safe::DCtx;

use crate::ledger::Indexed;
use crate::line::iostream_name;

/// More batches than any story sends: the sink never holds a forwarder up.
const CREDIT_BATCHES: u32 = 1 << 24;

/// How often a sink that hangs looks whether it still does.
const HANGING_STEP: Duration = Duration::from_millis(10);

/// Answers on their way to one client.
const ANSWERS: usize = 64;

/// What becomes of the records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Only their number; the bodies are not even decompressed.
    Nothing,
    /// The document that each would become, by its id.
    Documents,
}

/// A running sink; dropping it stops it.
#[derive(Debug)]
pub struct Sink {
    address: SocketAddr,
    state: Arc<State>,
    _runtime: Runtime,
}

/// What was received.
#[derive(Debug)]
pub(crate) struct State {
    keep: Keep,
    /// 0: as many as come.
    bytes_per_second: AtomicU32,
    hangs: AtomicBool,
    gaps: Mutex<Vec<wire::Gap>>,
    records: AtomicU64,
    raw_bytes: AtomicU64,
    wire_bytes: AtomicU64,
    documents: Mutex<Documents>,
    /// What it never takes.
    poison: Mutex<Option<String>>,
    refusals: AtomicU64,
}

#[derive(Debug, Default)]
struct Documents {
    by_id: HashMap<String, Indexed>,
    arrived_ns: HashMap<String, i64>,
    bytes_again: u64,
    duplicates: u64,
}

/// What a sink has received so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// Records, the ones sent again included.
    pub records: u64,
    /// Bytes of bodies after decompression.
    pub raw_bytes: u64,
    /// Bytes of bodies as they came.
    pub wire_bytes: u64,
    /// Bytes of records that had come before; 0 where nothing is kept.
    pub bytes_again: u64,
    /// Records that had come before; 0 where nothing is kept.
    pub duplicates: u64,
}

impl Sink {
    /// Listens on a free port of the loopback.
    #[must_use]
    pub fn start(keep: Keep) -> Self {
        let state = Arc::new(State::new(keep));
        let runtime =
            runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let service = IngestServer::new(Service(Arc::clone(&state)))
            .max_decoding_message_size(limits::MESSAGE_MAX_BYTES);
        let address = serve(&runtime, service);
        Self { address, state, _runtime: runtime }
    }

    /// The same, and it takes no more than so many compressed bytes a second, one batch after the other.
    #[must_use]
    pub fn slow(keep: Keep, bytes_per_second: u32) -> Self {
        let sink = Self::start(keep);
        sink.state.bytes_per_second.store(bytes_per_second, Ordering::Release);
        sink
    }

    /// It refuses for ever every batch that has this text in it; None: it takes everything.
    pub fn refuse(&self, poison: Option<&str>) {
        *self.state.poison.lock().unwrap() = poison.map(str::to_owned);
    }

    /// How many batches it has refused.
    #[must_use]
    pub fn refusals(&self) -> u64 {
        self.state.refusals.load(Ordering::Acquire)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on it reads nothing and answers nothing, and its connections stay.
    pub fn hang(&self) {
        self.state.hangs.store(true, Ordering::Release);
    }

    /// It goes on where it was.
    pub fn go_on(&self) {
        self.state.hangs.store(false, Ordering::Release);
    }

    /// The losses that were declared, told again included.
    #[must_use]
    pub fn gaps(&self) -> Vec<wire::Gap> {
        self.state.gaps.lock().unwrap().clone()
    }

    /// When each document arrived, nanoseconds since 1970.
    #[must_use]
    pub fn arrivals(&self) -> Vec<(Indexed, i64)> {
        let documents = self.state.documents.lock().unwrap();
        let arrived = |id: &String| documents.arrived_ns.get(id).copied().unwrap_or_default();
        documents.by_id.iter().map(|(id, indexed)| (indexed.clone(), arrived(id))).collect()
    }

    /// What it has received so far.
    #[must_use]
    pub fn received(&self) -> Received {
        let documents = self.state.documents.lock().unwrap();
        Received {
            records: self.state.records.load(Ordering::Acquire),
            raw_bytes: self.state.raw_bytes.load(Ordering::Acquire),
            wire_bytes: self.state.wire_bytes.load(Ordering::Acquire),
            bytes_again: documents.bytes_again,
            duplicates: documents.duplicates,
        }
    }

    /// How many different documents there are.
    #[must_use]
    pub fn document_count(&self) -> usize {
        self.state.document_count()
    }

    /// The documents.
    #[must_use]
    pub fn documents(&self) -> Vec<Indexed> {
        self.state.documents()
    }
}

/// Serves on a free port of the loopback until the runtime is dropped.
pub(crate) fn serve<S: Ingest>(runtime: &Runtime, service: IngestServer<S>) -> SocketAddr {
    let _context = runtime.enter();
    let incoming = TcpIncoming::bind(([127, 0, 0, 1], 0).into()).unwrap();
    let address = incoming.local_addr().unwrap();
    let serving = Server::builder().add_service(service).serve_with_incoming(incoming);
    drop(runtime.spawn(serving));
    address
}

#[derive(Debug)]
struct Service(Arc<State>);

#[tonic::async_trait]
impl Ingest for Service {
    type ShipStream = ReceiverStream<Result<wire::ServerMessage, Status>>;

    async fn ship(
        &self,
        request: Request<Streaming<wire::ClientMessage>>,
    ) -> Result<Response<Self::ShipStream>, Status> {
        let (answers, stream) = mpsc::channel(ANSWERS);
        let state = Arc::clone(&self.0);
        drop(tokio::spawn(async move {
            let ended = take_all(&state, request.into_inner(), &answers).await;
            if let Err(status) = ended {
                // Where the client has gone, nobody needs to hear it.
                drop(answers.send(Err(status)).await);
            }
        }));
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

type Answers = mpsc::Sender<Result<wire::ServerMessage, Status>>;

async fn take_all(
    state: &State,
    mut messages: Streaming<wire::ClientMessage>,
    answers: &Answers,
) -> Result<(), Status> {
    let (mut identity, mut last) = (None, 0);
    while let Some(message) = messages.message().await? {
        state.hang().await;
        match message.kind {
            Some(client_message::Kind::Hello(hello)) => {
                let welcome = wire::Welcome {
                    capabilities: Vec::new(),
                    limits: Some(limits::announced()),
                    credit_batches: CREDIT_BATCHES,
                };
                answer(answers, server_message::Kind::Welcome(welcome)).await?;
                identity = Some((hello.node, ClusterKey::of(&hello.cluster)));
            }
            Some(client_message::Kind::Batch(batch)) => {
                let (node, key) =
                    identity.as_ref().ok_or(Status::failed_precondition("no Hello"))?;
                if batch.number <= last {
                    return Err(Status::invalid_argument("numbers grow on a stream"));
                }
                last = batch.number;
                state.pause(batch.body.len()).await;
                let kind = match state.refusal(&batch) {
                    Some(refuse) => server_message::Kind::Refuse(refuse),
                    None => {
                        state.take(&batch, node, *key)?;
                        server_message::Kind::Ack(wire::Ack { numbers: vec![batch.number] })
                    }
                };
                answer(answers, kind).await?;
            }
            Some(client_message::Kind::Gap(gap)) => state.gaps.lock().unwrap().push(gap),
            Some(client_message::Kind::Status(_)) | None => {}
        }
    }
    Ok(())
}

async fn answer(answers: &Answers, kind: server_message::Kind) -> Result<(), Status> {
    let message = wire::ServerMessage { kind: Some(kind) };
    answers.send(Ok(message)).await.map_err(|_| Status::cancelled("the client has gone"))
}

impl State {
    pub(crate) fn new(keep: Keep) -> Self {
        Self {
            keep,
            bytes_per_second: AtomicU32::new(0),
            hangs: AtomicBool::new(false),
            gaps: Mutex::default(),
            records: AtomicU64::new(0),
            raw_bytes: AtomicU64::new(0),
            wire_bytes: AtomicU64::new(0),
            documents: Mutex::default(),
            poison: Mutex::default(),
            refusals: AtomicU64::new(0),
        }
    }

    pub(crate) fn records(&self) -> u64 {
        self.records.load(Ordering::Acquire)
    }

    pub(crate) fn document_count(&self) -> usize {
        self.documents.lock().unwrap().by_id.len()
    }

    pub(crate) fn documents(&self) -> Vec<Indexed> {
        self.documents.lock().unwrap().by_id.values().cloned().collect()
    }

    pub(crate) fn take(
        &self,
        batch: &wire::Batch,
        node: &str,
        key: ClusterKey,
    ) -> Result<(), Status> {
        if self.keep == Keep::Documents {
            let context = &mut DCtx::create();
            batch::check(context, batch, node, |_| true)
                .and_then(|()| batch::frames(context, &batch.body, batch.raw_bytes as usize))
                .map_err(|error| Status::invalid_argument(error.to_string()))?
                .iter()
                .for_each(|frame| self.keep_documents(frame, key));
        }
        self.wire_bytes.fetch_add(batch.body.len() as u64, Ordering::Release);
        self.raw_bytes.fetch_add(u64::from(batch.raw_bytes), Ordering::Release);
        self.records.fetch_add(u64::from(batch.records), Ordering::Release);
        Ok(())
    }

    /// What it answers to a batch that has poison in it.
    fn refusal(&self, batch: &wire::Batch) -> Option<wire::Refuse> {
        let poison = self.poison.lock().unwrap().clone()?;
        let frames = batch::frames(&mut DCtx::create(), &batch.body, batch.raw_bytes as usize);
        let poisoned =
            |frame: &Frame| memchr::memmem::find(&frame.bytes, poison.as_bytes()).is_some();
        frames.is_ok_and(|frames| frames.iter().any(poisoned)).then(|| {
            self.refusals.fetch_add(1, Ordering::Release);
            wire::Refuse {
                number: batch.number,
                reason: wire::RefuseReason::Invalid.into(),
                r#where: wire::RetryWhere::Never.into(),
                detail: "a record of another world".to_owned(),
                ..wire::Refuse::default()
            }
        })
    }

    /// As long as it hangs.
    async fn hang(&self) {
        while self.hangs.load(Ordering::Acquire) {
            tokio::time::sleep(HANGING_STEP).await;
        }
    }

    /// As long as a slow aggregator needs for that.
    async fn pause(&self, bytes: usize) {
        if let rate @ 1.. = self.bytes_per_second.load(Ordering::Acquire) {
            tokio::time::sleep(Duration::from_secs_f64(bytes as f64 / f64::from(rate))).await;
        }
    }

    fn keep_documents(&self, frame: &Frame, key: ClusterKey) {
        let documents = &mut *self.documents.lock().unwrap();
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let arrived_ns = since.as_nanos() as i64;
        for record in frame.records() {
            let (id, indexed) = document(frame, &record, key);
            documents.arrived_ns.entry(id.clone()).or_insert(arrived_ns);
            if documents.by_id.insert(id, indexed).is_some() {
                documents.duplicates += 1;
                documents.bytes_again += record.raw.len() as u64;
            }
        }
    }
}

/// What a record becomes, as far as the ledger looks.
fn document(frame: &Frame, record: &Record<'_>, key: ClusterKey) -> (String, Indexed) {
    let first = cri::envelope(record.raw.split(|b| *b == b'\n').next().unwrap_or_default());
    let time_ns = first.map(|envelope| envelope.time_ns);
    let id_time = IdTime::new(time_ns.or(frame.id_time_ns));
    let ids = FileDocumentIds::new(key, &frame.source.node, record.file);
    let id = ids.id(id_time, record.offset, record.raw).to_string();
    let pod = match &frame.source.writer {
        Writer::Container(container) => Some(container.pod.clone()),
        Writer::HostFile { .. } => None,
    };
    let indexed = Indexed {
        id: id.clone(),
        index: id_time.index().to_string(),
        text: String::from_utf8_lossy(&text(record.raw)).into_owned(),
        time_ns,
        iostream: first.map(|envelope| iostream_name(envelope.iostream).to_owned()),
        pod,
    };
    (id, indexed)
}

/// The contents of a record's lines joined; a line without an envelope as it stands.
fn text(raw: &[u8]) -> Vec<u8> {
    let raw = raw.strip_suffix(b"\n").unwrap_or(raw);
    let content = |line| match cri::envelope(line) {
        Some(envelope) => line.get(envelope.content_start..).unwrap_or_default(),
        None => line,
    };
    raw.split(|b| *b == b'\n').flat_map(content).copied().collect()
}
