//! A node in a directory: a real tailer whose rounds the test calls, an aggregator that the test plays, and the ledger.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use naru_proto::ids::{ClusterKey, DocumentId, FileDocumentIds, IdTime};
use naru_proto::{batch, cri, wire};
use tokio::sync::mpsc;

use super::super::{Parts, Tailer};
use crate::channel::{self, Outbound, SessionEnd};
use crate::checkpoint::{Binding, Checkpoint};
use crate::clock;
use crate::config::{Config, Containers, Hold, Input};
use crate::connect::Target;
use crate::discover::host::HostPattern;
use crate::health::Health;
use crate::metrics::Metrics;
use crate::standby::Holder;

pub(super) const POD: &str = "shop_web-0_7c1f";

/// Changes a configuration; the path is the node's directory.
type Configure = dyn Fn(&Path, &mut Config);

/// See the module.
pub(super) struct Node {
    pub(super) directory: tempfile::TempDir,
    pub(super) state: tempfile::TempDir,
    files: Vec<Input>,
    /// What a test changes of the configuration, from the next start on.
    pub(super) configure: Box<Configure>,
    running: Option<(Tailer, SessionEnd)>,
    /// What the next start takes over.
    pub(super) inherited: Option<Holder>,
    pub(super) metrics: Metrics,
    /// Sent and not acknowledged.
    pub(super) unacknowledged: BTreeMap<u64, wire::Batch>,
    pub(super) gaps: Vec<wire::Gap>,
    /// Losses that the aggregator has and that nobody knows it has.
    pub(super) untold: Vec<u64>,
    pub(super) rounds: u64,
    /// The session takes nothing.
    pub(super) deaf: bool,
    /// What is sent is not decompressed but to look for a line: [`Self::check`] cannot be asked.
    pub(super) judge_nothing: bool,
    /// Compressed.
    pub(super) sent_bytes: usize,
    /// By line, how much had been sent with its batch.
    sent_after: BTreeMap<String, usize>,
    /// The aggregator keeps nothing of what comes.
    pub(super) forgetful: bool,
    /// By file id, the newest size that the aggregator was told of.
    pub(super) sizes: BTreeMap<bytes::Bytes, u64>,
    /// Physical lines that were written, without their newlines.
    pub(super) written: BTreeSet<Vec<u8>>,
    /// For each physical line the documents that hold it.
    indexed: BTreeMap<Vec<u8>, BTreeSet<DocumentId>>,
    /// Those that frames named.
    pub(super) container_ids: BTreeSet<String>,
}

impl Node {
    /// A node with a container's log directory; `files` are host files beneath its directory.
    pub(super) fn new(files: &[&str]) -> Self {
        Self::keeping(files, tempfile::tempdir().unwrap())
    }

    /// Its checkpoint is on no disk: what is tested is not how fast one is.
    pub(super) fn in_memory(files: &[&str]) -> Self {
        Self::keeping(
            files,
            tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap(),
        )
    }

    /// Its checkpoint is in this directory.
    pub(super) fn keeping(files: &[&str], state: tempfile::TempDir) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let container = directory.path().join("pods").join(POD).join("web");
        fs::create_dir_all(container).unwrap();
        fs::create_dir_all(directory.path().join("host")).unwrap();
        let pattern = |name: &&str| {
            let path = directory.path().join("host").join(name);
            Input::from(HostPattern::new(path.to_str().unwrap()).unwrap())
        };
        let files = files.iter().map(pattern).collect();
        let mut node = Self {
            directory,
            state,
            files,
            configure: Box::new(|_, _| {}),
            running: None,
            inherited: None,
            metrics: Metrics::default(),
            unacknowledged: BTreeMap::new(),
            gaps: Vec::new(),
            untold: Vec::new(),
            deaf: false,
            forgetful: false,
            judge_nothing: false,
            sent_bytes: 0,
            sent_after: BTreeMap::new(),
            sizes: BTreeMap::new(),
            rounds: 0,
            written: BTreeSet::new(),
            indexed: BTreeMap::new(),
            container_ids: BTreeSet::new(),
        };
        node.start();
        node
    }

    pub(super) fn container(&self) -> PathBuf {
        self.directory.path().join("pods").join(POD).join("web")
    }

    pub(super) fn host(&self, name: &str) -> PathBuf {
        self.directory.path().join("host").join(name)
    }

    pub(super) fn start(&mut self) {
        let binding = Binding { cluster: "test".into(), node: "n".into() };
        let (checkpoint, loaded) =
            Checkpoint::open(&self.state.path().join("checkpoint"), binding).unwrap();
        assert!(loaded.damage.is_empty());
        let (end, session) = channel::pair().unwrap();
        let config = self.config();
        let (metrics, health) = (self.metrics.clone(), Health::default());
        let requests = mpsc::channel(1).1;
        let inherited = self.inherited.take();
        let parts = Parts { config, checkpoint, loaded, inherited, end, requests, metrics, health };
        self.running = Some((Tailer::new(parts), session));
    }

    fn config(&self) -> Config {
        let directory = self.directory.path();
        let mut config = Config {
            cluster: "test".into(),
            node: "n".into(),
            data_dir: self.state.path().to_path_buf(),
            aggregator: Target::plain("127.0.0.1:1".into()),
            containers: Some(Containers::at(&directory.join("pods"))),
            files: self.files.clone(),
            since: None,
            // How full this machine's disk is makes no difference.
            hold: Hold { min_free_percent: 0, ..Hold::default() },
            http: None,
        };
        (self.configure)(directory, &mut config);
        config
    }

    /// Somebody stands by from now on.
    pub(super) fn holder(&self) -> Holder {
        let mut holder = Holder::new(&self.config());
        holder.look();
        holder
    }

    /// Nothing is saved, and what was sent is only known to the aggregator.
    pub(super) fn kill(&mut self) {
        self.running = None;
        self.unacknowledged.clear();
        self.untold.clear();
    }

    pub(super) fn restart(&mut self) {
        self.kill();
        self.start();
    }

    /// One round; what it sent is indexed and waits for its acknowledgement. Says how long it would sleep.
    pub(super) fn round(&mut self) -> Duration {
        self.rounds += 1;
        let (tailer, session) = self.running.as_mut().unwrap();
        let wait = tailer.round();
        let mut sent = Vec::new();
        while !self.deaf
            && let Ok(outbound) = session.outbound.try_recv()
        {
            match outbound {
                Outbound::Batch(batch) => sent.push(batch),
                Outbound::Gap(number, gap) => {
                    self.gaps.push(gap);
                    self.untold.push(number);
                }
                Outbound::Status(status) => {
                    let sizes = status.files.into_iter().map(|file| (file.file_id, file.size));
                    self.sizes.extend(sizes);
                }
            }
        }
        for batch in sent {
            self.sent_bytes += batch.body.len();
            match (self.forgetful, self.judge_nothing) {
                (true, _) => {}
                (false, true) => self.look_for_quiet(&batch),
                (false, false) => self.index(&batch),
            }
            self.unacknowledged.insert(batch.number, batch);
        }
        wait.unwrap()
    }

    pub(super) fn acknowledge(&mut self, numbers: &[u64]) {
        let numbers: Vec<u64> =
            numbers.iter().copied().filter(|n| self.unacknowledged.remove(n).is_some()).collect();
        let (_, session) = self.running.as_mut().unwrap();
        session.acked.try_send(numbers).unwrap();
    }

    pub(super) fn acknowledge_all(&mut self) {
        let numbers: Vec<u64> = self.unacknowledged.keys().copied().collect();
        self.acknowledge(&numbers);
        let told = std::mem::take(&mut self.untold);
        if !told.is_empty() {
            self.running.as_mut().unwrap().1.told.try_send(told).unwrap();
        }
    }

    /// Time goes by as the tailer sleeps; nothing is acknowledged.
    pub(super) fn pass(&mut self, time: Duration) {
        let mut left = time;
        while !left.is_zero() {
            let sleep = self.round().clamp(Duration::from_millis(10), Duration::from_secs(10));
            clock::moved::wait(sleep.min(left));
            left -= sleep.min(left);
        }
        self.round();
    }

    /// Time goes by, and everything that is sent is acknowledged.
    pub(super) fn settle(&mut self, time: Duration) {
        let step = Duration::from_millis(250);
        let mut left = time;
        while !left.is_zero() {
            self.pass(step.min(left));
            self.acknowledge_all();
            left -= step.min(left);
        }
        self.round();
    }

    fn index(&mut self, batch: &wire::Batch) {
        let context = &mut zstd_safe::DCtx::create();
        batch::check(context, batch, "n", |_| true).unwrap();
        for frame in batch::frames(context, &batch.body, batch.raw_bytes as usize).unwrap() {
            self.container_ids.insert(frame.container_id.clone());
            for record in frame.records() {
                let time = frame.id_time_ns.or_else(|| cri::leading_time(record.raw).map(|t| t.0));
                let ids = FileDocumentIds::new(ClusterKey::of("test"), "n", record.file);
                let id = ids.id(IdTime::new(time), record.offset, record.raw);
                let raw = record.raw.strip_suffix(b"\n").unwrap_or(record.raw);
                for line in raw.split(|byte| *byte == b'\n') {
                    self.indexed.entry(line.to_vec()).or_default().insert(id);
                }
            }
        }
    }

    fn look_for_quiet(&mut self, batch: &wire::Batch) {
        let context = &mut zstd_safe::DCtx::create();
        let frames = batch::frames(context, &batch.body, batch.raw_bytes as usize).unwrap();
        for line in frames.iter().flat_map(|frame| frame.bytes.split(|b| *b == b'\n')) {
            if let Some(at) = memchr::memmem::find(line, b"line ") {
                let text = String::from_utf8(line[at..].to_vec()).unwrap();
                self.sent_after.entry(text).or_insert(self.sent_bytes);
            }
        }
    }

    /// How much had been sent with this line's batch; None while it was not.
    pub(super) fn sent_after(&self, line: &str) -> Option<usize> {
        self.sent_after.get(line).copied()
    }

    pub(super) fn unacknowledged_bytes(&self) -> usize {
        self.unacknowledged.values().map(|batch| batch.body.len()).sum()
    }

    /// Bytes read of a run of the container.
    pub(super) fn read_of(&self, run: u32) -> u64 {
        let sources = self.tailer().sources.values();
        let of_run = sources.filter(|source| {
            matches!(&source.source.writer,
                naru_proto::frame::Writer::Container(container) if container.restart == run)
        });
        of_run.flat_map(|source| &source.files).map(|file| file.read).sum()
    }

    /// Every line that was written is in one document, and nothing else is in any.
    #[track_caller]
    pub(super) fn check(&self) {
        let text = |line: &[u8]| String::from_utf8_lossy(line).into_owned();
        let missing: Vec<_> = self.missing().iter().map(|line| text(line)).collect();
        assert!(missing.is_empty(), "lost {}: {missing:?}; gaps {:?}", missing.len(), self.gaps);
        let twice = self.twice();
        assert!(twice.is_empty(), "indexed more than once: {}: {twice:?}", twice.len());
        let strange = self.indexed.keys().filter(|line| !self.written.contains(*line));
        let strange: Vec<_> = strange.map(|line| text(line)).collect();
        assert!(strange.is_empty(), "never written: {strange:?}");
    }

    pub(super) fn missing(&self) -> Vec<Vec<u8>> {
        let lines = self.written.iter().filter(|line| !self.indexed.contains_key(*line));
        lines.cloned().collect()
    }

    pub(super) fn documents_of(&self, line: &str) -> usize {
        self.indexed.get(line.as_bytes()).map_or(0, BTreeSet::len)
    }

    /// These lines are in one document.
    pub(super) fn together(&self, lines: &[&str]) -> bool {
        let of = |line: &&str| self.indexed.get(line.as_bytes());
        let all: BTreeSet<_> = lines.iter().map(of).collect();
        all.len() == 1 && !all.contains(&None)
    }

    /// Lines that are in more than one document.
    pub(super) fn twice(&self) -> Vec<String> {
        let twice = self.indexed.iter().filter(|(_, ids)| ids.len() > 1);
        twice.map(|(line, _)| String::from_utf8_lossy(line).into_owned()).collect()
    }

    pub(super) fn note(&mut self, line: &str) {
        assert!(self.written.insert(line.as_bytes().to_vec()), "{line} twice");
    }

    /// An aggregator will never take the record at an offset of a run's first file, of a batch that it has otherwise.
    pub(super) fn refuse_for_ever(&mut self, number: u64, run: u32, offset: u64) {
        let (tailer, session) = self.running.as_ref().unwrap();
        let of_run = tailer.sources.values().find(|source| {
            matches!(&source.source.writer,
                naru_proto::frame::Writer::Container(container) if container.restart == run)
        });
        let (source, bytes) = (of_run.unwrap(), 1);
        let (writer, file) = (source.source.writer.clone(), source.files[0].id.unwrap());
        let refused = vec![channel::Refused { writer, file, offset }];
        let apart = channel::SetApart { bytes, reason: "no".into(), refused };
        session.apart.send_replace([(number, apart)].into());
    }

    pub(super) fn say_policy(&mut self, policy: wire::Policy) {
        let (_, session) = self.running.as_ref().unwrap();
        session.policy.send_replace(Some(policy));
    }

    pub(super) fn swallow_events(&mut self) {
        let (tailer, _) = self.running.as_mut().unwrap();
        drop(tailer.discovery.changes());
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.running.is_none()
    }

    /// Opens what there is of containers, and reads nothing.
    pub(super) fn look_into_containers(&mut self) {
        let (tailer, _) = self.running.as_mut().unwrap();
        let changes = tailer.discovery.changes();
        tailer.apply(changes, clock::now());
    }

    /// Looks for host files, and reads nothing.
    pub(super) fn look(&mut self) {
        let (tailer, _) = self.running.as_mut().unwrap();
        tailer.look_at_host_files(clock::now());
    }

    pub(super) fn tailer(&self) -> &Tailer {
        &self.running.as_ref().unwrap().0
    }

    pub(super) fn tailer_mut(&mut self) -> &mut Tailer {
        &mut self.running.as_mut().unwrap().0
    }

    /// The files beneath a path that this process has open.
    pub(super) fn open_beneath(path: &Path) -> Vec<PathBuf> {
        let descriptors = fs::read_dir("/proc/self/fd").unwrap();
        let targets = descriptors.filter_map(|fd| fs::read_link(fd.ok()?.path()).ok());
        targets.filter(|target| target.starts_with(path)).collect()
    }
}

/// A container's writer, and the kubelet that rotates its log.
pub(super) struct Writer {
    directory: PathBuf,
    restart: u32,
    file: File,
    lines: u64,
    rotations: u64,
}

impl Writer {
    pub(super) fn new(node: &Node, restart: u32) -> Self {
        let directory = node.container();
        let file = append(&directory.join(format!("{restart}.log")));
        Self { directory, restart, file, lines: 0, rotations: 0 }
    }

    pub(super) fn live(&self) -> PathBuf {
        self.directory.join(format!("{}.log", self.restart))
    }

    pub(super) fn rotated(&self, rotation: u64) -> PathBuf {
        self.directory.join(format!("{}.log.20261122-{rotation:06}", self.restart))
    }

    pub(super) fn line(&mut self, node: &mut Node) {
        self.write(node, "stdout F", "\n");
    }

    pub(super) fn partial(&mut self, node: &mut Node) {
        self.write(node, "stdout P", "\n");
    }

    pub(super) fn lines(&mut self, node: &mut Node, count: usize) {
        (0..count).for_each(|_| self.line(node));
    }

    pub(super) fn lines_written(&self) -> u64 {
        self.lines
    }

    pub(super) fn write(&mut self, node: &mut Node, tag: &str, end: &str) {
        self.lines += 1;
        let (run, n) = (self.restart, self.lines);
        let line = format!("2026-11-22T09:{run:02}:00.{n:09}Z {tag} line {n} of run {run}");
        node.note(&line);
        self.file.write_all(format!("{line}{end}").as_bytes()).unwrap();
    }

    /// The kubelet's fourth step: from here on the container writes to the renamed file.
    pub(super) fn rename(&mut self) -> PathBuf {
        self.rotations += 1;
        let to = self.rotated(self.rotations);
        fs::rename(self.live(), &to).unwrap();
        to
    }

    /// The fifth.
    pub(super) fn reopen(&mut self) {
        self.file = append(&self.live());
    }

    /// Writes to another file from here on.
    pub(super) fn swap(&mut self, file: File) -> File {
        std::mem::replace(&mut self.file, file)
    }

    pub(super) fn rotate(&mut self) -> PathBuf {
        let to = self.rename();
        self.reopen();
        to
    }

    /// The third: the moment in which both are there is `twins`.
    pub(super) fn gzip(&self, rotated: &Path, twins: impl FnOnce()) {
        let gz = gzip_of(rotated);
        compress(rotated, &gz);
        twins();
        fs::remove_file(rotated).unwrap();
    }
}

pub(super) fn gzip_of(path: &Path) -> PathBuf {
    PathBuf::from(format!("{}.gz", path.display()))
}

pub(super) fn compress(from: &Path, to: &Path) {
    let temporary = PathBuf::from(format!("{}.tmp", from.display()));
    let file = File::create(&temporary).unwrap();
    let mut encoder = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
    encoder.write_all(&fs::read(from).unwrap()).unwrap();
    encoder.finish().unwrap();
    fs::rename(temporary, to).unwrap();
}

pub(super) fn append(path: &Path) -> File {
    OpenOptions::new().create(true).append(true).open(path).unwrap()
}
