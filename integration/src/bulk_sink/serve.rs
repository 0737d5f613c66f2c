//! The sink's HTTP side.

use std::convert::Infallible;
use std::fmt;
use std::io::{self, Read};
use std::net::{TcpListener as StdListener, TcpStream as StdStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::reply::{Answer, Fate, Reply, answer_body, banner, item_answer};
use super::{BulkRequest, Mode, State};
use crate::elasticsearch::bulk::{self, Item};

/// Long enough for the first half of a truncated answer to leave before the connection closes.
const HALF_SENT: Duration = Duration::from_millis(50);

type Body = BoxBody<Bytes, io::Error>;

pub(super) async fn accept_all(state: Arc<State>, listener: StdListener) -> io::Result<Infallible> {
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        drop(tokio::spawn(serve(Arc::clone(&state), stream.into_std()?)));
    }
}

async fn serve(state: Arc<State>, stream: StdStream) -> io::Result<()> {
    // A second handle of the socket: while it is open nothing is said to the client when the first one closes.
    let handle = TcpStream::from_std(stream.try_clone()?)?;
    let reset = Arc::new(AtomicBool::new(false));
    let service = service_fn(|request| {
        let (state, reset) = (Arc::clone(&state), Arc::clone(&reset));
        async move {
            let answered = answer(&state, request).await;
            reset.store(matches!(answered, Err(Broken::Reset)), Ordering::Release);
            answered
        }
    });
    let io = TokioIo::new(TcpStream::from_std(stream)?);
    let served = http1::Builder::new().serve_connection(io, service).await;
    if reset.load(Ordering::Acquire) {
        handle.set_zero_linger()?;
    }
    // Where the client has gone, or was to be cut off, nobody needs to hear it.
    drop(served);
    Ok(())
}

/// Why a request has no answer.
#[derive(Debug)]
enum Broken {
    /// The script says so.
    Reset,
    /// The client has gone.
    Client,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl std::error::Error for Broken {}

async fn answer(state: &State, request: Request<Incoming>) -> Result<Response<Body>, Broken> {
    let path = request.uri().path();
    if path == "/_bulk" || path.ends_with("/_bulk") {
        return match &state.mode {
            Mode::Null => count(state, request).await,
            Mode::Scripted(script) => play(state, script, request).await,
        };
    }
    state.others.lock().unwrap().push(format!("{} {path}", request.method()));
    let known = ["/_index_template", "/_component_template", "/_template"];
    Ok(match path {
        "/" => respond(200, banner()),
        "/_cluster/health" => respond(200, "{\"status\":\"green\",\"timed_out\":false}".into()),
        _ if known.iter().any(|known| path.starts_with(known)) => {
            respond(200, "{\"acknowledged\":true}".into())
        }
        _ => respond(404, "{\"error\":\"the sink has no such thing\",\"status\":404}".into()),
    })
}

/// The null sink: two lines are a document.
async fn count(state: &State, request: Request<Incoming>) -> Result<Response<Body>, Broken> {
    let compressed = is_compressed(&request);
    let mut body = request.into_body();
    let (mut lines, mut bytes) = (0, 0);
    let mut index = false;
    if compressed {
        let (body, wire_bytes) = collect(body, true).await?;
        state.wire_bytes.fetch_add(wire_bytes, Ordering::Release);
        lines = memchr::memchr_iter(b'\n', &body).count();
        bytes = body.len() as u64;
        index = body.starts_with(b"{\"index\"");
    } else {
        // The pieces are counted as they come: a sink that held whole bodies would itself be measured.
        while let Some(frame) = body.frame().await {
            let Ok(piece) = frame.map_err(|_| Broken::Client)?.into_data() else { continue };
            index |= bytes == 0 && piece.starts_with(b"{\"index\"");
            lines += memchr::memchr_iter(b'\n', &piece).count();
            bytes += piece.len() as u64;
        }
        state.wire_bytes.fetch_add(bytes, Ordering::Release);
    }
    let documents = lines / 2;
    state.requests.fetch_add(1, Ordering::Release);
    state.documents.fetch_add(documents as u64, Ordering::Release);
    state.bytes.fetch_add(bytes, Ordering::Release);
    let item =
        if index { "{\"index\":{\"status\":201}}," } else { "{\"create\":{\"status\":201}}," };
    let items = item.repeat(documents);
    let items = items.trim_end_matches(',');
    Ok(respond(200, format!("{{\"took\":1,\"errors\":false,\"items\":[{items}]}}")))
}

async fn play(
    state: &State,
    script: &super::Script,
    request: Request<Incoming>,
) -> Result<Response<Body>, Broken> {
    let uri = request.uri().clone();
    let default_index = uri.path().trim_end_matches("_bulk").trim_matches('/');
    let default_index = (!default_index.is_empty()).then_some(default_index);
    let compressed = is_compressed(&request);
    let (body, wire_bytes) = collect(request.into_body(), compressed).await?;
    let items = match bulk::parse(default_index, &body) {
        Ok(items) => items,
        Err(reason) => return Ok(respond(400, malformed(&reason))),
    };
    let number = state.requests.fetch_add(1, Ordering::Release);
    state.documents.fetch_add(items.len() as u64, Ordering::Release);
    state.bytes.fetch_add(body.len() as u64, Ordering::Release);
    state.wire_bytes.fetch_add(wire_bytes, Ordering::Release);
    let request = BulkRequest { number, path: uri.to_string(), bytes: body.len(), items };
    let Reply { after, answer } = script(&request);
    tokio::time::sleep(after).await;
    act(state, &request, answer).await
}

async fn act(
    state: &State,
    request: &BulkRequest,
    answer: Answer,
) -> Result<Response<Body>, Broken> {
    let items = &request.items;
    let filtered = request.path.contains("filter_path");
    let store_all = || items.iter().map(|item| stored(state, item, filtered)).collect::<Vec<_>>();
    match answer {
        Answer::Store => Ok(respond(200, answer_body(&store_all(), filtered))),
        Answer::Each(fates) => {
            assert_eq!(fates.len(), items.len(), "a fate for each item");
            let answers: Vec<Value> = items
                .iter()
                .zip(fates)
                .map(|(item, fate)| match fate {
                    Fate::Store => stored(state, item, filtered),
                    Fate::Refuse { status, error } => {
                        item_answer(item, status, Some(&error), filtered)
                    }
                })
                .collect();
            Ok(respond(200, answer_body(&answers, filtered)))
        }
        Answer::Refuse { status, body } => Ok(respond(status, body)),
        Answer::Truncate => Ok(truncated(answer_body(&store_all(), filtered))),
        Answer::Miscount(more) => {
            let mut answers = store_all();
            let count = answers.len().saturating_add_signed(more);
            let last = answers.last().cloned().unwrap_or_default();
            answers.resize(count, last);
            Ok(respond(200, answer_body(&answers, filtered)))
        }
        Answer::Reset { stored } => {
            if stored {
                store_all();
            }
            Err(Broken::Reset)
        }
        Answer::Silence { stored } => {
            if stored {
                store_all();
            }
            std::future::pending().await
        }
    }
}

fn stored(state: &State, item: &Item, filtered: bool) -> Value {
    let status = state.store(item);
    let conflict = serde_json::json!({
        "type": "version_conflict_engine_exception",
        "reason": "version conflict, document already exists",
    });
    item_answer(item, status, (status == 409).then_some(&conflict), filtered)
}

fn malformed(reason: &str) -> String {
    let error = serde_json::json!({"type": "illegal_argument_exception", "reason": reason});
    serde_json::json!({"error": error, "status": 400}).to_string()
}

fn is_compressed(request: &Request<Incoming>) -> bool {
    request.headers().get(CONTENT_ENCODING).is_some_and(|encoding| encoding == "gzip")
}

/// A body, and how many bytes it had as it came.
async fn collect(body: Incoming, compressed: bool) -> Result<(Bytes, u64), Broken> {
    let raw = body.collect().await.map_err(|_| Broken::Client)?.to_bytes();
    let wire_bytes = raw.len() as u64;
    if !compressed {
        return Ok((raw, wire_bytes));
    }
    let mut plain = Vec::new();
    MultiGzDecoder::new(&raw[..]).read_to_end(&mut plain).map_err(|_| Broken::Client)?;
    Ok((plain.into(), wire_bytes))
}

fn respond(status: u16, body: String) -> Response<Body> {
    let body = Full::new(Bytes::from(body)).map_err(|never| match never {}).boxed();
    response(status, body)
}

/// Announces all of it, sends half and breaks.
fn truncated(body: String) -> Response<Body> {
    let body = Bytes::from(body);
    let length = body.len();
    let (pieces, stream) = mpsc::channel(1);
    drop(tokio::spawn(async move {
        let half = Frame::data(body.slice(..length / 2));
        // Where the client has gone, there is nobody to disappoint.
        drop(pieces.send(Ok(half)).await);
        tokio::time::sleep(HALF_SENT).await;
        drop(pieces.send(Err(io::Error::other("half is enough"))).await);
    }));
    let mut response = response(200, BodyExt::boxed(StreamBody::new(ReceiverStream::new(stream))));
    response.headers_mut().insert(CONTENT_LENGTH, length.into());
    response
}

fn response(status: u16, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status.try_into().unwrap();
    let json = hyper::header::HeaderValue::from_static("application/json; charset=UTF-8");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}
