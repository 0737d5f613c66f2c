//! Chance that can be had again: every story prints its seed, and `NARU_SEED` sets it.

use std::time::{SystemTime, UNIX_EPOCH};

/// A generator with a seed that is printed once, so that a failed run can be repeated.
#[must_use]
pub fn seeded(story: &str) -> fastrand::Rng {
    let seed = match std::env::var("NARU_SEED") {
        Ok(text) => text.parse().expect("NARU_SEED is a number"),
        Err(_) => SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64,
    };
    println!("{story}: NARU_SEED={seed}");
    fastrand::Rng::with_seed(seed)
}
