//! How much may be unacknowledged: as much as keeps the way to the aggregator busy, and not what only waits in line.
//!
//! What is read waits behind everything that was read before it. With a window that is always full, a quiet container's
//! line would wait behind a window's worth of the loudest one's. So the window follows the time that acknowledgements
//! take: it grows while they take hardly longer than for a batch that travels alone, and shrinks when they do.
//! (TCP Vegas does this with round trips.) Pure: time is an argument.

use std::time::{Duration, Instant};

use naru_proto::limits::UNACKNOWLEDGED_MAX_BYTES;

/// What acknowledgements may take longer than for a batch alone: half of a linger more than nothing would be lost in the
/// jitter of commits; whole seconds would be seen.
const WAITING_MAX: Duration = Duration::from_millis(400);
/// One batch at a time passes through any window; smaller ones, of quiet containers, may go beside it.
const BYTES_MIN: usize = 128 << 10;
/// Two full batches: an aggregator that is well gets more after their acknowledgement.
const BYTES_FIRST: usize = 2 << 20;

/// See the module.
#[derive(Debug)]
pub(super) struct Window {
    bytes: usize,
    /// How long the last batch that travelled alone took.
    alone: Option<Duration>,
    /// What departed before then was sent under a wider window and says nothing new.
    narrowed: Option<Instant>,
}

/// An acknowledged batch.
pub(super) struct Landed {
    pub(super) bytes: usize,
    pub(super) departed: Instant,
    /// Nothing else was unacknowledged when it departed.
    pub(super) alone: bool,
}

impl Default for Window {
    fn default() -> Self {
        Self { bytes: BYTES_FIRST, alone: None, narrowed: None }
    }
}

impl Window {
    /// Compressed bytes that may be unacknowledged, those that wait to be sent included.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Learns from an acknowledgement.
    pub(super) fn landed(&mut self, batch: &Landed, now: Instant) {
        let took = now.saturating_duration_since(batch.departed);
        if batch.alone {
            self.alone = Some(took);
        }
        let Some(alone) = self.alone else { return };
        let target = alone + WAITING_MAX;
        if took <= target {
            self.bytes = (self.bytes + batch.bytes / 2).min(UNACKNOWLEDGED_MAX_BYTES);
        } else if self.narrowed.is_none_or(|since| batch.departed >= since) {
            let fitting = self.bytes as f64 * target.as_secs_f64() / took.as_secs_f64();
            self.bytes = (fitting as usize).max(self.bytes / 2).max(BYTES_MIN);
            self.narrowed = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    const BATCH: usize = 256 << 10;

    /// An aggregator that takes so many bytes a second, one after the other, and answers after a delay. Says how many
    /// bytes it took in the last half of the time, and how long the last acknowledgement took.
    fn run(bytes_per_second: f64, delay: Duration, time: Duration) -> (usize, Duration, usize) {
        let start = Instant::now();
        let mut now = start;
        let mut window = Window::default();
        let mut flight = VecDeque::<(Instant, Instant, bool)>::new();
        let mut free_at = start;
        let (mut taken, mut took) = (0, Duration::ZERO);
        while now < start + time {
            while flight.len() * BATCH < window.bytes() {
                let begins = free_at.max(now);
                free_at = begins + Duration::from_secs_f64(BATCH as f64 / bytes_per_second);
                flight.push_back((now, free_at + delay, flight.is_empty()));
            }
            let (departed, lands, alone) = flight.pop_front().unwrap();
            now = now.max(lands);
            took = now - departed;
            window.landed(&Landed { bytes: BATCH, departed, alone }, now);
            taken += if now > start + time / 2 { BATCH } else { 0 };
        }
        (taken, took, window.bytes())
    }

    #[test]
    fn b17_what_waits_in_line_is_bounded_and_the_way_stays_busy() {
        let check = |mib_per_second: f64, delay_ms: u64| {
            let rate = mib_per_second * f64::from(1 << 20);
            let delay = Duration::from_millis(delay_ms);
            let time = Duration::from_secs(120);
            let (taken, took, bytes) = run(rate, delay, time);
            let possible = rate.min(UNACKNOWLEDGED_MAX_BYTES as f64 / delay.as_secs_f64());
            let share = taken as f64 / (possible * 60.0);
            println!("{mib_per_second} MiB/s, {delay_ms} ms: {share:.2} busy, {took:?}, {bytes}");
            assert!(share > 0.9, "{mib_per_second} MiB/s, {delay_ms} ms: {share:.2} busy");
            let batch = Duration::from_secs_f64(BATCH as f64 / rate);
            let most = delay + 2 * batch + WAITING_MAX + WAITING_MAX / 2;
            assert!(took <= most, "{mib_per_second} MiB/s, {delay_ms} ms: {took:?} of {most:?}");
        };
        check(1.0, 5);
        check(4.0, 5);
        check(4.0, 300);
        check(50.0, 20);
        check(1000.0, 5);
        check(1000.0, 1000);
    }

    #[test]
    fn b17_after_an_outage_the_window_opens_again() {
        let start = Instant::now();
        let mut window = Window::default();
        let landed = |departed, alone| Landed { bytes: BATCH, departed: start + departed, alone };
        let ms = Duration::from_millis;
        window.landed(&landed(ms(0), true), start + ms(10));
        for round in 1..100 {
            let now = ms(1000 * 3600 * round);
            window.landed(&landed(now - ms(3_600_000), false), start + now);
        }
        assert_eq!(window.bytes(), BYTES_MIN);
        let mut now = ms(1000 * 3600 * 100);
        for _ in 0..100 {
            window.landed(&landed(now, false), start + now + ms(10));
            now += ms(20);
        }
        assert_eq!(window.bytes(), UNACKNOWLEDGED_MAX_BYTES);
    }
}
