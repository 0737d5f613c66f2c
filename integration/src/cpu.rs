//! What a process and this thread cost, from the kernel.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The kernel's USER_HZ, which `/proc` counts CPU time in on every Linux that Rust runs on.
const TICK: Duration = Duration::from_millis(10);

/// User and system time of a live process, all its threads.
#[must_use]
pub fn of_process(id: u32) -> Duration {
    read(&fs::read_to_string(format!("/proc/{id}/stat")).unwrap()).1
}

/// The same by the names of its threads, which are 15 bytes at most, the most expensive first. Threads that have ended are
/// in none.
#[must_use]
pub fn by_thread(id: u32) -> Vec<(String, Duration)> {
    let mut names: BTreeMap<String, Duration> = BTreeMap::new();
    for task in fs::read_dir(format!("/proc/{id}/task")).unwrap() {
        // A thread may end meanwhile.
        let Ok(stat) = fs::read_to_string(task.unwrap().path().join("stat")) else { continue };
        let (name, time) = read(&stat);
        *names.entry(name).or_default() += time;
    }
    let mut threads: Vec<_> = names.into_iter().collect();
    threads.sort_by_key(|(_, time)| Reverse(*time));
    threads
}

/// Name and time in a `stat` of `/proc`.
fn read(stat: &str) -> (String, Duration) {
    // The name is in parentheses and may contain anything; utime and stime are the 14th and 15th field.
    let (before, after) = stat.rsplit_once(')').unwrap();
    let (_, name) = before.split_once('(').unwrap();
    let ticks: u32 =
        after.split_whitespace().skip(11).take(2).map(|field| field.parse::<u32>().unwrap()).sum();
    (name.to_owned(), TICK * ticks)
}

/// User and system time of the calling thread.
#[must_use]
pub fn of_this_thread() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Bytes resident now, and the most there ever were, of a live process.
#[must_use]
pub fn memory_of_process(id: u32) -> (u64, u64) {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let kib = |name: &str| -> u64 {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim_end_matches("kB").trim().parse::<u64>().unwrap() * 1024
    };
    (kib("VmRSS:"), kib("VmHWM:"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_costs_cpu_time() {
        let (process, thread) = (of_process(std::process::id()), of_this_thread());
        let mut x = 1_u64;
        while of_this_thread() < thread + TICK * 3 {
            x = std::hint::black_box(x.wrapping_mul(3));
        }
        assert!(of_process(std::process::id()) >= process + TICK);
        let threads = by_thread(std::process::id());
        assert!(threads.iter().map(|(_, time)| *time).max() > Some(Duration::ZERO), "{threads:?}");
        let (now, most) = memory_of_process(std::process::id());
        assert!(now > 0 && most >= now);
    }
}
