//! Which lines have arrived, kept up to date while a story runs: a kubelet may only delete what was read.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

use naru_proto::frame::IoStream;

use crate::bulk_sink::BulkRequest;
use crate::line::LineKey;

/// Of each container's iostreams, the numbers that arrived. A clone is the same.
#[derive(Debug, Clone, Default)]
pub struct Arrivals(Arc<Mutex<HashMap<(u32, IoStream), Numbers>>>);

#[derive(Debug, Default)]
struct Numbers {
    /// Every number below it is there.
    through: u64,
    /// And these.
    beyond: BTreeSet<u64>,
}

impl Arrivals {
    /// Enters what a bulk stores.
    pub fn note_bulk(&self, request: &BulkRequest) {
        for item in &request.items {
            if let Some(key) = LineKey::find(&String::from_utf8_lossy(&item.source)) {
                self.note(key);
            }
        }
    }

    /// Enters a line.
    pub fn note(&self, key: LineKey) {
        let mut all = self.0.lock().unwrap();
        let numbers = all.entry((key.container, key.iostream)).or_default();
        if key.number >= numbers.through {
            numbers.beyond.insert(key.number);
        }
        while numbers.beyond.remove(&numbers.through) {
            numbers.through += 1;
        }
    }

    /// Whether this line and every one before it on its iostream are there.
    #[must_use]
    pub fn has_all_up_to(&self, key: LineKey) -> bool {
        let all = self.0.lock().unwrap();
        all.get(&(key.container, key.iostream)).is_some_and(|numbers| numbers.through > key.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_come_is_known_up_to_the_first_that_has_not() {
        let key = |number| LineKey { container: 1, iostream: IoStream::Stderr, number };
        let arrivals = Arrivals::default();
        for number in [2, 0, 3, 0] {
            arrivals.note(key(number));
        }
        assert!(arrivals.has_all_up_to(key(0)) && !arrivals.has_all_up_to(key(2)));
        arrivals.note(key(1));
        assert!(arrivals.has_all_up_to(key(3)) && !arrivals.has_all_up_to(key(4)));
        let other = LineKey { container: 0, ..key(0) };
        assert!(!arrivals.has_all_up_to(other));
    }
}
