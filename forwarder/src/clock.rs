//! The clocks: the wall's for what is written down, the monotonic one for order and waiting. A test moves both.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Nanoseconds since 1970.
#[must_use]
pub(crate) fn now_ns() -> i64 {
    let ns = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| i64::try_from(since.as_nanos()).unwrap_or(i64::MAX));
    #[cfg(test)]
    let ns = ns + moved::wall_ns();
    ns
}

/// A moment to measure waiting from.
#[must_use]
pub(crate) fn now() -> Instant {
    let now = Instant::now();
    #[cfg(test)]
    let now = now + moved::monotonic();
    now
}

/// By how much the clocks of this test's thread are ahead.
#[cfg(test)]
pub(crate) mod moved {
    use std::cell::Cell;
    use std::time::Duration;

    thread_local! {
        static MONOTONIC: Cell<Duration> = const { Cell::new(Duration::ZERO) };
        static WALL_NS: Cell<i64> = const { Cell::new(0) };
    }

    pub(super) fn monotonic() -> Duration {
        MONOTONIC.get()
    }

    pub(super) fn wall_ns() -> i64 {
        WALL_NS.get()
    }

    /// Waiting goes by; what the wall clock says of files does not change.
    pub(crate) fn wait(by: Duration) {
        MONOTONIC.set(MONOTONIC.get() + by);
    }

    /// The wall clock is put forward.
    pub(crate) fn wall(by: Duration) {
        WALL_NS.set(WALL_NS.get() + by.as_nanos() as i64);
    }
}
