//! The memory that documents on their way may take. A holder; waiting blocks a thread.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What a bulk counts at least: it bounds how many there are.
const SHARE_MIN_BYTES: usize = 64 << 10;

/// A clone is the same budget.
#[derive(Debug, Clone)]
pub(super) struct Budget {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    most: usize,
    used: Mutex<usize>,
    freed: Condvar,
}

/// A part of it, given back when dropped.
#[derive(Debug)]
pub(super) struct Share {
    inner: Arc<Inner>,
    bytes: usize,
}

impl Budget {
    pub(super) fn new(most: usize) -> Self {
        Self { inner: Arc::new(Inner { most, used: Mutex::new(0), freed: Condvar::new() }) }
    }

    /// Takes so many bytes; None when they are not free in time. One bulk always fits.
    pub(super) fn take(&self, bytes: usize, timeout: Duration) -> Option<Share> {
        let bytes = bytes.max(SHARE_MIN_BYTES);
        let full = |used: &mut usize| *used > 0 && *used + bytes > self.inner.most;
        let used = self.inner.lock();
        let waited = self.inner.freed.wait_timeout_while(used, timeout, full);
        let (mut used, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if full(&mut used) {
            return None;
        }
        *used += bytes;
        Some(Share { inner: Arc::clone(&self.inner), bytes })
    }

    /// Whether nothing is taken.
    pub(super) fn is_unused(&self) -> bool {
        *self.inner.lock() == 0
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, usize> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        *self.inner.lock() -= self.bytes;
        self.inner.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_always_fits_and_the_rest_waits() {
        let budget = Budget::new(1 << 20);
        let large = budget.take(5 << 20, Duration::ZERO).unwrap();
        assert!(budget.take(1, Duration::ZERO).is_none());
        drop(large);
        let shares: Vec<_> = (0..16).map(|_| budget.take(1, Duration::ZERO).unwrap()).collect();
        assert!(budget.take(1, Duration::ZERO).is_none(), "small ones count 64 KiB");
        drop(shares);
        assert!(budget.is_unused());
    }
}
