//! A program as a child process: started, watched, killed.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::eventually::{PATIENCE, eventually, eventually_within};
use crate::http;
use crate::metrics::Metrics;
use crate::quiet;

/// What stands before the HTTP address in the line that tells it.
const LISTENING: &str = "listening on";

/// How much of a log a failed story shows.
const TAIL_LINES: usize = 40;

/// A running program. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Process {
    /// Starts it; what it prints goes to files in `directory`, named by `name`, which is new for each process.
    #[must_use]
    pub fn start(command: &mut Command, directory: &Path, name: &str) -> Self {
        Self::spawn(command.stdin(Stdio::null()), directory, name)
    }

    /// The same with a stdin that ends when this process does, in whatever way: a program that reads it leaves no orphan.
    #[must_use]
    pub fn start_held(command: &mut Command, directory: &Path, name: &str) -> Self {
        Self::spawn(command.stdin(Stdio::piped()), directory, name)
    }

    fn spawn(command: &mut Command, directory: &Path, name: &str) -> Self {
        let stdout = directory.join(format!("{name}.stdout"));
        let stderr = directory.join(format!("{name}.stderr"));
        let child = command
            .stdout(File::create(&stdout).unwrap())
            .stderr(File::create(&stderr).unwrap())
            .spawn()
            .unwrap();
        Self { child, stdout, stderr }
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it printed so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        read(&self.stdout)
    }

    /// What it logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        read(&self.stderr)
    }

    /// The end of it.
    #[must_use]
    pub fn log_tail(&self) -> String {
        tail(&self.log())
    }

    /// The address in the first printed line that contains `words`, once it is there.
    #[must_use]
    pub fn address_after(&mut self, words: &str) -> SocketAddr {
        let stdout = self.stdout.clone();
        eventually(&format!("it prints {words:?} and an address"), || {
            let printed = read(&stdout);
            if let Some(address) = printed.lines().find_map(|line| address_in(line, words)) {
                return Ok(address);
            }
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("it ended before: {status}\n{printed}\n{}", read(&self.stderr));
            }
            Err(printed)
        })
    }

    /// Its HTTP address.
    #[must_use]
    pub fn http_address(&mut self) -> SocketAddr {
        self.address_after(LISTENING)
    }

    /// Waits until `/readyz` says so; returns its HTTP address.
    pub fn ready(&mut self) -> SocketAddr {
        let address = self.http_address();
        eventually("it is ready", || match http::get(address, "/readyz") {
            Ok(response) if response.status == 200 => Ok(()),
            other => Err(format!("{other:?}")),
        });
        address
    }

    /// `kill -9`; returns when it is gone.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM; returns how it ended.
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.ended_within(PATIENCE)
    }

    /// SIGTERM; does not wait.
    pub fn ask_to_end(&self) {
        self.signal(Signal::TERM);
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits for its end.
    pub fn ended_within(&mut self, patience: Duration) -> ExitStatus {
        eventually_within(patience, "it ends", || {
            self.child.try_wait().unwrap().ok_or_else(|| tail(&read(&self.stderr)))
        })
    }

    /// Stops it in its tracks, as a machine that hangs does.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Its metrics.
    pub fn metrics(&mut self) -> Metrics {
        Metrics::scrape(self.http_address()).expect("it answers /metrics")
    }

    /// Panics if it logged a WARN or ERROR that contains none of `expected`.
    pub fn assert_quiet(&self, expected: &[&str]) {
        quiet::assert_quiet(&self.log(), expected);
    }

    fn signal(&self, signal: Signal) {
        let id = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(id, signal).unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended long before.
        drop(self.child.kill());
        drop(self.child.wait());
        if std::thread::panicking() {
            eprintln!("--- {}\n{}", self.stderr.display(), self.log_tail());
        }
    }
}

/// `…words …127.0.0.1:1234…`
fn address_in(line: &str, words: &str) -> Option<SocketAddr> {
    let (_, after) = line.split_once(words)?;
    after
        .split_whitespace()
        .map(|word| word.trim_start_matches("http://").trim_end_matches(['/', ',', '.', ';']))
        .find_map(|word| word.parse().ok())
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned()
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, directory: &Path) -> Process {
        Process::start(Command::new("sh").args(["-c", script]), directory, "sh")
    }

    #[test]
    fn an_address_is_read_from_what_is_printed() {
        let directory = tempfile::tempdir().unwrap();
        let script =
            "echo tails: /x; echo 'web page listening on http://127.0.0.1:7480/'; exec cat";
        let mut process = shell(script, directory.path());
        assert_eq!(process.http_address().port(), 7480);
        assert_eq!(address_in("receiving on 127.0.0.1:1", "receiving on").unwrap().port(), 1);
        assert_eq!(address_in("receiving on a socket", "receiving on"), None);
    }

    #[test]
    fn a_process_ends_as_it_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let script = "trap 'echo bye >&2; exit 3' TERM; echo up on 127.0.0.1:1; \
                      while :; do sleep 0.01; done";
        let mut process = shell(script, directory.path());
        assert_eq!(process.address_after("up on").port(), 1);
        process.freeze();
        process.thaw();
        assert_eq!(process.terminate().code(), Some(3));
        assert_eq!(process.log(), "bye\n");
        let mut process = shell("exec sleep 1000", directory.path());
        process.kill();
        assert_eq!(process.ended_within(Duration::ZERO).code(), None);
    }
}
