//! What a script may answer, and the JSON of it. Pure.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::elasticsearch::bulk::Item;

/// An answer and how long it takes.
#[derive(Debug, Clone)]
pub struct Reply {
    /// From when the request is complete to when anything happens.
    pub after: Duration,
    /// What happens.
    pub answer: Answer,
}

/// What a script lets happen.
#[derive(Debug, Clone)]
pub enum Answer {
    /// Every item is stored: 201, or 409 where it was before.
    Store,
    /// To each item its own, in their order; as many as there are items.
    Each(Vec<Fate>),
    /// The request is refused as a whole; nothing is stored.
    Refuse {
        /// Its status.
        status: u16,
        /// Its body, which need not be JSON.
        body: String,
    },
    /// Every item is stored, and half of the answer arrives before the connection closes.
    Truncate,
    /// Every item is stored, and the answer has so many items more or fewer.
    Miscount(isize),
    /// Every item is stored or none, and the connection is reset without an answer.
    Reset {
        /// Whether they are stored.
        stored: bool,
    },
    /// Every item is stored or none, and no answer ever comes.
    Silence {
        /// Whether they are stored.
        stored: bool,
    },
}

/// What becomes of one item.
#[derive(Debug, Clone, PartialEq)]
pub enum Fate {
    /// It is stored: 201, or 409 where it was before.
    Store,
    /// It is not.
    Refuse {
        /// Its status.
        status: u16,
        /// Its `error`.
        error: Value,
    },
}

impl Fate {
    /// Refuses with a status and the `type` of an error, `es_rejected_execution_exception` for example.
    #[must_use]
    pub fn refuse(status: u16, kind: &str) -> Self {
        Self::Refuse { status, error: json!({"type": kind, "reason": "the script says so"}) }
    }
}

impl Answer {
    /// The same after a delay.
    #[must_use]
    pub fn after(self, after: Duration) -> Reply {
        Reply { after, answer: self }
    }
}

impl From<Answer> for Reply {
    fn from(answer: Answer) -> Self {
        answer.after(Duration::ZERO)
    }
}

/// One of `items` in an answer; with a `filter_path`, only what any filter that makes sense asks for.
pub(super) fn item_answer(
    item: &Item,
    status: u16,
    error: Option<&Value>,
    filtered: bool,
) -> Value {
    let mut fields = json!({"status": status});
    if !filtered {
        fields["_index"] = json!(item.index);
        fields["_type"] = json!("_doc");
        fields["_id"] = json!(item.id);
    }
    if let Some(error) = error {
        fields["error"] = error.clone();
    }
    json!({ item.action.as_str(): fields })
}

/// The whole answer.
pub(super) fn answer_body(items: &[Value], filtered: bool) -> String {
    let errors = items.iter().any(|item| item.as_object().is_some_and(has_error));
    let answer = if filtered {
        json!({"errors": errors, "items": items})
    } else {
        json!({"took": 1, "errors": errors, "items": items})
    };
    answer.to_string()
}

fn has_error(item: &Map<String, Value>) -> bool {
    item.values().any(|fields| fields.get("error").is_some())
}

/// What the server says that this stands in for.
pub(super) fn banner() -> String {
    json!({
        "name": "node-0",
        "cluster_name": "naru-integration",
        "cluster_uuid": "bulk-sink",
        "version": {
            "number": "7.10.2",
            "build_flavor": "oss",
            "build_type": "tar",
            "build_hash": "747e1cc71def077253878a59143c1f785afa92b9",
            "build_date": "2021-01-13T00:42:12.435326Z",
            "build_snapshot": false,
            "lucene_version": "8.7.0",
            "minimum_wire_compatibility_version": "6.8.0",
            "minimum_index_compatibility_version": "6.0.0-beta1"
        },
        "tagline": "You Know, for Search"
    })
    .to_string()
}
