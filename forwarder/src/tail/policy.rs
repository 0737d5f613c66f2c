//! The aggregator's policy: applied when a stream says it, and kept in the data directory, so that a restart does not read
//! what is excluded until the first stream is up.
//!
//! Before the first policy that a node ever hears, nothing is excluded by one.

use std::io;
use std::path::Path;

use naru_proto::wire;
use prost::Message;

use super::Tailer;
use crate::discover::exclude::ExcludedContainer;

/// Its name in the data directory.
const FILE: &str = "policy";
/// A policy travels in one message.
const BYTES_MAX: u64 = naru_proto::limits::MESSAGE_MAX_BYTES as u64;

/// The policy of the last run; None where there is none that can be read.
pub(super) fn saved(data_dir: &Path) -> Option<wire::Policy> {
    let path = data_dir.join(FILE);
    let read = std::fs::metadata(&path)
        .and_then(|found| match found.len() > BYTES_MAX {
            true => Err(io::ErrorKind::FileTooLarge.into()),
            false => std::fs::read(&path),
        })
        .and_then(|bytes| wire::Policy::decode(&bytes[..]).map_err(io::Error::other));
    match read {
        Ok(policy) => Some(policy),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            tracing::warn!(%error, path = %path.display(), "the saved policy cannot be read");
            None
        }
    }
}

fn save(data_dir: &Path, policy: &wire::Policy) -> io::Result<()> {
    let temporary = data_dir.join("policy.tmp");
    std::fs::write(&temporary, policy.encode_to_vec())?;
    std::fs::File::open(&temporary)?.sync_all()?;
    std::fs::rename(&temporary, data_dir.join(FILE))
}

/// What a policy excludes.
pub(super) fn excluded(policy: &wire::Policy) -> Vec<ExcludedContainer> {
    let container = |pod: &wire::ExcludedPod| ExcludedContainer {
        namespace: pod.namespace.clone(),
        pod: pod.pod.clone(),
        pod_uid: pod.pod_uid.clone(),
        container: pod.container.clone(),
    };
    policy.excluded.iter().map(container).collect()
}

impl Tailer {
    /// Applies what the session heard since the last time.
    pub(super) fn take_policy(&mut self) {
        if !self.end.policy.has_changed().unwrap_or(false) {
            return;
        }
        let heard = self.end.policy.borrow_and_update().clone();
        let Some(policy) = heard.filter(|policy| self.policy.as_ref() != Some(policy)) else {
            return;
        };
        let before = self.policy.as_ref().map_or(&[][..], |before| &before.excluded);
        if policy.excluded.is_empty() && before.is_empty() {
            // Nothing is excluded, as before: there is nothing to say and nothing to keep.
            self.policy = Some(policy);
            return;
        }
        tracing::info!(
            generation = policy.generation,
            excluded = policy.excluded.len(),
            "the aggregator's policy holds"
        );
        self.set_policy(excluded(&policy));
        self.outgoing.metrics.policy_excluded.set(policy.excluded.len() as i64);
        if let Err(error) = save(&self.config.data_dir, &policy) {
            tracing::warn!(%error, "the policy cannot be saved; after a restart it holds when a stream says it");
        }
        self.policy = Some(policy);
    }
}
