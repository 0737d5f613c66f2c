//! A pod of one container: what it writes, and how its files are rotated.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use naru_integration::arrivals::Arrivals;
use naru_integration::line::LineKey;
use naru_integration::node::{Container, Kubelet};
use naru_integration::scale::scaled;
use naru_proto::frame::IoStream::{Stderr, Stdout};

use super::saved::Saved;

/// Rotated files that may wait to be read: the kubelet keeps four.
const BEHIND_MAX: usize = 2;

/// The names of pods whose lines a rule joins begin so.
pub(crate) const JOINED: &str = "joined";

/// What the forwarder's configuration says of them, beneath `containers`.
pub(crate) fn settings() -> String {
    format!("  multiline:\n  - {{pod: \"{JOINED}-*\", start_pattern: '^\\[\\['}}\n")
}

pub(crate) struct Pod {
    /// None only while it is being started again.
    container: Option<Container>,
    kubelet: Kubelet,
    /// Files that this run of the container has had, the live one included.
    files: usize,
    /// The last line of each iostream.
    last: [Option<LineKey>; 2],
    /// The name was taken from the live file; at this time it is opened anew, or gets its name back.
    renamed: Option<(PathBuf, Instant)>,
    /// A line of the live file, from which on it is known to the forwarder.
    seen: Option<LineKey>,
    /// Live paths of earlier runs and their last lines.
    dead: Vec<(PathBuf, [Option<LineKey>; 2])>,
    pub(crate) restarts: usize,
    pub(crate) rotations: usize,
    /// Records of more than one line.
    pub(crate) joined: usize,
}

impl Pod {
    pub(crate) fn new(container: Container) -> Self {
        let mut pod = Self {
            container: Some(container),
            kubelet: Kubelet::default(),
            files: 1,
            last: [None, None],
            renamed: None,
            seen: None,
            dead: Vec::new(),
            restarts: 0,
            rotations: 0,
            joined: 0,
        };
        pod.new_file();
        pod
    }

    fn container(&mut self) -> &mut Container {
        self.container.as_mut().unwrap()
    }

    fn new_file(&mut self) {
        let key = self.container().line(Stdout, "the first of a file");
        (self.seen, self.last[0]) = (Some(key), Some(key));
    }

    fn write(&mut self, random: &mut fastrand::Rng) {
        let is_stderr = random.bool();
        let iostream = if is_stderr { Stderr } else { Stdout };
        let joins = self.container().writer().pod.starts_with(JOINED);
        let key = match random.u16(..400) {
            // Each begins with its key, which is what the rule asks for: torn ones are for the others.
            ..80 if joins => {
                self.joined += 1;
                let more: Vec<String> = (0..random.usize(1..8))
                    .map(|n| format!("\tat shop.Cart.pay(Cart.java:{n})"))
                    .collect();
                let more: Vec<&str> = more.iter().map(String::as_str).collect();
                self.container().lines_of_one(iostream, "java.lang.IllegalStateException", &more)
            }
            _ if joins => self.container().line(iostream, "x".repeat(random.usize(..300))),
            0 => {
                let lengths = [random.usize(..40_000), random.usize(..40_000)];
                self.container().interleaved("o".repeat(lengths[0]), "e".repeat(lengths[1]));
                self.container().line(iostream, "after two at once")
            }
            1..4 => self.container().torn(iostream, random.usize(1..60), "after a torn header"),
            4..6 => self.container().line(iostream, "길".repeat(random.usize(..9000))),
            6..8 => self.container().line(iostream, ""),
            _ => self.container().line(iostream, "x".repeat(random.usize(..300))),
        };
        self.last[usize::from(is_stderr)] = Some(key);
    }

    /// Lines, and at times a rotation or a restart.
    pub(crate) fn step(&mut self, arrivals: &Arrivals, saved: &Saved, random: &mut fastrand::Rng) {
        for _ in 0..random.usize(1..12) {
            self.write(random);
        }
        if self.renamed.is_some() || !self.is_seen(arrivals) {
            return;
        }
        match random.u8(..60) {
            0..4 if self.may_rotate(saved) => self.rotate_at_once(random),
            4..6 if self.may_rotate(saved) => {
                // From the rename to the reopening a real kubelet may take its time.
                let gap = scaled(random.u64(..2000), random.u64(..30_000));
                let container = self.container.as_ref().unwrap();
                let rotated = self.kubelet.rename(container);
                self.renamed = Some((rotated, Instant::now() + Duration::from_millis(gap)));
                if random.u8(..3) == 0 {
                    self.container().line(Stderr, "the runtime does not reopen");
                    let (rotated, _) = self.renamed.take().unwrap();
                    Kubelet::give_back(self.container.as_ref().unwrap(), &rotated);
                }
            }
            6 => self.restart(random),
            _ => {}
        }
    }

    fn rotate_at_once(&mut self, random: &mut fastrand::Rng) {
        let container = self.container.as_mut().unwrap();
        // Known to fail at times beside kills on a busy machine: docs/gaps.md. The stories of kills have such lines too.
        let straddles = scaled(false, random.bool());
        if straddles {
            container.begin(Stdout, "begun before the rotation, ");
        }
        self.kubelet.rotate(container, |container| {
            container.line(Stderr, "into the renamed file");
        });
        if straddles {
            container.finish(Stdout, "finished after it");
        }
        self.rotated();
    }

    fn rotated(&mut self) {
        self.files += 1;
        self.rotations += 1;
        self.new_file();
    }

    /// It crashes, perhaps in the middle of a line, and runs again.
    fn restart(&mut self, random: &mut fastrand::Rng) {
        let mut container = self.container.take().unwrap();
        if random.bool() {
            self.last[1] = Some(container.exit_in_a_line(Stderr, "panic: killed in the middle of"));
        }
        self.dead.push((container.live_path(), self.last));
        self.container = Some(container.restart());
        self.restarts += 1;
        (self.files, self.last) = (1, [None, None]);
        self.new_file();
    }

    /// What the kubelet does when its time has come.
    pub(crate) fn tend(&mut self, arrivals: &Arrivals) {
        if self.renamed.as_ref().is_some_and(|(_, until)| Instant::now() >= *until) {
            self.renamed = None;
            self.container().reopen();
            self.rotated();
        }
        // It keeps one dead run.
        if self.dead.len() > 1 && has_all(arrivals, &self.dead[0].1) {
            Kubelet::clean_run(&self.dead.remove(0).0);
        }
    }

    /// The forwarder holds the live file open, whatever becomes of its name.
    fn is_seen(&self, arrivals: &Arrivals) -> bool {
        self.seen.is_none_or(|key| arrivals.has_all_up_to(key))
    }

    fn may_rotate(&self, saved: &Saved) -> bool {
        let container = self.container.as_ref().unwrap();
        self.files <= saved.files_of(container.writer()) + BEHIND_MAX
    }

    /// Its lines are there, those of the dead runs too.
    pub(crate) fn may_be_deleted(&self, arrivals: &Arrivals) -> bool {
        self.renamed.is_none()
            && has_all(arrivals, &self.last)
            && self.dead.iter().all(|(_, last)| has_all(arrivals, last))
    }

    pub(crate) fn delete(self) {
        self.container.unwrap().delete_pod();
    }

    pub(crate) fn end(&mut self) {
        if self.renamed.take().is_some() {
            self.container().reopen();
            self.rotated();
        }
    }
}

fn has_all(arrivals: &Arrivals, last: &[Option<LineKey>; 2]) -> bool {
    last.iter().flatten().all(|key| arrivals.has_all_up_to(*key))
}
