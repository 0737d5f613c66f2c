//! A daemon's log file on the host, and what logrotate does to it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use naru_proto::frame::{IoStream, Writer};

use crate::ledger::{Ledger, Written};
use crate::line::LineKey;

/// A host file that is written to.
#[derive(Debug)]
pub struct HostLog {
    path: PathBuf,
    file: File,
    ledger: Ledger,
    number: u32,
    next: u64,
}

impl HostLog {
    /// Opens it, and creates it where it is missing.
    #[must_use]
    pub fn open(path: &Path, ledger: &Ledger) -> Self {
        let writer = Writer::HostFile { path: path.to_str().unwrap().to_owned() };
        Self {
            file: append(path),
            path: path.to_owned(),
            number: ledger.register(writer),
            ledger: ledger.clone(),
            next: 0,
        }
    }

    /// A line with its key and what follows it. A host file has one iostream; the ledger calls it stdout.
    pub fn line(&mut self, text: impl AsRef<str>) -> LineKey {
        self.keyed_line(|key| format!("{key} {}", text.as_ref()))
    }

    /// The same with the key behind the text: lines of many files begin alike.
    pub fn line_after(&mut self, text: &str) -> LineKey {
        self.keyed_line(|key| format!("{text} {key}"))
    }

    fn keyed_line(&mut self, text: impl FnOnce(LineKey) -> String) -> LineKey {
        let key = LineKey { container: self.number, iostream: IoStream::Stdout, number: self.next };
        self.next += 1;
        let text = text(key);
        self.ledger.place(key, self.file.metadata().unwrap().len());
        self.file.write_all(format!("{text}\n").as_bytes()).unwrap();
        self.ledger.count_bytes(text.len() + 1);
        self.ledger.write(key, Written { text, time_ns: None });
        key
    }

    /// logrotate's `create`, up to the signal to the daemon, which writes on into the renamed file until [`Self::reopen`].
    pub fn rename(&mut self, keep: usize, compress: bool) {
        self.make_room(keep, compress);
        fs::rename(&self.path, self.rotated(1)).unwrap();
    }

    /// The daemon has been told.
    pub fn reopen(&mut self) {
        self.file = append(&self.path);
    }

    /// logrotate's `copytruncate`. Nothing is written between the copy and the truncation: that is the daemon's luck.
    pub fn copy_and_truncate(&mut self, keep: usize, compress: bool) {
        self.make_room(keep, compress);
        fs::copy(&self.path, self.rotated(1)).unwrap();
        OpenOptions::new().write(true).open(&self.path).unwrap().set_len(0).unwrap();
    }

    /// Deletes it and makes it anew, as a daemon does that is started again.
    pub fn delete_and_create(&mut self) {
        // The one that stopped holds it no more: its inode is free.
        self.file = File::open("/dev/null").unwrap();
        fs::remove_file(&self.path).unwrap();
        self.reopen();
    }

    /// `X.2.gz` → `X.3.gz` and so on; with `delaycompress`, `X.1` becomes `X.2.gz` only now.
    fn make_room(&self, keep: usize, compress: bool) {
        for generation in (1..=keep).rev() {
            for gzipped in [false, true] {
                let from = name(&self.rotated(generation), gzipped);
                if !from.exists() {
                    continue;
                }
                if generation == keep {
                    fs::remove_file(from).unwrap();
                    continue;
                }
                let to = name(&self.rotated(generation + 1), gzipped);
                fs::rename(from, &to).unwrap();
                if compress && !gzipped {
                    gzip(&to);
                }
            }
        }
    }

    fn rotated(&self, generation: usize) -> PathBuf {
        format!("{}.{generation}", self.path.display()).into()
    }
}

fn name(plain: &Path, gzipped: bool) -> PathBuf {
    if gzipped { format!("{}.gz", plain.display()).into() } else { plain.to_owned() }
}

fn gzip(plain: &Path) {
    let compressed = File::create(name(plain, true)).unwrap();
    let mut encoder = GzEncoder::new(compressed, Compression::default());
    io::copy(&mut File::open(plain).unwrap(), &mut encoder).unwrap();
    encoder.finish().unwrap();
    fs::remove_file(plain).unwrap();
}

fn append(path: &Path) -> File {
    OpenOptions::new().append(true).create(true).open(path).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn it_is_rotated_as_logrotate_does() {
        let directory = tempfile::tempdir().unwrap();
        let ledger = Ledger::default();
        let path = directory.path().join("x.log");
        let mut log = HostLog::open(&path, &ledger);
        for _ in 0..4 {
            log.line("before");
            log.rename(3, true);
            log.line("into the renamed file");
            log.reopen();
        }
        assert_eq!(names(directory.path()), ["x.log", "x.log.1", "x.log.2.gz", "x.log.3.gz"]);
        let newest = fs::read_to_string(directory.path().join("x.log.1")).unwrap();
        assert_eq!(newest, "[[0 stdout 6]] before\n[[0 stdout 7]] into the renamed file\n");
        log.line("live");
        log.copy_and_truncate(3, false);
        assert_eq!(fs::metadata(&path).unwrap().len(), 0);
        log.line("after");
        assert_eq!(fs::read_to_string(&path).unwrap(), "[[0 stdout 9]] after\n");
        log.delete_and_create();
        assert_eq!((fs::metadata(&path).unwrap().len(), ledger.written()), (0, 10));
    }
}
