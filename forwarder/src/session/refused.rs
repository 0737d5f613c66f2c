//! What an aggregator will never take is set apart: its batch is sent again in halves, and the half that is refused in
//! halves again, until only the records are left that cannot be taken. Those are kept and tried every minute; the lines
//! beside them are on their way.

use std::collections::BTreeMap;
use std::time::Duration;

use naru_proto::wire::{self, Refuse, RefuseReason, RetryWhere};
use tokio::time::Instant;

use super::{Ended, Sent, Session, divide};
use crate::chance;
use crate::channel::{Apart, SetApart};
use crate::files::writer_name;

/// What was refused for ever is tried again this often: an aggregator may be mended, the lines may not.
const NEVER_RETRY: Duration = Duration::from_secs(60);
/// Of a refusal's reason, what is kept: a sentence.
const DETAIL_MAX_CHARS: usize = 300;
/// Parts of divided batches. One record of a full batch is found with 17 of them; what comes when there are so many is
/// tried as it is, and divided when others have been taken.
const PARTS_MAX: usize = 256;
/// The numbers of parts begin here: the tailing thread's batches, a million a second, do not get so far.
pub(super) const FIRST_PART: u64 = 1 << 63;

impl Session {
    /// What follows from a refusal.
    pub(super) fn refused(&mut self, refuse: &Refuse) -> Option<Ended> {
        let reason = refuse.reason();
        self.metrics.refused(reason);
        let number = self.sent_as(refuse.number)?;
        let sent = self.unacknowledged.get_mut(&number)?;
        sent.outstanding_since = None;
        let wait = Duration::from_millis(u64::from(refuse.retry_ms));
        let expected = matches!(reason, RefuseReason::Busy | RefuseReason::NoCredit);
        match refuse.r#where() {
            RetryWhere::Here if expected => {
                tracing::debug!(detail = refuse.detail, "the aggregator is busy");
                sent.not_before = Some(Instant::now() + wait);
                None
            }
            RetryWhere::Here => {
                tracing::warn!(?reason, detail = refuse.detail, "a batch was refused; sent again");
                sent.not_before = Some(Instant::now() + wait);
                None
            }
            RetryWhere::Elsewhere | RetryWhere::Unspecified => {
                if reason == RefuseReason::Draining {
                    // It was on its way when the stream was drained, as happens every few minutes.
                    tracing::debug!(detail = refuse.detail, "refused by a stream that drains");
                } else {
                    tracing::warn!(?reason, detail = refuse.detail, "refused; trying elsewhere");
                }
                Some(Ended::Reopen(wait.mul_f64(0.5 + chance::fraction())))
            }
            RetryWhere::Never => {
                self.refused_for_ever(number, refuse);
                None
            }
        }
    }

    fn refused_for_ever(&mut self, number: u64, refuse: &Refuse) {
        let parts = self.unacknowledged.range(FIRST_PART..).count();
        // Who is taken for another node is refused as a whole.
        let divisible = refuse.reason() != RefuseReason::WrongNode && parts + 2 <= PARTS_MAX;
        if !(divisible && self.divide(number)) {
            self.keep_apart(number, refuse);
        }
        self.tell_apart();
    }

    /// Puts the halves of a batch or part in its place; false where there are none.
    fn divide(&mut self, number: u64) -> bool {
        let numbers = [self.next_part, self.next_part + 1];
        let whole = self.unacknowledged.get(&number);
        let Some((of, halves)) =
            whole.and_then(|sent| Some((sent.of, divide::halves(&sent.batch, numbers)?)))
        else {
            return false;
        };
        if number == of {
            tracing::warn!(number, "the aggregator will never take a batch; it is sent in halves");
        }
        self.next_part += 2;
        self.unacknowledged.remove(&number);
        for batch in halves {
            let half = Sent { of, ever: true, ..Sent::new(batch) };
            self.unacknowledged.insert(half.batch.number, half);
        }
        true
    }

    fn keep_apart(&mut self, number: u64, refuse: &Refuse) {
        let Some(sent) = self.unacknowledged.get_mut(&number) else { return };
        let detail: String = refuse.detail.chars().take(DETAIL_MAX_CHARS).collect();
        let places = divide::places(&sent.batch);
        if sent.never.as_ref().is_none_or(|never| never.detail != detail) {
            let first = places.iter().flatten().next();
            // Said once, not every minute.
            tracing::error!(
                reason = ?refuse.reason(),
                detail,
                records = sent.batch.records,
                source = first.map(|place| writer_name(&place.writer)),
                file = first.map(|place| place.file.to_string()),
                offset = first.map(|place| place.offset),
                "the aggregator will not take this; it is kept and tried every minute"
            );
        }
        sent.not_before = Some(Instant::now() + NEVER_RETRY);
        sent.never = Some(Never { detail, places });
    }

    /// Says which batches wait for nothing but what will never be taken.
    pub(super) fn tell_apart(&mut self) {
        let mut batches = BTreeMap::<u64, Option<SetApart>>::new();
        let (mut records, mut first) = (0, None);
        for sent in self.unacknowledged.values() {
            let batch = batches.entry(sent.of).or_insert_with(|| Some(SetApart::default()));
            let Some(never) = &sent.never else {
                *batch = None;
                continue;
            };
            records += u64::from(sent.batch.records.max(1));
            first = first.or(Some(never));
            match (&never.places, batch) {
                (Some(places), Some(batch)) => {
                    batch.bytes += sent.batch.body.len();
                    batch.refused.extend(places.iter().cloned());
                    batch.reason.clone_from(&never.detail);
                }
                (_, batch) => *batch = None,
            }
        }
        self.metrics.never_records.set(i64::try_from(records).unwrap_or(i64::MAX));
        self.health.never_taken(first.map(|never| never.sentence(records)));
        let apart: Apart =
            batches.into_iter().filter_map(|(of, apart)| Some((of, apart?))).collect();
        let news = self.end.apart.send_if_modified(|known| {
            let news = *known != apart;
            *known = apart;
            news
        });
        if news {
            self.end.wake.wake();
        }
    }
}

/// Why something will never be taken, and what it is; None where that cannot be read.
pub(super) struct Never {
    detail: String,
    places: Option<Vec<crate::channel::Refused>>,
}

impl Never {
    fn sentence(&self, records: u64) -> String {
        let place = self.places.iter().flatten().next();
        let place = place
            .map(|place| format!(", first in {} at {}", writer_name(&place.writer), place.offset));
        let (place, detail) = (place.unwrap_or_default(), &self.detail);
        format!(
            "the aggregator says that it will never take {records} of the records{place}: {detail}"
        )
    }
}

impl Sent {
    /// Not sent yet, and whole.
    pub(super) fn new(batch: wire::Batch) -> Self {
        Self {
            of: batch.number,
            batch,
            ever: false,
            outstanding_since: None,
            message: 0,
            on_stream: 0,
            not_before: None,
            never: None,
        }
    }
}
