//! One request at a time, blocking: what the stories ask the programs and servers.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderValue};
use hyper_util::rt::TokioIo;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime;
use tokio_rustls::TlsConnector;

use crate::eventually::PATIENCE;

/// An answer.
#[derive(Debug)]
pub struct Response {
    /// 200 and so on.
    pub status: u16,
    /// All of it.
    pub body: Bytes,
}

/// What went wrong below HTTP; the stories only print it.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Gets `path_and_query`.
pub fn get(address: SocketAddr, path_and_query: &str) -> Result<Response, Failure> {
    send(address, Request::get(path_and_query).body(Full::default())?, PATIENCE)
}

/// Sends a request on a connection of its own; an answer that is not complete within `patience` is a failure.
pub fn send(
    address: SocketAddr,
    mut request: Request<Full<Bytes>>,
    patience: Duration,
) -> Result<Response, Failure> {
    request.headers_mut().insert(HOST, HeaderValue::try_from(address.to_string())?);
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let exchanged = async { exchange(TcpStream::connect(address).await?, request).await };
    runtime.block_on(async { tokio::time::timeout(patience, exchanged).await? })
}

/// The same over TLS, with a server whose certificate an authority signed, and perhaps with one of one's own.
pub fn send_over_tls(
    address: SocketAddr,
    config: Arc<ClientConfig>,
    mut request: Request<Full<Bytes>>,
    patience: Duration,
) -> Result<Response, Failure> {
    request.headers_mut().insert(HOST, HeaderValue::try_from(address.to_string())?);
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let exchanged = async {
        let stream = TcpStream::connect(address).await?;
        let name = ServerName::IpAddress(address.ip().into());
        exchange(TlsConnector::from(config).connect(name, stream).await?, request).await
    };
    runtime.block_on(async { tokio::time::timeout(patience, exchanged).await? })
}

/// The same as [`get`] over a Unix socket.
pub fn get_at_socket(socket: &Path, path_and_query: &str) -> Result<Response, Failure> {
    let request = Request::get(path_and_query).header(HOST, "localhost").body(Full::default())?;
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async { exchange(UnixStream::connect(socket).await?, request).await })
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    request: Request<Full<Bytes>>,
) -> Result<Response, Failure> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let response = sender.send_request(request).await?;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await?.to_bytes();
    drop(sender);
    connection.await??;
    Ok(Response { status, body })
}

/// `path?name=value&…`, encoded.
#[must_use]
pub fn with_query(path: &str, query: &[(&str, &str)]) -> String {
    let pairs: Vec<String> = query
        .iter()
        .map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC)))
        .collect();
    format!("{path}?{}", pairs.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_encoded() {
        assert_eq!(with_query("/s", &[("q", "주문 a&b"), ("limit", "1")]), {
            "/s?q=%EC%A3%BC%EB%AC%B8%20a%26b&limit=1"
        });
    }
}
