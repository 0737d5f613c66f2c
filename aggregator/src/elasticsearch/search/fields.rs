//! What kind each field has in each index: what of a test can hold there, and how it is asked for.
//!
//! Pure. Indices of one pattern may disagree: those that Naru's template made, and those that something else made before.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::Value;

use crate::search::query::{ID, INDEX, LOG, Query, TIMESTAMP};

/// The analyzer of `log` in the indices that Naru's template made.
pub const ANALYZER: &str = "naru_text";
/// As in the store, a longer path is not searched.
const PATH_MAX_BYTES: usize = 255;
/// Elasticsearch takes 4 KiB for a request's first line.
const NAMES_MAX_BYTES: usize = 3_000;

/// What a field is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    /// Text with the words that [`crate::search::words`] says.
    Words,
    /// Text that another analyzer split; `keyword` when the whole is in a field below it.
    Text {
        /// Whether it is.
        keyword: bool,
    },
    /// A whole text.
    Keyword,
    /// A whole number between the two.
    Whole(i128, i128),
    /// A number that is no larger than this.
    Double(f64),
    /// A truth value.
    Boolean,
    /// A time.
    Date,
    /// Whole texts of a `flattened` object, where words cannot be looked for.
    Flattened,
    /// Something else.
    Other,
}

/// The kinds of fields by name, each with the indices where it is so.
#[derive(Debug, Default)]
pub(super) struct Fields {
    kinds: BTreeMap<String, Vec<(Kind, Vec<String>)>>,
}

impl Fields {
    /// A field's kinds; one where all indices that have it agree.
    pub(super) fn kinds(&self, field: &str) -> &[(Kind, Vec<String>)] {
        if let Some(kinds) = self.kinds.get(field) {
            return kinds;
        }
        let above = ancestors(field).filter_map(|above| self.kinds.get(above));
        let mut flattened = above.filter(|kinds| kinds.iter().any(|(k, _)| *k == Kind::Flattened));
        flattened.next().map_or(&[], Vec::as_slice)
    }

    /// Takes an answer to `_mapping/field`.
    pub(super) fn read(&mut self, answer: &Value) {
        for (index, body) in answer.as_object().into_iter().flatten() {
            let mappings = body.get("mappings").and_then(Value::as_object);
            for (name, field) in mappings.into_iter().flatten() {
                let leaf = field.get("mapping").and_then(Value::as_object);
                let Some(leaf) = leaf.and_then(|leaf| leaf.values().next()) else { continue };
                let kinds = self.kinds.entry(name.clone()).or_default();
                let kind = kind(leaf);
                match kinds.iter_mut().find(|(known, _)| *known == kind) {
                    Some((_, indices)) => indices.push(index.clone()),
                    None => kinds.push((kind, vec![index.clone()])),
                }
            }
        }
    }
}

/// The names to ask for, so that a query can be compiled: encoded for a path, in as many pieces as are needed.
pub(super) fn asked_names(queries: &[&Query]) -> Vec<String> {
    let mut names = BTreeSet::new();
    queries.iter().for_each(|query| collect(query, &mut names));
    let with_ancestors: BTreeSet<&str> =
        names.iter().flat_map(|name| ancestors(name).chain([*name])).collect();
    let mut pieces: Vec<String> = Vec::new();
    for name in with_ancestors {
        let name = encoded(name);
        match pieces.last_mut() {
            Some(piece) if piece.len() + name.len() < NAMES_MAX_BYTES => {
                piece.push(',');
                piece.push_str(&name);
            }
            _ => pieces.push(name),
        }
    }
    pieces
}

fn collect<'a>(query: &'a Query, names: &mut BTreeSet<&'a str>) {
    match query {
        Query::All | Query::Exists(_) => {}
        Query::And(parts) | Query::Or(parts) => parts.iter().for_each(|part| collect(part, names)),
        Query::Not(inner) => collect(inner, names),
        Query::Field(name, _) => {
            let own = [ID, INDEX, TIMESTAMP].contains(&name.as_str());
            if !own && !name.is_empty() && name.len() <= PATH_MAX_BYTES {
                names.insert(name);
            }
        }
    }
}

/// The paths that a path is below. `log` is no object.
fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    let ends = path.match_indices('.').map(|(at, _)| at);
    ends.filter_map(|end| path.get(..end)).filter(|above| !above.is_empty() && *above != LOG)
}

/// For a path. A comma would be two names; a `*` matches it, and what else it matches is not asked for by name.
fn encoded(name: &str) -> String {
    let mut encoded = String::new();
    for byte in name.bytes() {
        match byte {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            b',' => encoded.push('*'),
            // Writing to a String cannot fail.
            byte => write!(encoded, "%{byte:02X}").unwrap_or_default(),
        }
    }
    encoded
}

fn kind(leaf: &Value) -> Kind {
    let text = |key: &str| leaf.get(key).and_then(Value::as_str).unwrap_or_default();
    let whole = |low: i128, high: i128| Kind::Whole(low, high);
    match text("type") {
        "text" if text("analyzer") == ANALYZER => Kind::Words,
        "text" => Kind::Text {
            keyword: leaf.pointer("/fields/keyword/type").and_then(Value::as_str)
                == Some("keyword"),
        },
        "keyword" | "constant_keyword" | "wildcard" => Kind::Keyword,
        "long" => whole(i64::MIN.into(), i64::MAX.into()),
        "integer" => whole(i32::MIN.into(), i32::MAX.into()),
        "short" => whole(i16::MIN.into(), i16::MAX.into()),
        "byte" => whole(i8::MIN.into(), i8::MAX.into()),
        "unsigned_long" => whole(0, u64::MAX.into()),
        "double" | "scaled_float" => Kind::Double(f64::MAX),
        "float" => Kind::Double(f32::MAX.into()),
        "half_float" => Kind::Double(65_504.0),
        "boolean" => Kind::Boolean,
        "date" | "date_nanos" => Kind::Date,
        "flattened" | "flat_object" => Kind::Flattened,
        _ => Kind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::parse::parse;

    fn names(query: &str) -> Vec<String> {
        asked_names(&[&parse(query).unwrap()])
    }

    #[test]
    fn names_are_asked_for_with_what_they_are_below() {
        assert_eq!(names("* a.b:* _id:x _index:y @timestamp:2026-11-22"), Vec::<String>::new());
        assert_eq!(names("x OR NOT json.a:1"), ["json,json.a,log"]);
        assert_eq!(names("l.k8s.io/name:x"), ["l,l.k8s,l.k8s.io%2Fname"]);
        assert_eq!(names("a\\,b:x \\주:y"), ["a*b,%EC%A3%BC"]);
        assert_eq!(names(&format!("{}:1", "a".repeat(256))), Vec::<String>::new());
        let many: Vec<_> = (0..100).map(|n| format!("{}{n}:1", "a".repeat(50))).collect();
        let pieces = names(&many.join(" OR "));
        assert_eq!(pieces.len(), 2);
        assert!(pieces.iter().all(|piece| piece.len() < NAMES_MAX_BYTES));
    }

    #[test]
    fn kinds_are_told_by_index() {
        let mut fields = Fields::default();
        fields.read(&serde_json::json!({
            "new": {"mappings": {
                "log": {"full_name": "log", "mapping": {"log": {"type": "text", "analyzer": "naru_text"}}},
                "json.n": {"mapping": {"n": {"type": "long"}}},
                "labels": {"mapping": {"labels": {"type": "flattened"}}},
                "kubernetes": {"mapping": {}},
            }},
            "newer": {"mappings": {"json.n": {"mapping": {"n": {"type": "long"}}}}},
            "old": {"mappings": {
                "log": {"mapping": {"log": {"type": "text", "fields": {"keyword": {"type": "keyword"}}}}},
            }},
        }));
        let at = |index: &str| vec![index.to_owned()];
        let log = [(Kind::Words, at("new")), (Kind::Text { keyword: true }, at("old"))];
        assert_eq!(fields.kinds("log"), log);
        let long = Kind::Whole(i64::MIN.into(), i64::MAX.into());
        assert_eq!(fields.kinds("json.n"), [(long, vec!["new".to_owned(), "newer".to_owned()])]);
        assert_eq!(fields.kinds("labels.app.name"), [(Kind::Flattened, at("new"))]);
        assert_eq!(fields.kinds("kubernetes.x"), []);
    }
}
