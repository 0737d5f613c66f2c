//! What the forwarder's checkpoint says, read from a copy of it now and then.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use naru_forwarder::checkpoint::{Binding, Checkpoint};
use naru_integration::cluster::Cluster;
use naru_integration::ledger::Writer;
use naru_integration::rig::CLUSTER;
use naru_proto::frame;
use naru_proto::ids::FileId;

const LOOK_EVERY: Duration = Duration::from_millis(300);

pub(crate) struct Saved {
    original: PathBuf,
    copy: PathBuf,
    looked: Instant,
    /// Of each writer the files of which something was acknowledged at some time: all files before them are done with.
    files: HashMap<frame::Writer, HashSet<FileId>>,
}

impl Saved {
    pub(crate) fn new(cluster: &Cluster) -> Self {
        Self {
            original: cluster.path("node-0-data").join("checkpoint"),
            copy: cluster.path("checkpoint-copy"),
            looked: Instant::now(),
            files: HashMap::new(),
        }
    }

    /// Reads it again, when it is time.
    pub(crate) fn look(&mut self) {
        if self.looked.elapsed() < LOOK_EVERY {
            return;
        }
        self.looked = Instant::now();
        let Ok(entries) = fs::read_dir(&self.original) else { return };
        // None at the first time.
        fs::remove_dir_all(&self.copy).ok();
        super::directory(&self.copy);
        for entry in entries {
            let path = entry.unwrap().path();
            // A generation may go while it is being copied; what is left is sound.
            fs::copy(&path, self.copy.join(path.file_name().unwrap())).ok();
        }
        let binding = Binding { cluster: CLUSTER.into(), node: "node-0".into() };
        let (_, loaded) = Checkpoint::open(&self.copy, binding).unwrap();
        for state in loaded.sources.values() {
            let done = state.files.iter().filter(|file| file.acknowledged > 0).map(|file| file.id);
            self.files.entry(state.source.writer.clone()).or_default().extend(done);
        }
    }

    /// How many files of a container it has seen acknowledged.
    pub(crate) fn files_of(&self, writer: &Writer) -> usize {
        self.files.get(&frame::Writer::from(writer.clone())).map_or(0, HashSet::len)
    }
}
