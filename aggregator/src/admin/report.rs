//! What is answered: the queue and the dead letters, as JSON between the processes and as the commands print it. Pure.

use std::collections::VecDeque;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::filter::LetterFilter;
use crate::deliver::{ChainStats, Parked};
use crate::queue::{
    Content, Damage, Inspection, Letter, LetterId, Letters, Quarantined, Queue, Segments, Verified,
};
use crate::readiness::full_sentence;

/// What a row shows of a record.
const SHOWN_CHARS: usize = 80;

/// The queue and its delivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct QueueReport {
    /// Whether an aggregator runs; what only it can know is left out otherwise.
    pub(super) running: bool,
    /// Entries that are not delivered.
    pub(super) entries: u64,
    /// Batches in them, or a segment more.
    pub(super) batches: u64,
    /// Entries being delivered.
    pub(super) leased: Option<usize>,
    /// What all segments take on the disk, but for those that are delivered and kept.
    pub(super) disk_bytes: u64,
    /// What those take.
    pub(super) retained_bytes: u64,
    /// How many there are of those.
    pub(super) retained_segments: u64,
    /// When the oldest segment that is not delivered began, milliseconds since 1970.
    pub(super) oldest_ms: Option<i64>,
    /// The last entry committed.
    pub(super) head: u64,
    /// Every entry up to this one is delivered.
    pub(super) delivered: u64,
    /// Segments that are written.
    pub(super) open_segments: u64,
    /// Segments that wait for delivery.
    pub(super) sealed_segments: u64,
    /// Segments that were found damaged, and are kept.
    pub(super) quarantined_segments: u64,
    /// Those that were found since the start; all where nothing runs.
    pub(super) quarantined: Vec<QuarantinedReport>,
    /// Why nothing is taken in.
    pub(super) full: Option<String>,
    /// How long the current commit has been running, in milliseconds.
    pub(super) commit_running_ms: Option<u64>,
    /// Commits that failed since the start.
    pub(super) failed_commits: Option<u64>,
    /// Entries that could not be read since the start.
    pub(super) lost_entries: Option<u64>,
    /// Why nothing is delivered now.
    pub(super) delivery_trouble: Option<String>,
    /// Dead letters.
    pub(super) dead_letters: Option<u64>,
    /// What waits in side chains, by index.
    pub(super) parked: Vec<ParkedReport>,
}

/// The documents of an index that takes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ParkedReport {
    /// Which.
    pub(super) index: String,
    /// Entries of its chain that are not delivered.
    pub(super) entries: u64,
    /// What the chain takes on the disk.
    pub(super) disk_bytes: u64,
}

/// A damaged segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct QuarantinedReport {
    /// Where it lies.
    pub(super) path: String,
    /// What is wrong; where nothing runs, nobody knows.
    pub(super) damage: Option<String>,
    /// The entries that it should hold, first and last.
    pub(super) range: Option<(u64, u64)>,
    /// How many of them could not be read.
    pub(super) lost: Option<usize>,
}

impl QueueReport {
    pub(super) fn of_running(
        queue: &Queue,
        letters: &Letters,
        parked: &Parked,
        delivery_trouble: Option<String>,
    ) -> Self {
        let stats = queue.stats();
        let mut quarantined = queue.quarantined();
        quarantined.extend(parked.quarantined());
        let Segments { open, sealed, quarantine, retained } = queue.segments();
        let millis = |running: std::time::Duration| running.as_millis() as u64;
        Self {
            running: true,
            entries: stats.entries,
            batches: stats.batches,
            leased: Some(stats.leased),
            disk_bytes: stats.disk_bytes,
            retained_bytes: stats.retained.bytes,
            retained_segments: retained,
            oldest_ms: stats.oldest_ms,
            head: stats.head.0,
            delivered: stats.delivered.0,
            open_segments: open,
            sealed_segments: sealed,
            quarantined_segments: quarantine,
            quarantined: quarantined.iter().map(QuarantinedReport::of).collect(),
            full: stats.full.map(|full| full_sentence(full).to_owned()),
            commit_running_ms: stats.commit_running.map(millis),
            failed_commits: Some(stats.failed_commits),
            lost_entries: Some(stats.lost_entries),
            delivery_trouble,
            dead_letters: Some(letters.stats().letters),
            parked: parked.stats().into_iter().map(ParkedReport::of).collect(),
        }
    }

    /// Of a queue that no process uses, and its side chains with their names.
    pub(super) fn of_files(found: &Inspection, parked: &[(String, Inspection)]) -> Self {
        let chain = |(index, found): &(String, Inspection)| ParkedReport {
            index: index.clone(),
            entries: found.entries,
            disk_bytes: found.disk_bytes,
        };
        let damaged = parked.iter().flat_map(|(_, found)| &found.quarantined);
        let path = |path: &std::path::PathBuf| QuarantinedReport {
            path: path.display().to_string(),
            damage: None,
            range: None,
            lost: None,
        };
        Self {
            running: false,
            entries: found.entries,
            batches: found.batches,
            leased: None,
            disk_bytes: found.disk_bytes,
            retained_bytes: found.retained_bytes,
            retained_segments: found.segments.retained,
            oldest_ms: found.oldest_ms,
            head: found.head.0,
            delivered: found.delivered.0,
            open_segments: found.segments.open,
            sealed_segments: found.segments.sealed,
            quarantined_segments: found.segments.quarantine,
            quarantined: found.quarantined.iter().chain(damaged).map(path).collect(),
            full: None,
            commit_running_ms: None,
            failed_commits: None,
            lost_entries: None,
            delivery_trouble: None,
            dead_letters: None,
            parked: parked.iter().map(chain).collect(),
        }
    }
}

impl ParkedReport {
    fn of(found: ChainStats) -> Self {
        let ChainStats { index, entries, disk_bytes, .. } = found;
        Self { index, entries, disk_bytes }
    }
}

impl QuarantinedReport {
    fn of(found: &Quarantined) -> Self {
        let damage = match found.damage {
            Damage::Unreadable => "sled cannot read it".to_owned(),
            Damage::Entries => "entries are missing or damaged".to_owned(),
            Damage::UnknownVersion(version) => format!("written by a newer release ({version})"),
        };
        Self {
            path: found.path.display().to_string(),
            damage: Some(damage),
            range: Some((found.range.start().0, found.range.end().0)),
            lost: Some(found.lost.len()),
        }
    }
}

/// Some letters, the newest, oldest of them first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LetterList {
    /// How many there are in all that were asked for.
    pub(super) total: u64,
    /// Those that were asked for.
    pub(super) letters: Vec<LetterRow>,
}

/// A letter without its whole record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LetterRow {
    /// Its number, `COMMIT.PLACE`: the same for as long as it is there.
    pub(super) number: String,
    /// The last attempt, milliseconds since 1970.
    pub(super) last_ms: i64,
    /// The first one.
    pub(super) first_ms: i64,
    /// The node that it came from.
    pub(super) node: String,
    /// The file that it was in, in hexadecimal.
    pub(super) file: String,
    /// Where in the uncompressed file it begins.
    pub(super) offset: u64,
    /// The namespace of its container; None for a host's file, and where it is not known.
    pub(super) namespace: Option<String>,
    /// Whether it holds all that is needed to try again.
    pub(super) whole: bool,
    /// The index that would not take it.
    pub(super) index: String,
    /// The id that it has there.
    pub(super) document_id: String,
    /// How often it was tried.
    pub(super) attempts: u32,
    /// Why it was given up.
    pub(super) reason: String,
    /// The record's first characters; bytes that are not UTF-8 are replaced.
    pub(super) text: String,
    /// The record's length.
    pub(super) record_bytes: usize,
}

/// A letter with its record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct WholeLetter {
    /// Everything else.
    pub(super) letter: LetterRow,
    /// The record as it was in the file, base64.
    pub(super) record: String,
}

impl LetterRow {
    fn of(id: LetterId, letter: &Letter) -> Self {
        let record = letter.record();
        let (file_id, offset) = letter.position();
        let head = &record[..record.len().min(4 * SHOWN_CHARS)];
        let text = String::from_utf8_lossy(head).chars().take(SHOWN_CHARS).collect();
        Self {
            number: id.to_string(),
            last_ms: letter.last_ms,
            first_ms: letter.first_ms,
            node: letter.node.clone(),
            file: file_id.iter().map(|byte| format!("{byte:02x}")).collect(),
            offset,
            namespace: letter.namespace().map(str::to_owned),
            whole: matches!(letter.content, Content::Frame(_)),
            index: letter.index.clone(),
            document_id: letter.document_id.clone(),
            attempts: letter.attempts,
            reason: letter.reason.clone(),
            text,
            record_bytes: record.len(),
        }
    }
}

impl WholeLetter {
    /// The record; None when the answer is not what it should be.
    pub(super) fn record(&self) -> Option<Vec<u8>> {
        STANDARD.decode(&self.record).ok()
    }
}

/// The newest of the letters that are asked for; all are read, and `limit` rows kept.
pub(super) fn newest(
    letters: impl Iterator<Item = (LetterId, Letter)>,
    filter: &LetterFilter,
    limit: usize,
) -> LetterList {
    let mut rows = VecDeque::new();
    let mut total = 0;
    for (id, letter) in letters.filter(|(id, letter)| filter.takes(*id, letter)) {
        total += 1;
        if rows.len() == limit {
            rows.pop_front();
        }
        if limit > 0 {
            rows.push_back(LetterRow::of(id, &letter));
        }
    }
    LetterList { total, letters: rows.into() }
}

/// A letter as it is shown.
pub(super) fn whole(id: LetterId, letter: &Letter) -> WholeLetter {
    WholeLetter { letter: LetterRow::of(id, letter), record: STANDARD.encode(letter.record()) }
}

/// One segment of a chain, as it was verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SegmentReport {
    /// Where it lies.
    pub(super) path: String,
    /// `open`, `sealed`, `done` or `quarantine`.
    pub(super) state: String,
    /// The first entry that it should hold.
    pub(super) first: u64,
    /// The last one, as far as anybody knows.
    pub(super) last: Option<u64>,
    /// Entries that are whole.
    pub(super) entries: u64,
    /// Batches, or letters, in them.
    pub(super) batches: u64,
    /// Bytes of their content.
    pub(super) bytes: u64,
    /// What it takes on the disk.
    pub(super) disk_bytes: u64,
    /// Entries that are lost, as ranges, first and last.
    pub(super) lost: Vec<(u64, u64)>,
    /// Bytes after the last whole entry of an open segment.
    pub(super) torn_bytes: u64,
    /// What is wrong, in words.
    pub(super) damage: Vec<String>,
}

impl SegmentReport {
    pub(super) fn of(found: &Verified) -> Self {
        Self {
            path: found.path.display().to_string(),
            state: found.state.to_owned(),
            first: found.first.0,
            last: found.last.map(|last| last.0),
            entries: found.entries,
            batches: found.batches,
            bytes: found.bytes,
            disk_bytes: found.disk_bytes,
            lost: found.lost.iter().map(|(first, last)| (first.0, last.0)).collect(),
            torn_bytes: found.torn_bytes,
            damage: found.damage.clone(),
        }
    }

    /// Whether something is wrong with it.
    pub(super) fn is_damaged(&self) -> bool {
        !self.damage.is_empty() || !self.lost.is_empty()
    }
}

/// A segment in quarantine, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct DiscardReport {
    /// Where it lay.
    pub(super) path: String,
    /// What it took of the disk.
    pub(super) bytes: u64,
    /// It stays: entries of it wait for delivery.
    pub(super) waits: bool,
}
