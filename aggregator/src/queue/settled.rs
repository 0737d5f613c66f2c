//! What became of dead letters since they were kept: settled, which is delivered or purged, or tried once more in vain.
//!
//! Letters lie in segments that are never changed. Beside each segment there is a file here that grows with it and goes with it:
//! nothing of a letter is gone before this file says so, durably. A cut or damaged end of it is passed over: the letters that it
//! told of are there again, and trying them again is harmless.
//!
//! ```text
//! "NQls" version u8 (1), then per change: length u32, crc32c of the payload u32, payload   (little-endian)
//! payload  1, sequence u64, place u16                                          settled
//!          2, sequence u64, place u16, attempts u32, last ms i64, reason       tried in vain, since it was kept
//! ```

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::bytes_in::BytesIn;
use super::disk::sync_dir;
use super::entry::Sequence;
use super::letter::{Letter, LetterId};

const MAGIC: [u8; 5] = *b"NQls\x01";
const SETTLED: u8 = 1;
const TRIED: u8 = 2;
/// Longer reasons are cut: they quote the document, which is in the letter.
const REASON_MAX_BYTES: usize = 1000;
/// Letters of one commit, and bits of its set.
const WORDS: usize = 1024 / 64;

/// A letter was tried again in vain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tried {
    /// Which.
    pub id: LetterId,
    /// How often more.
    pub attempts: u32,
    /// When, milliseconds since 1970.
    pub at_ms: i64,
    /// Why in vain.
    pub reason: String,
}

/// The changes of all segments of one chain of letters.
#[derive(Debug)]
pub(super) struct Settled {
    dir: PathBuf,
    segments: BTreeMap<Sequence, Changes>,
}

/// Those of one segment. A letter costs a bit, and one that was tried in vain some hundred bytes.
#[derive(Debug, Default)]
pub(super) struct Changes {
    gone: BTreeMap<Sequence, [u64; WORDS]>,
    gone_count: u64,
    tried: BTreeMap<LetterId, Tried>,
    /// How much of the file is whole.
    len: u64,
}

impl Settled {
    /// Reads what is there; files of segments that are gone go, too.
    pub(super) fn open(root: &Path, firsts: &[Sequence]) -> io::Result<Self> {
        let dir = directory(root);
        fs::create_dir_all(&dir)?;
        sync_dir(root)?;
        let mut segments = BTreeMap::new();
        for entry in fs::read_dir(&dir)? {
            let entry = entry?;
            let first = entry.file_name().to_str().and_then(|name| name.parse().ok().map(Sequence));
            match first.filter(|first| firsts.contains(first)) {
                Some(first) => drop(segments.insert(first, Changes::load(root, first))),
                None => fs::remove_file(entry.path())?,
            }
        }
        Ok(Self { dir, segments })
    }

    pub(super) fn of(&self, segment: Sequence) -> Option<&Changes> {
        self.segments.get(&segment)
    }

    pub(super) fn count(&self) -> u64 {
        self.segments.values().map(|changes| changes.gone_count).sum()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.segments.values().map(|changes| changes.len).sum()
    }

    /// These letters of a segment are settled: durable on return.
    pub(super) fn settle(&mut self, segment: Sequence, ids: &[LetterId]) -> io::Result<()> {
        let mut bytes = Vec::new();
        for id in ids {
            push(&mut bytes, SETTLED, *id, &[]);
        }
        self.append(segment, &bytes)?;
        let changes = self.segments.entry(segment).or_default();
        ids.iter().for_each(|id| changes.settle(*id));
        Ok(())
    }

    /// These letters of a segment were tried in vain: durable on return.
    pub(super) fn tried(&mut self, segment: Sequence, all: &[Tried]) -> io::Result<()> {
        let mut bytes = Vec::new();
        for tried in all {
            let Tried { id, attempts, at_ms, reason } = tried;
            let known = self.of(segment).and_then(|changes| changes.tried.get(id));
            let attempts = known.map_or(0, |known| known.attempts).saturating_add(*attempts);
            let mut rest = attempts.to_le_bytes().to_vec();
            rest.extend_from_slice(&at_ms.to_le_bytes());
            rest.extend_from_slice(cut(reason).as_bytes());
            push(&mut bytes, TRIED, *id, &rest);
        }
        self.append(segment, &bytes)?;
        let changes = self.segments.entry(segment).or_default();
        all.iter().cloned().for_each(|tried| changes.try_once_more(tried));
        Ok(())
    }

    /// The segment is deleted.
    pub(super) fn remove(&mut self, segment: Sequence) -> io::Result<()> {
        self.segments.remove(&segment);
        match fs::remove_file(self.dir.join(name(segment))) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn append(&mut self, segment: Sequence, bytes: &[u8]) -> io::Result<()> {
        let changes = self.segments.entry(segment).or_default();
        let path = self.dir.join(name(segment));
        let mut file = File::options().create(true).append(true).open(&path)?;
        // What a crash or a full disk left behind the last whole change.
        file.set_len(changes.len)?;
        let is_new = changes.len == 0;
        if is_new {
            file.write_all(&MAGIC)?;
        }
        file.write_all(bytes)?;
        file.sync_data()?;
        if is_new {
            sync_dir(&self.dir)?;
            changes.len = MAGIC.len() as u64;
        }
        changes.len += bytes.len() as u64;
        Ok(())
    }
}

impl Changes {
    /// Those of a segment; nothing is written.
    pub(super) fn load(root: &Path, segment: Sequence) -> Self {
        let mut changes = Self::default();
        let path = directory(root).join(name(segment));
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return changes,
            Err(error) => {
                tracing::warn!(%error, path = %path.display(), "settled letters are there again");
                return changes;
            }
        };
        if bytes.strip_prefix(&MAGIC).is_some() {
            changes.len = MAGIC.len() as u64;
        }
        while let Some((change, len)) =
            bytes.get(changes.len as usize..).filter(|_| changes.len > 0).and_then(change)
        {
            match change {
                Change::Settled(id) => changes.settle(id),
                Change::Tried(tried) => changes.replace(tried),
            }
            changes.len += len;
        }
        if changes.len < bytes.len() as u64 {
            tracing::warn!(path = %path.display(), "what is settled of the dead letters has a cut or damaged end: \
                letters may be there again");
        }
        changes
    }

    pub(super) fn is_gone(&self, id: LetterId) -> bool {
        let place = usize::from(id.place);
        let word = self.gone.get(&id.sequence).and_then(|words| words.get(place / 64));
        word.is_some_and(|word| word >> (place % 64) & 1 == 1)
    }

    pub(super) fn gone_count(&self) -> u64 {
        self.gone_count
    }

    /// How often a letter was tried in vain.
    pub(super) fn tries(&self, id: LetterId) -> u32 {
        self.tried.get(&id).map_or(0, |tried| tried.attempts)
    }

    /// Says in a letter what happened to it since.
    pub(super) fn apply(&self, id: LetterId, letter: &mut Letter) {
        if let Some(tried) = self.tried.get(&id) {
            letter.attempts = letter.attempts.saturating_add(tried.attempts);
            letter.last_ms = tried.at_ms;
            letter.reason.clone_from(&tried.reason);
        }
    }

    fn settle(&mut self, id: LetterId) {
        let words = self.gone.entry(id.sequence).or_default();
        let place = usize::from(id.place);
        if let Some(word) = words.get_mut(place / 64) {
            let bit = 1 << (place % 64);
            self.gone_count += u64::from(*word & bit == 0);
            *word |= bit;
        }
        self.tried.remove(&id);
    }

    /// A change as it is stored counts from the beginning.
    fn replace(&mut self, tried: Tried) {
        if !self.is_gone(tried.id) {
            self.tried.insert(tried.id, tried);
        }
    }

    fn try_once_more(&mut self, mut tried: Tried) {
        tried.reason = cut(&tried.reason).to_owned();
        let known = self.tried.get(&tried.id).map_or(0, |known| known.attempts);
        tried.attempts = tried.attempts.saturating_add(known);
        self.replace(tried);
    }
}

enum Change {
    Settled(LetterId),
    Tried(Tried),
}

fn directory(root: &Path) -> PathBuf {
    root.join("settled")
}

fn name(segment: Sequence) -> String {
    format!("{:020}", segment.0)
}

fn cut(reason: &str) -> &str {
    let end =
        (0..=REASON_MAX_BYTES.min(reason.len())).rev().find(|at| reason.is_char_boundary(*at));
    reason.get(..end.unwrap_or_default()).unwrap_or_default()
}

fn push(out: &mut Vec<u8>, kind: u8, id: LetterId, rest: &[u8]) {
    let mut payload = vec![kind];
    payload.extend_from_slice(&id.sequence.0.to_le_bytes());
    payload.extend_from_slice(&id.place.to_le_bytes());
    payload.extend_from_slice(rest);
    out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    out.extend_from_slice(&crc32c::crc32c(&payload).to_le_bytes());
    out.extend_from_slice(&payload);
}

/// The change at the front of `bytes`, and its length; None when there is no whole one.
fn change(bytes: &[u8]) -> Option<(Change, u64)> {
    let mut input = BytesIn::new(bytes);
    let (len, crc) = (input.u32()?, input.u32()?);
    let payload = input.take(len as usize)?;
    if crc32c::crc32c(payload) != crc {
        return None;
    }
    let taken = input.position() as u64;
    let mut input = BytesIn::new(payload);
    let kind = input.u8()?;
    let id = LetterId { sequence: Sequence(input.u64()?), place: input.u16()? };
    let change = match kind {
        SETTLED => Change::Settled(id),
        TRIED => {
            let (attempts, at_ms) = (input.u32()?, input.i64()?);
            let reason = input.take(payload.len() - input.position())?;
            let reason = String::from_utf8_lossy(reason).into_owned();
            Change::Tried(Tried { id, attempts, at_ms, reason })
        }
        _ => return None,
    };
    Some((change, taken))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(sequence: u64, place: u16) -> LetterId {
        LetterId { sequence: Sequence(sequence), place }
    }

    fn tried(sequence: u64, at_ms: i64, reason: &str) -> Tried {
        Tried { id: id(sequence, 0), attempts: 1, at_ms, reason: reason.to_owned() }
    }

    fn attempts(changes: &Changes, sequence: u64) -> Option<u32> {
        changes.tried.get(&id(sequence, 0)).map(|tried| tried.attempts)
    }

    #[test]
    fn a_cut_or_damaged_end_costs_what_it_told_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let mut settled = Settled::open(dir.path(), &[Sequence(1)]).unwrap();
        settled.settle(Sequence(1), &[id(1, 0), id(1, 63), id(1, 64), id(2, 1023)]).unwrap();
        settled.tried(Sequence(1), &[tried(3, 7, "once")]).unwrap();
        settled.tried(Sequence(1), &[tried(3, 8, &"ü".repeat(900))]).unwrap();
        settled.settle(Sequence(1), &[id(1, 0), id(4, 5)]).unwrap();
        let file = directory(dir.path()).join(name(Sequence(1)));
        let whole = fs::read(&file).unwrap();
        let check = |changes: &Changes| {
            assert_eq!(changes.gone_count, 5, "one was settled twice");
            assert!(changes.is_gone(id(2, 1023)) && changes.is_gone(id(4, 5)));
            assert!(!changes.is_gone(id(2, 1022)) && !changes.is_gone(id(9, 9)));
            assert_eq!((attempts(changes, 3), attempts(changes, 4)), (Some(2), None));
        };
        check(settled.of(Sequence(1)).unwrap());
        check(Settled::open(dir.path(), &[Sequence(1)]).unwrap().of(Sequence(1)).unwrap());
        for cut in 0..whole.len() {
            fs::write(&file, &whole[..cut]).unwrap();
            let mut settled = Settled::open(dir.path(), &[Sequence(1)]).unwrap();
            assert!(settled.count() <= 5, "{cut}");
            settled.settle(Sequence(1), &[id(7, 7)]).unwrap();
            let again = Settled::open(dir.path(), &[Sequence(1)]).unwrap();
            assert!(again.of(Sequence(1)).unwrap().is_gone(id(7, 7)), "{cut}");
            assert_eq!(again.count(), settled.count(), "{cut}");
        }
        for at in 0..whole.len() {
            let mut bad = whole.clone();
            bad[at] ^= 0x10;
            fs::write(&file, &bad).unwrap();
            let changes = Changes::load(dir.path(), Sequence(1));
            assert!(!changes.is_gone(id(2, 1022)) && changes.gone_count <= 5, "{at}");
        }
    }

    #[test]
    fn a_file_goes_with_its_segment() {
        let dir = tempfile::tempdir().unwrap();
        let mut settled = Settled::open(dir.path(), &[]).unwrap();
        for segment in [1, 5, 9] {
            settled.settle(Sequence(segment), &[id(segment, 0)]).unwrap();
        }
        settled.remove(Sequence(5)).unwrap();
        assert_eq!(settled.count(), 2);
        let settled = Settled::open(dir.path(), &[Sequence(9)]).unwrap();
        assert_eq!((settled.count(), fs::read_dir(&settled.dir).unwrap().count()), (1, 1));
    }
}
