//! Dead letters that are older than somebody wants to keep them go, and that is said.

use std::time::Duration;

use crate::clock;
use crate::queue::Letters;

/// Ages are at least as long.
const EVERY: Duration = Duration::from_secs(60);

/// Looks every minute, for ever.
pub(super) async fn expire(letters: Letters, age: Duration) {
    let mut pace = tokio::time::interval(EVERY);
    loop {
        pace.tick().await;
        let age_ms = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
        let before_ms = clock::now_ms().saturating_sub(age_ms);
        let letters = letters.clone();
        match tokio::task::spawn_blocking(move || letters.expire(before_ms)).await {
            Ok(Ok(0)) | Err(_) => {}
            Ok(Ok(count)) => {
                tracing::warn!(count, "dead letters were deleted for their age (dead_letters.age)");
            }
            Ok(Err(error)) => tracing::error!(%error, "old dead letters cannot be deleted"),
        }
    }
}
