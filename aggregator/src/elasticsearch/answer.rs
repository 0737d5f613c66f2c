//! The answer to a bulk: the status of each item, in the order in which they were sent. Pure.

use serde::Deserialize;

/// What is asked for of an answer. Without `status` of each item the answer could not be told from a shorter one.
pub const FILTER: &str = "errors,items.*.status,items.*.error.type,items.*.error.reason,\
                          items.*.error.caused_by.type,items.*.error.caused_by.reason";

/// Longest part of a reason that is kept: a reason quotes the document.
const REASON_MAX_CHARS: usize = 500;

/// What one item was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemAnswer {
    /// Its status.
    pub status: u16,
    /// Why it failed.
    pub error: Option<ItemError>,
}

/// Why something failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemError {
    /// Elasticsearch's `type`.
    pub kind: String,
    /// Its `reason`, with that of its cause; at most 500 characters.
    pub reason: String,
}

impl std::fmt::Display for ItemError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.kind, self.reason)
    }
}

#[derive(Deserialize)]
struct Reply {
    items: Vec<Item>,
}

#[derive(Deserialize)]
enum Item {
    #[serde(rename = "create", alias = "index")]
    Item(Fields),
}

#[derive(Deserialize)]
struct Fields {
    status: u16,
    error: Option<ErrorFields>,
}

#[derive(Deserialize)]
struct ErrorFields {
    #[serde(rename = "type")]
    kind: Option<String>,
    reason: Option<String>,
    caused_by: Option<Box<ErrorFields>>,
}

#[derive(Deserialize)]
struct Failure {
    error: FailureError,
}

/// An old server, or a proxy, may answer with a mere text.
struct FailureError(ItemError);

impl<'de> Deserialize<'de> for FailureError {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        let error = match serde_json::from_value::<ErrorFields>(value.clone()) {
            Ok(fields) => fields.into_error(),
            Err(_) => ItemError {
                kind: "unknown".to_owned(),
                reason: cut(value.as_str().unwrap_or_default()),
            },
        };
        Ok(Self(error))
    }
}

impl ErrorFields {
    fn into_error(self) -> ItemError {
        let mut reason = self.reason.unwrap_or_default();
        // "failed to parse" says nothing; its cause does.
        if let Some(cause) = self.caused_by.and_then(|cause| cause.reason) {
            reason = format!("{reason}: {cause}");
        }
        ItemError { kind: self.kind.unwrap_or_else(|| "unknown".to_owned()), reason: cut(&reason) }
    }
}

/// The items of an answer; None when it cannot be read or has not exactly `sent` items: then nothing is known of any.
#[must_use]
pub fn items(body: &[u8], sent: usize) -> Option<Vec<ItemAnswer>> {
    let reply: Reply = serde_json::from_slice(body).ok()?;
    let items = reply.items.into_iter().map(|Item::Item(fields)| ItemAnswer {
        status: fields.status,
        error: fields.error.map(ErrorFields::into_error),
    });
    let items: Vec<ItemAnswer> = items.collect();
    (items.len() == sent).then_some(items)
}

/// The error of an answer that is not about items.
#[must_use]
pub fn failure(body: &[u8]) -> Option<ItemError> {
    serde_json::from_slice::<Failure>(body).ok().map(|failure| failure.error.0)
}

fn cut(text: &str) -> String {
    text.chars().take(REASON_MAX_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_in_order_with_their_causes() {
        let body =
            br#"{"errors":true,"items":[{"create":{"status":201}},{"create":{"status":400,"error":
            {"type":"mapper_parsing_exception","reason":"failed to parse","caused_by":
            {"type":"illegal_state_exception","reason":"object expected"}}}}]}"#;
        let found = items(body, 2).unwrap();
        assert_eq!(found[0], ItemAnswer { status: 201, error: None });
        let error = found[1].error.as_ref().unwrap();
        assert_eq!(error.to_string(), "mapper_parsing_exception: failed to parse: object expected");
    }

    #[test]
    fn what_is_not_an_answer_to_what_was_sent_says_nothing() {
        let one = br#"{"items":[{"create":{"status":201}}]}"#;
        assert!(items(one, 1).is_some());
        assert!(items(one, 2).is_none(), "fewer");
        assert!(items(one, 0).is_none(), "more: 7.10.2 has been seen to do it");
        assert!(items(&one[..one.len() - 3], 1).is_none(), "cut off");
        assert!(items(b"{\"items\":[{\"create\":{}}]}", 1).is_none(), "no status");
        assert!(items(b"<html>", 1).is_none());
        assert!(items(b"", 0).is_none());
        assert!(
            items(b" {\n  \"items\" : [ { \"create\" : { \"status\" : 201 } } ]\n}", 1).is_some()
        );
    }

    #[test]
    fn failures() {
        let body = br#"{"error":{"root_cause":[],"type":"cluster_block_exception","reason":"blocked"},"status":403}"#;
        assert_eq!(failure(body).unwrap().to_string(), "cluster_block_exception: blocked");
        let text = br#"{"error":"no handler found","status":400}"#;
        assert_eq!(failure(text).unwrap().to_string(), "unknown: no handler found");
        assert!(failure(b"Bad Gateway").is_none());
    }
}
