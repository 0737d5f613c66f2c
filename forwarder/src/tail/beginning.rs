//! Files that another collector has read, or that are too old, do not begin at their start.

use std::io::Read;
use std::os::unix::fs::DirEntryExt;
use std::path::Path;
use std::time::Instant;

use naru_proto::limits::RECORD_MAX_BYTES;

use super::Tailer;
use super::adopt::{date, gzip_size};
use super::file::{Content, TailedFile};
use super::source::{Place, SourceTail};
use crate::clock;
use crate::config::Config;
use crate::discover::beginning::Beginning;
use crate::discover::host::HostPattern;
use crate::discover::pods::Order;
use crate::identity;

/// Longer is no `pos_file`.
const POS_FILE_MAX_BYTES: u64 = 64 << 20;

/// Reads what the configuration names. What is wrong with it is said, and never stops a start.
pub(super) fn load(config: &Config) -> Beginning {
    let ago = |since: &crate::config::Since| since.before(clock::now_ns());
    let mut beginning = Beginning::since(config.since.as_ref().map(ago));
    let containers = config.containers.iter().filter_map(|found| found.pos_file.as_ref());
    let files = config.files.iter().filter_map(|input| input.pos_file.as_ref());
    for path in containers.chain(files).flat_map(HostPattern::files) {
        match read(&path) {
            Ok((text, written_ns)) => {
                for (line, reason) in beginning.take_over(&text, written_ns) {
                    let at = format!("{}:{line}", path.display());
                    tracing::warn!(at, reason, "a line of a pos_file is passed over");
                }
            }
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "a pos_file cannot be read");
            }
        }
    }
    beginning
}

fn read(path: &Path) -> std::io::Result<(Vec<u8>, i64)> {
    let name = Path::new(path.file_name().unwrap_or_default());
    let (file, stat) = identity::open_beneath(path.parent().unwrap_or(Path::new("/")), name)?;
    let mut text = Vec::new();
    file.take(POS_FILE_MAX_BYTES).read_to_end(&mut text)?;
    Ok((text, stat.modified_ns))
}

impl Tailer {
    /// Moves the files of a source that nobody knew before to where they begin; `complete` when all could be opened.
    pub(super) fn begin(&mut self, index: usize, complete: bool) {
        let Some(source) = self.sources.get_mut(index).filter(|source| source.is_new) else {
            return;
        };
        if self.beginning.is_always_the_start() {
            source.is_new = false;
            return;
        }
        let SourceTail { source: of, files, .. } = &mut *source;
        let positions: Vec<Option<u64>> = files
            .iter()
            .map(|file| self.beginning.position(of, file.identity?, file.size))
            .collect();
        let reached = positions.iter().position(Option::is_some);
        for (at, (file, position)) in files.iter_mut().zip(positions).enumerate() {
            if std::mem::replace(&mut file.placed, true) {
                continue;
            }
            match (position, reached) {
                (Some(offset), _) => file.begin_at_line_of(offset),
                // Fluentd goes on to the next file when it is done with one.
                (None, Some(reached)) if at < reached => file.begin_at_end(),
                (None, Some(_)) => {}
                (None, None) if self.beginning.is_too_old(file.modified_ns) => file.begin_at_end(),
                (None, None) => {}
            }
        }
        source.unsaved = true;
        source.is_new = !complete || source.files.is_empty();
    }

    /// Finds the file that another collector has read under a host path: it may have another name by now.
    pub(super) fn begin_host(&mut self, index: usize, now: Instant) {
        let Some(source) = self.sources.get_mut(index) else { return };
        let Place::Host { path, .. } = &source.place else { return };
        let Some((inode, written_ns)) = self.beginning.inode_of(Path::new(path)) else { return };
        let path = Path::new(path);
        let Some(directory) = path.parent() else { return };
        let mut names = std::fs::read_dir(directory).into_iter().flatten().flatten();
        let named = names.find(|entry| entry.ino() == inode).map(|entry| entry.file_name());
        let opened = named.and_then(|name| {
            let (handle, stat) = identity::open_beneath(directory, Path::new(&name)).ok()?;
            (stat.identity.birth_ns <= written_ns).then_some((name, handle, stat))
        });
        let Some((name, handle, stat)) = opened else {
            let path = path.display();
            tracing::warn!(%path, "the file that Fluentd has read is not there; its path is read from the start");
            return;
        };
        let mut file = TailedFile::new(name.to_string_lossy().into_owned(), Order::Live, now);
        date(&mut file, &stat, now);
        file.identity = Some(stat.identity);
        file.content = Content::Plain(handle);
        source.files.push(file);
    }
}

impl TailedFile {
    /// At the start of the line that an offset is in: what came before it was read as lines of their own.
    fn begin_at_line_of(&mut self, offset: u64) {
        let window = offset.min(RECORD_MAX_BYTES as u64);
        let before = self.bytes_up_to(offset - window, window as usize).unwrap_or_default();
        let line = match memchr::memrchr(b'\n', &before) {
            Some(newline) => offset - window + newline as u64 + 1,
            None if window == offset => 0,
            // A line of more than a record.
            None => offset,
        };
        self.begin_at(line);
    }

    fn begin_at_end(&mut self) {
        if let Content::Gzip(file, _) = &self.content {
            self.size = gzip_size(file).map_or(self.size, u64::from);
            self.content = Content::Closed;
            self.passed = true;
        }
        self.begin_at(self.size);
    }

    fn begin_at(&mut self, offset: u64) {
        (self.read, self.acknowledged) = (offset, offset);
    }
}
