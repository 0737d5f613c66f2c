//! Clients that are not let in: each is counted, and told of once a minute, however often it knocks.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::metrics::Metrics;

/// How long a peer is not told of again.
const QUIET: Duration = Duration::from_secs(60);
/// Peers remembered: a thousand nodes; when as many knock at once, the others are counted only.
const PEERS_MAX: usize = 1024;

#[derive(Default)]
pub(super) struct Refusals {
    told: Mutex<HashMap<IpAddr, Instant>>,
}

impl Refusals {
    /// Counts it, and logs it unless this peer's was logged within the last minute.
    pub(super) fn refused(
        &self,
        peer: IpAddr,
        label: &'static str,
        detail: &dyn std::fmt::Display,
        metrics: &Metrics,
    ) {
        metrics.client_refused(label);
        if self.is_news(peer, super::now()) {
            tracing::warn!(%peer, reason = label, %detail, "a client is refused");
        }
    }

    fn is_news(&self, peer: IpAddr, now: Instant) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let is_quiet = |at: &Instant| now.saturating_duration_since(*at) < QUIET;
        if told.get(&peer).is_some_and(is_quiet) {
            return false;
        }
        if told.len() >= PEERS_MAX {
            told.retain(|_, at| is_quiet(at));
        }
        if told.len() >= PEERS_MAX {
            return false;
        }
        told.insert(peer, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_told_of_once_a_minute_and_a_thousand_are_remembered() {
        let (refusals, start) = (Refusals::default(), Instant::now());
        let peer = |n: u32| IpAddr::from(n.to_be_bytes());
        let check = |peer, after_s, expected| {
            let now = start + Duration::from_secs(after_s);
            assert_eq!(refusals.is_news(peer, now), expected, "{peer} after {after_s} s");
        };
        check(peer(1), 0, true);
        check(peer(1), 59, false);
        check(peer(2), 59, true);
        check(peer(1), 60, true);
        (3..=PEERS_MAX as u32).for_each(|n| check(peer(n), 60, true));
        check(peer(5000), 60, false);
        check(peer(5000), 119, true);
        assert_eq!(refusals.told.lock().unwrap().len(), PEERS_MAX);
        check(peer(5001), 120, true);
        assert_eq!(refusals.told.lock().unwrap().len(), 2, "the old ones are forgotten");
    }
}
