//! How long to wait before the next attempt: doubling, capped, with full jitter. Pure: chance is an argument.

use std::time::Duration;

/// Exponential backoff with full jitter
/// (M. Brooker, "Exponential Backoff and Jitter": a thousand clients of one server must not come back together).
#[derive(Debug, Clone)]
pub struct Backoff {
    base: Duration,
    max: Duration,
    attempts: u32,
}

impl Backoff {
    /// The first wait is at most `base`, none is more than `max`.
    #[must_use]
    pub fn new(base: Duration, max: Duration) -> Self {
        Self { base, max, attempts: 0 }
    }

    /// The next wait; `chance` is in 0..1.
    #[must_use]
    pub fn next(&mut self, chance: f64) -> Duration {
        let ceiling = self.base.saturating_mul(1 << self.attempts.min(16)).min(self.max);
        self.attempts = self.attempts.saturating_add(1);
        ceiling.mul_f64(chance.clamp(0.0, 1.0))
    }

    /// After a success.
    pub fn reset(&mut self) {
        self.attempts = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_to_the_cap_and_starts_over() {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new(ms(100), ms(1000));
        let waits: Vec<_> = (0..6).map(|_| backoff.next(1.0)).collect();
        assert_eq!(waits, [ms(100), ms(200), ms(400), ms(800), ms(1000), ms(1000)]);
        assert_eq!(backoff.next(0.0), ms(0));
        backoff.reset();
        assert_eq!(backoff.next(0.5), ms(50));
        let mut long = Backoff::new(ms(100), ms(1000));
        (0..100).for_each(|_| assert!(long.next(1.0) <= ms(1000)));
    }
}
