//! What was held open while another forwarder ran: files that it had not read, and that have no name any more.

use std::os::unix::fs::FileExt;
use std::time::Instant;

use naru_proto::frame::{Source, Writer};
use naru_proto::ids::FileId;

use super::file::{Content, GzipReader, TailedFile};
use super::source::Place;
use super::{Tailer, adopt};
use crate::discover::pods;
use crate::identity::{self, Stat};
use crate::standby::{Held, Whose};

impl Tailer {
    /// Takes over what was held, after the first look: what still has a name was found by it.
    pub(super) fn inherit(&mut self, now: Instant) {
        let Some(mut holder) = self.inherited.take() else { return };
        holder.look();
        let (held, finished) = holder.into_parts();
        for one in held {
            let Ok(stat) = identity::stat(&one.file) else { continue };
            let Some((source, place)) = self.owner(&one.whose) else { continue };
            let known = self.sources.at(&place);
            let index = match (known, &place) {
                (Some(index), _) => index,
                // A host file's id is not in it: one that the checkpoint does not know has been read, or is lost.
                (None, Place::Host { .. }) => continue,
                (None, Place::Container { .. }) if !stat.unlinked => continue,
                (None, Place::Container { .. }) => self.index_of(source, place),
            };
            // One without a file is over.
            self.attention.insert(index);
            if self.is_of_docker(index, &one.whose)
                && self.take_over(index, one, &stat, now, |id| finished.contains(&id))
            {
                self.heat(index);
            }
        }
    }

    /// Whether a source may have what was held: of docker's container, only the run that a link led from.
    fn is_of_docker(&mut self, index: usize, whose: &Whose) -> bool {
        let Whose::Container { docker, .. } = whose else { return true };
        let Some(source) = self.sources.get_mut(index) else { return false };
        let Some(container) = docker else { return source.docker.is_none() };
        let owner = self.docker.get(container).filter(|owner| **owner != index);
        if owner.is_some() || !source.is_of_docker(container) {
            return false;
        }
        self.docker.insert(container.clone(), index);
        true
    }

    fn owner(&self, whose: &Whose) -> Option<(Source, Place)> {
        match whose {
            Whose::Container { directory, restart, .. } => {
                let source = pods::source(&self.config.node, directory, *restart)?;
                let (directory, restart) = (directory.clone(), *restart);
                Some((source, Place::Container { directory, restart }))
            }
            Whose::Host(path) => {
                let path = path.to_string_lossy().into_owned();
                let node = self.config.node.clone();
                let source = Source { node, writer: Writer::HostFile { path: path.clone() } };
                Some((source, Place::Host { path, skip_binary: false }))
            }
        }
    }

    /// Gives a file that has no other descriptor this one; true when there is something to read.
    fn take_over(
        &mut self,
        index: usize,
        held: Held,
        stat: &Stat,
        now: Instant,
        is_finished: impl Fn(FileId) -> bool,
    ) -> bool {
        let Some(source) = self.sources.get_mut(index) else { return false };
        let same = |file: &TailedFile| {
            let known = [file.identity, file.gzip_identity];
            known.into_iter().flatten().any(|known| known.is_same(&stat.identity))
        };
        let mut at = source.files.iter().position(same);
        let Held { whose, file, .. } = held;
        let (content, id, entry) = match whose {
            Whose::Host(_) => (Content::Plain(file), None, None),
            Whose::Container { entry, .. } => {
                let format = source.cutter.format();
                let most = format.head_max_bytes();
                let head = match entry.gzip {
                    true => GzipReader::head(&file, most).unwrap_or_default(),
                    false => head_of(&file, most),
                };
                let id = format.head(&head).map(|head| source.container_file_id(head, 0));
                let content =
                    if entry.gzip { Content::Gzip(file, None) } else { Content::Plain(file) };
                (content, id, Some(entry))
            }
        };
        let is_plain = matches!(content, Content::Plain(_));
        let by_id = |file: &TailedFile| id.is_some() && file.id == id;
        at = at.or_else(|| source.files.iter().position(by_id));
        if let Some(known) = at.and_then(|at| source.files.get_mut(at)) {
            // One that is read may be written to by somebody whom its deletion did not stop.
            if known.is_open() || (known.passed && (known.given_up || !is_plain || !stat.unlinked))
            {
                return false;
            }
            known.content = content;
            known.gone = stat.unlinked;
            known.missing_since = None;
            return true;
        }
        let Some(entry) = entry.filter(|_| stat.unlinked && !id.is_some_and(is_finished)) else {
            return false;
        };
        let mut found = TailedFile::new(entry.name, entry.order, now);
        adopt::date(&mut found, stat, now);
        match entry.gzip {
            true => found.gzip_identity = Some(stat.identity),
            false => found.identity = Some(stat.identity),
        }
        (found.content, found.id, found.gone) = (content, id, true);
        source.files.push(found);
        source.files.sort_by(|a, b| a.order.cmp(&b.order));
        true
    }
}

fn head_of(file: &std::fs::File, most: usize) -> Vec<u8> {
    let mut head = vec![0; most];
    let filled = file.read_at(&mut head, 0).unwrap_or(0);
    head.truncate(filled);
    head
}
