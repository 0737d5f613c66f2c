//! The queue as its users see it; what each file proves is its name.

mod behaviour;
mod damage;
mod full;
mod golden;
mod model;
mod retention;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::task::JoinSet;

use super::*;

/// Small segments: many of them, in little time.
pub(super) fn small(dir: &Path) -> QueueConfig {
    QueueConfig {
        segment_max_bytes: 256 << 10,
        segment_max_keys: 64,
        reserve_percent: 0,
        ballast_bytes: 0,
        in_order: true,
        tuning: Tuning { sled_segment_bytes: 32 << 10, sync: SyncMode::Data },
        ..QueueConfig::new(dir)
    }
}

/// A small batch whose body says its number.
pub(crate) fn numbered(number: u64) -> StoredBatch {
    let body = Bytes::from(format!("batch {number}"));
    StoredBatch {
        node: "node-1".to_owned(),
        received_ms: 1,
        records: 1,
        raw_bytes: 9,
        crc32c: crc32c::crc32c(&body),
        body,
    }
}

/// A batch that says who it is, in `len` bytes that do not compress.
pub(super) fn batch(id: u64, len: usize) -> StoredBatch {
    let mut body = id.to_le_bytes().to_vec();
    let mut state = id.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    while body.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        body.push(state as u8);
    }
    let body = Bytes::from(body);
    StoredBatch {
        node: format!("node-{}", id % 7),
        received_ms: id as i64,
        records: 1,
        raw_bytes: len as u32,
        crc32c: crc32c::crc32c(&body),
        body,
    }
}

pub(super) fn id(batch: &StoredBatch) -> u64 {
    let id = u64::from_le_bytes(batch.body[..8].try_into().unwrap());
    assert_eq!(*batch, super::tests::batch(id, batch.body.len()), "a batch is not what it was");
    id
}

/// Appends all at once and waits for all.
pub(super) fn append(queue: &Queue, batches: Vec<StoredBatch>) -> Vec<Result<u64, AppendError>> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut set = JoinSet::new();
        for batch in batches {
            let id = id(&batch);
            let appended = queue.append(batch);
            set.spawn(async move { appended.await.map(|_| id) });
        }
        let mut results = Vec::new();
        while let Some(result) = set.join_next().await {
            results.push(result.unwrap());
        }
        results
    })
}

/// Appends one batch each; every one must be acknowledged.
pub(super) fn fill(queue: &Queue, ids: std::ops::Range<u64>, len: usize) {
    for id in ids {
        for result in append(queue, vec![batch(id, len)]) {
            result.unwrap();
        }
    }
}

/// Delivers and completes what there is.
pub(super) fn drain(queue: &Queue) -> Vec<u64> {
    let mut reader = queue.reader().unwrap();
    let mut ids = Vec::new();
    while let Some(lease) = reader.next(Duration::ZERO) {
        ids.extend(lease.batches().iter().map(id));
        lease.complete();
    }
    ids
}

pub(super) fn open(config: QueueConfig) -> Queue {
    Queue::open(config).unwrap().0
}

/// What `kill -9` leaves: the files as they are now, whoever has them open. Copying takes longer
/// than being killed: it is done again if the keeper did something meanwhile.
pub(super) fn copy(from: &Path, to: &Path) {
    loop {
        let before = shape(from);
        let copied = try_copy(from, to);
        if copied.is_ok() && shape(from) == before {
            return;
        }
        fs::remove_dir_all(to).unwrap();
    }
}

fn try_copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            try_copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Which segments are where, and how far all is delivered.
fn shape(queue: &Path) -> (Vec<Vec<String>>, Vec<u8>) {
    let states = ["open", "sealed", "done", "quarantine"];
    (states.map(|state| names(&queue.join(state))).into(), fs::read(queue.join("cursor")).unwrap())
}

pub(super) fn set(ids: impl IntoIterator<Item = u64>) -> BTreeSet<u64> {
    ids.into_iter().collect()
}

pub(super) fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// Waits for the keeper, which works every half second.
pub(super) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}: not in 20 s");
        std::thread::yield_now();
    }
}
