//! Terms: what of a document's JSON is in the inverted index, and how a term is written.
//!
//! A term is `path NUL kind value`, so that one field of the index holds every path, and no document, whatever its
//! keys, makes columns or fields grow. Pure. It promises to take any JSON, and that no term is longer than
//! [`TERM_MAX_BYTES`]: longer words and texts are shortened to a beginning and a hash, which a query does as well.

use std::collections::HashMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::search::number::Number;
use crate::search::query::LOG;
use crate::search::words;

/// A longer path, and all below it, is kept but not searchable.
pub(super) const PATH_MAX_BYTES: usize = 255;
/// A text up to this length is a term as it is. A longer one is shortened: it would be most of the index.
pub(super) const KEYWORD_MAX_BYTES: usize = 96;
/// Deeper values are kept but not searchable: the recursion is bounded by it.
pub(super) const DEPTH_MAX: usize = 64;
/// tantivy drops terms above 65,530 bytes.
#[cfg(test)]
pub(super) const TERM_MAX_BYTES: usize = PATH_MAX_BYTES + 2 + words::WORD_MAX_BYTES;

/// What a term says of its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// There is a value at it or below it.
    Exists = b'e',
    /// A value is this text.
    Keyword = b'k',
    /// A value is this number.
    Number = b'n',
    /// A value has this word, with its place.
    Word = b'w',
}

/// The beginning of all terms of a kind.
pub(super) fn term_prefix(path: &str, kind: Kind) -> String {
    let mut term = String::with_capacity(path.len() + 32);
    push_path(&mut term, path);
    term.push('\0');
    term.push(char::from(kind as u8));
    term
}

/// The term of a text.
pub(super) fn keyword_term(path: &str, text: &str) -> String {
    let mut term = term_prefix(path, Kind::Keyword);
    let from = term.len();
    term.push_str(text);
    words::shorten(&mut term, from, KEYWORD_MAX_BYTES);
    term
}

/// The terms of one document, in memory that is used again for the next.
#[derive(Debug, Default, Clone)]
pub(super) struct Terms {
    text: String,
    /// Where each term ends, and its place.
    ends: Vec<(usize, u32)>,
    path: String,
    /// The place after the last word of each path that came before: a path may come again, and places only grow.
    places: HashMap<u64, u32>,
}

impl Terms {
    /// Reads a document. What is not JSON ends the reading; the terms up to there stay.
    pub(super) fn read(&mut self, source: &str) {
        self.text.clear();
        self.ends.clear();
        self.path.clear();
        self.places.clear();
        let mut json = serde_json::Deserializer::from_str(source);
        Value { terms: self, depth: 0 }.deserialize(&mut json).ok();
    }

    /// One of them, and its place.
    pub(super) fn get(&self, at: usize) -> Option<(&str, u32)> {
        let &(end, place) = self.ends.get(at)?;
        let start = match at.checked_sub(1).and_then(|before| self.ends.get(before)) {
            Some(&(start, _)) => start,
            None => 0,
        };
        Some((self.text.get(start..end)?, place))
    }

    fn emit(&mut self, kind: Kind, value: &str, place: u32) {
        let Self { text, ends, path, .. } = self;
        emit(text, ends, path, kind, value, place);
    }

    fn emit_text(&mut self, value: &str) {
        if self.path != LOG {
            let from = self.text.len() + self.path.len() + 2;
            self.text.push_str(&self.path);
            self.text.push('\0');
            self.text.push(char::from(Kind::Keyword as u8));
            self.text.push_str(value);
            words::shorten(&mut self.text, from, KEYWORD_MAX_BYTES);
            self.ends.push((self.text.len(), 0));
        }
        let Self { text, ends, path, places } = self;
        let mut hasher = DefaultHasher::new();
        path.hash(&mut hasher);
        let first = places.entry(hasher.finish()).or_insert(0);
        let count = words::of_indexed(value, |place, word| {
            emit(text, ends, path, Kind::Word, word, *first + place);
        });
        // A phrase does not go on from one value into the next.
        *first += count + 1;
    }

    fn push_key(&mut self, key: &str) {
        if !self.path.is_empty() {
            self.path.push('.');
        }
        push_path(&mut self.path, key);
    }
}

fn emit(
    text: &mut String,
    ends: &mut Vec<(usize, u32)>,
    path: &str,
    kind: Kind,
    value: &str,
    place: u32,
) {
    text.push_str(path);
    text.push('\0');
    text.push(char::from(kind as u8));
    text.push_str(value);
    ends.push((text.len(), place));
}

/// NUL ends a path in a term, so a key's own becomes another character.
fn push_path(path: &mut String, key: &str) {
    if key.contains('\0') {
        path.extend(key.chars().map(|c| if c == '\0' { '\u{fffd}' } else { c }));
    } else {
        path.push_str(key);
    }
}

/// Reads the value at the current path and says whether it is one.
struct Value<'t> {
    terms: &'t mut Terms,
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<bool, D::Error> {
        if self.terms.path.len() > PATH_MAX_BYTES || self.depth > DEPTH_MAX {
            return json.deserialize_ignored_any(IgnoredAny).map(|_| false);
        }
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_bool<E>(self, value: bool) -> Result<bool, E> {
        self.terms.emit(Kind::Keyword, if value { "true" } else { "false" }, 0);
        Ok(true)
    }

    fn visit_i64<E>(self, value: i64) -> Result<bool, E> {
        self.terms.emit(Kind::Number, &Number::Whole(value.into()).key(), 0);
        Ok(true)
    }

    fn visit_u64<E>(self, value: u64) -> Result<bool, E> {
        self.terms.emit(Kind::Number, &Number::Whole(value.into()).key(), 0);
        Ok(true)
    }

    fn visit_f64<E>(self, value: f64) -> Result<bool, E> {
        self.terms.emit(Kind::Number, &Number::Double(value).key(), 0);
        Ok(true)
    }

    fn visit_str<E>(self, value: &str) -> Result<bool, E> {
        self.terms.emit_text(value);
        Ok(true)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<bool, A::Error> {
        let depth = self.depth + 1;
        let mut any = false;
        while let Some(found) = elements.next_element_seed(Value { terms: self.terms, depth })? {
            any |= found;
        }
        Ok(any)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<bool, A::Error> {
        let length = self.terms.path.len();
        let mut any = false;
        while entries.next_key_seed(Key { terms: self.terms })?.is_some() {
            let value = Value { terms: self.terms, depth: self.depth + 1 };
            if entries.next_value_seed(value)? {
                self.terms.emit(Kind::Exists, "", 0);
                any = true;
            }
            self.terms.path.truncate(length);
        }
        Ok(any)
    }
}

/// Reads a key into the path.
struct Key<'t> {
    terms: &'t mut Terms,
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<(), E> {
        self.terms.push_key(key);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(source: &str) -> Vec<String> {
        let mut terms = Terms::default();
        terms.read(source);
        let all = (0..).map_while(|at| terms.get(at));
        all.map(|(term, place)| format!("{}@{place}", term.replace('\0', "|"))).collect()
    }

    #[test]
    fn a_document_becomes_terms() {
        assert_eq!(
            terms(
                r#"{"log":"Hi there\n","k":{"a.b":"X-1","n":[1,null],"t":true,"none":{}},"z":null}"#
            ),
            [
                "log|whi@0",
                "log|wthere@1",
                "log|e@0",
                "k.a.b|kX-1@0",
                "k.a.b|wx@0",
                "k.a.b|w1@1",
                "k.a.b|e@0",
                "k.n|nbff0000000000000800@0",
                "k.n|e@0",
                "k.t|ktrue@0",
                "k.t|e@0",
                "k|e@0",
            ]
        );
    }

    #[test]
    fn places_of_a_path_that_comes_again_go_on() {
        assert_eq!(
            terms(r#"{"a.b":"x y","a":{"b":"x"},"a":[{"b":"x"}]}"#)
                .iter()
                .filter(|term| term.starts_with("a.b|w"))
                .collect::<Vec<_>>(),
            ["a.b|wx@0", "a.b|wy@1", "a.b|wx@3", "a.b|wx@5"]
        );
    }

    #[test]
    fn hostile_documents_have_bounded_terms() {
        let long = "x".repeat(960 * 1024);
        let deep = format!("{}1{}", "[".repeat(5000), "]".repeat(5000));
        let nested = format!("{}1{}", r#"{"a":"#.repeat(5000), "}".repeat(5000));
        let many: Vec<_> = (0..10_000).map(|n| format!(r#""k{n}":{n}"#)).collect();
        for source in [
            format!(r#"{{"log":"{long}","b":"{long}","{long}":"c","d":1}}"#),
            format!(r#"{{"a":{deep},"d":1}}"#),
            format!(r#"{{"n":{nested},"d":1}}"#),
            format!(r#"{{{},"d":1}}"#, many.join(",")),
            r#"{"\u0000":"\u0000","":{"":1},"..":2,"d":1}"#.to_owned(),
        ] {
            let terms = terms(&source);
            assert_eq!(terms.last().map(String::as_str), Some("d|e@0"));
            assert!(terms.iter().all(|term| term.len() <= TERM_MAX_BYTES + 8));
        }
        assert_eq!(terms(r#"{"a":1,"b":"#).len(), 2);
        assert!(terms("not json").is_empty());
    }
}
