//! How much may be asked of the server now: a breaker, and a number of bulks at once. Pure: time and chance are arguments.
//!
//! One failure opens the breaker; after a pause that grows one sender may try, with little. When that works the number of
//! bulks at once begins at one and grows with each success; when too much was asked it is halved.

use std::time::{Duration, Instant};

/// Pauses double from the shortest to the longest, and each is a random part of that: senders do not come together.
const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// The pause before attempt number `failures`, full jitter; `fraction` is between 0 and 1.
pub(super) fn pause(failures: u32, longest: Duration, fraction: f64) -> Duration {
    let grown = PAUSE_MIN.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(longest);
    // Never at once: a tenth is certain.
    grown.mul_f64(0.1 + 0.9 * fraction.clamp(0.0, 1.0))
}

/// See the module.
#[derive(Debug)]
pub(super) struct Pace {
    most: usize,
    limit: usize,
    in_flight: usize,
    breaker: Breaker,
    failures: u32,
    /// Successes since the limit last changed.
    successes: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Breaker {
    Closed,
    Open { until: Instant },
    Probing,
}

/// Whether a bulk may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    /// It may.
    Go,
    /// It may, with little, and the server is to be prepared before.
    Probe,
    /// Not before then, or before something changed.
    Wait(Option<Instant>),
}

impl Pace {
    /// At most `most` bulks at once. The first one is a probe.
    pub(super) fn new(most: usize, now: Instant) -> Self {
        let breaker = Breaker::Open { until: now };
        Self { most: most.max(1), limit: 1, in_flight: 0, breaker, failures: 0, successes: 0 }
    }

    /// Whether a bulk may begin; it holds its place through its pauses, until [`Pace::end`].
    pub(super) fn begin(&mut self) -> bool {
        let free = self.in_flight < self.limit;
        self.in_flight += usize::from(free);
        free
    }

    /// A bulk has ended.
    pub(super) fn end(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// Whether a bulk that has begun may be sent now.
    pub(super) fn admit(&mut self, now: Instant) -> Admission {
        match self.breaker {
            Breaker::Closed => Admission::Go,
            Breaker::Open { until } if until > now => Admission::Wait(Some(until)),
            Breaker::Open { .. } => {
                self.breaker = Breaker::Probing;
                Admission::Probe
            }
            Breaker::Probing => Admission::Wait(None),
        }
    }

    /// The server took documents.
    pub(super) fn succeeded(&mut self) {
        self.failures = 0;
        if self.breaker != Breaker::Closed {
            self.breaker = Breaker::Closed;
            self.limit = 1;
            self.successes = 0;
            return;
        }
        self.successes += 1;
        if self.successes >= self.limit && self.limit < self.most {
            self.limit += 1;
            self.successes = 0;
        }
    }

    /// Too much was asked.
    pub(super) fn overloaded(&mut self) {
        self.limit = (self.limit / 2).max(1);
        self.successes = 0;
        // The bulk's own pause is enough.
        self.answered();
    }

    /// The server answers, whatever it thinks of the documents.
    pub(super) fn answered(&mut self) {
        if self.breaker == Breaker::Probing {
            self.breaker = Breaker::Closed;
        }
    }

    /// Who was to probe does not; the next one is.
    pub(super) fn not_yet(&mut self, now: Instant) {
        if self.breaker == Breaker::Probing {
            self.breaker = Breaker::Open { until: now };
        }
    }

    /// The server failed, or cannot be reached.
    pub(super) fn failed(&mut self, now: Instant, fraction: f64) {
        if let Breaker::Open { until } = self.breaker
            && until > now
        {
            // Sent before it was opened.
            return;
        }
        self.failures = self.failures.saturating_add(1);
        let until = now + pause(self.failures, PAUSE_MAX, fraction);
        self.breaker = Breaker::Open { until };
        self.limit = 1;
    }

    /// Bulks at once that are allowed now.
    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// Bulks at once.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Whether the server took documents when it was last asked.
    pub(super) fn is_closed(&self) -> bool {
        self.breaker == Breaker::Closed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_probes_while_the_others_wait_and_then_it_grows() {
        let start = Instant::now();
        let mut pace = Pace::new(4, start);
        assert!(pace.begin());
        assert!(!pace.begin(), "one at first");
        assert_eq!(pace.admit(start), Admission::Probe);
        assert_eq!(pace.admit(start), Admission::Wait(None), "one probes");
        pace.failed(start, 0.5);
        let Admission::Wait(Some(until)) = pace.admit(start) else { panic!() };
        assert!(until > start && until <= start + PAUSE_MIN);
        assert_eq!(pace.admit(until), Admission::Probe);
        pace.succeeded();
        assert_eq!((pace.admit(until), pace.limit()), (Admission::Go, 1));
        for expected in [2, 2, 3, 3, 3, 4, 4] {
            pace.succeeded();
            assert_eq!(pace.limit(), expected);
        }
        pace.overloaded();
        assert_eq!((pace.limit(), pace.admit(until)), (2, Admission::Go));
    }

    #[test]
    fn a_probe_that_is_answered_or_left_lets_others_go() {
        let start = Instant::now();
        let mut pace = Pace::new(2, start);
        assert_eq!(pace.admit(start), Admission::Probe);
        pace.not_yet(start);
        assert_eq!(pace.admit(start), Admission::Probe);
        pace.answered();
        assert_eq!(pace.admit(start), Admission::Go);
        pace.failed(start, 0.1);
        pace.answered();
        assert!(matches!(pace.admit(start), Admission::Wait(Some(_))), "that was sent before");
    }

    #[test]
    fn failures_of_bulks_sent_together_count_once() {
        let start = Instant::now();
        let mut pace = Pace::new(4, start);
        assert_eq!(pace.admit(start), Admission::Probe);
        pace.succeeded();
        for _ in 0..4 {
            pace.failed(start, 1.0);
        }
        assert_eq!(pace.failures, 1);
    }

    #[test]
    fn pauses_grow_and_scatter() {
        assert_eq!(pause(1, PAUSE_MAX, 1.0), PAUSE_MIN);
        assert_eq!(pause(3, PAUSE_MAX, 1.0), PAUSE_MIN * 4);
        assert_eq!(pause(60, PAUSE_MAX, 1.0), PAUSE_MAX);
        assert!(pause(60, PAUSE_MAX, 0.0) >= PAUSE_MAX / 10);
        assert!(pause(5, PAUSE_MAX, 0.3) < pause(5, PAUSE_MAX, 0.6));
    }
}
