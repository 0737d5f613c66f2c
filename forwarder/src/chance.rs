//! Chance, from the kernel: for jitter and for ids that are minted.

use rustix::rand::{GetRandomFlags, getrandom};

/// Evenly distributed in 0..1.
#[must_use]
pub(crate) fn fraction() -> f64 {
    let bits = u64::from_le_bytes(bytes()) >> 11;
    bits as f64 / (1_u64 << 53) as f64
}

/// Random bytes.
#[must_use]
pub(crate) fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    // Up to 256 bytes never come in part once the kernel's pool is ready, and the call waits until it is.
    let filled = getrandom(&mut bytes, GetRandomFlags::empty());
    assert_eq!(filled.ok(), Some(N), "the kernel gives no random bytes");
    bytes
}
