//! Ports for servers that come back at the same address.

use std::net::{SocketAddr, TcpListener};

/// Below what the kernel gives to outgoing connections: while a server is down, nothing else gets its port, and a client
/// that tries again and again never connects to itself.
const PORTS: std::ops::Range<u16> = 10_000..32_000;

/// A loopback address that nobody listens on now.
#[must_use]
pub fn free_address() -> SocketAddr {
    loop {
        let address = SocketAddr::from(([127, 0, 0, 1], fastrand::u16(PORTS)));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}
