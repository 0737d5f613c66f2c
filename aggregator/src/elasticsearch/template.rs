//! The index template: how documents are mapped. Pure but for the constants' form.

use serde_json::{Value, json};

use super::search::{ANALYSIS, ANALYZER};

/// Above the server's own templates (100) and those of Fleet (200).
const PRIORITY: u32 = 300;
/// The name of ours.
pub const NAME: &str = "naru";
/// Longer texts in other fields than `log` are kept and not searched: a term has at most 32,766 bytes.
const IGNORE_ABOVE_CHARS: u32 = 1024;
/// The server's own limit of 1,000 is reached by a few programs with JSON logs.
const FIELDS_MAX: u32 = 2000;
/// From here on a field above the limit is kept and not searched; before, its document is refused, and repaired.
const IGNORES_FIELDS: (u32, u32) = (8, 14);

/// What the server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// `elasticsearch` or `opensearch`.
    pub distribution: String,
    /// As it says.
    pub version: String,
    /// The first number of it.
    pub major: u32,
    minor: u32,
    /// It has the type `flattened`.
    flattened: bool,
}

impl Server {
    /// Reads the answer to `GET /`; None when it is not one.
    #[must_use]
    pub fn read(body: &[u8]) -> Option<Self> {
        let answer: Value = serde_json::from_slice(body).ok()?;
        let version = answer.get("version")?;
        Self::of(version, version.get("number")?.as_str()?)
    }

    /// Reads the answer to `GET /_nodes/_local`; None when it is not one.
    #[must_use]
    pub fn read_nodes(body: &[u8]) -> Option<Self> {
        let answer: Value = serde_json::from_slice(body).ok()?;
        let node = answer.get("nodes")?.as_object()?.values().next()?;
        Self::of(node, node.get("version")?.as_str()?)
    }

    fn of(version: &Value, number: &str) -> Option<Self> {
        let mut parts = number.split('.').map(str::parse::<u32>);
        let (major, minor) = (parts.next()?.ok()?, parts.next()?.ok()?);
        let text = |key: &str, default: &str| {
            version.get(key).and_then(Value::as_str).unwrap_or(default).to_owned()
        };
        let distribution = text("distribution", "elasticsearch");
        let flattened = distribution == "elasticsearch"
            && text("build_flavor", "default") != "oss"
            && (major, minor) >= (7, 3);
        Some(Self { distribution, version: number.to_owned(), major, minor, flattened })
    }

    /// One that does not say what it is: everything of these days takes what Elasticsearch 8 takes.
    #[must_use]
    pub fn unnamed() -> Self {
        Self {
            distribution: "unnamed".to_owned(),
            version: "unknown".to_owned(),
            major: 8,
            minor: 0,
            flattened: false,
        }
    }

    /// Why nothing can be sent to it.
    #[must_use]
    pub fn refusal(&self) -> Option<String> {
        let old = self.distribution == "elasticsearch" && self.major < 7;
        old.then(|| format!("Elasticsearch {} is too old: 7.0 or newer is needed", self.version))
    }

    /// Path and body of the request that puts the template for the indices of a wildcard.
    #[must_use]
    pub fn template(&self, indices: &str) -> (String, String) {
        let patterns = json!([indices]);
        let (settings, mappings) = (self.settings(), mappings(self.flattened));
        let composable = self.distribution != "elasticsearch" || (self.major, self.minor) >= (7, 8);
        let (path, body) = if composable {
            let template = json!({"settings": settings, "mappings": mappings});
            let body = json!({
                "index_patterns": patterns, "priority": PRIORITY, "template": template,
                "_meta": {"owner": "naru"},
            });
            (format!("/_index_template/{NAME}"), body)
        } else {
            let body = json!({
                "index_patterns": patterns, "order": PRIORITY,
                "settings": settings, "mappings": mappings,
            });
            (format!("/_template/{NAME}"), body)
        };
        (path, body.to_string())
    }

    fn settings(&self) -> Value {
        let analysis: Value = serde_json::from_str(ANALYSIS).unwrap_or_default();
        let mut settings =
            json!({"index.mapping.total_fields.limit": FIELDS_MAX, "analysis": analysis});
        let ignores =
            self.distribution == "elasticsearch" && (self.major, self.minor) >= IGNORES_FIELDS;
        if let (true, Some(settings)) = (ignores, settings.as_object_mut()) {
            settings.insert(
                "index.mapping.total_fields.ignore_dynamic_beyond_limit".to_owned(),
                true.into(),
            );
        }
        settings
    }
}

impl std::fmt::Display for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.distribution, self.version)
    }
}

fn mappings(flattened: bool) -> Value {
    let keyword = json!({"type": "keyword", "ignore_above": IGNORE_ABOVE_CHARS});
    let labels = if flattened {
        json!({"type": "flattened", "ignore_above": IGNORE_ABOVE_CHARS})
    } else {
        json!({"type": "object"})
    };
    json!({
        // What looks like a date or a number in one line is a word in the next.
        "date_detection": false,
        "numeric_detection": false,
        "dynamic_templates": [
            {"strings": {"match_mapping_type": "string", "mapping": keyword}},
            // The server's default is 32 bits wide.
            {"doubles": {"match_mapping_type": "double", "mapping": {"type": "double"}}},
        ],
        "properties": {
            "@timestamp": {"type": "date_nanos"},
            // Without norms `log:*` finds lines without a word too, and each document is a byte smaller.
            "log": {"type": "text", "analyzer": ANALYZER, "norms": false},
            "stream": keyword, "level": keyword, "tag": keyword,
            "docker": {"properties": {"container_id": keyword}},
            "kubernetes": {"properties": {
                "namespace_name": keyword, "pod_name": keyword, "pod_id": keyword,
                "container_name": keyword, "container_image": keyword, "host": keyword,
                "labels": labels, "namespace_labels": labels,
            }},
            "naru": {"properties": {
                "node": keyword, "source": keyword, "file": keyword,
                // Breaks ties between lines of one nanosecond.
                "offset": {"type": "long"},
                "incomplete": {"type": "boolean"}, "continued": {"type": "boolean"},
                "malformed": {"type": "boolean"}, "encoding_errors": {"type": "long"},
                "json": keyword,
            }},
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(version: &str) -> Server {
        Server::read(format!("{{\"version\":{version}}}").as_bytes()).unwrap()
    }

    #[test]
    fn what_each_server_gets() {
        let check = |version: &str, path: &str, flattened: bool, refused: bool| {
            let ignores = version.starts_with(r#"{"number":"8.17"#);
            let server = server(version);
            assert_eq!(server.refusal().is_some(), refused, "{version}");
            let (found, body) = server.template("logstash-*");
            assert_eq!(found, path, "{version}");
            assert_eq!(body.contains("\"flattened\""), flattened, "{version}");
            assert_eq!(body.contains("ignore_dynamic_beyond_limit"), ignores, "{version}");
            assert!(body.contains("[\"logstash-*\"]"));
            assert!(body.contains("tokenizer"), "the analysis is JSON");
        };
        let (composable, legacy) = ("/_index_template/naru", "/_template/naru");
        check(r#"{"number":"7.10.2","build_flavor":"oss"}"#, composable, false, false);
        check(r#"{"number":"7.10.2","build_flavor":"default"}"#, composable, true, false);
        check(r#"{"number":"7.7.1","build_flavor":"default"}"#, legacy, true, false);
        check(r#"{"number":"6.8.23","build_flavor":"default"}"#, legacy, false, true);
        check(r#"{"number":"8.17.2","build_flavor":"default"}"#, composable, true, false);
        // OpenSearch 2 is no Elasticsearch 2.
        check(r#"{"number":"2.19.1","distribution":"opensearch"}"#, composable, false, false);
        check(r#"{"number":"1.0.0","distribution":"opensearch"}"#, composable, false, false);
    }

    #[test]
    fn what_is_no_server() {
        for body in ["", "{}", "<html>", r#"{"version":{"number":"x"}}"#, r#"{"version":7}"#] {
            assert_eq!(Server::read(body.as_bytes()), None, "{body}");
        }
    }
}
