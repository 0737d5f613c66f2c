//! What becomes of documents whose index takes nothing: they wait in memory at first, and are then parked in a side chain,
//! so that they hold up nobody. Where they cannot be parked they go on waiting, and `/readyz` says why.

use std::time::{Duration, Instant};

use super::{PROBE_DOCUMENTS, Sender, chance, pause as grown};
use crate::deliver::parked::ParkError;
use crate::deliver::part::{Next, Part};
use crate::deliver::repack;
use crate::elasticsearch::Index;

/// Longest pause of documents that wait in memory: a person must act, or the server's next look at its disks.
const PAUSE_MAX: Duration = Duration::from_secs(60);
const PAUSE_MIN: Duration = Duration::from_millis(500);
/// How soon documents are parked when others wait for the memory and the entries that they hold. An index that has to be
/// made first takes documents at the second attempt, after [`PAUSE_MIN`].
const PRESSED_AFTER: Duration = Duration::from_secs(1);

/// The pause after so many tries.
pub(super) fn pause(tries: u32) -> Duration {
    grown(tries.saturating_add(2), PAUSE_MAX, chance()).max(PAUSE_MIN)
}

impl Sender {
    /// An index takes nothing.
    pub(super) fn hold(&self, index: Index, reason: String) {
        let name = self.name(index);
        self.held.hold(index, format!("{name} takes nothing: {reason}"));
        self.say(None);
    }

    /// An index takes documents.
    pub(super) fn release(&self, index: Index) {
        self.held.release(index);
        self.say(None);
    }

    /// An index that is asked again for what is parked is asked with little.
    pub(super) fn with_little_first(&self, mut part: Part) -> Vec<Next> {
        let asks = part.chain.as_deref().is_some_and(|chain| self.parked.is_parked(chain));
        let mut parts = Vec::with_capacity(2);
        if asks && part.bulk.len() > PROBE_DOCUMENTS {
            parts.push(Next::Send(part.split_off(PROBE_DOCUMENTS)));
        }
        parts.push(Next::Send(part));
        parts
    }

    /// The index takes nothing of its side chain either.
    pub(super) fn refused(&self, part: &Part) {
        if let Some(chain) = &part.chain {
            self.parked.refused(chain, chance());
            self.held.place(part.bulk.index(), "its documents are parked, others go on");
            self.say(None);
        }
    }

    /// Waits without a place among those in flight.
    pub(super) async fn wait(&self, part: &Part, pause: impl Future<Output = ()>) {
        self.metrics.held.inc_by(part.bulk.len() as i64);
        self.end();
        pause.await;
        self.begin().await;
        self.metrics.held.dec_by(part.bulk.len() as i64);
    }

    /// The pause, or less when what waits in memory stops others.
    pub(super) async fn pause_or_pressed(&self, index: Index, pause: Duration) {
        let end = Instant::now() + pause;
        loop {
            let pressed = self.parked.pressed();
            tokio::pin!(pressed);
            pressed.as_mut().enable();
            let mut until = end;
            if self.parked.is_pressed() && self.parked.after().is_some() {
                let left = PRESSED_AFTER.saturating_sub(self.held.since(index));
                if left.is_zero() {
                    return;
                }
                until = until.min(Instant::now() + left);
            }
            if tokio::time::timeout_at(until.into(), pressed).await.is_err() && until >= end {
                return;
            }
        }
    }

    /// Parks documents of an index that is parked; gives back what is to be sent.
    pub(super) async fn park_if_parked(&self, part: Part) -> Option<Part> {
        let is_new = part.chain.is_none() && self.parked.after().is_some();
        if is_new && self.parked.is_parked(&self.name(part.bulk.index())) {
            return self.park(part).await;
        }
        Some(part)
    }

    /// Parks documents that have waited for long enough, or that stop others; gives back what is to wait.
    pub(super) async fn park_if_due(&self, part: Part) -> Option<Part> {
        let Some(after) = self.parked.after() else { return Some(part) };
        let after = if self.parked.is_pressed() { after.min(PRESSED_AFTER) } else { after };
        if self.held.since(part.bulk.index()) < after {
            return Some(part);
        }
        self.park(part).await
    }

    /// Makes documents durable in the side chain of their index and settles them; gives them back when that cannot be.
    async fn park(&self, part: Part) -> Option<Part> {
        let index = part.bulk.index();
        let (parked, name) = (self.parked.clone(), self.name(index));
        let packed = tokio::task::spawn_blocking(move || {
            let packed = parked.enter(&name).and_then(|entered| {
                let tokens: Vec<_> = part.bulk.items().iter().map(|item| &item.token).collect();
                Ok((entered, repack::batches(&tokens)?))
            });
            (part, packed)
        });
        let (part, packed) = match packed.await {
            Ok(packed) => packed,
            Err(died) if died.is_panic() => std::panic::resume_unwind(died.into_panic()),
            // The runtime ends, and this with it; what was not settled goes back to the queue.
            Err(_) => return None,
        };
        let appended = match packed {
            Ok((entered, batches)) => entered.append(batches).await,
            Err(error) => Err(error),
        };
        match appended {
            Ok(()) => {
                self.metrics.parked.inc_by(part.bulk.len() as u64);
                part.bulk.into_items().for_each(|item| item.token.settle());
                self.held.place(index, "its documents are parked, others go on");
                self.say(None);
                None
            }
            Err(error) => {
                self.kept(index, &error);
                Some(part)
            }
        }
    }

    fn kept(&self, index: Index, error: &ParkError) {
        self.held.place(
            index,
            &format!("its documents wait in the queue, and others with them: {error}"),
        );
        self.say(None);
    }
}
