//! What forwarders are told not to read. Pure.

use naru_proto::wire;
use prost::Message;

/// Containers that are not read: names, not patterns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excluded {
    /// Of the pods.
    pub namespace: String,
    /// Empty: every pod of the namespace.
    pub pod: String,
    /// Empty: every container of the pod.
    pub container: String,
}

/// The policy that excludes those. Its generation is made of what it says: two aggregators with one configuration say the
/// same, whichever a forwarder asks.
#[must_use]
pub fn policy(excluded: &[Excluded]) -> wire::Policy {
    let pod = |excluded: &Excluded| wire::ExcludedPod {
        namespace: excluded.namespace.clone(),
        pod: excluded.pod.clone(),
        pod_uid: String::new(),
        container: excluded.container.clone(),
    };
    let mut policy = wire::Policy {
        generation: 0,
        excluded: excluded.iter().map(pod).collect(),
        multiline: Vec::new(),
    };
    policy.generation = u64::from(crc32c::crc32c(&policy.encode_to_vec()));
    policy
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b19_one_configuration_is_one_generation() {
        let excluded = |namespace: &str, pod: &str| Excluded {
            namespace: namespace.into(),
            pod: pod.into(),
            container: String::new(),
        };
        let one = policy(&[excluded("a", "b"), excluded("c", "")]);
        assert_eq!(one, policy(&[excluded("a", "b"), excluded("c", "")]));
        assert_ne!(one.generation, policy(&[excluded("a", "b")]).generation);
        assert_eq!(one.excluded.len(), 2);
        assert_eq!(one.excluded[1].namespace, "c");
    }
}
