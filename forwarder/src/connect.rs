//! A channel to one of the addresses that the aggregator's name resolves to.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use thiserror::Error;
use tonic::transport::{Channel, Endpoint};

use crate::chance;

/// A connection that takes longer is tried elsewhere.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Notices a peer that vanished without a word (a node that lost power).
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Where aggregators are.
#[derive(Debug, Clone)]
pub struct Connector {
    /// `host:port`; a name may resolve to several.
    pub address: String,
    /// Allows addresses that are not loopback to be reached without TLS.
    pub plaintext: bool,
}

/// Why there is no channel.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// The name does not resolve.
    #[error("resolve {address}")]
    Resolve {
        /// As configured.
        address: String,
        /// The resolver's answer.
        source: io::Error,
    },
    /// It resolves to nothing.
    #[error("{0} resolves to no address")]
    NoAddress(String),
    /// Log lines would cross a network readable to all.
    #[error("{0} is not loopback, and aggregator.plaintext is not set")]
    Plaintext(SocketAddr),
    /// Nobody answers.
    #[error("connect to {address}")]
    Connect {
        /// Which was tried.
        address: SocketAddr,
        /// The transport's answer.
        source: tonic::transport::Error,
    },
}

impl Connector {
    /// Connects to one of the addresses, by chance, another than `avoid` where there is one.
    ///
    /// # Errors
    /// See [`ConnectError`]; every one of them may go away by itself.
    pub async fn connect(
        &self,
        avoid: Option<SocketAddr>,
    ) -> Result<(Channel, SocketAddr), ConnectError> {
        let resolved = tokio::net::lookup_host(&self.address)
            .await
            .map_err(|source| ConnectError::Resolve { address: self.address.clone(), source })?;
        let addresses: Vec<SocketAddr> = resolved.collect();
        let address = pick(&addresses, avoid, chance::fraction())
            .ok_or_else(|| ConnectError::NoAddress(self.address.clone()))?;
        if !self.plaintext && !is_loopback(address.ip()) {
            return Err(ConnectError::Plaintext(address));
        }
        let connect_error = |source| ConnectError::Connect { address, source };
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .map_err(connect_error)?
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .keep_alive_while_idle(true)
            .tcp_nodelay(true);
        #[cfg(test)]
        if let Some(channel) = in_memory::connect(&endpoint).await {
            return Ok((channel, address));
        }
        Ok((endpoint.connect().await.map_err(connect_error)?, address))
    }
}

fn pick(addresses: &[SocketAddr], avoid: Option<SocketAddr>, fraction: f64) -> Option<SocketAddr> {
    let others: Vec<_> = addresses.iter().filter(|a| Some(**a) != avoid).collect();
    let index = |count: usize| (fraction * count as f64) as usize;
    match others.len() {
        0 => addresses.first().copied(),
        count => others.get(index(count).min(count - 1)).map(|address| **address),
    }
}

fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// Connections without sockets, which paused time cannot see: a test's thread may offer them.
#[cfg(test)]
pub(crate) mod in_memory {
    use std::cell::RefCell;
    use std::io;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use hyper_util::rt::TokioIo;
    use tokio::io::DuplexStream;
    use tokio::sync::mpsc;
    use tonic::codegen::Service;
    use tonic::codegen::http::Uri;
    use tonic::transport::{Channel, Endpoint};

    thread_local! {
        static SERVER: RefCell<Option<mpsc::Sender<io::Result<DuplexStream>>>> =
            const { RefCell::new(None) };
    }

    pub(crate) fn offer(server: mpsc::Sender<io::Result<DuplexStream>>) {
        SERVER.set(Some(server));
    }

    pub(super) async fn connect(endpoint: &Endpoint) -> Option<Channel> {
        let server = SERVER.with_borrow(Clone::clone)?;
        endpoint.connect_with_connector(Dial(server)).await.ok()
    }

    struct Dial(mpsc::Sender<io::Result<DuplexStream>>);

    impl Service<Uri> for Dial {
        type Response = TokioIo<DuplexStream>;
        type Error = io::Error;
        type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Uri) -> Self::Future {
            let server = self.0.clone();
            Box::pin(async move {
                let (near, far) = tokio::io::duplex(64 << 10);
                server.send(Ok(far)).await.map_err(|_| io::ErrorKind::ConnectionRefused)?;
                Ok(TokioIo::new(near))
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_address_is_preferred() {
        let a: Vec<SocketAddr> =
            ["10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1"].map(|t| t.parse().unwrap()).into();
        assert_eq!(pick(&a, None, 0.0), Some(a[0]));
        assert_eq!(pick(&a, None, 0.999_999), Some(a[2]));
        assert_eq!(pick(&a, Some(a[0]), 0.0), Some(a[1]));
        assert_eq!(pick(&a[..1], Some(a[0]), 0.5), Some(a[0]));
        assert_eq!(pick(&[], None, 0.5), None);
    }
}
