//! Whether an address is near: on this machine, in this cluster or in a private network. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Loopback, link-local, private (RFC 1918, RFC 4193) and shared (RFC 6598) addresses: those of pods and Services are of these.
#[must_use]
pub fn is_near(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_near_v4(address),
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(address) => is_near_v4(address),
            None => is_near_v6(address),
        },
    }
}

fn is_near_v4(address: Ipv4Addr) -> bool {
    let [first, second, _, _] = address.octets();
    let shared = first == 100 && (64..128).contains(&second);
    address.is_loopback() || address.is_private() || address.is_link_local() || shared
}

fn is_near_v6(address: Ipv6Addr) -> bool {
    address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_near() {
        let check = |text: &str, near: bool| {
            assert_eq!(is_near(text.parse().unwrap()), near, "{text}");
        };
        for near in [
            "127.0.0.1",
            "10.96.0.10",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.1.1",
            "100.64.0.1",
            "100.127.255.255",
            "::1",
            "fd00::1",
            "fe80::1",
            "::ffff:10.0.0.1",
        ] {
            check(near, true);
        }
        for far in [
            "8.8.8.8",
            "172.32.0.1",
            "100.63.255.255",
            "100.128.0.1",
            "192.169.0.1",
            "2001:db8::1",
            "::ffff:8.8.8.8",
        ] {
            check(far, false);
        }
    }
}
