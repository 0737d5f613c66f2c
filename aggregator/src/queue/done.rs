//! What of a queue is delivered: everything up to some entry, and ranges after it. Pure.

use super::entry::Sequence;

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Done {
    /// Every entry up to and with this one.
    pub(super) through: Sequence,
    /// First and last of each range: in order, and none touches another or `through`.
    pub(super) ranges: Vec<(Sequence, Sequence)>,
}

impl Done {
    /// Everything up to and with this entry.
    pub(super) fn through(through: Sequence) -> Self {
        Self { through, ranges: Vec::new() }
    }

    /// All entries before `end` but the pending ones, which are ranges without their ends, in any order.
    pub(super) fn but(
        pending: impl IntoIterator<Item = (Sequence, Sequence)>,
        end: Sequence,
    ) -> Self {
        let within = |(from, to): (Sequence, Sequence)| (from.min(end), to.min(end));
        let mut pending: Vec<_> =
            pending.into_iter().map(within).filter(|(from, to)| from < to).collect();
        pending.sort_unstable();
        let mut done = Self::default();
        let mut next = Sequence(1);
        for (from, to) in pending.into_iter().chain([(end, end)]) {
            done.push(next, from);
            next = next.max(to);
        }
        done
    }

    /// Adds a range without its end, after all others.
    fn push(&mut self, from: Sequence, end: Sequence) {
        if from >= end {
            return;
        }
        let last = end.previous();
        let known = self.ranges.last_mut().map_or(&mut self.through, |(_, known)| known);
        if known.next() == from { *known = last } else { self.ranges.push((from, last)) }
    }

    /// The last entry that is delivered.
    pub(super) fn last(&self) -> Sequence {
        self.ranges.last().map_or(self.through, |(_, last)| *last)
    }

    /// How many entries from the first to the last one are delivered.
    pub(super) fn count(&self, first: Sequence, last: Sequence) -> u64 {
        let all = [(Sequence(0), self.through)].into_iter().chain(self.ranges.iter().copied());
        all.map(|(from, to)| (to.min(last).0 + 1).saturating_sub(from.max(first).0)).sum()
    }

    /// Whether all of them are.
    pub(super) fn holds(&self, first: Sequence, last: Sequence) -> bool {
        self.count(first, last) == (last.0 + 1).saturating_sub(first.0)
    }

    /// The ranges between what is delivered, without their ends.
    pub(super) fn gaps(&self) -> Vec<(Sequence, Sequence)> {
        let mut next = self.through.next();
        let gap = |&(from, last): &(Sequence, Sequence)| {
            let gap = (next, from);
            next = last.next();
            gap
        };
        self.ranges.iter().map(gap).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_the_set_of_what_is_not_pending(
            pending in proptest::collection::vec((1_u64..60, 0_u64..6), 0..8),
            end in 1_u64..80,
            first in 1_u64..60,
            length in 0_u64..30,
        ) {
            let ranges = pending.iter().map(|(from, length)| (Sequence(*from), Sequence(from + length)));
            let done = Done::but(ranges, Sequence(end));
            let mut expected: BTreeSet<u64> = (1..end).collect();
            for (from, length) in &pending {
                (*from..from + length).for_each(|sequence| { expected.remove(&sequence); });
            }
            let found: BTreeSet<u64> = (1..end).filter(|s| done.holds(Sequence(*s), Sequence(*s))).collect();
            prop_assert_eq!(&found, &expected);
            prop_assert_eq!(done.last().0, expected.last().copied().unwrap_or(0));
            let last = first + length;
            let count = expected.range(first..=last).count() as u64;
            prop_assert_eq!(done.count(Sequence(first), Sequence(last)), count);
            let again = Done::but(done.gaps(), done.last().next());
            prop_assert_eq!(again, done);
        }
    }
}
