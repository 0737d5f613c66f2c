//! Bulks to Elasticsearch: sends each until every document of it has its outcome.
//!
//! Async. A bulk keeps its place among those in flight through its pauses, so that a server that fails at once is not asked
//! the more for it; only a bulk whose index takes nothing gives its place to the others ([`aside`]). Nothing is given up here
//! but what the server says it will never take, and that becomes a dead letter before it is settled ([`bury`]).

mod aside;
mod bury;

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io::Write as _;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::Notify;

use super::budget::Share;
use super::entry::Token;
use super::held::Held;
use super::outcome::{Waiting, sort_out};
use super::pace::{Admission, Pace, pause};
use super::parked::{Label, Parked};
use super::part::{Next, Part};
use super::prepare::{create, denied, prepare, said};
use super::{Metrics, Trouble};
use crate::elasticsearch::answer::{self, FILTER};
use crate::elasticsearch::bulk::Bulk;
use crate::elasticsearch::client::{Answer, Body, Client, Method, RequestError};
use crate::elasticsearch::decide::{self, RequestVerdict};
use crate::elasticsearch::{Index, Indices, Settings};
use crate::queue::Letters;

/// Documents that a server gets first after it failed.
const PROBE_DOCUMENTS: usize = 100;
/// Longest pause of a bulk whose server answers.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// How often a bulk is sent before it gives its place to others: one that never succeeds must not stop them.
const TRIES_IN_PLACE: u32 = 5;
/// How often a server may be too busy before it is said.
const TRIES_UNSAID: u32 = 3;
/// A limit is changed rarely, and finding it again costs a few requests.
const GROW_AFTER: Duration = Duration::from_secs(600);
/// No server refuses a bulk of this size for its size.
const CEILING_MIN_BYTES: usize = 64 << 10;

/// A bulk and what it takes of the memory.
pub(super) struct Load {
    pub(super) bulk: Bulk<Token>,
    pub(super) share: Share,
    /// The side chain that it comes from.
    pub(super) chain: Option<Label>,
}

/// See the module.
pub(super) struct Sender {
    settings: Settings,
    client: Client,
    indices: Indices,
    pace: Mutex<Pace>,
    changed: Notify,
    letters: Letters,
    parked: Parked,
    metrics: Metrics,
    trouble: Trouble,
    /// Bytes of a bulk that the server takes.
    ceiling: AtomicUsize,
    /// When a larger one is tried.
    grow_at: Mutex<Option<Instant>>,
    /// Bulks that were answered by item.
    accepted: AtomicU64,
    held: Held,
    /// Why dead letters cannot be kept.
    unkept: Mutex<Option<String>>,
}

impl Sender {
    pub(super) fn new(
        settings: Settings,
        client: Client,
        indices: Indices,
        letters: Letters,
        parked: Parked,
        metrics: Metrics,
        trouble: Trouble,
    ) -> Self {
        let pace = Mutex::new(Pace::new(settings.concurrency, Instant::now()));
        let ceiling = AtomicUsize::new(settings.bulk_bytes);
        Self {
            settings,
            client,
            indices,
            pace,
            changed: Notify::new(),
            letters,
            parked,
            metrics,
            trouble,
            ceiling,
            grow_at: Mutex::default(),
            accepted: AtomicU64::new(0),
            held: Held::default(),
            unkept: Mutex::default(),
        }
    }

    fn name(&self, index: Index) -> String {
        self.indices.name(index)
    }

    /// A bulk is full at so many bytes.
    pub(super) fn ceiling(&self) -> usize {
        self.ceiling.load(Relaxed)
    }

    /// Delivers a bulk. It ends when each document is settled, or is in a side chain; dropped before, the rest goes back to
    /// where it came from.
    pub(super) async fn deliver(&self, load: Load) {
        let Load { bulk, share, chain } = load;
        // What is parked at once takes no place of those in flight.
        let Some(part) = self.park_if_parked(Part::new(bulk, chain)).await else { return };
        self.begin().await;
        // The last one is next.
        let mut waiting = self.with_little_first(part);
        while let Some(next) = waiting.pop() {
            match next {
                Next::Send(part) => {
                    if let Some(part) = self.park_if_parked(part).await {
                        waiting.extend(self.attempt(part).await);
                    }
                }
                // All of it goes back to its chain, where it is safe.
                Next::Hold(part, _) | Next::Blocked(part, _) if part.chain.is_some() => {
                    self.refused(&part);
                    waiting.clear();
                }
                // What may go now is not kept by what must wait.
                wait @ (Next::Again(..) | Next::Hold(..) | Next::Blocked(..))
                    if waiting.iter().any(Next::is_send) =>
                {
                    waiting.insert(0, wait);
                }
                Next::Again(part, pause) if part.tries < TRIES_IN_PLACE => {
                    self.metrics.retried.inc_by(part.bulk.len() as u64);
                    tokio::time::sleep(pause).await;
                    waiting.push(Next::Send(part));
                }
                // It fails where others may not: they get its place.
                Next::Again(part, wait) => {
                    self.metrics.retried.inc_by(part.bulk.len() as u64);
                    let wait = wait.max(pause(part.tries, PAUSE_MAX, chance()));
                    self.end();
                    tokio::time::sleep(wait).await;
                    self.begin().await;
                    waiting.push(Next::Send(part));
                }
                Next::Hold(part, pause) => {
                    self.wait(&part, tokio::time::sleep(pause)).await;
                    waiting.push(Next::Send(part));
                }
                Next::Blocked(part, pause) => {
                    if let Some(part) = self.park_if_due(part).await {
                        self.wait(&part, self.pause_or_pressed(part.bulk.index(), pause)).await;
                        waiting.extend(self.park_if_due(part).await.map(Next::Send));
                    }
                }
            }
        }
        self.end();
        drop(share);
    }

    async fn begin(&self) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            // Nobody is woken by this: those who wait would wake each other for ever.
            let begun = lock(&self.pace).begin();
            if begun {
                return;
            }
            changed.await;
        }
    }

    fn end(&self) {
        self.paced(Pace::end);
    }

    /// Changes the pace, and wakes who waits for that.
    fn paced<T>(&self, change: impl FnOnce(&mut Pace) -> T) -> T {
        let mut pace = lock(&self.pace);
        let changed = change(&mut pace);
        self.metrics.in_flight.set(pace.in_flight() as i64);
        self.metrics.concurrency.set(pace.limit() as i64);
        self.metrics.up.set(i64::from(pace.is_closed()));
        drop(pace);
        self.changed.notify_waiters();
        changed
    }

    async fn attempt(&self, mut part: Part) -> Vec<Next> {
        if let Some(rest) = self.admitted(&mut part).await {
            return vec![Next::Send(rest), Next::Send(part)];
        }
        let sent = Instant::now();
        let answer = self.send(&mut part.bulk).await;
        self.metrics.seconds.observe(sent.elapsed().as_secs_f64());
        part.tries += 1;
        match answer {
            Ok(answer) => self.judge(part, &answer).await,
            Err(error) => {
                self.metrics.request("none");
                self.failed(&error.to_string());
                // The breaker says when.
                vec![Next::Again(part, Duration::ZERO)]
            }
        }
    }

    /// Waits until the part may be sent. Gives back what is too much for a first try.
    async fn admitted(&self, part: &mut Part) -> Option<Part> {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let admission = lock(&self.pace).admit(Instant::now());
            match admission {
                Admission::Go => return None,
                Admission::Wait(None) => changed.await,
                Admission::Wait(Some(until)) => {
                    tokio::time::timeout_at(until.into(), changed).await.ok();
                }
                // The first try is a small one; this bulk, or another, makes it at once.
                Admission::Probe if part.bulk.len() > PROBE_DOCUMENTS => {
                    self.paced(|pace| pace.not_yet(Instant::now()));
                    return Some(part.split_off(PROBE_DOCUMENTS));
                }
                Admission::Probe => match prepare(&self.client, &self.settings).await {
                    Ok(()) => return None,
                    Err(reason) => self.failed(&reason),
                },
            }
        }
    }

    async fn send(&self, bulk: &mut Bulk<Token>) -> Result<Answer, RequestError> {
        let index = self.name(bulk.index());
        let timeout = self.settings.request_timeout;
        // The server is to give up on a shard, and say so, before nobody listens any more.
        let wait = timeout / 2;
        let path = format!("/{index}/_bulk?timeout={}ms&filter_path={FILTER}", wait.as_millis());
        let body = bulk.take_body();
        self.metrics.bulk_bytes.inc_by(body.len() as u64);
        let gzip = self.client.compresses();
        let bytes = if gzip { compressed(&body) } else { body.clone() };
        let sent = Body { bytes, kind: "application/x-ndjson", gzip };
        let answer = self.client.send(Method::POST, &path, Some(sent), timeout).await;
        bulk.put_back(body);
        answer
    }

    async fn judge(&self, mut part: Part, answer: &Answer) -> Vec<Next> {
        self.metrics.request(&answer.status.to_string());
        let error = answer::failure(&answer.body);
        let pause = pause(part.tries, PAUSE_MAX, chance());
        match decide::request(answer.status, error.as_ref()) {
            RequestVerdict::Items => match answer::items(&answer.body, part.bulk.len()) {
                Some(items) => self.settle(part, &items).await,
                None => {
                    self.failed(
                        "the answer to a bulk cannot be read, or has not one item a document",
                    );
                    vec![Next::Again(part, pause)]
                }
            },
            RequestVerdict::Overloaded => {
                self.paced(Pace::overloaded);
                self.overloaded(part, answer, pause)
            }
            RequestVerdict::Failed => {
                self.failed(&format!("a bulk was answered {}: {}", answer.status, said(answer)));
                vec![Next::Again(part, pause)]
            }
            RequestVerdict::Denied => {
                self.failed(&denied(answer));
                vec![Next::Again(part, pause)]
            }
            RequestVerdict::Misaddressed => {
                let said = said(answer);
                self.failed(&format!(
                    "a bulk was answered {}: {said}: is it Elasticsearch?",
                    answer.status
                ));
                vec![Next::Again(part, pause)]
            }
            RequestVerdict::Blocked => {
                self.paced(Pace::answered);
                self.hold(part.bulk.index(), error.map_or_else(String::new, |e| e.to_string()));
                let pause = aside::pause(part.tries);
                vec![Next::Blocked(part, pause)]
            }
            RequestVerdict::TooLarge => {
                self.paced(Pace::answered);
                self.too_large(part, answer).await
            }
            RequestVerdict::Malformed => {
                self.paced(Pace::answered);
                let accepted = self.accepted.load(Relaxed);
                let before = *part.accepted_before.get_or_insert(accepted);
                self.malformed(part, answer, accepted > before).await
            }
        }
    }

    /// Each document has its answer.
    async fn settle(&self, part: Part, items: &[answer::ItemAnswer]) -> Vec<Next> {
        let Part { bulk, tries, chain, .. } = part;
        let index = bulk.index();
        let name = self.name(index);
        let sorted = sort_out(bulk, items, &name);
        self.metrics.count(sorted.indexed, sorted.duplicates, 0);
        if chain.is_some() {
            let settled = sorted.indexed + sorted.duplicates + sorted.dead.len() as u64;
            self.metrics.unparked.inc_by(settled);
        }
        if !sorted.dead.is_empty() {
            self.bury(sorted.dead).await;
        }
        self.accepted.fetch_add(1, Relaxed);
        if sorted.overloaded {
            self.paced(Pace::overloaded)
        } else {
            self.paced(Pace::succeeded)
        };
        self.grow();
        let mut next = Vec::new();
        match sorted.why_waiting {
            None => {
                self.parked.accepted(chain.as_deref().unwrap_or(&name));
                self.release(index);
            }
            Some(Waiting::Blocked(reason)) => self.hold(index, reason),
            Some(Waiting::Missing(reason)) => {
                create(&self.client, &name).await;
                self.hold(index, reason);
            }
            Some(Waiting::Denied(reason)) => self.hold(index, format!("not allowed: {reason}")),
        }
        let part = |bulk| Part { tries, ..Part::new(bulk, chain.clone()) };
        if !sorted.waiting.is_empty() {
            next.push(Next::Blocked(part(sorted.waiting), aside::pause(tries)));
        }
        if !sorted.again.is_empty() {
            // What was repaired goes at once.
            let failed = sorted.overloaded || sorted.failed;
            let wait = if failed { pause(tries, PAUSE_MAX, chance()) } else { Duration::ZERO };
            next.push(Next::Again(part(sorted.again), wait));
        }
        next
    }

    /// A server with little memory may refuse one bulk alone, however often it comes: it is halved then.
    fn overloaded(&self, part: Part, answer: &Answer, pause: Duration) -> Vec<Next> {
        if part.tries < TRIES_UNSAID {
            return vec![Next::Again(part, pause)];
        }
        let (status, said) = (answer.status, said(answer));
        self.say(Some(format!("a bulk is answered {status} again and again: {said}")));
        if status != 429 || part.bulk.len() < 2 || part.bulk.bytes() < 2 * CEILING_MIN_BYTES {
            return vec![Next::Again(part, pause)];
        }
        self.limit_to(part.bulk.bytes() / 2);
        // Each half gets its tries: a server that is only busy is not asked the more for it.
        Part { tries: 0, ..part }.halves()
    }

    /// From now on bulks have no more bytes, for a while.
    fn limit_to(&self, bytes: usize) {
        self.ceiling.fetch_min(bytes.max(CEILING_MIN_BYTES), Relaxed);
        *lock(&self.grow_at) = Some(Instant::now() + GROW_AFTER);
    }

    async fn too_large(&self, part: Part, answer: &Answer) -> Vec<Next> {
        let bytes = part.bulk.bytes();
        if part.bulk.len() > 1 {
            self.limit_to(bytes / 2);
            return part.halves();
        }
        let reason =
            format!("{}: a document of {bytes} bytes is more than the server takes", answer.status);
        self.bury_whole(part.bulk, reason).await;
        Vec::new()
    }

    /// One document is the reason only when others are taken: else it is what we send, or who we send it to.
    async fn malformed(&self, part: Part, answer: &Answer, others_are_taken: bool) -> Vec<Next> {
        if part.bulk.len() > 1 {
            return part.halves();
        }
        let reason = format!("{}: {}", answer.status, said(answer));
        if others_are_taken {
            self.bury_whole(part.bulk, reason).await;
            return Vec::new();
        }
        self.hold(part.bulk.index(), format!("a bulk of one document was answered {reason}"));
        let pause = aside::pause(part.tries);
        vec![Next::Hold(part, pause)]
    }

    fn failed(&self, reason: &str) {
        self.metrics.failures.inc();
        self.paced(|pace| pace.failed(Instant::now(), chance()));
        self.say(Some(reason.to_owned()));
    }

    /// Says what is wrong with the server, or that nothing is; what is held is said in any case.
    fn say(&self, reason: Option<String>) {
        let reason = lock(&self.unkept).clone().or(reason).or_else(|| self.held.sentence());
        self.trouble.tell(reason);
    }

    /// Who refused a bulk for its size may have been told to take more.
    fn grow(&self) {
        let mut grow_at = lock(&self.grow_at);
        if grow_at.is_some_and(|at| Instant::now() >= at) {
            let grown = self.ceiling().saturating_mul(2).min(self.settings.bulk_bytes);
            self.ceiling.store(grown, Relaxed);
            *grow_at = (grown < self.settings.bulk_bytes).then(|| Instant::now() + GROW_AFTER);
        }
    }
}

fn compressed(body: &[u8]) -> Bytes {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    // Memory takes everything.
    encoder.write_all(body).ok();
    encoder.finish().unwrap_or_default().into()
}

/// Between 0 and 1.
fn chance() -> f64 {
    RandomState::new().build_hasher().finish() as f64 / u64::MAX as f64
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
