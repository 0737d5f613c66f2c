//! The tailing thread: finds files, reads them in turns, cuts them into batches, and keeps the checkpoint.
//!
//! It owns every file and every position. It never waits for the network: batches go into a bounded channel when there is
//! room, and when the window is full nothing is read. What is written is only forgotten once it is acknowledged.
//!
//! In a line's order: [`look`] matches what discovery found with the [`sources`], each a [`source`] of [`file`]s ([`gzip`]), by [`adopt`] for
//! containers ([`order`], [`docker`], [`links`], [`copies`]) and by [`hosts`] for host paths ([`siblings`]); [`beginning`], [`inherit`],
//! [`exclusion`] and [`policy`] say where and whether a file is read. [`rounds`] and [`window`] say whose [`turn`] it is
//! and how much may wait; [`frames`] takes what is cut, [`flight`] waits for the acknowledgement, [`apart`] knows what will
//! never have one, [`saved`] goes into the checkpoint. Beside it: [`tend`] does what time alone changes, [`asleep`] keeps
//! silent containers small, [`hold`], [`descriptors`] and [`missed`] keep bounds, [`broken`] and [`gaps`] declare what is
//! lost, [`report`] tells of it all.

mod adopt;
mod apart;
mod asleep;
mod beginning;
mod broken;
mod copies;
mod descriptors;
mod docker;
mod exclusion;
mod file;
mod flight;
mod frames;
mod gaps;
mod gzip;
mod hold;
mod hosts;
mod inherit;
mod links;
mod look;
mod missed;
mod order;
mod policy;
mod report;
mod rounds;
mod saved;
mod siblings;
mod source;
mod sources;
mod tend;
#[cfg(test)]
mod tests;
mod turn;
mod window;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use naru_proto::wire;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::sync::mpsc;

use crate::channel::{Outbound, TailEnd};
use crate::checkpoint::{Checkpoint, Loaded};
use crate::clock;
use crate::config::Config;
use crate::discover::beginning::Beginning;
use crate::discover::links::Links;
use crate::discover::{ContainerDirectory, Discovery};
use crate::health::{FilesRequest, Health};
use crate::metrics::Metrics;
use crate::standby::Holder;
use asleep::Asleep;
use flight::Flight;
use frames::Outgoing;
use rounds::Queues;
use source::{Place, SourceTail};
use sources::Sources;

/// How long events gather before hot files are read: one wake for many writes.
const TICK: Duration = Duration::from_millis(30);
/// How long a part-filled batch waits for more.
const LINGER: Duration = Duration::from_millis(200);
/// How often sources that time alone may change are looked at.
const TEND: Duration = Duration::from_millis(250);
/// How often acknowledged positions are saved.
const SAVE: Duration = Duration::from_secs(1);
const RECONCILE: Duration = Duration::from_secs(30);
/// Without inotify, or while the log directory is not there.
const RECONCILE_POLLING: Duration = Duration::from_secs(1);
const STATUS: Duration = Duration::from_secs(10);
/// How long a stop waits for an aggregator that is not there.
const ALONE_GRACE: Duration = Duration::from_secs(3);
/// Full batches that wait for the session.
const SEALED_MAX: usize = 2;

/// Everything the thread needs.
pub struct Parts {
    /// The checked configuration.
    pub config: Config,
    /// Where positions are kept.
    pub checkpoint: Checkpoint,
    /// What it held.
    pub loaded: Loaded,
    /// What was held open while another forwarder ran.
    pub inherited: Option<Holder>,
    /// To the session.
    pub end: TailEnd,
    /// Questions of `files`.
    pub requests: mpsc::Receiver<FilesRequest>,
    /// Counts.
    pub metrics: Metrics,
    /// For `/readyz`.
    pub health: Health,
}

/// See the module.
pub struct Tailer {
    config: Config,
    discovery: Discovery,
    /// How often it told of changes.
    changes: u64,
    checkpoint: Checkpoint,
    /// The aggregator's, the last that was heard or saved.
    policy: Option<wire::Policy>,
    /// Until the first look has found what still has a name.
    inherited: Option<Holder>,
    end: TailEnd,
    requests: mpsc::Receiver<FilesRequest>,
    health: Health,
    sources: Sources,
    /// Where files begin that the checkpoint does not know.
    beginning: Beginning,
    /// What the kubelet's links say.
    links: Links,
    /// Whose files lie in the directory of a docker container.
    docker: HashMap<String, usize>,
    /// Silent containers, which are no sources until something happens.
    asleep: Asleep,
    /// Sources with bytes to read, in turn.
    hot: Queues,
    /// Sources that time alone may change.
    attention: HashSet<usize>,
    outgoing: Outgoing,
    flight: Flight,
    notices: VecDeque<Outbound>,
    /// The number of the next declared loss.
    next_gap: u64,
    buffer: Vec<u8>,
    /// Files that cannot be read, and why: reported once.
    unreadable: BTreeMap<PathBuf, String>,
    /// Directories in which something could not be looked at: no event tells when it can.
    look_again: HashSet<ContainerDirectory>,
    /// Files that are open, as of the last look at all of them and with what was opened since.
    open_files: usize,
    /// No more are opened.
    open_files_max: usize,
    /// Directories that are not looked into before files were closed.
    crowded_out: HashSet<ContainerDirectory>,
    timers: Timers,
}

struct Timers {
    reconcile: Instant,
    /// How often that was done.
    reconciled: usize,
    tend: Instant,
    save: Instant,
    status: Instant,
    /// Files were read in the last round.
    active: bool,
}

impl Tailer {
    /// Takes over what the checkpoint holds. Reads nothing yet.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let Parts { mut config, checkpoint, loaded, inherited, end, requests, metrics, health } =
            parts;
        let now = clock::now();
        let policy = policy::saved(&config.data_dir);
        if let (Some(policy), Some(containers)) = (&policy, &mut config.containers) {
            containers.exclude.set_policy(policy::excluded(policy));
            metrics.policy_excluded.set(policy.excluded.len() as i64);
        }
        let mut tailer = Self {
            discovery: Discovery::new(
                config.containers.as_ref().map(|containers| containers.path.clone()),
            )
            .with_docker(
                config.containers.as_ref().and_then(|containers| containers.docker.clone()),
            )
            .with_links(config.containers.as_ref().and_then(|containers| containers.links.clone())),
            changes: 0,
            links: Links::default(),
            inherited,
            policy,
            end,
            requests,
            health,
            sources: Sources::default(),
            beginning: beginning::load(&config),
            config,
            checkpoint,
            docker: HashMap::new(),
            asleep: Asleep::default(),
            hot: Queues::default(),
            attention: HashSet::new(),
            outgoing: Outgoing::new(metrics),
            flight: Flight::default(),
            notices: VecDeque::new(),
            next_gap: 1,
            buffer: Vec::new(),
            unreadable: BTreeMap::new(),
            look_again: HashSet::new(),
            open_files: 0,
            open_files_max: descriptors::open_files_max(),
            crowded_out: HashSet::new(),
            timers: Timers {
                reconcile: now,
                reconciled: 0,
                tend: now,
                save: now,
                status: now,
                active: false,
            },
        };
        tailer.restore(&loaded, now);
        tailer
    }

    /// Runs until `stop` is set, then waits for acknowledgements for as long as `grace`, and saves.
    pub fn run(mut self, stop: &AtomicBool, grace: Duration) {
        while !stop.load(Ordering::Acquire) {
            let wait = self.round();
            self.sleep(wait);
        }
        let stopped = clock::now();
        self.outgoing.seal();
        while self.flight.is_on_its_way() || !self.nothing_waits() {
            // The files still have it; there is nobody to wait for without an aggregator.
            let alone = clock::now() - stopped >= ALONE_GRACE && self.health.is_disconnected();
            if alone || clock::now() - stopped >= grace {
                break;
            }
            self.hand_over();
            self.take_answers();
            self.sleep(Some(TICK));
        }
        self.take_answers();
        if !self.flight.is_empty() {
            tracing::warn!("stopped with batches in flight; they are sent again at the next start");
        }
        self.save();
    }

    fn nothing_waits(&self) -> bool {
        self.outgoing.sealed.is_empty() && self.notices.is_empty()
    }

    /// One round; says how long to sleep, None until something happens.
    fn round(&mut self) -> Option<Duration> {
        let now = clock::now();
        self.take_answers();
        let reconciles = now >= self.timers.reconcile;
        if reconciles {
            self.reconcile(now);
        }
        self.take_policy();
        let changes = self.discovery.changes();
        self.apply(changes, now);
        self.inherit(now);
        let read = self.read_hot(now);
        if reconciles {
            // Whatever was told until now is known.
            self.put_to_sleep(now);
        }
        if now >= self.timers.tend {
            self.tend(now);
            self.timers.tend = now + TEND;
        }
        if self.outgoing.waits_since().is_some_and(|since| now >= since + LINGER) {
            self.outgoing.seal();
        }
        self.hand_over();
        if now >= self.timers.save {
            self.save();
            self.timers.save = now + SAVE;
        }
        if now >= self.timers.status {
            self.send_status();
            self.timers.status = now + STATUS;
        }
        self.answer_requests();
        self.timers.active = read;
        self.next_wait(now)
    }

    fn next_wait(&self, now: Instant) -> Option<Duration> {
        if !self.hot.is_empty() && self.has_room() {
            return Some(Duration::ZERO);
        }
        if self.timers.active || !self.nothing_waits() {
            return Some(TICK);
        }
        let mut deadline = self.timers.reconcile.min(self.timers.status);
        if let Some(since) = self.outgoing.waits_since() {
            deadline = deadline.min(since + LINGER);
        }
        if !self.attention.is_empty() || !self.crowded_out.is_empty() {
            deadline = deadline.min(self.timers.tend);
        }
        if self.sources.values().any(|source| source.unsaved) {
            deadline = deadline.min(self.timers.save);
        }
        Some(deadline.saturating_duration_since(now))
    }

    /// Sleeps until something happens; while files are hot, changes gather for a tick.
    fn sleep(&self, wait: Option<Duration>) {
        if wait == Some(Duration::ZERO) {
            return;
        }
        let wake = self.end.wake.descriptor();
        let mut descriptors = vec![PollFd::from_borrowed_fd(wake, PollFlags::IN)];
        if !self.timers.active {
            let inotify = self.discovery.descriptor();
            descriptors.extend(inotify.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        }
        let timeout = wait.and_then(|wait| Timespec::try_from(wait).ok());
        // Interrupted is as good as woken.
        poll(&mut descriptors, timeout.as_ref()).ok();
        self.end.wake.clear();
    }

    fn restore(&mut self, loaded: &Loaded, now: Instant) {
        let mut directories = HashSet::new();
        for state in loaded.sources.values() {
            let index = self.insert(SourceTail::restored(state, now));
            self.attention.insert(index);
            if let Some(SourceTail { place: Place::Container { directory, .. }, .. }) =
                self.sources.get(index)
            {
                directories.insert(directory.clone());
            }
        }
        self.tell_restored();
        self.look_at_links();
        for directory in directories {
            self.look_into(&directory, now);
        }
        self.look_at_host_files(now);
        self.resume(now);
    }

    fn insert(&mut self, mut source: SourceTail) -> usize {
        source.join_lines(self.config.rule_of(&source.source.writer));
        self.sources.insert(source)
    }

    /// Whether more may be read: the window bounds what is in flight and what waits to be.
    fn has_room(&self) -> bool {
        let waiting = self.outgoing.sealed_bytes();
        self.flight.has_room(waiting) && self.outgoing.sealed.len() < SEALED_MAX
    }

    /// Gives what is full to the session, as far as it takes it.
    fn hand_over(&mut self) {
        while let Ok(permit) = self.end.outbound.try_reserve() {
            if let Some(sealed) = self.outgoing.sealed.pop_front() {
                let batch = self.flight.depart(sealed, clock::now());
                permit.send(Outbound::Batch(batch));
            } else if let Some(notice) = self.notices.pop_front() {
                permit.send(notice);
            } else {
                break;
            }
        }
        let bytes = self.flight.bytes() + self.outgoing.sealed_bytes();
        self.outgoing.metrics.unacknowledged_bytes.set(bytes as i64);
        self.outgoing.metrics.window_bytes.set(self.flight.window_bytes() as i64);
    }
}
