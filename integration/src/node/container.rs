//! A container instance and the two goroutines of containerd that write its log.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use naru_proto::frame::IoStream;

use super::clock::{Clock, Zone};
use super::envelope::{Tag, fragments, physical};
use crate::ledger::{Ledger, Writer, Written};
use crate::line::{LineKey, iostream_name};

/// One run of a container.
#[derive(Debug)]
pub struct Container {
    pods: PathBuf,
    writer: Writer,
    number: u32,
    /// The name may have been taken from it by a rotation: writes go on into it until [`Self::reopen`].
    file: File,
    ledger: Ledger,
    clock: Arc<Clock>,
    zone: Zone,
    next: [u64; 2],
    /// Of each iostream, a line that has begun: its key, its text so far, its first time.
    open: [Option<(LineKey, Vec<u8>, i64)>; 2],
    physical_lines: u64,
}

impl Container {
    pub(super) fn start(
        pods: &Path,
        writer: Writer,
        ledger: &Ledger,
        clock: &Arc<Clock>,
        zone: Zone,
    ) -> Self {
        fs::create_dir_all(directory(pods, &writer)).unwrap();
        Self {
            file: open_log(&live_path(pods, &writer)),
            pods: pods.to_owned(),
            number: ledger.register(writer.clone()),
            writer,
            ledger: ledger.clone(),
            clock: Arc::clone(clock),
            zone,
            next: [0; 2],
            open: [None, None],
            physical_lines: 0,
        }
    }

    /// `<pods>/<namespace>_<pod>_<uid>/<container>`.
    #[must_use]
    pub fn directory(&self) -> PathBuf {
        directory(&self.pods, &self.writer)
    }

    /// `N.log` in it.
    #[must_use]
    pub fn live_path(&self) -> PathBuf {
        live_path(&self.pods, &self.writer)
    }

    /// Who it is.
    #[must_use]
    pub fn writer(&self) -> &Writer {
        &self.writer
    }

    pub(super) fn zone(&self) -> Zone {
        self.zone
    }

    pub(super) fn now_s(&self) -> i64 {
        self.clock.now_s()
    }

    /// A whole logical line of the key and what follows it, in as many pieces as it takes.
    pub fn line(&mut self, iostream: IoStream, text: impl AsRef<[u8]>) -> LineKey {
        let (key, content) = self.keyed(iostream, text.as_ref());
        self.write_line(key, &content);
        key
    }

    /// A line that has its key somewhere inside.
    pub fn line_around(
        &mut self,
        iostream: IoStream,
        text: impl FnOnce(LineKey) -> String,
    ) -> LineKey {
        let key = self.next_key(iostream);
        self.write_line(key, text(key).as_bytes());
        key
    }

    /// Lines that a multi-line rule joins: the first has the key. It enters one record.
    pub fn lines_of_one(&mut self, iostream: IoStream, first: &str, more: &[&str]) -> LineKey {
        let (key, mut content) = self.keyed(iostream, first.as_bytes());
        self.place(key);
        let time_ns = self.write_physical(iostream, Tag::Full, &content);
        for line in more {
            self.write_physical(iostream, Tag::Full, line.as_bytes());
            content.push(b'\n');
            content.extend_from_slice(line.as_bytes());
        }
        self.enter(key, &content, Some(time_ns));
        key
    }

    fn write_line(&mut self, key: LineKey, content: &[u8]) {
        self.place(key);
        let mut first_time = None;
        for (tag, piece) in fragments(content) {
            let time_ns = self.write_physical(key.iostream, tag, piece);
            first_time.get_or_insert(time_ns);
        }
        self.enter(key, content, first_time);
    }

    /// Two lines at once, one on each iostream: their pieces alternate, as two goroutines write them.
    pub fn interleaved(&mut self, stdout: impl AsRef<[u8]>, stderr: impl AsRef<[u8]>) {
        let lines = [(IoStream::Stdout, stdout.as_ref()), (IoStream::Stderr, stderr.as_ref())]
            .map(|(iostream, text)| (iostream, self.keyed(iostream, text)));
        lines.iter().for_each(|(_, (key, _))| self.place(*key));
        let mut pieces = lines.each_ref().map(|(_, (_, content))| fragments(content));
        let mut first_times = [None, None];
        loop {
            let mut wrote = false;
            for (index, (iostream, _)) in lines.iter().enumerate() {
                if let Some((tag, piece)) = pieces[index].next() {
                    let time_ns = self.write_physical(*iostream, tag, piece);
                    first_times[index].get_or_insert(time_ns);
                    wrote = true;
                }
            }
            if !wrote {
                break;
            }
        }
        for (index, (_, (key, content))) in lines.iter().enumerate() {
            self.enter(*key, content, first_times[index]);
        }
    }

    /// Begins a line with one partial piece; [`Self::finish`] ends it, perhaps in another file.
    pub fn begin(&mut self, iostream: IoStream, text: impl AsRef<[u8]>) {
        let (key, content) = self.keyed(iostream, text.as_ref());
        self.place(key);
        let time_ns = self.write_physical(iostream, Tag::Partial, &content);
        self.open[slot(iostream)] = Some((key, content, time_ns));
    }

    /// Ends the line that [`Self::begin`] began.
    pub fn finish(&mut self, iostream: IoStream, text: impl AsRef<[u8]>) {
        let (key, mut content, time_ns) = self.open[slot(iostream)].take().expect("a line is open");
        self.write_physical(iostream, Tag::Full, text.as_ref());
        content.extend_from_slice(text.as_ref());
        self.enter(key, &content, Some(time_ns));
    }

    /// A header that was cut by a failed write, and the next line right behind it: one physical line that cannot be read.
    ///
    /// `cut` says how much of the header there is; never so much that the two together read as one good line.
    pub fn torn(&mut self, iostream: IoStream, cut: usize, text: impl AsRef<[u8]>) -> LineKey {
        let (key, content) = self.keyed(iostream, text.as_ref());
        let header =
            format!("{} {} ", self.zone.rfc3339_nano(self.clock.tick()), iostream_name(iostream));
        let mut torn = header.into_bytes();
        torn.truncate(cut.max(1));
        let time = self.zone.rfc3339_nano(self.clock.tick());
        torn.extend(physical(&time, iostream, Tag::Full, &content));
        self.place(key);
        self.append(&torn);
        // A line that cannot be decoded is kept as it stands.
        let kept = torn.strip_suffix(b"\n").unwrap();
        assert!(naru_proto::cri::envelope(kept).is_none(), "it reads as a good line");
        self.enter(key, kept, None);
        key
    }

    /// A line that is no CRI line at all, with whatever bytes; `bytes` must have no newline.
    pub fn garbage(&mut self, bytes: &[u8]) -> LineKey {
        let (key, content) = self.keyed(IoStream::Stdout, bytes);
        self.place(key);
        self.append(&[&content[..], b"\n"].concat());
        self.enter(key, &content, None);
        key
    }

    /// The process ends in the middle of a line: the last piece is partial, and nothing ever follows it.
    pub fn exit_in_a_line(&mut self, iostream: IoStream, text: impl AsRef<[u8]>) -> LineKey {
        self.begin(iostream, text);
        let (key, content, time_ns) = self.open[slot(iostream)].take().unwrap();
        self.enter(key, &content, Some(time_ns));
        key
    }

    /// The next run of the same container: `N+1.log`.
    #[must_use]
    pub fn restart(self) -> Self {
        let writer = Writer { restart: self.writer.restart + 1, ..self.writer };
        Self::start(&self.pods, writer, &self.ledger, &self.clock, self.zone)
    }

    /// The pod is deleted: `rm -rf` of its directory.
    pub fn delete_pod(self) {
        fs::remove_dir_all(self.directory().parent().unwrap()).unwrap();
    }

    /// What `ReopenContainerLog` does: `N.log` is opened anew, and created where it is missing.
    pub fn reopen(&mut self) {
        self.file = open_log(&self.live_path());
    }

    /// The key, a space, the text; a `\r` before the newline is not content to containerd.
    fn keyed(&mut self, iostream: IoStream, text: &[u8]) -> (LineKey, Vec<u8>) {
        let key = self.next_key(iostream);
        let mut content = format!("{key} ").into_bytes();
        content.extend_from_slice(text.strip_suffix(b"\r").unwrap_or(text));
        (key, content)
    }

    /// A goroutine writes one line after the other.
    fn next_key(&mut self, iostream: IoStream) -> LineKey {
        assert!(self.open[slot(iostream)].is_none(), "a line is open on this iostream");
        let number = self.next[slot(iostream)];
        self.next[slot(iostream)] += 1;
        LineKey { container: self.number, iostream, number }
    }

    /// Notes that a line begins where the file ends now.
    fn place(&self, key: LineKey) {
        self.ledger.place(key, self.file.metadata().unwrap().len());
    }

    fn write_physical(&mut self, iostream: IoStream, tag: Tag, piece: &[u8]) -> i64 {
        let time_ns = self.clock.tick();
        let line = physical(&self.zone.rfc3339_nano(time_ns), iostream, tag, piece);
        self.append(&line);
        time_ns
    }

    /// Now and then in two writes, so that whoever reads sees half a line.
    fn append(&mut self, line: &[u8]) {
        self.physical_lines += 1;
        let middle = if self.physical_lines.is_multiple_of(16) { line.len() / 2 } else { 0 };
        let (first, second) = line.split_at(middle);
        self.file.write_all(first).unwrap();
        self.file.write_all(second).unwrap();
        self.ledger.count_bytes(line.len());
    }

    fn enter(&self, key: LineKey, content: &[u8], time_ns: Option<i64>) {
        let text = String::from_utf8_lossy(content).into_owned();
        self.ledger.write(key, Written { text, time_ns });
    }
}

fn slot(iostream: IoStream) -> usize {
    usize::from(iostream == IoStream::Stderr)
}

fn directory(pods: &Path, writer: &Writer) -> PathBuf {
    pods.join(format!("{}_{}_{}", writer.namespace, writer.pod, writer.uid)).join(&writer.container)
}

fn live_path(pods: &Path, writer: &Writer) -> PathBuf {
    directory(pods, writer).join(format!("{}.log", writer.restart))
}

fn open_log(path: &Path) -> File {
    OpenOptions::new().append(true).create(true).open(path).unwrap()
}
