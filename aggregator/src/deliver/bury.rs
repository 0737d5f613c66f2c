//! Documents that will never be taken, on their way to the dead letters: each with its record in a frame of its own, so that it
//! can be tried again.

use naru_proto::batch;
use zstd_safe::DCtx;

use super::entry::Token;
use crate::clock;
use crate::elasticsearch::bulk::Item;
use crate::queue::{Content, Letter, LetterError, Letters, StoredBatch, Tried};

/// A document that will never be taken: to be settled once its letter is durable.
pub(super) struct Refused {
    pub(super) letter: Letter,
    pub(super) token: Token,
}

impl Refused {
    pub(super) fn new(item: Item<Token>, index: &str, reason: String) -> Self {
        let now_ms = clock::now_ms();
        let letter = Letter {
            content: Content::Bytes {
                bytes: item.record,
                file_id: item.file.0,
                offset: item.offset,
            },
            node: item.token.node().to_owned(),
            index: index.to_owned(),
            document_id: item.id.as_str().to_owned(),
            reason,
            attempts: item.refusals + 1,
            first_ms: now_ms,
            last_ms: now_ms,
        };
        Self { letter, token: item.token }
    }
}

/// What is written down of documents that will never be taken.
#[derive(Default)]
pub(super) struct Burial {
    new: Vec<Letter>,
    /// Letters that were tried again, in vain.
    again: Vec<Tried>,
}

impl Burial {
    /// Of these documents, whose records are taken out of the batches that they came in.
    pub(super) fn of(dead: &[Refused]) -> Self {
        let mut burial = Self::default();
        let mut context = DCtx::create();
        for beside in dead.chunk_by(|one, next| one.token.is_beside(&next.token)) {
            let stored = beside.first().and_then(|refused| refused.token.stored());
            let frames = stored
                .map(|stored| batch::frames(&mut context, &stored.body, stored.raw_bytes as usize));
            // They were read before; a letter without its frame can still be shown.
            let frames = frames.and_then(Result::ok).unwrap_or_default();
            for Refused { letter, token } in beside {
                if let Some(id) = token.letter() {
                    let Letter { attempts, last_ms, reason, .. } = letter.clone();
                    burial.again.push(Tried { id, attempts, at_ms: last_ms, reason });
                    continue;
                }
                let place = token.place();
                let record = place.record as usize;
                let frame = frames.get(place.frame as usize);
                let mut letter = letter.clone();
                if let Some(frame) = frame.and_then(|frame| frame.part(record..record + 1)) {
                    letter.content = Content::Frame(Box::new(frame));
                }
                burial.new.push(letter);
            }
        }
        burial
    }

    pub(super) fn count(&self) -> u64 {
        (self.new.len() + self.again.len()) as u64
    }

    /// An index and a reason among them.
    pub(super) fn example(&self) -> Option<(&str, &str)> {
        let new = self.new.first().map(|letter| (letter.index.as_str(), letter.reason.as_str()));
        new.or_else(|| self.again.first().map(|tried| ("", tried.reason.as_str())))
    }

    /// Durable on return. After an error some may have been kept. Blocking.
    pub(super) fn keep(&self, letters: &Letters) -> Result<(), LetterError> {
        if !self.new.is_empty() {
            letters.append_all(&self.new)?;
        }
        if !self.again.is_empty() {
            letters.tried(&self.again)?;
        }
        Ok(())
    }
}

/// A batch that was checked before it was acknowledged and cannot be read now: a fault of ours, kept whole.
pub(super) fn bury_batch(
    letters: &Letters,
    stored: &StoredBatch,
    error: &batch::BatchError,
) -> Result<(), LetterError> {
    tracing::error!(%error, node = stored.node, records = stored.records,
        "a queued batch cannot be decoded; it is kept among the dead letters");
    letters.append(&Letter {
        content: Content::Bytes { bytes: stored.body.clone(), file_id: [0; 12], offset: 0 },
        node: stored.node.clone(),
        index: String::new(),
        document_id: String::new(),
        reason: format!("a batch of {} records: {error}", stored.records),
        attempts: 1,
        first_ms: stored.received_ms,
        last_ms: clock::now_ms(),
    })?;
    Ok(())
}
