//! Random histories against a model that a child could check: what was acknowledged and not
//! completed comes, what was never appended does not, and nothing changes on the way.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Action {
    /// Batches of these sizes, all at once.
    Append(Vec<usize>),
    /// The same, while fdatasync fails.
    AppendFailing(Vec<usize>),
    Lease,
    Complete(prop::sample::Index),
    GiveBack(prop::sample::Index),
    Reopen,
    /// `kill -9`: go on with a copy of the files as they are.
    Kill,
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let sizes = || proptest::collection::vec(8_usize..40_000, 1..6);
    let action = prop_oneof![
        6 => sizes().prop_map(Action::Append),
        1 => sizes().prop_map(Action::AppendFailing),
        8 => Just(Action::Lease),
        6 => any::<prop::sample::Index>().prop_map(Action::Complete),
        2 => any::<prop::sample::Index>().prop_map(Action::GiveBack),
        1 => Just(Action::Reopen),
        1 => Just(Action::Kill),
    ];
    proptest::collection::vec(action, 1..60)
}

/// What the model knows of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// The append failed: it may come or not.
    Refused,
    Acknowledged,
    /// It may come again after a restart, but need not.
    Completed,
}

struct World {
    home: tempfile::TempDir,
    generation: u32,
    failing: Arc<AtomicBool>,
    /// Dropped before the queue that it reads.
    leases: Vec<Lease>,
    reader: Option<Reader>,
    queue: Option<Queue>,
    fates: BTreeMap<u64, Fate>,
    next: u64,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            home: tempfile::tempdir().unwrap(),
            generation: 0,
            failing: Arc::default(),
            leases: Vec::new(),
            reader: None,
            queue: None,
            fates: BTreeMap::new(),
            next: 0,
        };
        world.start();
        world
    }

    fn dir(&self) -> std::path::PathBuf {
        self.home.path().join(self.generation.to_string())
    }

    fn start(&mut self) {
        let mut config = QueueConfig { max_leases: 4, in_order: false, ..small(&self.dir()) };
        config.segment_max_bytes = 100_000;
        config.tuning.sync = SyncMode::Failing(Arc::clone(&self.failing));
        let (queue, opened) = Queue::open(config).unwrap();
        assert!(opened.quarantined.is_empty() && opened.torn.is_empty(), "{opened:?}");
        self.reader = queue.reader();
        self.queue = Some(queue);
    }

    fn stop(&mut self) {
        self.leases.clear();
        self.reader = None;
        self.queue = None;
    }

    fn append(&mut self, sizes: Vec<usize>) {
        let first = self.next;
        self.next += sizes.len() as u64;
        let batches = (first..).zip(sizes).map(|(id, len)| batch(id, len)).collect();
        self.fates.extend((first..self.next).map(|id| (id, Fate::Refused)));
        let results = append(self.queue.as_ref().unwrap(), batches);
        for id in results.into_iter().flatten() {
            self.fates.insert(id, Fate::Acknowledged);
        }
    }

    fn lease(&mut self) -> bool {
        let Some(lease) = self.reader.as_mut().unwrap().next(Duration::ZERO) else { return false };
        assert!(self.leases.iter().all(|other| other.sequence() != lease.sequence()));
        for batch in lease.batches() {
            assert!(self.fates.contains_key(&id(batch)), "never appended");
        }
        self.leases.push(lease);
        true
    }

    fn complete(&mut self, at: usize) {
        let lease = self.leases.remove(at);
        for batch in lease.batches() {
            self.fates.insert(id(batch), Fate::Completed);
        }
        lease.complete();
    }

    fn run(&mut self, action: Action) {
        match action {
            Action::Append(sizes) => self.append(sizes),
            Action::AppendFailing(sizes) => {
                self.failing.store(true, Ordering::Relaxed);
                self.append(sizes);
                self.failing.store(false, Ordering::Relaxed);
            }
            Action::Lease => {
                self.lease();
            }
            Action::Complete(index) if !self.leases.is_empty() => {
                self.complete(index.index(self.leases.len()));
            }
            Action::GiveBack(index) if !self.leases.is_empty() => {
                drop(self.leases.remove(index.index(self.leases.len())));
            }
            Action::Complete(_) | Action::GiveBack(_) => {}
            Action::Reopen => {
                self.stop();
                self.start();
            }
            Action::Kill => {
                let from = self.dir();
                self.generation += 1;
                copy(&from, &self.dir());
                self.stop();
                self.start();
            }
        }
        let stats = self.queue.as_ref().unwrap().stats();
        assert_eq!((stats.lost_entries, stats.quarantined, stats.full), (0, 0, None));
        assert_eq!(stats.leased, self.leases.len());
    }

    fn finish(&mut self) {
        loop {
            while !self.leases.is_empty() {
                self.complete(0);
            }
            if !self.lease() {
                break;
            }
        }
        let left: Vec<_> =
            self.fates.iter().filter(|(_, fate)| **fate == Fate::Acknowledged).collect();
        assert!(left.is_empty(), "acknowledged and never delivered: {left:?}");
        let stats = self.queue.as_ref().unwrap().stats();
        assert_eq!((stats.entries, stats.batches), (0, 0));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]
    #[test]
    fn histories_agree_with_the_model(actions in actions()) {
        let mut world = World::new();
        for action in actions {
            world.run(action);
        }
        world.finish();
        world.stop();
    }
}
