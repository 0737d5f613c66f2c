//! Whether one of two files of a container was copied of the other.

use std::fs::File;
use std::os::unix::fs::FileExt;

use naru_proto::ids::FileId;

use super::file::Content;
use super::source::SourceTail;

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
