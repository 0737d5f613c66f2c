//! Whether one of two files was copied of the other: of a container's two files, or of two host paths that are sources of
//! their own.
//!
//! `copytruncate` makes a copy under a name that a pattern of `files` may match as well. What it holds was read of the file
//! that it was made of, or is read from the copy in that file's place: it is no source's own.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use naru_proto::ids::FileId;

use super::Tailer;
use super::file::{Content, GUARD_BYTES, TailedFile};
use super::hosts::open_live;
use super::siblings::{COMPARED_BYTES, alike};
use super::source::{Place, SourceTail};
use crate::discover::rotated::rotated;
use crate::identity;

impl Tailer {
    /// Whether what stands at a source's host path was copied of another source's file.
    pub(super) fn is_copy_at(&self, index: usize) -> bool {
        let Some(Place::Host { path, .. }) = self.sources.get(index).map(|source| &source.place)
        else {
            return false;
        };
        let path = Path::new(path);
        let kin = self.sources.iter().filter(|(other, source)| {
            let Place::Host { path: of, .. } = &source.place else { return false };
            *other != index && is_rotated_name(Path::new(of), path)
        });
        let mut kin = kin.map(|(_, source)| source).peekable();
        if kin.peek().is_none() {
            return false;
        }
        let Ok(Some((handle, stat))) = open_live(path) else { return false };
        let content = Content::Plain(handle);
        kin.any(|of| of.files.iter().any(|file| file.is_copied_by(&content, stat.size)))
    }
}

fn is_rotated_name(of: &Path, path: &Path) -> bool {
    let names = of.file_name().zip(path.file_name());
    of.parent() == path.parent()
        && names.is_some_and(|(of, name)| {
            rotated(&of.to_string_lossy(), &name.to_string_lossy()).is_some()
        })
}

impl TailedFile {
    /// Whether other content is that of a copy, complete or not. Of a file that has what it had, everything is there to be
    /// compared with, and a copy has no more; else there is what was read.
    fn is_copied_by(&self, other: &Content, size: u64) -> bool {
        if let Content::Plain(handle) = &self.content
            && self.holds_what_was_read(&self.content)
        {
            let length = size.min(COMPARED_BYTES as u64);
            return length > 0
                && identity::stat(handle).is_ok_and(|stat| size <= stat.size)
                && alike(&self.content, other, 0, length as usize)
                && alike(&self.content, other, size - length, length as usize);
        }
        self.is_well_known() && self.holds_what_was_read(other)
    }

    /// Enough was read of it to tell its content from any other.
    pub(super) fn is_well_known(&self) -> bool {
        let guard = self.saved_guard.map_or(self.guard.len(), |saved| usize::from(saved.length));
        guard >= GUARD_BYTES && self.head.length > 0
    }
}

impl SourceTail {
    /// Whether a file and the one that has this id begin alike to the end of the shorter.
    pub(super) fn is_copy_of(&self, id: FileId, at: usize) -> bool {
        let known = self.files.iter().position(|file| file.id == Some(id));
        match (known, self.files.get(at).map(|file| &file.content)) {
            (Some(known), Some(Content::Plain(other))) => self.is_copy(known, other),
            _ => false,
        }
    }

    /// Whether one of two files is a prefix of the other.
    pub(super) fn is_copy(&self, index: usize, other: &File) -> bool {
        let mut buffer = vec![0; 64 << 10];
        let Some(known) = self.files.get(index) else { return false };
        if !known.is_open() {
            // Nothing to compare with: a file that is read to its end, or one that was truncated.
            return !known.gone;
        }
        let mut offset = 0;
        loop {
            let Ok(count) = other.read_at(&mut buffer, offset) else { return false };
            let Some(bytes) = buffer.get(..count).filter(|bytes| !bytes.is_empty()) else {
                return true;
            };
            match known.bytes_up_to(offset, count) {
                Ok(same) if bytes.starts_with(&same) => {
                    if same.len() < count {
                        return true;
                    }
                }
                _ => return false,
            }
            offset += count as u64;
        }
    }
}
