//! Connections without sockets, which paused time cannot see: a test's thread may offer them.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;

use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tonic::transport::{Channel, Endpoint};

use super::{ConnectError, Once};

thread_local! {
    static SERVER: RefCell<Option<mpsc::Sender<io::Result<DuplexStream>>>> =
        const { RefCell::new(None) };
    static DIALLED: RefCell<Vec<SocketAddr>> = const { RefCell::new(Vec::new()) };
    static DOWN: RefCell<Vec<SocketAddr>> = const { RefCell::new(Vec::new()) };
}

/// Every address of this thread leads there from now on.
pub(crate) fn offer(server: mpsc::Sender<io::Result<DuplexStream>>) {
    SERVER.set(Some(server));
}

/// These addresses refuse.
pub(crate) fn down(addresses: &[SocketAddr]) {
    DOWN.set(addresses.to_vec());
}

/// The addresses that were tried since the last question.
pub(crate) fn dialled() -> Vec<SocketAddr> {
    DIALLED.take()
}

/// Puts an answer back.
pub(crate) fn redial(dialled: Vec<SocketAddr>) {
    DIALLED.set(dialled);
}

pub(super) async fn connect(
    endpoint: &Endpoint,
    address: SocketAddr,
) -> Option<Result<Channel, ConnectError>> {
    let server = SERVER.with_borrow(Clone::clone)?;
    DIALLED.with_borrow_mut(|dialled| dialled.push(address));
    let refused =
        ConnectError::Unreachable { address, source: io::ErrorKind::ConnectionRefused.into() };
    if DOWN.with_borrow(|down| down.contains(&address)) {
        return Some(Err(refused));
    }
    let (near, far) = tokio::io::duplex(64 << 10);
    if server.send(Ok(far)).await.is_err() {
        return Some(Err(refused));
    }
    let connected = endpoint.connect_with_connector(Once::of(near)).await;
    Some(connected.map_err(|source| ConnectError::Transport { address, source }))
}
