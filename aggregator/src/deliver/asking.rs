//! When an index that takes nothing is asked again, for the documents in its side chain. Pure: time and chance are
//! arguments.
//!
//! It is asked with little, after pauses that grow; when it takes that, the chain follows.

use std::time::{Duration, Instant};

use super::pace::pause;

/// What is in the way is a person's decision, or a full disk that Elasticsearch itself looks at every 30 s.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// It was asked for half a minute before, by documents that waited in memory.
const PAUSE_MIN: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub(super) struct Asking {
    state: State,
    refusals: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// To be asked then.
    Waiting { until: Instant },
    /// An entry of the chain is on its way to find out.
    Asked,
    /// It takes documents: the chain is emptied.
    Taking,
}

impl Asking {
    /// To be asked at once: of a chain that an earlier process has left nobody knows.
    pub(super) fn at_once(now: Instant) -> Self {
        Self { state: State::Waiting { until: now }, refusals: 0 }
    }

    /// To be asked after a while.
    pub(super) fn later(now: Instant) -> Self {
        Self { state: State::Waiting { until: now + PAUSE_MIN }, refusals: 0 }
    }

    /// Whether it took documents when it was last asked.
    pub(super) fn is_taking(&self) -> bool {
        self.state == State::Taking
    }

    /// Whether the next entry of the chain is to be sent; `leased` of them are on their way.
    pub(super) fn turn(&mut self, now: Instant, leased: usize) -> bool {
        match self.state {
            State::Taking => true,
            State::Waiting { until } if until > now => false,
            // The answer to the one before got lost, or it had no documents.
            State::Asked if leased > 0 => false,
            State::Waiting { .. } | State::Asked => {
                self.state = State::Asked;
                true
            }
        }
    }

    /// It took documents.
    pub(super) fn accepted(&mut self) {
        (self.state, self.refusals) = (State::Taking, 0);
    }

    /// It took none. What else of the chain was on its way is refused as well, and counts once.
    pub(super) fn refused(&mut self, now: Instant, fraction: f64) {
        if let State::Waiting { .. } = self.state {
            return;
        }
        self.refusals = self.refusals.saturating_add(1);
        // 0.2 s doubled so often is about a second.
        let pause = pause(self.refusals.saturating_add(3), PAUSE_MAX, fraction).max(PAUSE_MIN);
        self.state = State::Waiting { until: now + pause };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_asks_and_the_chain_follows() {
        let start = Instant::now();
        let mut asking = Asking::later(start);
        assert!(!asking.turn(start, 0));
        let due = start + PAUSE_MIN;
        assert!(asking.turn(due, 0) && !asking.turn(due, 1), "one asks");
        assert!(asking.turn(due, 0), "its answer got lost");
        asking.refused(due, 1.0);
        asking.refused(due, 1.0);
        assert_eq!(asking.refusals, 1, "those that were sent together");
        assert!(!asking.turn(due, 0) && !asking.is_taking());
        let later = due + PAUSE_MAX;
        assert!(asking.turn(later, 0));
        asking.accepted();
        assert!(asking.turn(later, 1) && asking.turn(later, 2) && asking.is_taking());
        asking.refused(later, 0.0);
        assert!(!asking.turn(later, 0), "blocked again");
        assert!(Asking::at_once(start).turn(start, 0));
    }

    #[test]
    fn pauses_grow_to_half_a_minute() {
        let start = Instant::now();
        let mut asking = Asking::at_once(start);
        let mut pauses = Vec::new();
        for _ in 0..8 {
            assert!(asking.turn(start + PAUSE_MAX * 100, 0));
            asking.refused(start, 1.0);
            let State::Waiting { until } = asking.state else { panic!() };
            pauses.push((until - start).as_millis());
        }
        assert_eq!(pauses, [1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000, 30_000]);
        assert!(asking.turn(start + PAUSE_MAX, 0));
        asking.refused(start, 0.0);
        let State::Waiting { until } = asking.state else { panic!() };
        assert!(until - start >= PAUSE_MIN);
    }
}
