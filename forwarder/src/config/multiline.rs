//! Which containers' and host files' lines are joined, and by which rule.

use std::sync::Arc;

use glob::Pattern;
use naru_proto::wire;
use serde::Deserialize;
use serde_saphyr::Spanned;

use super::wrong::Wrong;
use crate::cut::Rule;

/// What `multiline` says where every line is to be a record.
const NONE: &str = "none";

/// The multi-line rules of containers: the first that matches counts. Compiled once; a copy shares them.
#[derive(Debug, Clone, Default)]
pub struct ContainerRules(Vec<ContainerRule>);

#[derive(Debug, Clone)]
struct ContainerRule {
    namespace: Pattern,
    pod: Pattern,
    container: Pattern,
    /// None: every line is a record.
    rule: Option<Arc<Rule>>,
}

impl ContainerRules {
    /// One rule for all of them.
    #[must_use]
    pub fn everywhere(rule: Arc<Rule>) -> Self {
        let all = exactly("");
        let rule = Some(rule);
        Self(vec![ContainerRule { namespace: all.clone(), pod: all.clone(), container: all, rule }])
    }

    /// The rule of a container; None: every line is a record.
    #[must_use]
    pub fn rule_of(&self, namespace: &str, pod: &str, container: &str) -> Option<&Arc<Rule>> {
        let matches = |rule: &&ContainerRule| {
            rule.namespace.matches(namespace)
                && rule.pod.matches(pod)
                && rule.container.matches(container)
        };
        self.0.iter().find(matches)?.rule.as_ref()
    }

    /// What an aggregator's policy says, and what of it cannot be used, a sentence each.
    #[must_use]
    pub fn of_policy(rules: &[wire::MultilineRule]) -> (Self, Vec<String>) {
        let (mut known, mut refused) = (Vec::new(), Vec::new());
        for rule in rules {
            let pattern = Some(&rule.start_pattern).filter(|pattern| !pattern.is_empty());
            let name = Some(&rule.preset).filter(|name| !name.is_empty());
            match compiled(name.map(String::as_str), pattern.map(String::as_str)) {
                Ok(compiled) => known.push(ContainerRule {
                    namespace: exactly(&rule.namespace),
                    pod: exactly(&rule.pod),
                    container: exactly(&rule.container),
                    rule: compiled,
                }),
                Err((key, reason)) => refused.push(format!("{key}: {reason}")),
            }
        }
        (Self(known), refused)
    }

    /// These, and where none of them matches, others.
    #[must_use]
    pub fn or_else(&self, others: &Self) -> Self {
        Self(self.0.iter().chain(&others.0).cloned().collect())
    }
}

/// The policy names things, an empty name all of them.
fn exactly(name: &str) -> Pattern {
    let pattern = if name.is_empty() { "*".to_owned() } else { Pattern::escape(name) };
    Pattern::new(&pattern).unwrap_or_default()
}

fn compiled(
    preset: Option<&str>,
    start_pattern: Option<&str>,
) -> Result<Option<Arc<Rule>>, (&'static str, String)> {
    match (preset, start_pattern) {
        (Some(NONE), None) => Ok(None),
        (Some(name), None) => {
            Rule::preset(name).map(Some).map_err(|error| ("preset", error.to_string()))
        }
        (None, Some(pattern)) => Rule::start_pattern(pattern)
            .map(|rule| Some(Arc::new(rule)))
            .map_err(|error| ("start_pattern", format!("{pattern:?}: {error}"))),
        (None, None) => Err(("preset", "is missing, and so is start_pattern".to_owned())),
        (Some(_), Some(_)) => Err(("start_pattern", "cannot stand beside a preset".to_owned())),
    }
}

/// Containers, and the rule that joins their lines.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawMultiline {
    /// A pattern. Default: *.
    namespace: Option<Spanned<String>>,
    /// A pattern of pods' names. Default: *.
    pod: Option<Spanned<String>>,
    /// A pattern. Default: *.
    container: Option<Spanned<String>>,
    /// A built-in rule, or `none`: every line is a record.
    preset: Option<Spanned<String>>,
    /// Instead: a regular expression; a line that it matches begins a record.
    start_pattern: Option<Spanned<String>>,
}

pub(super) fn rules(raw: Vec<Spanned<RawMultiline>>) -> Result<ContainerRules, Wrong> {
    let rule = |raw: Spanned<RawMultiline>| {
        let RawMultiline { namespace, pod, container, preset, start_pattern } = &raw.value;
        let found = checked("preset", preset.as_ref(), start_pattern.as_ref());
        Ok(ContainerRule {
            namespace: pattern("namespace", namespace.as_ref())?,
            pod: pattern("pod", pod.as_ref())?,
            container: pattern("container", container.as_ref())?,
            rule: found.unwrap_or_else(|| Err(Wrong::new("preset", &raw, "is missing")))?,
        })
    };
    raw.into_iter().map(rule).collect::<Result<_, _>>().map(ContainerRules)
}

/// The rule that a preset's name or a pattern gives; None when there is neither.
pub(super) fn checked(
    preset_key: &'static str,
    preset: Option<&Spanned<String>>,
    start_pattern: Option<&Spanned<String>>,
) -> Option<Result<Option<Arc<Rule>>, Wrong>> {
    let at = start_pattern.or(preset)?;
    let text = |found: Option<&'_ Spanned<String>>| found.map(|found| found.value.clone());
    let found = compiled(text(preset).as_deref(), text(start_pattern).as_deref());
    Some(found.map_err(|(key, reason)| {
        Wrong::new(if key == "preset" { preset_key } else { key }, at, reason)
    }))
}

fn pattern(key: &'static str, found: Option<&Spanned<String>>) -> Result<Pattern, Wrong> {
    let Some(found) = found else { return Ok(exactly("")) };
    let wrong = |error: glob::PatternError| Wrong::new(key, found, error.msg);
    Pattern::new(&found.value).map_err(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn config(containers: &str) -> Result<Config, String> {
        let text = format!("aggregator: {{address: \"127.0.0.1:1\"}}\n{containers}");
        Config::parse("f.yaml", &text, &|_| None).map_err(|error| error.to_string())
    }

    #[test]
    fn the_first_that_matches_counts() {
        let text = "containers:\n  multiline:\n  - {namespace: shop, container: 'web*', preset: java}\n  \
             - {namespace: shop, pod: batch-*, preset: none}\n  - {namespace: shop, start_pattern: '^\\['}\n";
        let rules = config(text).unwrap().containers.unwrap().multiline;
        let name = |namespace, pod, container| {
            rules.rule_of(namespace, pod, container).map(|rule| rule.name().to_owned())
        };
        assert_eq!(name("shop", "batch-1", "web-1").as_deref(), Some("java"));
        assert_eq!(name("shop", "batch-1", "db"), None);
        assert_eq!(name("shop", "x", "db").as_deref(), Some("start_pattern ^\\["));
        assert_eq!(name("kube-system", "x", "web"), None);
    }

    #[test]
    fn host_files_have_their_own() {
        let text = "files:\n- {preset: kubelet}\n- {preset: etcd, multiline: timestamp}\n\
             - {preset: glbc, multiline: none}\n- {name: a, path: /a, start_pattern: '^#'}\n";
        let files = config(text).unwrap().files;
        let names: Vec<_> =
            files.iter().map(|file| file.multiline.as_ref().map(|rule| rule.name())).collect();
        assert_eq!(names, [Some("klog"), Some("timestamp"), None, Some("start_pattern ^#")]);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let check = |text: &str, expected: &str| assert_eq!(config(text).unwrap_err(), expected);
        check(
            "containers:\n  multiline:\n  - pod: x\n    start_pattern: '^(a'\n",
            "f.yaml:5: start_pattern: \"^(a\": unclosed group",
        );
        check("containers: {multiline: [{pod: x}]}\n", "f.yaml:2: preset: is missing");
        check(
            "files:\n- {name: a, path: /a,\n   multiline: cobol}\n",
            "f.yaml:4: multiline: there is no preset \"cobol\"; there are java, python, go, node, \
             ruby, dotnet, klog, timestamp, audit",
        );
        check(
            "files:\n- {name: a, path: /a, multiline: go,\n   start_pattern: x}\n",
            "f.yaml:4: start_pattern: cannot stand beside a preset",
        );
    }

    #[test]
    fn a_policy_names_containers() {
        let rule = |pod: &str, preset: &str, start_pattern: &str| wire::MultilineRule {
            namespace: "shop".into(),
            pod: pod.into(),
            container: String::new(),
            preset: preset.into(),
            start_pattern: start_pattern.into(),
        };
        let policy = [rule("a*", "go", ""), rule("b", "", "("), rule("", "python", "")];
        let (rules, refused) = ContainerRules::of_policy(&policy);
        let name = |pod| rules.rule_of("shop", pod, "x").map(|rule| rule.name().to_owned());
        assert_eq!(name("a*").as_deref(), Some("go"));
        assert_eq!(name("ab").as_deref(), Some("python"));
        assert_eq!(refused, ["start_pattern: \"(\": unclosed group"]);
        let both = ContainerRules::default().or_else(&rules);
        assert!(both.rule_of("shop", "b", "x").is_some() && both.rule_of("x", "b", "x").is_none());
    }
}
