//! What is not read.

use glob::Pattern;
use serde::Deserialize;
use serde_saphyr::Spanned;

use super::Environment;
use super::wrong::Wrong;
use crate::discover::exclude::ExclusionRule;

/// Pods of Naru itself: a line about a line would be read, and so on.
const OWN_PODS: [&str; 2] = ["naru-forwarder-*", "naru-aggregator-*"];

/// Excludes the containers that all of its keys match; each is a pattern with `*`, `?` and `[…]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawExclude {
    /// The namespace's name.
    namespace: Option<Spanned<String>>,
    /// The pod's name.
    pod: Option<Spanned<String>>,
    /// The container's name.
    container: Option<Spanned<String>>,
    /// The path of the container's log directory; here `*` matches slashes too.
    path: Option<Spanned<String>>,
}

impl RawExclude {
    pub(super) fn checked(raw: Spanned<Self>) -> Result<ExclusionRule, Wrong> {
        let Self { namespace, pod, container, path } = &raw.value;
        if [namespace, pod, container, path].iter().all(|part| part.is_none()) {
            let reason = "an exclusion needs namespace, pod, container or path";
            return Err(Wrong::new("exclude", &raw, reason));
        }
        Ok(ExclusionRule {
            namespace: pattern("namespace", namespace.as_ref())?,
            pod: pattern("pod", pod.as_ref())?,
            container: pattern("container", container.as_ref())?,
            path: pattern("path", path.as_ref())?,
        })
    }
}

/// The rules that keep Naru's own logs out: in the namespace that it runs in, where the environment says which.
pub(super) fn own(environment: Environment<'_>) -> Vec<ExclusionRule> {
    let exact = |name: String| Pattern::new(&Pattern::escape(&name)).ok();
    let set = |name: &str| environment(name).filter(|value| !value.is_empty());
    let namespace = set("POD_NAMESPACE").and_then(exact);
    let mut rules = Vec::new();
    if let Some(pod) = set("POD_NAME").and_then(exact) {
        let namespace = namespace.clone();
        rules.push(ExclusionRule { namespace, pod: Some(pod), ..ExclusionRule::default() });
    }
    for pod in OWN_PODS.iter().filter_map(|pod| Pattern::new(pod).ok()) {
        let namespace = namespace.clone();
        rules.push(ExclusionRule { namespace, pod: Some(pod), ..ExclusionRule::default() });
    }
    rules
}

pub(super) fn pattern(
    key: &'static str,
    found: Option<&Spanned<String>>,
) -> Result<Option<Pattern>, Wrong> {
    let Some(found) = found else { return Ok(None) };
    Pattern::new(&found.value)
        .map(Some)
        .map_err(|error| Wrong::new(key, found, format!("{:?}: {}", found.value, error.msg)))
}
