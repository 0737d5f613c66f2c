//! What survives a restart: for each source its files, how far they are acknowledged, and where records were cut.
//!
//! An append-only log of self-contained items; the later item of a source wins. One owner thread, blocking I/O. Promises:
//! - a damaged log is read around: it never stops a start, and only what the damaged items said last is lost;
//! - what [`Checkpoint::journal`] returned for survives any one flipped byte;
//! - a full or read-only disk is an error of that call; nothing is forgotten, and a later call saves it.
//!
//! Files in the directory: `checkpoint` (the log), `checkpoint.previous` (the log before the last compaction, read first),
//! `checkpoint.tmp` (one being written), `checkpoint.damaged` (the last one that had to be put aside).
//! It does not decide what to save when, nor whether what it says is still true of the files.

mod generations;
mod item;
mod state;
mod stored;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::HashMap;
use std::io;
use std::path::Path;

use naru_proto::frame::Source;
use prost::Message;

use self::generations::{Generations, Log};
use self::stored::{StoredItem, StoredSource, stored_item};

pub use self::generations::Damage;
pub use self::state::{DeclaredGap, FileState, Guard, SourceState, TimeStep};

/// A source, by which its state is found.
pub type SourceKey = Source;

/// A log below this size is not compacted: two of them are nothing to a node, and it takes minutes to fill.
const COMPACT_MIN_BYTES: usize = 1 << 20;
/// A log of more than this times what is live is compacted, so that compaction costs a third of what was appended.
const COMPACT_RATIO: usize = 4;
/// How much more is appended before a compaction that failed is tried again.
const COMPACT_RETRY_BYTES: usize = 256 << 10;

/// Whose state it is: part of every document id, so that another one's must not be gone on with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// The cluster's name.
    pub cluster: String,
    /// The node's name.
    pub node: String,
}

/// What a checkpoint held when it was opened.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The last known state of each source.
    pub sources: HashMap<SourceKey, SourceState>,
    /// What could not be read; each says one sentence.
    pub damage: Vec<Damage>,
    /// There was none.
    pub fresh: bool,
    /// It belongs to another cluster or node: the caller must not go on.
    pub other: Option<Binding>,
}

/// The saved state of every source. See the module.
#[derive(Debug)]
pub struct Checkpoint {
    /// None: nothing is saved.
    generations: Option<Generations>,
    binding: Binding,
    /// None: the next sync writes a whole one, or goes on with the one found.
    log: Option<Log>,
    /// How much is sound of the log found.
    appendable: Option<u64>,
    sources: HashMap<Box<[u8]>, Entry>,
    unsynced: usize,
    live_bytes: usize,
    /// A compaction failed: not again before the log is that long.
    compact_not_before: usize,
}

#[derive(Debug)]
struct Entry {
    /// The encoded item; of a removal or a state.
    item: Box<[u8]>,
    removed: bool,
    synced: bool,
    /// Some log has an item of it, which a removal must supersede.
    logged: bool,
}

impl Checkpoint {
    /// Reads the checkpoint in `directory`, which is created if need be.
    ///
    /// Fails only if it cannot be; whatever it contains is read as far as it can be, and nothing is written before
    /// the first sync. One that belongs to another cluster or node is left alone: the checkpoint returned is unsaved.
    pub fn open(directory: &Path, binding: Binding) -> io::Result<(Self, Loaded)> {
        let mut generations = Generations::in_directory(directory)?;
        let read = generations.read();
        let mut checkpoint = Self::unsaved(binding);
        let mut loaded = Loaded { damage: read.damage, fresh: read.fresh, ..Loaded::default() };
        for item in read.items {
            match item {
                stored_item::Kind::Binding(found) => {
                    let found = Binding { cluster: found.cluster, node: found.node };
                    loaded.other = (found != checkpoint.binding).then_some(found);
                }
                stored_item::Kind::Source(stored) => checkpoint.load(stored, &mut loaded),
                stored_item::Kind::Removed(source) => {
                    checkpoint.forget(&source.encode_to_vec());
                    if let Ok(source) = Source::try_from(source) {
                        loaded.sources.remove(&source);
                    }
                }
            }
        }
        if loaded.other.is_none() {
            checkpoint.appendable = read.appendable;
            checkpoint.generations = Some(generations);
        }
        Ok((checkpoint, loaded))
    }

    /// Works in memory only, for a node whose disk takes nothing.
    #[must_use]
    pub fn unsaved(binding: Binding) -> Self {
        Self {
            generations: None,
            binding,
            log: None,
            appendable: None,
            sources: HashMap::new(),
            unsynced: 0,
            live_bytes: 0,
            compact_not_before: 0,
        }
    }

    /// What is put is saved at the next sync.
    #[must_use]
    pub fn is_saved(&self) -> bool {
        self.generations.is_some()
    }

    /// Bytes of the log on disk; 0 before the first sync.
    #[must_use]
    pub fn log_bytes(&self) -> u64 {
        self.log.as_ref().map_or(0, Log::length)
    }

    /// Replaces the state of a source, in memory until the next [`Self::sync`] or [`Self::journal`].
    pub fn put(&mut self, state: &SourceState) {
        let key = wire_key(&state.source);
        let item = encode(stored_item::Kind::Source(StoredSource::from(state)));
        self.replace(key, item, false);
    }

    /// What was put last of a source.
    #[must_use]
    pub fn state(&self, source: &SourceKey) -> Option<SourceState> {
        let entry = self.sources.get(&wire_key(source)).filter(|entry| !entry.removed)?;
        match StoredItem::decode(item::payload(&entry.item)?).ok()?.kind? {
            stored_item::Kind::Source(stored) => SourceState::try_from(stored).ok(),
            stored_item::Kind::Binding(_) | stored_item::Kind::Removed(_) => None,
        }
    }

    /// Forgets a source, likewise.
    pub fn remove(&mut self, source: &SourceKey) {
        let key = wire_key(source);
        match self.sources.get(&key) {
            None => {}
            Some(entry) if !entry.logged => self.forget(&key),
            Some(_) => {
                let removed = naru_proto::wire::Source::from(source.clone());
                self.replace(key, encode(stored_item::Kind::Removed(removed)), true);
            }
        }
    }

    /// Puts a state and makes it durable now, twice; with it whatever else waits.
    ///
    /// For what must be known on a re-read: a cut, a minted file id, a time step. When it fails the state is put, and
    /// nothing that depends on it may be sent.
    pub fn journal(&mut self, state: &SourceState) -> io::Result<()> {
        self.put(state);
        let key = wire_key(&state.source);
        // Known already, but perhaps never written, or only once.
        if let Some(entry) = self.sources.get_mut(&key)
            && entry.synced
        {
            entry.synced = false;
            self.unsynced += 1;
        }
        self.save(Some(&key)).map(drop)
    }

    /// Makes durable what was put and removed; false if there was nothing, or if nothing is saved.
    ///
    /// After an error it is all still there for the next call.
    pub fn sync(&mut self) -> io::Result<bool> {
        self.save(None)
    }

    fn load(&mut self, stored: StoredSource, loaded: &mut Loaded) {
        let key = stored.source.as_ref().map(Message::encode_to_vec).unwrap_or_default();
        match SourceState::try_from(stored.clone()) {
            Ok(state) => {
                loaded.sources.insert(state.source.clone(), state);
                let item = encode(stored_item::Kind::Source(stored));
                self.forget(&key);
                self.live_bytes += item.len();
                let entry = Entry { item, removed: false, synced: true, logged: true };
                self.sources.insert(key.into(), entry);
            }
            Err(unreadable) => loaded.damage.push(Damage::Unreadable(unreadable)),
        }
    }

    fn replace(&mut self, key: Box<[u8]>, item: Box<[u8]>, removed: bool) {
        let old = self.sources.get(&key);
        if old.is_some_and(|old| old.item == item) {
            return;
        }
        self.live_bytes += item.len();
        self.live_bytes -= old.map_or(0, |old| old.item.len());
        self.unsynced += usize::from(old.is_none_or(|old| old.synced));
        let logged = old.is_some_and(|old| old.logged);
        self.sources.insert(key, Entry { item, removed, synced: false, logged });
    }

    fn forget(&mut self, key: &[u8]) {
        if let Some(entry) = self.sources.remove(key) {
            self.live_bytes -= entry.item.len();
            self.unsynced -= usize::from(!entry.synced);
        }
    }

    fn save(&mut self, twice: Option<&[u8]>) -> io::Result<bool> {
        let Some(generations) = &self.generations else {
            self.all_synced();
            return Ok(false);
        };
        if let Some(sound_end) = self.appendable.take() {
            self.log = generations.append_to(sound_end).ok();
        }
        let unwritten = self.log.is_none() && !self.sources.is_empty();
        if self.unsynced == 0 && !unwritten {
            return Ok(false);
        }
        let changes = items(&self.sources, |entry| !entry.synced, twice);
        let length = self.log.as_ref().map_or(0, |log| log.length() as usize) + changes.len();
        let limit =
            COMPACT_MIN_BYTES.max(self.live_bytes * COMPACT_RATIO).max(self.compact_not_before);
        if self.log.is_none() || length > limit {
            match self.compact(twice) {
                Ok(()) => {
                    self.all_synced();
                    return Ok(true);
                }
                Err(error) if self.log.is_none() => return Err(error),
                // What is preallocated may still take it.
                Err(_) => self.compact_not_before = length + COMPACT_RETRY_BYTES,
            }
        }
        if let Some(log) = &mut self.log {
            let appended = log.append(&changes);
            if !log.is_sound() {
                self.log = None;
            }
            appended?;
        }
        self.all_synced();
        Ok(true)
    }

    /// Writes everything that is live as a new log.
    fn compact(&mut self, twice: Option<&[u8]>) -> io::Result<()> {
        let Some(generations) = &mut self.generations else { return Ok(()) };
        let mut bytes = item::file_header().to_vec();
        let binding = stored::StoredBinding {
            cluster: self.binding.cluster.clone(),
            node: self.binding.node.clone(),
        };
        let binding = encode(stored_item::Kind::Binding(binding));
        bytes.extend_from_slice(&binding);
        bytes.extend_from_slice(&binding);
        // Removals too: the log that becomes the previous one does not know of them.
        let live = items(&self.sources, |_| true, twice);
        bytes.extend_from_slice(&live);
        let new = generations.write_new(&bytes)?;
        // From here on the old log may have another name: nothing may be appended to it.
        self.log = None;
        generations.install(&bytes)?;
        self.log = Some(new);
        self.compact_not_before = 0;
        Ok(())
    }

    fn all_synced(&mut self) {
        if self.unsynced == 0 {
            return;
        }
        self.unsynced = 0;
        let live_bytes = &mut self.live_bytes;
        self.sources.retain(|_, entry| {
            (entry.synced, entry.logged) = (true, true);
            *live_bytes -= if entry.removed { entry.item.len() } else { 0 };
            !entry.removed
        });
    }
}

fn items(
    sources: &HashMap<Box<[u8]>, Entry>,
    which: impl Fn(&Entry) -> bool,
    twice: Option<&[u8]>,
) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (key, entry) in sources.iter().filter(|(_, entry)| which(entry)) {
        bytes.extend_from_slice(&entry.item);
        if twice == Some(&**key) {
            bytes.extend_from_slice(&entry.item);
        }
    }
    bytes
}

fn wire_key(source: &Source) -> Box<[u8]> {
    naru_proto::wire::Source::from(source.clone()).encode_to_vec().into()
}

fn encode(kind: stored_item::Kind) -> Box<[u8]> {
    item::frame(&StoredItem { kind: Some(kind) }.encode_to_vec()).into()
}
