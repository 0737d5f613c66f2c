//! A compressed file, read forwards: its bytes are those of the file that was compressed.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use flate2::read::MultiGzDecoder;

/// Reads a file forwards from its start. Its position is its own: descriptors of one opening share theirs.
struct Forwards {
    file: File,
    offset: u64,
}

impl Read for Forwards {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }
}

/// A compressed file, read forwards.
pub(super) struct GzipReader {
    file: File,
    decoder: MultiGzDecoder<Forwards>,
    /// Decompressed and not consumed.
    ahead: Vec<u8>,
    /// The offset of its first byte.
    position: u64,
    /// What ends the bytes that can be had, when it is not the end of the file.
    pub(super) damage: Option<io::ErrorKind>,
}

/// Decompressed at once.
const GZIP_STEP_BYTES: usize = 64 << 10;

impl GzipReader {
    pub(super) fn new(file: File) -> io::Result<Self> {
        let from_start = Forwards { file: file.try_clone()?, offset: 0 };
        Ok(Self {
            file,
            decoder: MultiGzDecoder::new(from_start),
            ahead: Vec::new(),
            position: 0,
            damage: None,
        })
    }

    /// The first bytes of a compressed file; the error of a damaged one.
    pub(super) fn head(file: &File, want: usize) -> io::Result<Vec<u8>> {
        let mut reader = Self::new(file.try_clone()?)?;
        Ok(reader.peek(want)?.to_vec())
    }

    pub(super) fn seek(&mut self, offset: u64) -> io::Result<()> {
        if offset < self.position {
            *self = Self::new(self.file.try_clone()?)?;
        }
        while self.position < offset {
            let skip = usize::try_from(offset - self.position).unwrap_or(usize::MAX);
            let available = self.peek(GZIP_STEP_BYTES)?.len();
            if available == 0 {
                return Err(self.damage.unwrap_or(io::ErrorKind::UnexpectedEof).into());
            }
            self.consume(skip.min(available));
        }
        Ok(())
    }

    pub(super) fn peek(&mut self, want: usize) -> io::Result<&[u8]> {
        while self.ahead.len() < want && self.damage.is_none() {
            let filled = self.ahead.len();
            self.ahead.resize(filled + GZIP_STEP_BYTES, 0);
            let read = self.decoder.read(self.ahead.get_mut(filled..).unwrap_or_default());
            self.ahead.truncate(filled + *read.as_ref().unwrap_or(&0));
            match read {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if self.ahead.is_empty() && self.position == 0 => return Err(error),
                // What came before it is sound: each block has its own end.
                Err(error) => self.damage = Some(error.kind()),
            }
        }
        Ok(self.ahead.get(..want).unwrap_or(&self.ahead))
    }

    pub(super) fn consume(&mut self, count: usize) {
        let count = count.min(self.ahead.len());
        self.ahead.drain(..count);
        self.position += count as u64;
    }
}
