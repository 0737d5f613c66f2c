//! A found document as a line: for people, or as JSON.
//!
//! Pure. It promises that no character in it is a command to a terminal or turns the order of what is shown around,
//! and that a line has no line end but its own.

use serde::Deserialize;
use serde_json::Value;

use super::command::Found;

/// What of a document a person is shown.
#[derive(Deserialize)]
struct Shown {
    #[serde(rename = "@timestamp", default)]
    timestamp: Value,
    #[serde(default)]
    log: Value,
    #[serde(default)]
    stream: Value,
    #[serde(default)]
    kubernetes: Value,
    #[serde(default)]
    naru: Value,
}

/// `time namespace/pod/container stream log`.
pub(super) fn human_line(found: &Found) -> String {
    let source = found.source.get();
    let Ok(shown) = serde_json::from_str::<Shown>(source) else {
        return escaped(source) + "\n";
    };
    let pod = ["namespace_name", "pod_name", "container_name"].map(|key| shown.kubernetes.get(key));
    let from = if pod.iter().any(Option::is_some) {
        pod.map(|part| part.map_or_else(|| "-".to_owned(), text)).join("/")
    } else {
        shown.naru.get("source").map_or_else(|| "-".to_owned(), text)
    };
    let stream = if shown.stream.is_null() { "-".to_owned() } else { text(&shown.stream) };
    let log = text(&shown.log);
    let parts =
        [text(&shown.timestamp), from, stream, log.trim_end_matches(['\r', '\n']).to_owned()];
    parts.map(|part| escaped(&part)).join("  ") + "\n"
}

/// The document with its index and id, as it was given but for characters that terminals obey.
pub(super) fn json_line(found: &Found) -> String {
    let source = found.source.get();
    let rest = source.trim_start().strip_prefix('{').unwrap_or("}");
    let comma = if rest.trim_start().starts_with('}') { "" } else { "," };
    let (index, id) = (Value::from(found.index.as_str()), Value::from(found.id.as_str()));
    let mut line = format!(r#"{{"_index":{index},"_id":{id}{comma}"#);
    for c in rest.chars() {
        match c {
            // JSON's own line ends stand between its parts only.
            '\r' | '\n' => line.push(' '),
            c if is_hostile(c) => line.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => line.push(c),
        }
    }
    line + "\n"
}

/// A text without characters that terminals obey.
pub(crate) fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => safe.push_str("\\n"),
            '\r' => safe.push_str("\\r"),
            '\t' => safe.push_str("\\t"),
            c if is_hostile(c) => safe.push_str(&format!("\\u{{{:x}}}", u32::from(c))),
            c => safe.push(c),
        }
    }
    safe
}

/// A character, or a mark where it is one that terminals obey.
pub(super) fn visible(c: char) -> char {
    if is_hostile(c) { '\u{fffd}' } else { c }
}

/// Control characters, and those that turn the direction of writing.
pub(crate) fn is_hostile(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}')
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(source: &str) -> Found {
        let source = serde_json::value::RawValue::from_string(source.to_owned()).unwrap();
        Found { index: "logstash-2026.11.22".to_owned(), id: "AaIA".to_owned(), source }
    }

    #[test]
    fn a_person_sees_one_line() {
        let check = |source: &str, expected: &str| assert_eq!(human_line(&found(source)), expected);
        check(
            r#"{"@timestamp":"2026-11-22T00:00:00Z","log":"a\u001b[2J\tb\nc\n","stream":"stderr",
                "kubernetes":{"namespace_name":"shop","pod_name":"web-0","container_name":"web"}}"#,
            "2026-11-22T00:00:00Z  shop/web-0/web  stderr  a\\u{1b}[2J\\tb\\nc\n",
        );
        check(
            r#"{"log":"주문\u202e\u009b1m","naru":{"source":"/var/log/x"}}"#,
            "  /var/log/x  -  주문\\u{202e}\\u{9b}1m\n",
        );
        check(r#"{"log":{"a":1}}"#, "  -  -  {\"a\":1}\n");
        check("\"a\u{9b}\"", "\"a\\u{9b}\"\n");
    }

    #[test]
    fn json_keeps_its_meaning() {
        let check = |source: &str| {
            let line = json_line(&found(source));
            assert!(line.ends_with('\n') && !line.trim_end_matches('\n').chars().any(is_hostile));
            let mut value: Value = serde_json::from_str(&line).unwrap();
            let object = value.as_object_mut().unwrap();
            assert_eq!(object.remove("_id"), Some(Value::from("AaIA")));
            assert_eq!(object.remove("_index"), Some(Value::from("logstash-2026.11.22")));
            assert_eq!(value, serde_json::from_str::<Value>(source).unwrap());
        };
        check("{}");
        check("{ }");
        check(r#"{"log":"a\u001bb","n":1}"#);
        check("{\"log\":\"\u{9b}2J\u{202e}\u{7f}\"}");
    }
}
