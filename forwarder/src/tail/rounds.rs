//! Whose turn it is: rounds that are fair by bytes, in which nobody quiet waits behind somebody loud.
//!
//! A source that has just been written to comes before those that have had a turn and have more (as a new flow does in
//! FQ-CoDel, RFC 8290), and those have their turns in order. When the window was too narrow for any of the latter, one of
//! them goes first in the next round. Files at risk, rotated or deleted, get as much as all others together, so half of what
//! can be sent: what is deleted next is read before what is not, and nobody stops for it.

use std::collections::VecDeque;
use std::time::Instant;

use super::Tailer;
use super::turn::Turn;

/// Sources with bytes to read.
#[derive(Debug, Default)]
pub(super) struct Queues {
    /// They have just been written to.
    fresh: VecDeque<usize>,
    /// They have had a turn, and more is left.
    backlog: VecDeque<usize>,
    /// The last round ended before any of the backlog had a turn.
    backlog_waited: bool,
    /// How much more the others have had than files at risk.
    owed_at_risk: i64,
}

impl Queues {
    /// Something was written to a source that had nothing left.
    pub(super) fn push(&mut self, index: usize) {
        self.fresh.push_back(index);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.fresh.is_empty() && self.backlog.is_empty()
    }
}

/// What files at risk may be behind or ahead of the others: it evens out within a second, and is no right to more later.
const OWED_MAX_BYTES: i64 = 1 << 20;

/// A round so far.
#[derive(Default)]
struct Round {
    read: u64,
    /// Of the backlog, those at risk, in turn.
    at_risk: VecDeque<usize>,
}

impl Tailer {
    /// Gives every hot source a turn, as far as the window allows; true when something was read.
    pub(super) fn read_hot(&mut self, now: Instant) -> bool {
        let mut round = Round { read: 0, at_risk: self.backlog_at_risk() };
        let (fresh, backlog) = (self.hot.fresh.len(), self.hot.backlog.len());
        let waited = std::mem::take(&mut self.hot.backlog_waited);
        let first = usize::from(waited && backlog > 0);
        let mut served = self.backlog_turns(first, &mut round, now);
        for _ in 0..fresh {
            if !self.room() {
                break;
            }
            let Some(index) = self.hot.fresh.pop_front() else { break };
            self.one_turn(index, &mut round, now);
        }
        served += self.backlog_turns(backlog - first, &mut round, now);
        self.hot.backlog_waited = backlog > 0 && served == 0;
        round.read > 0
    }

    fn backlog_at_risk(&self) -> VecDeque<usize> {
        let at_risk = |index: &usize| self.sources.get(*index).is_some_and(|s| s.is_at_risk());
        self.hot.backlog.iter().copied().filter(at_risk).collect()
    }

    fn backlog_turns(&mut self, most: usize, round: &mut Round, now: Instant) -> usize {
        for served in 0..most {
            if !self.room() {
                return served;
            }
            let at_risk = (self.hot.owed_at_risk > 0).then(|| round.at_risk.pop_front()).flatten();
            let place = at_risk.and_then(|index| self.hot.backlog.iter().position(|i| *i == index));
            let Some(index) = self.hot.backlog.remove(place.unwrap_or(0)) else { return served };
            self.one_turn(index, round, now);
        }
        most
    }

    /// Room in the window, made if need be.
    fn room(&mut self) -> bool {
        if !self.has_room() {
            self.hand_over();
        }
        self.has_room()
    }

    fn one_turn(&mut self, index: usize, round: &mut Round, now: Instant) {
        let at_risk = self.sources.get(index).is_some_and(|source| source.is_at_risk());
        let before = self.outgoing.metrics.read_bytes.get();
        let turn = self.turn(index, now);
        let read = self.outgoing.metrics.read_bytes.get() - before;
        round.read += read;
        let owed = i64::try_from(read).unwrap_or(OWED_MAX_BYTES);
        self.hot.owed_at_risk = match at_risk {
            true => self.hot.owed_at_risk - owed,
            false => self.hot.owed_at_risk + owed,
        }
        .clamp(-OWED_MAX_BYTES, OWED_MAX_BYTES);
        let Some(source) = self.sources.get_mut(index) else { return };
        source.caught_up = turn == Turn::Nothing;
        match turn {
            Turn::More | Turn::Full => {
                self.hot.backlog.push_back(index);
                if at_risk {
                    round.at_risk.push_back(index);
                }
            }
            Turn::Wait => {
                source.queued = false;
                self.attention.insert(index);
            }
            Turn::Nothing => {
                source.queued = false;
                if source.needs_attention() {
                    self.attention.insert(index);
                }
            }
        }
    }
}
