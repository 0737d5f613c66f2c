//! Batches that were sent and are not yet acknowledged, in order, and the window that bounds them.
//!
//! A batch of which some records will never be taken, and the rest is acknowledged, holds up the sources of those records
//! and no others: their points are not reached before it is acknowledged as well.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::time::Instant;

use naru_proto::limits::UNACKNOWLEDGED_MAX_BYTES;
use naru_proto::wire;

use super::source::Point;
use super::window::{Landed, Window};
use crate::batch::Sealed;

/// What is in flight.
#[derive(Default)]
pub(super) struct Flight {
    batches: VecDeque<InFlight>,
    bytes: usize,
    /// Of what will never be taken: the window is not for it.
    apart_bytes: usize,
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
    /// The sources whose records will never be taken, where everything else of it is acknowledged.
    apart: Option<BTreeSet<usize>>,
}

impl InFlight {
    fn is_on_its_way(&self) -> bool {
        !self.acknowledged && self.apart.is_none()
    }
}

impl Flight {
    /// Whether more may be read while so many bytes wait to be sent.
    pub(super) fn has_room(&self, waiting: usize) -> bool {
        self.bytes + waiting < self.window.bytes() && self.apart_bytes < UNACKNOWLEDGED_MAX_BYTES
    }

    pub(super) fn window_bytes(&self) -> usize {
        self.window.bytes()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// Whether an acknowledgement may come: not of what will never be taken.
    pub(super) fn is_on_its_way(&self) -> bool {
        self.batches.iter().any(InFlight::is_on_its_way)
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes + self.apart_bytes
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
            apart: None,
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
                let InFlight { bytes, departed, alone, .. } = *batch;
                if batch.apart.take().is_none() {
                    self.bytes -= bytes;
                    self.window.landed(&Landed { bytes, departed, alone }, now);
                }
                self.merge(index + 1);
                self.merge(index);
            }
        }
        self.reached()
    }

    /// Notes which batches are acknowledged but for the records of some sources, which have so many bytes together; gives
    /// the points that are reached by it.
    pub(super) fn set_apart(
        &mut self,
        mut of: BTreeMap<u64, BTreeSet<usize>>,
        bytes: usize,
    ) -> BTreeMap<usize, Point> {
        self.apart_bytes = bytes;
        for batch in self.batches.iter_mut().filter(|batch| !batch.acknowledged) {
            let apart = of.remove(&batch.number);
            match (batch.apart.is_some(), apart.is_some()) {
                (false, true) => self.bytes -= batch.bytes,
                (true, false) => self.bytes += batch.bytes,
                (true, true) | (false, false) => {}
            }
            batch.apart = apart;
        }
        self.reached()
    }

    /// Takes the points that nothing of their sources is unacknowledged before.
    fn reached(&mut self) -> BTreeMap<usize, Point> {
        let mut reached = BTreeMap::new();
        let mut held_up = HashSet::new();
        for batch in &mut self.batches {
            match &batch.apart {
                _ if batch.acknowledged => {}
                Some(sources) => held_up.extend(sources.iter().copied()),
                None => break,
            }
            let points = std::mem::take(&mut batch.points).into_iter();
            let (waiting, free): (BTreeMap<_, _>, BTreeMap<_, _>) =
                points.partition(|(source, _)| held_up.contains(source));
            batch.points = waiting;
            // A later batch's point replaces an earlier one's.
            reached.extend(free);
        }
        while self.batches.front().is_some_and(|batch| batch.acknowledged) {
            self.batches.pop_front();
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
    fn b12_what_will_never_be_taken_holds_up_its_own_source_and_no_room() {
        let mut flight = Flight::default();
        for number in 1..=4 {
            let body = vec![0; UNACKNOWLEDGED_MAX_BYTES].into();
            let batch = wire::Batch { number, body, ..wire::Batch::default() };
            let mut state = ResumeState::new(Format::Plain);
            state.last_time_ns = Some(number as i64);
            let point = Point { state, late: Vec::new(), files: Vec::new() };
            // The last batch has frames of the first source and not its point yet.
            let points = [(7, point.clone()), (8, point)];
            let points = points.into_iter().filter(|(source, _)| number < 4 || *source == 8);
            flight.depart(Sealed { batch, points: points.collect() }, Instant::now());
        }
        let times = |reached: BTreeMap<usize, Point>| -> Vec<(usize, i64)> {
            reached.iter().map(|(of, point)| (*of, point.state.last_time_ns.unwrap())).collect()
        };
        assert_eq!(times(flight.land(&[1, 4], Instant::now())), [(7, 1), (8, 1)]);
        let apart = |number: u64, of: usize| BTreeMap::from([(number, BTreeSet::from([of]))]);
        assert_eq!(times(flight.set_apart(apart(2, 7), 10)), [(8, 2)]);
        assert!(flight.is_on_its_way() && !flight.has_room(0));
        assert_eq!(times(flight.land(&[3], Instant::now())), [(8, 4)]);
        assert!(!flight.is_on_its_way() && !flight.is_empty() && flight.has_room(0));
        assert_eq!(flight.bytes(), 10);
        // As much of it as of what is in flight.
        assert!(flight.set_apart(apart(2, 7), UNACKNOWLEDGED_MAX_BYTES).is_empty());
        assert!(!flight.has_room(0));
        assert_eq!(times(flight.land(&[2], Instant::now())), [(7, 3)]);
        assert!(flight.set_apart(BTreeMap::new(), 0).is_empty());
        assert!(flight.is_empty() && flight.bytes() == 0 && flight.has_room(0));
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
