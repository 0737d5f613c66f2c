//! A container that docker runs: its log is a file of JSON lines in docker's own directory, which docker rotates, and the
//! kubelet's directory has a link to it.
//!
//! As `moby/daemon/logger/jsonfilelog` and `loggerutils/logfile.go` do it: a line of more than 16 KiB is written in pieces,
//! of which only the last has the newline.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use naru_proto::frame::IoStream;
use serde_json::json;

use super::clock::{Clock, Zone};
use super::envelope::{Tag, fragments};
use crate::ledger::{Ledger, Writer, Written};
use crate::line::{LineKey, iostream_name};

/// `max-file`: the live file and the rotated ones.
const MAX_FILES: u32 = 5;

/// See the module.
#[derive(Debug)]
pub struct DockerContainer {
    writer: Writer,
    number: u32,
    /// Where the kubelet's link is.
    link: PathBuf,
    log: PathBuf,
    file: File,
    ledger: Ledger,
    clock: Arc<Clock>,
    next: [u64; 2],
}

impl DockerContainer {
    pub(super) fn start(
        pods: &Path,
        docker: &Path,
        started: u32,
        writer: Writer,
        ledger: &Ledger,
        clock: &Arc<Clock>,
    ) -> Self {
        let id = format!("{started:08x}").repeat(8);
        let directory = docker.join(&id);
        fs::create_dir_all(&directory).unwrap();
        let log = directory.join(format!("{id}-json.log"));
        let file = append(&log);
        let of = pods
            .join(format!("{}_{}_{}", writer.namespace, writer.pod, writer.uid))
            .join(&writer.container);
        fs::create_dir_all(&of).unwrap();
        let link = of.join(format!("{}.log", writer.restart));
        symlink(&log, &link).unwrap();
        let (ledger, clock) = (ledger.clone(), Arc::clone(clock));
        let number = ledger.register(writer.clone());
        Self { writer, number, link, log, file, ledger, clock, next: [0; 2] }
    }

    /// Who it is.
    #[must_use]
    pub fn writer(&self) -> &Writer {
        &self.writer
    }

    /// A line of a key and what follows it, in as many pieces as it takes.
    pub fn line(&mut self, iostream: IoStream, text: impl AsRef<str>) -> LineKey {
        let next = &mut self.next[usize::from(iostream == IoStream::Stderr)];
        let key = LineKey { container: self.number, iostream, number: *next };
        *next += 1;
        let content = format!("{key} {}", text.as_ref());
        self.ledger.place(key, self.file.metadata().unwrap().len());
        let mut first_time = None;
        for (tag, piece) in fragments(content.as_bytes()) {
            let time_ns = self.clock.tick();
            first_time.get_or_insert(time_ns);
            let end = if tag == Tag::Full { "\n" } else { "" };
            // docker too cuts wherever 16 KiB are full.
            let log = format!("{}{end}", String::from_utf8_lossy(piece));
            let line = json!({
                "log": log,
                "stream": iostream_name(iostream),
                "time": Zone::Utc.rfc3339_nano(time_ns),
            });
            let line = format!("{line}\n");
            self.file.write_all(line.as_bytes()).unwrap();
            self.ledger.count_bytes(line.len());
        }
        self.ledger.write(key, Written { text: content, time_ns: first_time });
        key
    }

    /// docker's rotation: `.1` becomes `.2` and so on, the live file `.1`; the oldest is deleted.
    pub fn rotate(&mut self) {
        let rotated = |number: u32| PathBuf::from(format!("{}.{number}", self.log.display()));
        for number in (0..MAX_FILES - 1).rev() {
            let from = if number == 0 { self.log.clone() } else { rotated(number) };
            if from.exists() {
                fs::rename(from, rotated(number + 1)).unwrap();
            }
        }
        self.file = append(&self.log);
    }

    /// The pod is deleted: the kubelet's link, then docker's directory.
    pub fn delete_pod(self) {
        fs::remove_dir_all(self.link.parent().unwrap().parent().unwrap()).unwrap();
        fs::remove_dir_all(self.log.parent().unwrap()).unwrap();
    }
}

fn append(path: &Path) -> File {
    OpenOptions::new().append(true).create(true).open(path).unwrap()
}
