//! What the aggregator is told besides batches: declared losses, and how far files are. Nobody acknowledges it, so what a
//! stream that broke may not have delivered is told again. A holder: time is an argument.

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
    gaps: VecDeque<Gap>,
    /// The newest of each file: a status says only what changed, so none of it may be left out.
    files: BTreeMap<Bytes, FileStatus>,
    /// On this stream, and when.
    sent: VecDeque<(Instant, Kind)>,
}

impl Notices {
    pub(super) fn push_gap(&mut self, gap: Gap) {
        self.gaps.push_back(gap);
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
        self.sent.retain(|(at, _)| now.duration_since(*at) < DELIVERED);
        let kind = match self.gaps.pop_front() {
            Some(gap) => Kind::Gap(gap),
            None if self.files.is_empty() => return None,
            None => {
                let files = std::iter::from_fn(|| self.files.pop_first());
                let files = files.take(STATUS_FILES).map(|(_, file)| file).collect();
                Kind::Status(Status { files })
            }
        };
        self.sent.push_back((now, kind.clone()));
        Some(kind)
    }

    /// What was sent just before the stream ended is told again, unless there is newer.
    pub(super) fn stream_ended(&mut self, now: Instant) {
        while let Some((at, kind)) = self.sent.pop_back() {
            if now.duration_since(at) >= DELIVERED {
                continue;
            }
            match kind {
                Kind::Gap(gap) => self.gaps.push_front(gap),
                Kind::Status(status) => {
                    for file in status.files {
                        self.files.entry(file.file_id.clone()).or_insert(file);
                    }
                }
                Kind::Hello(_) | Kind::Batch(_) => {}
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
        notices.push_gap(gap.clone());
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
            notices.push_gap(Gap::default());
        }
        assert_eq!(notices.gaps.len(), GAPS_MAX);
    }
}
