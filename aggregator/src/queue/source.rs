//! Reads the entries of one segment: of the open one by the sled that writes it, of a closed one past sled, by what the scan
//! found. sled never opens a segment again: where one byte of its own is wrong, it overwrites entries that are whole.

use std::fs::File;
use std::io;
use std::sync::Arc;

use bytes::Bytes;

use super::chain::{Chain, Damage, Known, Live};
use super::entry::Sequence;
use super::layout::State;
use super::manifest::{Identity, Summary};
use super::part::{self, Kind};
use super::recover::{damage, lost};
use super::scan::{self, Found};
use super::segment::Segment;

/// The segment that is being read.
pub(super) struct Source {
    pub(super) summary: Summary,
    place: Place,
}

enum Place {
    /// Still written, or written by this process and held since.
    Live(Arc<Live>),
    Closed(Closed),
}

struct Closed {
    found: Found,
    db: Option<File>,
}

/// An entry as it was committed.
pub(super) struct Stored {
    pub(super) kind: Kind,
    pub(super) body: Bytes,
}

impl Source {
    /// Opens a segment of the chain; damage is reported, and what is whole can be read.
    pub(super) fn open(chain: &Chain, summary: Summary, known: &Known) -> Self {
        let place = match &known.live {
            Some(live) => Place::Live(Arc::clone(live)),
            None => Place::Closed(closed(chain, &summary, known.state)),
        };
        Self { summary, place }
    }

    /// Whether the entry is in this segment, which may have grown since it was opened.
    pub(super) fn holds(&self, sequence: Sequence) -> bool {
        match &self.place {
            Place::Live(live) => live.first_key(sequence).is_some(),
            Place::Closed(_) => (self.summary.first..=self.summary.last).contains(&sequence),
        }
    }

    /// The entry, or `None` if it is lost (which is then reported).
    pub(super) fn read(&mut self, chain: &Chain, sequence: Sequence) -> Option<Stored> {
        match &mut self.place {
            Place::Live(live) => live_entry(chain, live, sequence),
            Place::Closed(closed) => closed.entry(chain, &self.summary, sequence),
        }
    }
}

fn closed(chain: &Chain, summary: &Summary, state: State) -> Closed {
    let dir = chain.layout.segment(state, summary.first);
    let identity = Identity::load(&dir, summary.first);
    let db = File::open(dir.join("db")).ok();
    let scanned = scan::scan(&dir.join("db"), identity.map(|identity| identity.salt));
    let found = scanned.unwrap_or_else(|error| {
        tracing::error!(%error, segment = %summary.first, "could not read a segment");
        Found::default()
    });
    let lost = lost(&found, summary);
    if state == State::Quarantine {
        // Moved by an earlier start, and not yet delivered as far as it can be.
        chain.report(state, summary.first..=summary.last, damage(&found), lost);
    } else if !lost.is_empty() || found.version.is_some() {
        chain.quarantine(*summary, damage(&found), lost);
    } else if identity.is_none() {
        chain.quarantine(*summary, Damage::Unreadable, Vec::new());
    }
    Closed { found, db }
}

impl Closed {
    fn entry(&mut self, chain: &Chain, summary: &Summary, sequence: Sequence) -> Option<Stored> {
        let place = self.found.entries.get(&sequence)?;
        match scan::read(self.db.as_ref()?, sequence, place) {
            Ok(Some(body)) => Some(Stored { kind: place.kind, body: body.into() }),
            Ok(None) | Err(_) => {
                // It was whole when it was scanned: the disk fails as we read.
                chain.quarantine(*summary, Damage::Entries, vec![sequence]);
                None
            }
        }
    }
}

fn live_entry(chain: &Chain, live: &Live, sequence: Sequence) -> Option<Stored> {
    let first_key = live.first_key(sequence)?;
    if let Some(stored) = sled_entry(&live.segment, live.identity.salt, sequence, first_key) {
        return Some(stored);
    }
    let stored = salvage(chain, live, sequence).ok().flatten();
    let lost = if stored.is_some() { Vec::new() } else { vec![sequence] };
    let summary = chain.at_or_after(sequence).map(|(summary, _)| summary)?;
    chain.quarantine(summary, Damage::Unreadable, lost);
    stored
}

/// Reads one entry of the open segment past sled.
fn salvage(chain: &Chain, live: &Live, sequence: Sequence) -> io::Result<Option<Stored>> {
    let db = live.db_path(chain);
    let found = scan::scan(&db, Some(live.identity.salt))?;
    let Some(place) = found.entries.get(&sequence) else { return Ok(None) };
    let body = scan::read(&File::open(&db)?, sequence, place)?;
    Ok(body.map(|body| Stored { kind: place.kind, body: body.into() }))
}

/// The entry as sled has it; `None` if sled fails, or gives anything but that entry.
fn sled_entry(segment: &Segment, salt: u64, sequence: Sequence, first_key: u32) -> Option<Stored> {
    let mut body = Vec::new();
    let mut number = 0;
    loop {
        let value = match segment.get(first_key + u32::from(number)) {
            Ok(value) => value?,
            Err(error) => {
                tracing::warn!(?error, %sequence, "sled cannot read an entry");
                return None;
            }
        };
        let (header, payload) = part::decode(&value).ok()?;
        if (header.sequence, header.salt, header.part) != (sequence, salt, number) {
            return None;
        }
        if number == 0 {
            body.reserve_exact(payload.len() * usize::from(header.parts));
        }
        body.extend_from_slice(payload);
        number += 1;
        if number == header.parts {
            return Some(Stored { kind: header.kind, body: body.into() });
        }
    }
}
