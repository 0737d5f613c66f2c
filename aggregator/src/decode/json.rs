//! JSON bodies: is the text one object that Elasticsearch will take? Pure and total.
//!
//! One streaming walk with serde, no tree. What passes is spliced into the document as it is; what does not stays text,
//! so that one bad body never costs a document. Elasticsearch refuses duplicate, empty and dotted-odd keys, integers
//! over 64 bits, numbers over a float, and too deep or too many fields (7.10: `DocumentParser`, `FieldTypeLookup`).

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::level::{self, Level};

/// Nested objects and arrays, and names in a dotted key: `index.mapping.depth.limit` is 20, `json` itself takes one,
/// and one is left over.
pub const DEPTH_MAX: usize = 18;
/// Keys of a body, those of its inner objects counted each time: `index.mapping.total_fields.limit` is 1,000.
pub const FIELDS_MAX: usize = 1000;
/// A longer key is data, not a name: it would become a field of the mapping for ever.
pub const KEY_MAX_BYTES: usize = 256;
/// Integers beyond it do not fit Elasticsearch's `long`, and floats beyond it are more often ids than measures.
const NUMBER_MAX_EXCLUSIVE: f64 = 9_223_372_036_854_775_808.0;
/// Up to here keys are compared each with each, beyond it they are sorted.
const COMPARED_KEYS_MAX: usize = 24;

/// Why a body that is a JSON object stays text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Deeper than [`DEPTH_MAX`].
    Depth,
    /// More keys than [`FIELDS_MAX`].
    Fields,
    /// A key twice in one object.
    DuplicateKey,
    /// A key that is empty, too long, holds a control character, or has an empty name between its dots.
    Key,
    /// A number that Elasticsearch has no type for.
    Number,
}

impl Refusal {
    /// As it stands in a document, under `naru.json`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Depth => "depth",
            Self::Fields => "fields",
            Self::DuplicateKey => "duplicate_key",
            Self::Key => "key",
            Self::Number => "number",
        }
    }
}

/// What a text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body<'a> {
    /// Not a JSON object.
    Text,
    /// A JSON object that may be spliced.
    Object {
        /// Without the whitespace around it; newlines in it are whitespace.
        json: &'a str,
        /// What it says of its level.
        level: Option<Level>,
    },
    /// A JSON object as far as it was read, that may not.
    Refused {
        /// Why.
        refusal: Refusal,
        /// What it said of its level before it was refused.
        level: Option<Level>,
    },
}

/// Memory that a walk uses: reused, so that a line allocates nothing.
#[derive(Debug, Default)]
pub struct Scratch {
    /// Hashes of the keys of the objects that are open. Two keys with one hash would only leave a line as text.
    keys: Vec<u64>,
}

/// Judges a text.
#[must_use]
pub fn body<'a>(text: &'a str, scratch: &mut Scratch) -> Body<'a> {
    let json = text.trim_matches([' ', '\t', '\n', '\r']);
    if !json.starts_with('{') || !json.ends_with('}') {
        return Body::Text;
    }
    scratch.keys.clear();
    let mut walk = Walk { keys: &mut scratch.keys, fields: 0, level: None, refusal: None };
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let value = Value { walk: &mut walk, depth: 0, is_level: false };
    let end = value.deserialize(&mut deserializer).and_then(|()| deserializer.end());
    let (level, refusal) = (walk.level, walk.refusal);
    match (end, refusal) {
        (Ok(()), _) => Body::Object { json, level },
        (Err(_), Some(refusal)) => Body::Refused { refusal, level },
        // serde_json has no other way to tell a number over f64 from what is not JSON.
        (Err(error), None) if error.to_string().starts_with("number out of range") => {
            Body::Refused { refusal: Refusal::Number, level }
        }
        (Err(_), None) => Body::Text,
    }
}

struct Walk<'s> {
    keys: &'s mut Vec<u64>,
    fields: usize,
    level: Option<Level>,
    refusal: Option<Refusal>,
}

impl Walk<'_> {
    fn refuse<T, E: Error>(&mut self, refusal: Refusal) -> Result<T, E> {
        self.refusal = Some(refusal);
        Err(E::custom(refusal.as_str()))
    }

    /// Takes a key of the object whose keys begin at `start`; returns how many names it holds.
    fn key<E: Error>(&mut self, key: &str, start: usize) -> Result<usize, E> {
        self.fields += 1;
        if self.fields > FIELDS_MAX {
            return self.refuse(Refusal::Fields);
        }
        let Some(names) = names(key) else {
            return self.refuse(Refusal::Key);
        };
        let hash = hash(key.as_bytes());
        let before = self.keys.get(start..).unwrap_or_default();
        if before.len() < COMPARED_KEYS_MAX && before.contains(&hash) {
            return self.refuse(Refusal::DuplicateKey);
        }
        self.keys.push(hash);
        Ok(names)
    }

    /// Forgets the keys of the object that ends.
    fn end_object<E: Error>(&mut self, start: usize) -> Result<(), E> {
        let keys = self.keys.get_mut(start..).unwrap_or_default();
        if keys.len() > COMPARED_KEYS_MAX {
            keys.sort_unstable();
            if keys.windows(2).any(|pair| pair.first() == pair.last()) {
                return self.refuse(Refusal::DuplicateKey);
            }
        }
        self.keys.truncate(start);
        Ok(())
    }
}

/// How many names a key holds between its dots; None if Elasticsearch would refuse it.
fn names(key: &str) -> Option<usize> {
    if key.len() > KEY_MAX_BYTES || key.bytes().any(|b| b < 0x20) {
        return None;
    }
    let has_name = |part: &str| part.chars().any(|c| !c.is_whitespace());
    if memchr::memchr(b'.', key.as_bytes()).is_none() {
        return has_name(key).then_some(1);
    }
    key.split('.').all(has_name).then(|| key.split('.').count())
}

/// A multiply-fold over words of eight bytes: quick, and good enough to tell the keys of one object apart.
fn hash(key: &[u8]) -> u64 {
    const K: u64 = 0x9e37_79b9_7f4a_7c15;
    let fold = |a: u64, b: u64| {
        let product = u128::from(a ^ K) * u128::from(b ^ 0xa076_1d64_78bd_642f);
        (product as u64) ^ (product >> 64) as u64
    };
    let (words, rest) = key.as_chunks::<8>();
    let mut last = [0; 8];
    for (to, from) in last.iter_mut().zip(rest) {
        *to = *from;
    }
    let start = fold(key.len() as u64, u64::from_le_bytes(last));
    words.iter().fold(start, |state, word| fold(state, u64::from_le_bytes(*word)))
}

/// A value at a depth: 0 is the body itself.
struct Value<'w, 's> {
    walk: &'w mut Walk<'s>,
    depth: usize,
    /// It stands under a key that names the level.
    is_level: bool,
}

impl<'de> DeserializeSeed<'de> for Value<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        if value > i64::MAX as u64 {
            return self.walk.refuse(Refusal::Number);
        }
        if self.is_level && self.walk.level.is_none() {
            self.walk.level = level::number(value);
        }
        Ok(())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        if value.abs() < NUMBER_MAX_EXCLUSIVE { Ok(()) } else { self.walk.refuse(Refusal::Number) }
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<(), E> {
        if self.is_level && self.walk.level.is_none() {
            self.walk.level = level::word(value.as_bytes());
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let depth = self.depth + 1;
        if depth > DEPTH_MAX {
            return self.walk.refuse(Refusal::Depth);
        }
        while seq
            .next_element_seed(Value { walk: &mut *self.walk, depth, is_level: false })?
            .is_some()
        {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let start = self.walk.keys.len();
        loop {
            let at_root = self.depth == 0;
            let Some(key) = map.next_key_seed(Key { walk: &mut *self.walk, start, at_root })?
            else {
                break;
            };
            let depth = self.depth + key.names;
            if depth > DEPTH_MAX {
                return self.walk.refuse(Refusal::Depth);
            }
            map.next_value_seed(Value { walk: &mut *self.walk, depth, is_level: key.is_level })?;
        }
        self.walk.end_object(start)
    }
}

struct Key<'w, 's> {
    walk: &'w mut Walk<'s>,
    start: usize,
    at_root: bool,
}

struct TakenKey {
    names: usize,
    is_level: bool,
}

impl<'de> DeserializeSeed<'de> for Key<'_, '_> {
    type Value = TakenKey;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<TakenKey, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_, '_> {
    type Value = TakenKey;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<TakenKey, E> {
        let names = self.walk.key(key, self.start)?;
        Ok(TakenKey { names, is_level: self.at_root && level::is_key(key) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Body<'_>) {
        assert_eq!(body(text, &mut Scratch::default()), expected, "{text}");
    }

    fn check_object(text: &str, level: Option<Level>) {
        check(text, Body::Object { json: text.trim(), level });
    }

    fn check_refused(text: &str, refusal: Refusal) {
        check(text, Body::Refused { refusal, level: None });
    }

    #[test]
    fn objects_pass() {
        check_object("{}", None);
        check_object(
            " \t{\"a\": [1, -2, 3.5, null, true, {\"b\": \"\\u00e9\\ud83d\\ude00\"}]}\r",
            None,
        );
        check_object("{\"a\":\n1}", None);
        check_object(r#"{"a.b":1,"c":{"a.b":2},"a":{"b":3}}"#, None);
        check_object(r#"{"n":9223372036854775807,"m":-9223372036854775808,"f":1e18}"#, None);
        check_object(r#"{"level":"WARN"}"#, Some(Level::Warn));
        check_object(r#"{"severity":"critical","level":"info"}"#, Some(Level::Fatal));
        check_object(r#"{"level":50,"time":1}"#, Some(Level::Error));
        check_object(r#"{"log.level":"debug"}"#, Some(Level::Debug));
        check_object(r#"{"lvl":"strange","a":{"level":"info"}}"#, None);
    }

    #[test]
    fn what_is_not_an_object_is_text() {
        for text in [
            "",
            "{",
            "}",
            "{}{}",
            "{} {}",
            "{a}",
            "[{}]",
            "\"{}\"",
            "x {}",
            "{\"a\":1,}",
            "{\"a\":01}",
            "{\"a\":NaN}",
            "{\"a\":\"\\ud800\"}",
            "{\"a\":\"\\udc00\\ud800\"}",
            "{\"a\":\"\n\"}",
            "{1:2}",
            "\u{a0}{}",
        ] {
            check(text, Body::Text);
        }
    }

    #[test]
    fn what_elasticsearch_refuses_stays_text() {
        check_refused(r#"{"a":1,"b":2,"a":3}"#, Refusal::DuplicateKey);
        check_refused(r#"{"a":1,"\u0061":3}"#, Refusal::DuplicateKey);
        check_refused(r#"{"x":[{"a":1},{"a":1,"a":2}]}"#, Refusal::DuplicateKey);
        for key in ["", " ", ".", "..", "a.", ".a", "a..b", "a. .b", "\\u0000", "a\\nb"] {
            check_refused(&format!("{{\"{key}\":1}}"), Refusal::Key);
        }
        check_object(&format!("{{\"{}\":1}}", "k".repeat(KEY_MAX_BYTES)), None);
        check_refused(&format!("{{\"{}\":1}}", "k".repeat(KEY_MAX_BYTES + 1)), Refusal::Key);
        for number in [
            "9223372036854775808",
            "-9223372036854775809",
            "18446744073709551616",
            "1e999",
            "-1e400",
            "1e39",
        ] {
            check_refused(&format!("{{\"a\":{number}}}"), Refusal::Number);
        }
    }

    #[test]
    fn depth_and_fields_are_bounded() {
        let nested = |depth: usize| format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
        check_object(&nested(DEPTH_MAX), None);
        check_refused(&nested(DEPTH_MAX + 1), Refusal::Depth);
        check_refused(&nested(100_000), Refusal::Depth);
        check_refused(&format!("{{\"a\":{}1{}}}", "[".repeat(50), "]".repeat(50)), Refusal::Depth);
        check_object(&format!("{{\"{}a\":1}}", "a.".repeat(DEPTH_MAX - 1)), None);
        check_refused(&format!("{{\"{}a\":1}}", "a.".repeat(DEPTH_MAX)), Refusal::Depth);

        let wide = |fields: usize| {
            let members: Vec<_> = (0..fields).map(|i| format!("\"k{i}\":{i}")).collect();
            format!("{{{}}}", members.join(","))
        };
        check_object(&wide(FIELDS_MAX), None);
        check_refused(&wide(FIELDS_MAX + 1), Refusal::Fields);
        for fields in [COMPARED_KEYS_MAX, COMPARED_KEYS_MAX + 1, 500] {
            check_object(&wide(fields), None);
            let last = fields - 1;
            let twice = wide(fields).replace("\"k0\":", &format!("\"k{last}\":"));
            check_refused(&twice, Refusal::DuplicateKey);
        }
    }

    #[test]
    fn a_refusal_keeps_the_level() {
        check(
            r#"{"level":"error","a":1e999}"#,
            Body::Refused { refusal: Refusal::Number, level: Some(Level::Error) },
        );
    }
}
