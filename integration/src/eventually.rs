//! Waiting for a condition, instead of sleeping and hoping.

use std::thread;
use std::time::{Duration, Instant};

/// How long a story waits for something that takes milliseconds on an idle machine: two cores may be busy.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The first pause between two probes; each later one is half as long again, up to [`LAST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LAST_PAUSE: Duration = Duration::from_millis(100);

/// Probes until it is `Ok`; panics with the last `Err` when [`PATIENCE`] ends.
pub fn eventually<T>(what: &str, probe: impl FnMut() -> Result<T, String>) -> T {
    eventually_within(PATIENCE, what, probe)
}

/// The same with another patience.
pub fn eventually_within<T>(
    patience: Duration,
    what: &str,
    mut probe: impl FnMut() -> Result<T, String>,
) -> T {
    let start = Instant::now();
    let mut pause = FIRST_PAUSE;
    loop {
        match probe() {
            Ok(found) => return found,
            Err(seen) if start.elapsed() > patience => {
                panic!("not within {patience:?}: {what}; last seen: {seen}")
            }
            Err(_) => thread::sleep(pause),
        }
        pause = (pause * 3 / 2).min(LAST_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_probes_until_it_is_so() {
        let mut probes = 0;
        let found = eventually("three probes", || {
            probes += 1;
            if probes == 3 { Ok(probes) } else { Err(format!("{probes}")) }
        });
        assert_eq!(found, 3);
    }

    #[test]
    #[should_panic(expected = "last seen: never")]
    fn it_says_what_it_saw_last() {
        eventually_within(Duration::from_millis(20), "nothing", || Err::<(), _>("never".into()));
    }
}
