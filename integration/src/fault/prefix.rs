//! Before a server: hands on what is asked for below a path, without that path, as a proxy does that serves several things.
//! Everything else gets its page that there is no such thing.

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{self, Runtime};

use crate::http::Failure;

const NO_SUCH_THING: &str = "<!DOCTYPE html>\n<html><h1>404 Not Found</h1></html>\n";

/// A running proxy; dropping it stops it.
#[derive(Debug)]
pub struct PrefixProxy {
    address: SocketAddr,
    _runtime: Runtime,
}

impl PrefixProxy {
    /// Hands on what is below `prefix`, which begins with a slash.
    #[must_use]
    pub fn start(prefix: &str, upstream: SocketAddr) -> Self {
        let listener = StdListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        let runtime =
            runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let prefix: Arc<str> = prefix.into();
        drop(runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                drop(tokio::spawn(serve(stream, Arc::clone(&prefix), upstream)));
            }
        }));
        Self { address, _runtime: runtime }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn serve(stream: TcpStream, prefix: Arc<str>, upstream: SocketAddr) {
    let service = service_fn(|request: Request<Incoming>| {
        let prefix = Arc::clone(&prefix);
        async move {
            let target = request.uri().to_string();
            let inner = target.strip_prefix(&*prefix).filter(|rest| rest.starts_with('/'));
            let Some(inner) = inner.map(str::to_owned) else {
                return Ok::<_, Infallible>(page(404, NO_SUCH_THING.to_owned()));
            };
            let answered = hand_on(request, &inner, upstream).await;
            Ok(answered.unwrap_or_else(|failure| page(502, failure.to_string())))
        }
    });
    // Whoever asked may have gone.
    drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
}

async fn hand_on(
    request: Request<Incoming>,
    target: &str,
    upstream: SocketAddr,
) -> Result<Response<Full<Bytes>>, Failure> {
    let (mut head, body) = request.into_parts();
    head.uri = target.parse()?;
    let body = Full::new(body.collect().await?.to_bytes());
    let stream = TokioIo::new(TcpStream::connect(upstream).await?);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
    drop(tokio::spawn(connection));
    let (head, body) = sender.send_request(Request::from_parts(head, body)).await?.into_parts();
    Ok(Response::from_parts(head, Full::new(body.collect().await?.to_bytes())))
}

fn page(status: u16, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status.try_into().unwrap();
    response
}
