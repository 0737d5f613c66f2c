//! A user's own index template from a file. Pure.

use serde_json::{Map, Value};

use super::template::NAME;

/// What is wrong with a text: a line, counted from 1, and a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrongTemplate {
    /// Where.
    pub line: usize,
    /// What.
    pub reason: String,
}

/// The path to put a template to: composable ones have their `settings` and `mappings` under `template`, legacy ones at the
/// top. `index` is the name of one of the indices that it is to be for.
///
/// # Errors
/// It is no JSON object, or none of its patterns is for the indices.
pub fn path_of(text: &str, index: &str) -> Result<String, WrongTemplate> {
    let template: Map<String, Value> = serde_json::from_str(text).map_err(|error| {
        let said = error.to_string();
        let reason = said.split(" at line ").next().unwrap_or(&said);
        WrongTemplate {
            line: error.line().max(1),
            reason: format!("is no index template: {reason}"),
        }
    })?;
    let patterns = match template.get("index_patterns") {
        Some(Value::String(one)) => vec![one.as_str()],
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    if !patterns.iter().any(|pattern| matches(pattern, index)) {
        let at = text.lines().position(|line| line.contains("\"index_patterns\""));
        let reason = format!("its index_patterns are not for {index}, so it would do nothing");
        return Err(WrongTemplate { line: at.map_or(1, |line| line + 1), reason });
    }
    let is_legacy = ["settings", "mappings", "order"].iter().any(|key| template.contains_key(*key));
    let kind = if is_legacy { "_template" } else { "_index_template" };
    Ok(format!("/{kind}/{NAME}"))
}

/// `*` is anything.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut name) = name.strip_prefix(start) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let end = parts.pop().unwrap_or_default();
    for part in parts {
        match name.find(part) {
            Some(at) => name = name.get(at + part.len()..).unwrap_or_default(),
            None => return false,
        }
    }
    name.ends_with(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_put_where_its_kind_belongs() {
        let check = |text: &str, expected: Result<&str, (usize, &str)>| {
            let found = path_of(text, "logstash-2026.11.22");
            match (found, expected) {
                (Ok(path), Ok(expected)) => assert_eq!(path, expected),
                (Err(wrong), Err((line, part))) => {
                    assert_eq!(wrong.line, line, "{wrong:?}");
                    assert!(wrong.reason.contains(part), "{wrong:?}");
                    assert!(!wrong.reason.contains('\n'));
                }
                other => panic!("{text}: {other:?}"),
            }
        };
        check(r#"{"index_patterns":["logstash-*"],"template":{}}"#, Ok("/_index_template/naru"));
        check(r#"{"index_patterns":"logstash-*","priority":1}"#, Ok("/_index_template/naru"));
        check(r#"{"index_patterns":["a","log*"],"mappings":{}}"#, Ok("/_template/naru"));
        check(r#"{"index_patterns":["*"],"order":1}"#, Ok("/_template/naru"));
        check("{\n\"index_patterns\":\n", Err((3, "is no index template: EOF")));
        check("{\n\"a\": 1,\n]", Err((3, "is no index template: key must be a string")));
        check("[]", Err((1, "invalid type: sequence")));
        check("", Err((1, "EOF")));
        check("{}", Err((1, "not for logstash-2026.11.22")));
        check("{\n \"index_patterns\": [\"logs-*\"]}", Err((2, "not for logstash-2026.11.22")));
    }

    #[test]
    fn patterns_match_as_elasticsearch_does() {
        let check = |pattern: &str, name: &str, expected: bool| {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        };
        check("logs", "logs", true);
        check("logs", "logs-1", false);
        check("l*s-*", "logs-1", true);
        check("*-1", "logs-1", true);
        check("*-2", "logs-1", false);
        check("a*b*c", "abc", true);
        check("a*b*c", "acb", false);
        check("ab*ba", "aba", false);
    }
}
