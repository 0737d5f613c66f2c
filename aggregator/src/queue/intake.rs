//! Whether more may come in: by what the queue takes, what the disk has left, and whether it answers.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::chain::locked;
use super::config::QueueConfig;
use super::disk::Room;

/// How old a look at the disk may be; our own commits make it old at once.
const ROOM_MAX_AGE: Duration = Duration::from_millis(100);
/// Room comes back a segment at a time, when one is delivered.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// A disk that hangs may do so for long: whoever has somewhere else to go goes there.
const HANGING_RETRY_AFTER: Duration = Duration::from_secs(5);

/// Why nothing more is taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// The queue takes `max_bytes`.
    Queue,
    /// Less than the reserve is free on the disk, or nobody can tell.
    Disk,
    /// A commit has not ended for long: the disk, or sled, hangs.
    Hanging,
}

/// When it may be tried again.
pub(super) fn retry_after(full: Full) -> Duration {
    match full {
        Full::Queue | Full::Disk => RETRY_AFTER,
        Full::Hanging => HANGING_RETRY_AFTER,
    }
}

/// Decides who may come in, and counts who waits.
#[derive(Debug)]
pub(super) struct Intake {
    dir: PathBuf,
    max_bytes: u64,
    reserve_percent: u8,
    hanging_after: Duration,
    commit_began: Mutex<Option<Instant>>,
    queue_bytes: AtomicU64,
    /// What gives way when there is no room else.
    retained_bytes: AtomicU64,
    waiting_bytes: AtomicU64,
    room: Mutex<Option<(Instant, Room)>>,
}

/// Bytes that were let in and are not written yet.
#[derive(Debug)]
pub(super) struct Waiting {
    intake: Arc<Intake>,
    bytes: u64,
}

impl Intake {
    pub(super) fn new(config: &QueueConfig) -> Self {
        Self {
            dir: config.dir.clone(),
            max_bytes: config.max_bytes,
            reserve_percent: config.reserve_percent,
            hanging_after: config.hanging_after,
            commit_began: Mutex::new(None),
            queue_bytes: AtomicU64::new(0),
            retained_bytes: AtomicU64::new(0),
            waiting_bytes: AtomicU64::new(0),
            room: Mutex::new(None),
        }
    }

    pub(super) fn commit_began(&self) {
        *locked(&self.commit_began) = Some(Instant::now());
    }

    pub(super) fn commit_ended(&self) {
        *locked(&self.commit_began) = None;
    }

    /// How long the current commit has been running.
    pub(super) fn commit_running(&self) -> Option<Duration> {
        locked(&self.commit_began).map(|began| began.elapsed())
    }

    /// What the segments take by now: the disk is looked at again.
    pub(super) fn set_queue_bytes(&self, bytes: u64) {
        self.queue_bytes.store(bytes, Ordering::Relaxed);
        *locked(&self.room) = None;
    }

    /// What is kept beside them, and gives way.
    pub(super) fn set_retained_bytes(&self, bytes: u64) {
        self.retained_bytes.store(bytes, Ordering::Relaxed);
    }

    pub(super) fn admit(self: &Arc<Self>, bytes: u64) -> Result<Waiting, Full> {
        match self.full(bytes) {
            Some(full) => Err(full),
            None => {
                self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
                Ok(Waiting { intake: Arc::clone(self), bytes })
            }
        }
    }

    /// Whether `bytes` more are too much.
    pub(super) fn full(&self, bytes: u64) -> Option<Full> {
        if self.commit_running().is_some_and(|running| running > self.hanging_after) {
            return Some(Full::Hanging);
        }
        let coming = self.waiting_bytes.load(Ordering::Relaxed).saturating_add(bytes);
        let queue = self.queue_bytes.load(Ordering::Relaxed).saturating_add(coming);
        if queue > self.max_bytes {
            return Some(Full::Queue);
        }
        let retained = self.retained_bytes.load(Ordering::Relaxed);
        let is_short = self.room().is_none_or(|room| {
            let available_bytes = room.available_bytes.saturating_add(retained);
            Room { available_bytes, ..room }.is_short(self.reserve_percent, coming)
        });
        is_short.then_some(Full::Disk)
    }

    fn room(&self) -> Option<Room> {
        let mut seen = locked(&self.room);
        if let Some((at, room)) = *seen
            && at.elapsed() < ROOM_MAX_AGE
        {
            return Some(room);
        }
        let room = Room::of(&self.dir).ok()?;
        *seen = Some((Instant::now(), room));
        Some(room)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.intake.waiting_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn intake(max_bytes: u64, reserve_percent: u8) -> (tempfile::TempDir, Arc<Intake>) {
        let dir = tempfile::tempdir().unwrap();
        let config = QueueConfig { max_bytes, reserve_percent, ..QueueConfig::new(dir.path()) };
        (dir, Arc::new(Intake::new(&config)))
    }

    #[test]
    fn what_waits_counts_until_it_is_dropped() {
        let (_dir, intake) = intake(100, 0);
        intake.set_queue_bytes(40);
        let waiting = intake.admit(50).unwrap();
        assert_eq!(intake.admit(20).unwrap_err(), Full::Queue);
        assert!(intake.admit(10).is_ok());
        drop(waiting);
        assert!(intake.admit(60).is_ok());
        intake.set_queue_bytes(101);
        assert_eq!(intake.full(0), Some(Full::Queue));
    }

    #[test]
    fn the_disk_has_a_say() {
        let (_dir, some_must_be_free) = intake(u64::MAX, 20);
        assert_eq!(some_must_be_free.admit(u64::MAX).unwrap_err(), Full::Disk);
        let (dir, gone) = intake(u64::MAX, 0);
        drop(dir);
        assert_eq!(gone.admit(1).unwrap_err(), Full::Disk, "nobody can tell");
    }
}
