//! One small sled database: the only place that touches sled, and the rules measured for it.
//!
//! * `flush()` does not fsync on Linux: `commit` adds `fdatasync` on a descriptor of our own,
//!   opened before anything is written, so that it sees every write error.
//! * A value over a quarter of sled's segment becomes a blob file that is never synced: `put`
//!   refuses it.
//! * The tenth key of a tree makes sled rewrite the whole leaf: nine keys a tree.
//! * Keys are never removed, trees never scanned nor counted.
//! * sled reports a damaged file, and some errors, by a panic: every call is guarded.

use std::fs::{self, File};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use thiserror::Error;

use super::config::SyncMode;
use super::disk::{allocated_bytes, sync_dir};
use super::manifest::Identity;

/// sled consolidates (rewrites) a leaf of ten keys.
const KEYS_PER_TREE: u32 = 9;
/// What sled adds to a value: message header (32), segment header (20), key and lengths.
const SLED_OVERHEAD_BYTES: usize = 96;
/// sled evicts by page accesses, which a segment of 1,024 keys hardly makes: what holds its memory
/// down is the size of a segment, and this only says that nothing is to be kept on purpose.
const CACHE_BYTES: u64 = 1 << 20;

/// Why a segment cannot be used.
#[derive(Debug, Error)]
pub enum StorageError {
    /// The file system refused.
    #[error("the file system refused")]
    Io(#[from] io::Error),
    /// sled refused.
    #[error("sled refused")]
    Sled(#[source] sled::Error),
    /// sled panicked, its way to report a damaged file; the panic's message went to stderr.
    #[error("sled panicked")]
    Panic,
}

/// The largest value that sled keeps in its log.
pub(super) fn max_value_bytes(sled_segment_bytes: u32) -> usize {
    sled_segment_bytes as usize / 4 - SLED_OVERHEAD_BYTES
}

/// An open sled database.
pub(super) struct Segment {
    /// Taken when dropped: sled may panic then, too.
    db: Option<sled::Db>,
    /// Our own descriptor of sled's file.
    file: File,
    max_value_bytes: usize,
}

impl Segment {
    /// Makes a new segment in a new directory. Everything but the first commit is durable after.
    pub(super) fn create(dir: &Path, identity: &Identity) -> Result<Self, StorageError> {
        fs::create_dir(dir)?;
        identity.save(dir)?;
        let segment = Self::open(dir, identity)?;
        File::open(dir.join("conf"))?.sync_all()?;
        segment.file.sync_all()?;
        sync_dir(dir)?;
        if let Some(parent) = dir.parent() {
            sync_dir(parent)?;
        }
        Ok(segment)
    }

    /// Opens a new segment. A closed one is never opened again: sled may overwrite what it does not
    /// understand.
    fn open(dir: &Path, identity: &Identity) -> Result<Self, StorageError> {
        let config = sled::Config::new()
            .path(dir)
            .segment_size(identity.sled_segment_bytes as usize)
            .cache_capacity(CACHE_BYTES)
            .use_compression(false)
            .flush_every_ms(None);
        let db = guarded(|| config.open())?;
        let file = File::open(dir.join("db"))?;
        let max_value_bytes = max_value_bytes(identity.sled_segment_bytes);
        Ok(Self { db: Some(db), file, max_value_bytes })
    }

    /// Writes one value, not yet durable.
    pub(super) fn put(&self, key: u32, value: &[u8]) -> Result<(), StorageError> {
        assert!(value.len() <= self.max_value_bytes, "a blob file would never be synced");
        guarded(|| {
            self.tree(key)?.insert(key.to_be_bytes(), value)?;
            Ok(())
        })
    }

    /// Makes all that was put durable.
    pub(super) fn commit(&self, sync: &SyncMode) -> Result<(), StorageError> {
        guarded(|| self.db()?.flush())?;
        match sync {
            SyncMode::Data => self.file.sync_data()?,
            SyncMode::Never => {}
            #[cfg(test)]
            SyncMode::Failing(failing) => {
                if failing.load(std::sync::atomic::Ordering::Relaxed) {
                    return Err(io::Error::from(rustix::io::Errno::IO).into());
                }
                self.file.sync_data()?;
            }
            #[cfg(test)]
            SyncMode::Hanging(hanging) => {
                while hanging.load(std::sync::atomic::Ordering::Relaxed) {
                    std::thread::yield_now();
                }
                self.file.sync_data()?;
            }
        }
        Ok(())
    }

    pub(super) fn get(&self, key: u32) -> Result<Option<sled::IVec>, StorageError> {
        guarded(|| self.tree(key)?.get(key.to_be_bytes()))
    }

    fn tree(&self, key: u32) -> sled::Result<sled::Tree> {
        self.db()?.open_tree((key / KEYS_PER_TREE).to_be_bytes())
    }

    fn db(&self) -> sled::Result<&sled::Db> {
        self.db.as_ref().ok_or_else(|| sled::Error::Unsupported("closed".into()))
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        let db = self.db.take();
        if catch_unwind(AssertUnwindSafe(move || drop(db))).is_err() {
            tracing::warn!("sled panicked while it closed a segment");
        }
    }
}

impl std::fmt::Debug for Segment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Segment").finish_non_exhaustive()
    }
}

/// Bytes that a segment's directory takes on the disk.
pub(super) fn disk_bytes(dir: &Path) -> u64 {
    let files = fs::read_dir(dir).into_iter().flatten().flatten();
    files.map(|file| allocated_bytes(&file.path())).sum()
}

fn guarded<T>(call: impl FnOnce() -> sled::Result<T>) -> Result<T, StorageError> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => result.map_err(StorageError::Sled),
        Err(_) => Err(StorageError::Panic),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::entry::Sequence;

    fn written(sled_segment_bytes: u32, keys: u32) -> (tempfile::TempDir, Identity, u64) {
        let dir = tempfile::tempdir().unwrap();
        let identity = Identity::new(Sequence(1), sled_segment_bytes);
        let path = dir.path().join("segment");
        let segment = Segment::create(&path, &identity).unwrap();
        let value = vec![0x5a; max_value_bytes(sled_segment_bytes)];
        for key in 0..keys {
            segment.put(key, &value).unwrap();
            segment.commit(&SyncMode::Data).unwrap();
        }
        (dir, identity, u64::from(keys) * value.len() as u64)
    }

    #[test]
    fn the_largest_value_makes_no_blob_and_the_next_is_refused() {
        for sled_segment_bytes in [512 << 10, 2 << 20, 8 << 20] {
            let (dir, identity, _) = written(sled_segment_bytes, 3);
            let path = dir.path().join("segment");
            assert_eq!(fs::read_dir(path.join("blobs")).unwrap().count(), 0);
            let segment = Segment::open(&path, &identity).unwrap();
            let value = vec![0; max_value_bytes(sled_segment_bytes) + 1];
            assert!(catch_unwind(AssertUnwindSafe(|| segment.put(3, &value))).is_err());
        }
    }

    #[test]
    fn a_tree_has_at_most_nine_keys_and_nothing_is_rewritten() {
        let (dir, identity, stored) = written(512 << 10, 100);
        let path = dir.path().join("segment");
        let taken = disk_bytes(&path);
        assert!(taken < stored + stored / 8, "{taken} bytes for {stored}");
        let segment = Segment::open(&path, &identity).unwrap();
        let db = segment.db.as_ref().unwrap();
        let counts: Vec<_> = db
            .tree_names()
            .iter()
            .filter(|name| name.len() == 4)
            .map(|name| db.open_tree(name).unwrap().len())
            .collect();
        assert_eq!(counts.len(), 12);
        assert!(counts.iter().all(|keys| *keys <= KEYS_PER_TREE as usize), "{counts:?}");
        assert_eq!(counts.iter().sum::<usize>(), 100);
    }

    #[test]
    fn a_closed_segment_is_read_again() {
        let (dir, identity, _) = written(512 << 10, 10);
        let segment = Segment::open(&dir.path().join("segment"), &identity).unwrap();
        assert!(segment.get(9).unwrap().is_some());
        assert!(segment.get(10).unwrap().is_none());
    }
}
