//! Connections: accepted, and through their TLS handshake where there is one, before anything else sees them.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

use super::authenticate;
use super::keyring::Keyring;
use super::metrics::Metrics;
use super::refusals::Refusals;

/// A handshake is two round trips and a signature.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Handshakes at once, of about 50 KiB each; more clients wait in the listener's backlog.
const HANDSHAKES_MAX: usize = 256;
/// Out of descriptors: some are free soon.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// A client's connection.
pub(super) struct Connection {
    stream: Transport,
    peer: Peer,
}

enum Transport {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Who is at the other end, as far as the connection tells.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    pub(super) address: SocketAddr,
    /// What its certificate calls it; None without one.
    pub(super) certified: Option<Arc<[String]>>,
}

/// Accepts connections.
pub(super) struct Acceptor {
    pub(super) keyring: Arc<Keyring>,
    pub(super) refusals: Arc<Refusals>,
    pub(super) metrics: Metrics,
}

impl Acceptor {
    /// Accepts until nobody takes connections any more.
    pub(super) async fn run(
        self: Arc<Self>,
        listener: TcpListener,
        connections: mpsc::Sender<io::Result<Connection>>,
    ) {
        let mut handshakes = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                () = connections.closed() => return,
                Some(_) = handshakes.join_next() => continue,
                accepted = listener.accept(), if handshakes.len() < HANDSHAKES_MAX => accepted,
            };
            match accepted {
                Ok((stream, address)) => {
                    let (acceptor, connections) = (Arc::clone(&self), connections.clone());
                    handshakes.spawn(async move {
                        if let Some(connection) = acceptor.receive(stream, address).await {
                            // Nobody takes it: the server is stopping.
                            connections.send(Ok(connection)).await.ok();
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "accept a connection");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn receive(&self, stream: TcpStream, address: SocketAddr) -> Option<Connection> {
        // Acknowledgements are small and waited for.
        stream.set_nodelay(true).ok()?;
        let demands = self.keyring.demands()?;
        let Some(config) = &demands.tls else {
            let peer = Peer { address, certified: None };
            return Some(Connection { stream: Transport::Plain(stream), peer });
        };
        let handshake = TlsAcceptor::from(Arc::clone(config)).accept(stream);
        let (label, detail) = match timeout(HANDSHAKE_TIMEOUT, handshake).await {
            Ok(Ok(stream)) => {
                let certificates = stream.get_ref().1.peer_certificates();
                let certified = certificates
                    .and_then(<[_]>::first)
                    .map(|certificate| authenticate::names(certificate).into());
                let peer = Peer { address, certified };
                return Some(Connection { stream: Transport::Tls(Box::new(stream)), peer });
            }
            // It left without a word, as probes of a port do.
            Ok(Err(error)) if left(&error) => {
                tracing::debug!(peer = %address, %error, "a client left within the handshake");
                return None;
            }
            Ok(Err(error)) => {
                let (label, meaning) = handshake_failure(&error);
                (label, format!("{meaning}: {error}"))
            }
            Err(_) => ("handshake", "it did not finish the TLS handshake in time".to_owned()),
        };
        self.refusals.refused(address.ip(), label, &detail, &self.metrics);
        None
    }
}

/// Whether a client closed the connection instead of going on with the handshake.
fn left(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
    )
}

/// The label under which a failed handshake is counted, and what it means.
fn handshake_failure(error: &io::Error) -> (&'static str, &'static str) {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::NoCertificatesPresented) => {
            ("no_certificate", "it presented no certificate")
        }
        Some(rustls::Error::InvalidCertificate(_)) => {
            ("wrong_certificate", "its certificate is not accepted")
        }
        // Its CA is another, or it called this aggregator by a name that is not in the certificate.
        Some(rustls::Error::AlertReceived(_)) => {
            ("not_trusted", "it does not trust this aggregator's certificate")
        }
        _ => ("handshake", "it does not speak TLS as it should"),
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Transport::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Transport::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Transport::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Transport::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Transport::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Transport::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Transport::Plain(stream) => stream.is_write_vectored(),
            Transport::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Transport::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Transport::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Transport::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Transport::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
