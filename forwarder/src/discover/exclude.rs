//! Which container logs are not read. Pure.
//!
//! Two things say so: the configuration, by patterns, and the aggregator's policy, by exact names. What is excluded is
//! never opened.

use std::collections::HashSet;
use std::path::Path;

use glob::Pattern;

use super::ContainerDirectory;
use super::pods::{self, PodName};

/// Containers that the configuration excludes; a part that is missing matches all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExclusionRule {
    /// Of the namespace's name.
    pub namespace: Option<Pattern>,
    /// Of the pod's name.
    pub pod: Option<Pattern>,
    /// Of the container's name.
    pub container: Option<Pattern>,
    /// Of the path of the container's log directory; `*` matches slashes too.
    pub path: Option<Pattern>,
}

/// A container that an aggregator's policy excludes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ExcludedContainer {
    /// The namespace's name.
    pub namespace: String,
    /// The pod's name; empty for every pod of the namespace.
    pub pod: String,
    /// The API's uid, or a static pod's hash; empty for any.
    pub pod_uid: String,
    /// Empty for every container of the pod.
    pub container: String,
}

/// Everything that is excluded.
#[derive(Debug, Clone, Default)]
pub struct Exclusions {
    rules: Vec<ExclusionRule>,
    policy: HashSet<ExcludedContainer>,
}

impl ExclusionRule {
    fn matches(&self, root: &Path, directory: &ContainerDirectory, name: &PodName<'_>) -> bool {
        let matches = |pattern: &Option<Pattern>, text: &str| {
            pattern.as_ref().is_none_or(|pattern| pattern.matches(text))
        };
        let by_path = |pattern: &Pattern| pattern.matches_path(&root.join(directory.path()));
        matches(&self.namespace, name.namespace)
            && matches(&self.pod, name.pod)
            && matches(&self.container, &directory.container)
            && self.path.as_ref().is_none_or(by_path)
    }
}

impl Exclusions {
    /// Those of the configuration; there is no policy yet.
    #[must_use]
    pub fn new(rules: Vec<ExclusionRule>) -> Self {
        Self { rules, policy: HashSet::new() }
    }

    /// Takes a policy for the one before.
    pub fn set_policy(&mut self, excluded: impl IntoIterator<Item = ExcludedContainer>) {
        self.policy = excluded.into_iter().collect();
    }

    /// Whether a container's logs in a root directory are not to be read.
    #[must_use]
    pub fn excludes(&self, root: &Path, directory: &ContainerDirectory) -> bool {
        let Some(name) = pods::pod_directory(&directory.pod) else { return false };
        self.rules.iter().any(|rule| rule.matches(root, directory, &name))
            || self.policy_excludes(directory, &name)
    }

    fn policy_excludes(&self, directory: &ContainerDirectory, name: &PodName<'_>) -> bool {
        if self.policy.is_empty() {
            return false;
        }
        let mut of_pod = ExcludedContainer {
            namespace: name.namespace.to_owned(),
            pod: name.pod.to_owned(),
            pod_uid: name.uid.to_owned(),
            container: directory.container.to_string(),
        };
        let mut of_any_uid = ExcludedContainer { pod_uid: String::new(), ..of_pod.clone() };
        if self.policy.contains(&of_pod) || self.policy.contains(&of_any_uid) {
            return true;
        }
        of_pod.container.clear();
        of_any_uid.container.clear();
        if self.policy.contains(&of_pod) || self.policy.contains(&of_any_uid) {
            return true;
        }
        of_any_uid.pod.clear();
        self.policy.contains(&of_any_uid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(namespace: &str, pod: &str, container: &str, path: &str) -> ExclusionRule {
        let pattern = |text: &str| (!text.is_empty()).then(|| Pattern::new(text).unwrap());
        ExclusionRule {
            namespace: pattern(namespace),
            pod: pattern(pod),
            container: pattern(container),
            path: pattern(path),
        }
    }

    #[test]
    fn b19_rules_match_by_every_part_they_name() {
        let directory = ContainerDirectory { pod: "shop_web-0_u1".into(), container: "c".into() };
        let check = |rule: ExclusionRule, expected: bool| {
            let found = Exclusions::new(vec![rule.clone()]).excludes(Path::new("/p"), &directory);
            assert_eq!(found, expected, "{rule:?}");
        };
        check(rule("shop", "", "", ""), true);
        check(rule("sho", "", "", ""), false);
        check(rule("s*", "web-*", "c", ""), true);
        check(rule("s*", "web-*", "d", ""), false);
        check(rule("", "web-[1-9]", "", ""), false);
        check(rule("", "", "", "/p/shop_*"), true);
        check(rule("", "", "", "/p/shop_*/c"), true);
        check(rule("shop", "", "", "/q/**"), false);
    }

    #[test]
    fn b19_a_policy_names_pods_and_containers() {
        let directory = ContainerDirectory { pod: "shop_web-0_u1".into(), container: "c".into() };
        let check = |pod_uid: &str, container: &str, expected: bool| {
            let mut exclusions = Exclusions::default();
            exclusions.set_policy([ExcludedContainer {
                namespace: "shop".into(),
                pod: "web-0".into(),
                pod_uid: pod_uid.into(),
                container: container.into(),
            }]);
            assert_eq!(exclusions.excludes(Path::new("/p"), &directory), expected);
        };
        check("u1", "", true);
        check("u1", "c", true);
        check("u1", "d", false);
        check("u2", "", false);
        check("", "", true);
        check("", "c", true);
    }
}
