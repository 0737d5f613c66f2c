//! Which host a request goes to: those that are well, in turn; one that failed is left for a while that grows. A holder; time
//! is an argument.
//!
//! Hosts are those that are configured. They are not asked for others, whose addresses a proxy or a Service hides.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::settings::Host;

/// How long a host is passed over after it failed: doubled each time up to the longest.
const PASS_OVER_MIN: Duration = Duration::from_secs(1);
const PASS_OVER_MAX: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(super) struct Hosts {
    hosts: Vec<Host>,
    turn: AtomicUsize,
    health: Mutex<Vec<Health>>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Health {
    pass_over_until: Option<Instant>,
    failures: u32,
}

/// A host for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pick {
    pub(super) place: usize,
    /// It failed when it was last asked, and there are others: it is to be asked for little first.
    pub(super) is_suspect: bool,
}

impl Hosts {
    pub(super) fn new(hosts: Vec<Host>) -> Self {
        let health = Mutex::new(vec![Health::default(); hosts.len()]);
        Self { hosts, turn: AtomicUsize::new(0), health }
    }

    pub(super) fn all(&self) -> &[Host] {
        &self.hosts
    }

    /// The next one in turn that is not passed over and was not tried; when all are passed over, the one whose time ends
    /// first. None when all were tried.
    ///
    /// One that is suspect is passed over by others for `probe_time`: one request finds out how it is.
    pub(super) fn pick(&self, now: Instant, tried: &[usize], probe_time: Duration) -> Option<Pick> {
        let mut health = self.health();
        let count = health.len();
        let turn = self.turn.fetch_add(1, Relaxed);
        let in_turn = (0..count).map(|step| turn.wrapping_add(step) % count);
        let waits = |place: &usize| {
            let until = health.get(*place).and_then(|health| health.pass_over_until);
            until.filter(|until| *until > now)
        };
        let place = in_turn.filter(|place| !tried.contains(place)).min_by_key(waits)?;
        let picked = health.get_mut(place)?;
        let is_suspect = count > 1 && picked.failures > 0;
        if is_suspect {
            picked.pass_over_until = Some(now + probe_time);
        }
        Some(Pick { place, is_suspect })
    }

    /// It did what it was asked for.
    pub(super) fn succeeded(&self, place: usize) {
        let mut health = self.health();
        let count = health.len();
        let Some(known) = health.get_mut(place) else { return };
        let was = std::mem::take(known);
        if was.failures > 0 && count > 1 {
            let host = self.hosts.get(place).map_or("", Host::as_str);
            tracing::info!(host, "the host is used again");
        }
    }

    /// It cannot be reached, or cannot do what it is asked for.
    pub(super) fn failed(&self, place: usize, now: Instant, reason: &str) {
        let mut health = self.health();
        let count = health.len();
        let Some(known) = health.get_mut(place) else { return };
        let pause = PASS_OVER_MIN.saturating_mul(1 << known.failures.min(8)).min(PASS_OVER_MAX);
        known.failures = known.failures.saturating_add(1);
        known.pass_over_until = Some(now + pause);
        if known.failures == 1 && count > 1 {
            let host = self.hosts.get(place).map_or("", Host::as_str);
            tracing::warn!(host, reason, "the host is passed over; others get its requests");
        }
    }

    fn health(&self) -> MutexGuard<'_, Vec<Health>> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROBE_TIME: Duration = Duration::from_secs(5);

    fn hosts(count: usize) -> Hosts {
        let host = |number: usize| Host::parse(&format!("http://es-{number}")).unwrap();
        Hosts::new((0..count).map(host).collect())
    }

    fn places(hosts: &Hosts, now: Instant, requests: usize) -> Vec<usize> {
        let pick = |_| hosts.pick(now, &[], PROBE_TIME).unwrap().place;
        (0..requests).map(pick).collect()
    }

    #[test]
    fn in_turn_those_that_are_well() {
        let hosts = hosts(3);
        let now = Instant::now();
        assert_eq!(places(&hosts, now, 6), [0, 1, 2, 0, 1, 2]);
        hosts.failed(1, now, "");
        assert!(!places(&hosts, now, 6).contains(&1));
        let after = now + PASS_OVER_MIN;
        let picks: Vec<Pick> =
            (0..4).map(|_| hosts.pick(after, &[], PROBE_TIME).unwrap()).collect();
        let suspects: Vec<_> = picks.iter().filter(|pick| pick.is_suspect).collect();
        assert_eq!(suspects, [&Pick { place: 1, is_suspect: true }], "one request finds out");
        hosts.succeeded(1);
        assert!(places(&hosts, after, 3).contains(&1));
    }

    #[test]
    fn one_that_stays_down_is_asked_less_and_less() {
        let hosts = hosts(2);
        let mut now = Instant::now();
        let mut pauses = Vec::new();
        for _ in 0..7 {
            hosts.failed(0, now, "");
            let from = now;
            while !places(&hosts, now, 2).contains(&0) {
                now += Duration::from_millis(500);
            }
            pauses.push((now - from).as_secs());
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30]);
    }

    #[test]
    fn when_all_are_down_each_is_tried_once() {
        let hosts = hosts(2);
        let now = Instant::now();
        hosts.failed(0, now, "");
        hosts.failed(1, now + Duration::from_millis(1), "");
        assert_eq!(hosts.pick(now, &[], PROBE_TIME).unwrap().place, 0, "its time ends first");
        assert_eq!(hosts.pick(now, &[0], PROBE_TIME).unwrap().place, 1);
        assert_eq!(hosts.pick(now, &[0, 1], PROBE_TIME), None);
    }

    #[test]
    fn an_only_host_is_never_suspect() {
        let hosts = hosts(1);
        let now = Instant::now();
        hosts.failed(0, now, "");
        assert_eq!(hosts.pick(now, &[], PROBE_TIME), Some(Pick { place: 0, is_suspect: false }));
    }
}
