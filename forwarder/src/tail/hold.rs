//! The budget of deleted files: those that have no name left take room on the disk that nobody sees. They are held while they
//! have what no aggregator has, and while somebody may still write to them, which is looked at with every reconcile. Beyond
//! the budget those that only wait for more are dropped first, then the longest held, and what was not read of one is a
//! declared gap.

use std::time::Instant;

use naru_proto::ids::FileId;
use naru_proto::wire::GapReason;

use super::Tailer;
use super::file::{Content, TailedFile};
use super::gaps::Loss;
use crate::identity::writers::{self, Writers};
use crate::{chance, identity};

/// Files that only wait for more, and are looked at every 30 s: without a kernel that says who writes, every deleted log is
/// one of them for a while, and each costs about 2 KiB beside its descriptor.
const WAITING_MAX: usize = 1000;

/// One deleted file.
struct Deleted {
    /// It only waits for more.
    waits: bool,
    since: Instant,
    source: usize,
    key: identity::Key,
    bytes: u64,
    /// Its disk has less room than the budget leaves.
    crowded: bool,
}

impl Tailer {
    /// Drops the deleted files that are over the budget.
    pub(super) fn keep_to_budget(&mut self, now: Instant) {
        let mut deleted = self.deleted(now);
        deleted.sort_by_key(|file| (!file.waits, file.since));
        let mut waiting = deleted.iter().filter(|file| file.waits).count();
        let mut bytes: u64 = deleted.iter().map(|file| file.bytes).sum();
        let hold = self.config.hold;
        let mut made_room = false;
        for file in deleted {
            let old = now.saturating_duration_since(file.since) >= hold.max_age;
            // One at a time: what it frees shows at the next look.
            let crowded = file.crowded && !made_room;
            let too_many = file.waits && (waiting > WAITING_MAX || self.is_crowded());
            if bytes > hold.max_bytes || old || crowded || too_many {
                waiting -= usize::from(file.waits);
                self.open_files = self.open_files.saturating_sub(1);
                made_room |= file.crowded;
                bytes -= file.bytes;
                self.drop_deleted(file.source, file.key);
            }
        }
        self.outgoing.metrics.deleted_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// Every deleted file that holds what is not acknowledged, or that somebody may still write to.
    fn deleted(&mut self, now: Instant) -> Vec<Deleted> {
        let min_free_percent = self.config.hold.min_free_percent;
        let mut deleted = Vec::new();
        for (source, tail) in self.sources.iter_mut() {
            let of_interest =
                |file: &&mut TailedFile| file.gone || file.waits || file.held_since.is_some();
            for file in tail.files.iter_mut().filter(of_interest) {
                let (Content::Plain(handle) | Content::Gzip(handle, _)) = &file.content else {
                    file.held_since = None;
                    continue;
                };
                let Ok(stat) = identity::stat(handle) else { continue };
                let needed = match file.is_gzip() {
                    true => !file.passed || file.size > file.acknowledged,
                    false => stat.size > file.acknowledged,
                };
                let waits = file.waits && !needed;
                if !stat.unlinked || !(needed || waits) {
                    file.held_since = None;
                    continue;
                }
                let crowded = rustix::fs::fstatvfs(handle).is_ok_and(|disk| {
                    disk.f_bavail.saturating_mul(100)
                        < disk.f_blocks.saturating_mul(min_free_percent)
                });
                let since = match waits {
                    true => {
                        file.held_since = None;
                        file.grew
                    }
                    false => *file.held_since.get_or_insert(now),
                };
                let (source, key, bytes) = (source, stat.identity.key(), stat.size);
                deleted.push(Deleted { waits, since, source, key, bytes, crowded });
            }
        }
        deleted
    }

    fn drop_deleted(&mut self, source: usize, key: identity::Key) {
        let Some(tail) = self.sources.get_mut(source) else { return };
        let is_it = |file: &TailedFile| match &file.content {
            Content::Plain(handle) | Content::Gzip(handle, _) => {
                identity::stat(handle).is_ok_and(|stat| stat.identity.key() == key)
            }
            Content::Closed => false,
        };
        let Some(at) = tail.files.iter().position(is_it) else { return };
        let id = tail.id_of_head(at);
        let Some(file) = tail.files.get_mut(at) else { return };
        let size = match &file.content {
            Content::Plain(handle) => identity::stat(handle).map_or(file.size, |stat| stat.size),
            Content::Gzip(..) | Content::Closed => file.size,
        };
        let end_exclusive = (!file.is_gzip()).then_some(size);
        file.id = file.id.or(id);
        (file.passed, file.given_up, file.gone) = (true, true, true);
        file.content = Content::Closed;
        file.held_since = None;
        let (id, start) = (file.id, file.read);
        file.size = file.read;
        tail.unsaved = true;
        self.attention.insert(source);
        // What was read of it is on its way.
        if end_exclusive.is_none_or(|end| end > start) {
            let reason = GapReason::Budget;
            let loss = Loss { file: id, start, end_exclusive, last_known_size: size, reason };
            self.lost(source, &loss);
        }
    }
}

impl TailedFile {
    /// Whether a deleted file that is read to its end must stay open: somebody may still write to it. `listed`: where the
    /// kernel does not say, a log whose container's directory is still there may have its writer as well.
    pub(super) fn must_wait(&mut self, listed: bool) -> bool {
        self.waits = false;
        let Content::Plain(handle) = &self.content else { return false };
        let Ok(stat) = identity::stat(handle) else { return false };
        if !stat.unlinked {
            return false;
        }
        // Asked before the size: what a writer wrote before it closed the file is seen.
        let writers = writers::of(handle);
        let size = identity::stat(handle).map_or(stat.size, |stat| stat.size);
        self.seen_size(size);
        self.waits = match writers {
            Writers::Some => true,
            Writers::Unknown => listed,
            Writers::None => size > self.read,
        };
        self.waits
    }
}

impl super::source::SourceTail {
    /// Whether a look must be taken at a deleted file of it.
    pub(super) fn waits_for_more(&self) -> bool {
        self.files.iter().any(|file| file.waits)
    }

    /// The id of a file that was not read yet; a host file's is any.
    fn id_of_head(&self, at: usize) -> Option<FileId> {
        let file = self.files.get(at)?;
        if self.is_host() {
            return Some(FileId(chance::bytes()));
        }
        let format = self.cutter.format();
        let head = file.bytes_up_to(0, format.head_max_bytes()).ok()?;
        let id = self.container_file_id(format.head(&head)?, file.salt);
        (!self.files.iter().any(|other| other.id == Some(id))).then_some(id)
    }
}
