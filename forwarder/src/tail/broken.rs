//! Files that do not hold any more what they held: truncated, damaged, or gone with what a record waits for. What is lost
//! by it is declared.

use std::time::Instant;

use naru_proto::frame::Extent;
use naru_proto::wire::GapReason;

use super::Tailer;
use super::adopt::is_damage;
use super::file::{Content, TailedFile};
use super::gaps::Loss;
use super::hosts::Copied;

impl Tailer {
    /// A file lost bytes that were read, or holds others: what it holds now is another file. What it held may stand in a
    /// copy that was made of it before.
    pub(super) fn truncated(&mut self, index: usize, at: usize, now: Instant) {
        let others = self.other_hosts();
        let Some(source) = self.sources.get_mut(index) else { return };
        let Some(file) = source.files.get_mut(at) else { return };
        let mut fresh = TailedFile::new(file.name.clone(), file.order.clone(), now);
        // A restart must not take the new content for the rest of the old.
        fresh.identity = file.identity.take();
        fresh.content = std::mem::replace(&mut file.content, Content::Closed);
        fresh.gone = file.gone;
        fresh.placed = true;
        let seen = file.size;
        let Copied { end: copied, files, damaged } = source.take_copy(at, &others, index, now);
        let Some(file) = source.files.get_mut(at) else { return };
        let unread = seen > file.read;
        let mut loss = Loss {
            file: file.id,
            start: file.read,
            end_exclusive: None,
            last_known_size: seen,
            reason: GapReason::Truncated,
        };
        if let Some(copied) = copied {
            // What was written between the copy and the truncation is in neither.
            loss.start = copied;
        } else {
            (file.passed, file.gone, file.given_up) = (true, true, true);
            file.size = file.read;
        }
        source.files.insert(at + 1 + files, fresh);
        tracing::warn!(
            path = %self.path_of(index, at),
            unread,
            copied = copied.is_some(),
            "a log file was truncated; it is read from its start"
        );
        self.lost(index, &loss);
        self.declare_damaged(index, damaged);
    }

    /// A file that was open cannot be read.
    pub(super) fn unreadable(&mut self, index: usize, at: usize, error: &std::io::Error) {
        let path = self.path_of(index, at);
        let Some(file) = self.sources.get_mut(index).and_then(|s| s.files.get_mut(at)) else {
            return;
        };
        if !file.is_gzip() || !is_damage(error) {
            // The disk may recover.
            file.content = Content::Closed;
            self.look_again(index);
            let log = self.log_path(index, at);
            self.report(log, error);
            return;
        }
        file.passed = true;
        let known = std::mem::replace(&mut file.given_up, true);
        file.content = Content::Closed;
        let loss = Loss {
            file: file.id,
            start: file.read,
            end_exclusive: None,
            last_known_size: file.size.max(file.read),
            reason: GapReason::Damaged,
        };
        file.size = file.read;
        if !known {
            tracing::error!(%path, %error, "a compressed log file is damaged; the rest of it is lost");
            self.lost(index, &loss);
        }
    }

    /// Bytes that a restarted cutter should hold, and that are gone.
    pub(super) fn lost_extents(&mut self, index: usize, gone: Vec<Extent>) {
        for extent in gone {
            self.lost(
                index,
                &Loss {
                    file: Some(extent.file),
                    start: extent.start,
                    end_exclusive: Some(extent.end_exclusive()),
                    last_known_size: extent.end_exclusive(),
                    reason: GapReason::Deleted,
                },
            );
        }
    }
}
