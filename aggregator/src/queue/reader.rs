//! Leases entries to the delivery thread, the oldest and, when there is a backlog, the newest in turns (`leases`).
//!
//! Blocking: it belongs on a thread of its own. Entries are seen right after their commit, through
//! the sled that wrote them; older segments are opened one at a time.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::Shared;
use super::apart::Apart;
use super::entry::{Entry, Metadata, Sequence, StoredBatch};
use super::leases::{End, Turn};
use super::letter::LetterId;
use super::part::Kind;
use super::source::Source;

/// The queue's only reader.
pub struct Reader {
    shared: Arc<Shared>,
    /// The segments that the oldest and the newest cursor are in.
    sources: [Option<Source>; 2],
}

/// An entry to be delivered. Dropping it gives it back: it is leased again.
#[must_use = "an entry that is not completed is delivered again"]
pub struct Lease {
    owner: Owner,
    sequence: Sequence,
    /// Taken when the lease ends.
    entry: Option<Entry>,
}

/// Who is told how it ended.
enum Owner {
    Queue(Arc<Shared>),
    Apart(Arc<Apart>, Option<LetterId>),
}

enum Read {
    Entry(Entry),
    Lost,
    /// Nothing was ever committed there: go on with this sequence.
    GoOn(Sequence),
}

impl Reader {
    /// The reader, unless there is one already.
    pub(super) fn new(shared: Arc<Shared>) -> Option<Self> {
        let is_taken = shared.has_reader.swap(true, Ordering::AcqRel);
        (!is_taken).then(|| Self { shared, sources: [None, None] })
    }

    /// The next entry; `None` when there is none in time, when as many are leased as may be, or
    /// when the queue is closed.
    pub fn next(&mut self, timeout: Duration) -> Option<Lease> {
        let deadline = Instant::now() + timeout;
        loop {
            let (sequence, head, end) = match self.shared.leases.turn(deadline) {
                Turn::Nothing => return None,
                Turn::Again(sequence, entry) => return Some(self.lease(sequence, entry)),
                Turn::Read { sequence, head, end } => (sequence, head, end),
            };
            match self.read(sequence, head, end) {
                Read::Entry(entry) => {
                    let bytes = entry.batches.iter().map(|batch| u64::from(batch.raw_bytes));
                    self.shared.leases.took(end, bytes.sum());
                    return Some(self.lease(sequence, entry));
                }
                Read::Lost => self.shared.leases.lose(sequence),
                Read::GoOn(next) => self.shared.leases.skip(sequence, next),
            }
        }
    }

    /// Whether half of the entries that may be leased are.
    pub fn is_pressed(&self) -> bool {
        self.shared.leases.is_pressed()
    }

    fn lease(&self, sequence: Sequence, entry: Entry) -> Lease {
        Lease { owner: Owner::Queue(Arc::clone(&self.shared)), sequence, entry: Some(entry) }
    }

    fn read(&mut self, sequence: Sequence, head: Sequence, end: End) -> Read {
        let chain = &self.shared.chain;
        let [oldest, newest] = &mut self.sources;
        let slot = match end {
            End::Oldest => oldest,
            End::Newest => newest,
        };
        let source = match slot.take().filter(|source| source.holds(sequence)) {
            Some(source) => slot.insert(source),
            None => {
                let Some((summary, known)) = chain.at_or_after(sequence) else {
                    return Read::GoOn(head.next());
                };
                if summary.first > sequence {
                    return Read::GoOn(summary.first);
                }
                slot.insert(Source::open(chain, summary, &known))
            }
        };
        let Some(stored) = source.read(chain, sequence) else { return Read::Lost };
        match (stored.kind, Entry::decode(&stored.body)) {
            (Kind::Batches, Some(entry)) => Read::Entry(entry),
            (Kind::Batches | Kind::Letters | Kind::LettersV1, _) => {
                tracing::error!(%sequence, "an intact entry that is no entry of a queue");
                Read::Lost
            }
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.shared.has_reader.store(false, Ordering::Release);
    }
}

impl Lease {
    /// One that is delivered apart from the queue's order: of a replay, by its sequence, or of one letter.
    pub(crate) fn apart(
        apart: &Arc<Apart>,
        ticket: u64,
        letter: Option<LetterId>,
        batches: Vec<StoredBatch>,
    ) -> Self {
        apart.begin(ticket, batches.iter().map(|batch| batch.body.len()).sum());
        Self {
            owner: Owner::Apart(Arc::clone(apart), letter),
            sequence: Sequence(ticket),
            entry: Some(Entry { metadata: Vec::new(), batches }),
        }
    }

    /// The letter that is tried again with it: what fails again belongs to that one.
    pub fn letter(&self) -> Option<LetterId> {
        match &self.owner {
            Owner::Queue(_) => None,
            Owner::Apart(_, letter) => *letter,
        }
    }

    /// Which entry this is.
    pub fn sequence(&self) -> Sequence {
        self.sequence
    }

    /// Its batches, in the order of their arrival; their bodies share the entry's memory.
    pub fn batches(&self) -> &[StoredBatch] {
        self.entry.as_ref().map_or(&[], |entry| &entry.batches)
    }

    /// What was written beside the batches; pass over the kinds that you do not know.
    pub fn metadata(&self) -> &[Metadata] {
        self.entry.as_ref().map_or(&[], |entry| &entry.metadata)
    }

    /// Every document of the entry has an outcome: it need not be delivered again.
    pub fn complete(mut self) {
        if let Some(entry) = self.entry.take() {
            match &self.owner {
                Owner::Queue(shared) => {
                    shared.leases.complete(self.sequence, entry.batches.len() as u64);
                }
                Owner::Apart(apart, _) => apart.end(self.sequence.0, true),
            }
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(entry) = self.entry.take() {
            match &self.owner {
                Owner::Queue(shared) => shared.leases.give_back(self.sequence, entry),
                Owner::Apart(apart, _) => apart.end(self.sequence.0, false),
            }
        }
    }
}
