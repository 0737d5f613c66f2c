//! Batches that were sent and are not yet acknowledged, in order, and the window that bounds them.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use naru_proto::wire;

use super::source::Point;
use super::window::{Landed, Window};
use crate::batch::Sealed;

/// What is in flight.
#[derive(Default)]
pub(super) struct Flight {
    batches: VecDeque<InFlight>,
    bytes: usize,
    window: Window,
}

struct InFlight {
    number: u64,
    bytes: usize,
    departed: Instant,
    /// Nothing else was unacknowledged.
    alone: bool,
    points: BTreeMap<usize, Point>,
    acknowledged: bool,
}

impl Flight {
    /// Whether more may be read while so many bytes wait to be sent.
    pub(super) fn has_room(&self, waiting: usize) -> bool {
        self.bytes + waiting < self.window.bytes()
    }

    pub(super) fn window_bytes(&self) -> usize {
        self.window.bytes()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes off with a batch; its message goes to the session.
    pub(super) fn depart(&mut self, sealed: Sealed<Point>, now: Instant) -> wire::Batch {
        let Sealed { batch, points } = sealed;
        let bytes = batch.body.len();
        let alone = self.bytes == 0;
        self.bytes += bytes;
        self.batches.push_back(InFlight {
            number: batch.number,
            bytes,
            departed: now,
            alone,
            points,
            acknowledged: false,
        });
        batch
    }

    /// Notes acknowledgements, in any order, and gives the points that everything before is acknowledged up to.
    pub(super) fn land(&mut self, numbers: &[u64], now: Instant) -> BTreeMap<usize, Point> {
        for number in numbers {
            if let Ok(index) = self.batches.binary_search_by_key(number, |batch| batch.number)
                && let Some(batch) = self.batches.get_mut(index)
                && !std::mem::replace(&mut batch.acknowledged, true)
            {
                self.bytes -= batch.bytes;
                let InFlight { bytes, departed, alone, .. } = *batch;
                self.window.landed(&Landed { bytes, departed, alone }, now);
                self.merge(index + 1);
                self.merge(index);
            }
        }
        let mut reached = BTreeMap::new();
        while self.batches.front().is_some_and(|batch| batch.acknowledged) {
            // A later batch's point replaces an earlier one's.
            reached.extend(self.batches.pop_front().map(|batch| batch.points).unwrap_or_default());
        }
        reached
    }

    /// Makes one of an acknowledged batch and the acknowledged one before it: behind a batch that is refused for ever,
    /// any number may pass.
    fn merge(&mut self, index: usize) {
        let acknowledged = |at: usize| self.batches.get(at).is_some_and(|b| b.acknowledged);
        let Some(before) = index.checked_sub(1) else { return };
        if !(acknowledged(before) && acknowledged(index)) {
            return;
        }
        let earlier = self.batches.remove(before).map(|batch| batch.points).unwrap_or_default();
        if let Some(batch) = self.batches.get_mut(before) {
            for (source, point) in earlier {
                batch.points.entry(source).or_insert(point);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cut::{Format, ResumeState};

    #[test]
    fn what_is_acknowledged_behind_one_that_is_not_takes_no_room() {
        let mut flight = Flight::default();
        let depart = |flight: &mut Flight, number| {
            let batch = wire::Batch { number, body: vec![0; 10].into(), ..wire::Batch::default() };
            let mut state = ResumeState::new(Format::Plain);
            state.last_time_ns = Some(number as i64);
            let points =
                [(number as usize % 3, Point { state, late: Vec::new(), files: Vec::new() })]
                    .into();
            flight.depart(Sealed { batch, points }, Instant::now());
        };
        (1..=1000).for_each(|number| depart(&mut flight, number));
        for number in (2..=1000).rev().filter(|number| number % 7 != 0) {
            assert!(flight.land(&[number], Instant::now()).is_empty());
        }
        assert!(flight.batches.len() <= 2 * 1000 / 7 + 3, "{}", flight.batches.len());
        for number in (2..=1000).filter(|number| number % 7 == 0) {
            assert!(flight.land(&[number], Instant::now()).is_empty());
        }
        assert_eq!(flight.batches.len(), 2);
        let reached = flight.land(&[1], Instant::now());
        let times: Vec<_> = reached.values().filter_map(|point| point.state.last_time_ns).collect();
        assert_eq!(times, [999, 1000, 998]);
        assert!(flight.is_empty() && flight.bytes() == 0);
    }

    #[test]
    fn points_are_reached_in_order_whatever_the_order_of_acknowledgements() {
        let mut flight = Flight::default();
        for number in 1..=3 {
            let batch = wire::Batch { number, body: vec![0; 10].into(), ..wire::Batch::default() };
            let mut state = ResumeState::new(Format::Plain);
            state.last_time_ns = Some(number as i64);
            let points = [(7, Point { state, late: Vec::new(), files: Vec::new() })].into();
            flight.depart(Sealed { batch, points }, Instant::now());
        }
        assert_eq!(flight.bytes(), 30);
        assert!(flight.land(&[2, 9], Instant::now()).is_empty());
        assert_eq!(flight.bytes(), 20);
        let reached = flight.land(&[1, 1], Instant::now());
        assert_eq!(reached.get(&7).and_then(|point| point.state.last_time_ns), Some(2));
        assert_eq!(flight.land(&[3], Instant::now()).len(), 1);
        assert!(flight.is_empty() && flight.bytes() == 0);
    }
}
