//! What the aggregator is told besides batches: declared losses, and how far files are. The protocol acknowledges neither,
//! so what a stream that broke may not have delivered is told again. A holder: time is an argument.
//!
//! A stream is handled in its order: an acknowledgement of a batch is one of every loss that was told before it on the same
//! stream. Where no batch follows, a stream that lives for long enough has delivered it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use naru_proto::wire::client_message::Kind;
use naru_proto::wire::{FileStatus, Gap, Status};
use tokio::time::Instant;

/// A stream that lives for so long after a notice was sent has delivered it: longer than keepalive takes to notice.
const DELIVERED: Duration = Duration::from_secs(40);
/// As many as the tailing thread keeps; more wait there.
const GAPS_MAX: usize = 10_000;
/// Files in one message: about 200 KiB.
const STATUS_FILES: usize = 1000;

#[derive(Default)]
pub(super) struct Notices {
    gaps: VecDeque<(u64, Gap)>,
    /// The newest of each file: a status says only what changed, so none of it may be left out.
    files: BTreeMap<Bytes, FileStatus>,
    /// On this stream.
    sent: VecDeque<Sent>,
    /// Messages of this stream, so far.
    messages: u64,
    /// Losses that an aggregator has, by their number.
    told: Vec<u64>,
}

struct Sent {
    at: Instant,
    /// Which message of the stream.
    message: u64,
    /// Of a loss.
    gap: Option<u64>,
    kind: Kind,
}

impl Notices {
    pub(super) fn push_gap(&mut self, number: u64, gap: Gap) {
        self.gaps.push_back((number, gap));
    }

    pub(super) fn push_status(&mut self, status: Status) {
        self.files.extend(status.files.into_iter().map(|file| (file.file_id.clone(), file)));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.gaps.is_empty() && self.files.is_empty()
    }

    /// Nothing more is to be pushed.
    pub(super) fn is_full(&self) -> bool {
        self.gaps.len() >= GAPS_MAX
    }

    /// The next message, losses first.
    pub(super) fn next(&mut self, now: Instant) -> Option<Kind> {
        self.expire(now);
        let (gap, kind) = match self.gaps.pop_front() {
            Some((number, gap)) => (Some(number), Kind::Gap(gap)),
            None if self.files.is_empty() => return None,
            None => {
                let files = std::iter::from_fn(|| self.files.pop_first());
                let files = files.take(STATUS_FILES).map(|(_, file)| file).collect();
                (None, Kind::Status(Status { files }))
            }
        };
        let message = self.message();
        self.sent.push_back(Sent { at: now, message, gap, kind: kind.clone() });
        Some(kind)
    }

    /// Counts a message of this stream, a batch too; gives its place in it.
    pub(super) fn message(&mut self) -> u64 {
        self.messages += 1;
        self.messages
    }

    /// The aggregator has handled what was sent on this stream before that message.
    pub(super) fn handled_before(&mut self, message: u64) {
        let handled = self.sent.partition_point(|sent| sent.message < message);
        self.told.extend(self.sent.drain(..handled).filter_map(|sent| sent.gap));
    }

    /// The losses that an aggregator has by now and that nobody was told of yet.
    pub(super) fn take_told(&mut self, now: Instant) -> Vec<u64> {
        self.expire(now);
        std::mem::take(&mut self.told)
    }

    /// When more of them will be, if nothing happens.
    pub(super) fn told_at(&self) -> Option<Instant> {
        self.sent.iter().find(|sent| sent.gap.is_some()).map(|sent| sent.at + DELIVERED)
    }

    fn expire(&mut self, now: Instant) {
        let delivered = self.sent.partition_point(|sent| now.duration_since(sent.at) >= DELIVERED);
        self.told.extend(self.sent.drain(..delivered).filter_map(|sent| sent.gap));
    }

    /// What was sent just before the stream ended is told again, unless there is newer.
    pub(super) fn stream_ended(&mut self, now: Instant) {
        self.expire(now);
        self.messages = 0;
        while let Some(sent) = self.sent.pop_back() {
            match (sent.kind, sent.gap) {
                (Kind::Gap(gap), Some(number)) => self.gaps.push_front((number, gap)),
                (Kind::Status(status), _) => {
                    for file in status.files {
                        self.files.entry(file.file_id.clone()).or_insert(file);
                    }
                }
                (Kind::Gap(_) | Kind::Hello(_) | Kind::Batch(_), _) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(files: impl IntoIterator<Item = u32>, size: u64) -> Status {
        let file = |n: u32| FileStatus {
            file_id: Bytes::copy_from_slice(&n.to_be_bytes()),
            size,
            ..FileStatus::default()
        };
        Status { files: files.into_iter().map(file).collect() }
    }

    fn told(notices: &mut Notices, now: Instant) -> Vec<(u32, u64)> {
        let mut told = Vec::new();
        while let Some(kind) = notices.next(now) {
            let Kind::Status(status) = kind else { panic!("{kind:?}") };
            assert!(status.files.len() <= STATUS_FILES);
            told.extend(
                status.files.iter().map(|file| {
                    (u32::from_be_bytes(file.file_id[..].try_into().unwrap()), file.size)
                }),
            );
        }
        told
    }

    #[test]
    fn every_file_is_told_of_once_and_as_it_is_last() {
        let (mut notices, now) = (Notices::default(), Instant::now());
        notices.push_status(status(0..1000, 1));
        notices.push_status(status(1000..2000, 1));
        notices.push_status(status(2000..2001, 1));
        notices.push_status(status([7, 1500], 2));
        let expected: Vec<_> = (0..2001).map(|n| (n, 1 + u64::from(n == 7 || n == 1500))).collect();
        assert_eq!(told(&mut notices, now), expected);
        assert!(notices.is_empty());
    }

    #[test]
    fn what_a_broken_stream_may_not_have_delivered_is_told_again() {
        let (mut notices, start) = (Notices::default(), Instant::now());
        let gap = Gap { start: 7, ..Gap::default() };
        notices.push_status(status([1], 1));
        assert_eq!(told(&mut notices, start), [(1, 1)]);
        let late = start + DELIVERED;
        notices.push_gap(5, gap.clone());
        assert_eq!(notices.next(late), Some(Kind::Gap(gap.clone())));
        notices.push_status(status([2, 3], 1));
        assert_eq!(told(&mut notices, late), [(2, 1), (3, 1)]);
        notices.push_status(status([3], 9));
        notices.stream_ended(late);
        assert_eq!(notices.next(late), Some(Kind::Gap(gap)));
        assert_eq!(told(&mut notices, late), [(2, 1), (3, 9)], "the first is long delivered");
        notices.stream_ended(late + DELIVERED);
        assert!(notices.is_empty());
    }

    #[test]
    fn losses_are_bounded() {
        let mut notices = Notices::default();
        while !notices.is_full() {
            notices.push_gap(1, Gap::default());
        }
        assert_eq!(notices.gaps.len(), GAPS_MAX);
    }

    #[test]
    fn b16_a_loss_is_told_until_a_batch_after_it_is_acknowledged() {
        let (mut notices, start) = (Notices::default(), Instant::now());
        let gap = |start| Gap { start, ..Gap::default() };
        notices.push_gap(1, gap(1));
        let before = notices.message();
        notices.next(start).unwrap();
        let after = notices.message();
        notices.push_gap(2, gap(2));
        notices.next(start).unwrap();
        notices.handled_before(before);
        assert!(notices.take_told(start).is_empty(), "sent after it");
        notices.handled_before(after);
        assert_eq!(notices.take_told(start), [1]);
        notices.stream_ended(start);
        assert_eq!(notices.next(start), Some(Kind::Gap(gap(2))), "the other one again");
        assert_eq!(notices.next(start), None);
        // No batch follows.
        assert_eq!(notices.told_at(), Some(start + DELIVERED));
        assert_eq!(notices.take_told(start + DELIVERED), [2]);
        assert_eq!(notices.told_at(), None);
    }
}
