//! From the query's tree to Elasticsearch's query DSL.
//!
//! Pure. Each node has the meaning that [`Query`] and [`Test`] say, wherever the kind of the field allows it; a test that
//! cannot hold for a kind finds nothing, and is never an error. Nothing is scored.

use std::ops::Bound;

use naru_proto::time::format_rfc3339_ns;
use serde_json::{Value, json};

use super::fields::{Fields, Kind};
use super::pattern::words_in_keyword;
use crate::search::number::Number;
use crate::search::query::{ID, INDEX, LOG, Query, TIMESTAMP, Test};
use crate::search::time::{NS_PER_DAY, TimeText, parse_day};
use crate::search::words::{self, AskedWords};

/// The `analysis` part of the index settings: an analyzer whose words are those of [`crate::search::words`].
pub const ANALYSIS: &str = include_str!("analysis.json");
/// What the analyzer keeps of a word, in UTF-16 units.
const WORD_MAX_UNITS: usize = 255;
/// Words that the last one of a phrase may stand for in indices with an analyzer that is not ours.
const OTHER_PREFIX_MAX_WORDS: usize = 1_000;

/// Compiles for the indices that `fields` was read of.
pub(super) struct Compiler<'a> {
    /// The kinds of the fields.
    pub(super) fields: &'a Fields,
    /// What `now` is.
    pub(super) now_ns: i64,
}

impl Compiler<'_> {
    pub(super) fn compile(&self, query: &Query) -> Value {
        match query {
            Query::All => json!({"match_all": {}}),
            Query::And(parts) => self.conjunction(parts),
            Query::Or(parts) => any(parts.iter().map(|part| self.compile(part)).collect()),
            Query::Not(_) => self.conjunction(std::slice::from_ref(query)),
            Query::Exists(field) if [ID, INDEX].contains(&field.as_str()) => {
                json!({"match_all": {}})
            }
            Query::Exists(field) => exists(field),
            Query::Field(field, test) => self.field(field, test),
        }
    }

    fn conjunction(&self, parts: &[Query]) -> Value {
        let (mut filter, mut must_not) = (Vec::new(), Vec::new());
        for part in parts {
            match part {
                Query::Not(inner) => must_not.push(self.compile(inner)),
                part => filter.push(self.compile(part)),
            }
        }
        let mut body = serde_json::Map::new();
        for (name, clauses) in [("filter", filter), ("must_not", must_not)] {
            if !clauses.is_empty() {
                body.insert(name.to_owned(), clauses.into());
            }
        }
        json!({ "bool": body })
    }

    fn field(&self, field: &str, test: &Test) -> Value {
        match (field, test) {
            (ID, test) => return id_query(test),
            (INDEX, test) => return index_query(test),
            (TIMESTAMP, Test::Times(low, high)) => {
                let resolve = |bound: &Bound<TimeText>| bound.map(|time| time.resolve(self.now_ns));
                return time_range(TIMESTAMP, resolve(low), resolve(high));
            }
            _ => {}
        }
        let kinds = self.fields.kinds(field);
        let ways = kinds.iter().filter_map(|(kind, indices)| {
            let way = self.test(field, kind, test)?;
            // Where a field has several kinds, what is asked of one would be an error in the others.
            let only = json!({"terms": {"_index": indices}});
            Some(if kinds.len() == 1 { way } else { json!({"bool": {"filter": [only, way]}}) })
        });
        any(ways.collect())
    }

    fn test(&self, field: &str, kind: &Kind, test: &Test) -> Option<Value> {
        match kind {
            Kind::Words => words_test(field, test),
            Kind::Text { keyword } => text_test(field, *keyword, test),
            Kind::Keyword => keyword_test(field, test),
            Kind::Whole(low, high) => whole_test(field, (*low, *high), test),
            Kind::Double(max) => double_test(field, *max, test),
            Kind::Boolean => boolean_test(field, test),
            Kind::Date => self.date_test(field, test),
            Kind::Flattened => whole_text_test(field, test),
            Kind::Other => match test {
                Test::Text(text) | Test::Exact(text) => {
                    Some(json!({"match": {field: {"query": text, "lenient": true}}}))
                }
                Test::Prefix(_) | Test::Numbers(..) | Test::Texts(..) | Test::Times(..) => None,
            },
        }
    }

    /// In the store such a value is a text; here it is a time, and is compared as one.
    fn date_test(&self, field: &str, test: &Test) -> Option<Value> {
        let time = |text: &String| TimeText::parse(text).map(|time| time.resolve(self.now_ns));
        let (low, high) = match test {
            Test::Text(text) if parse_day(text).is_some() => {
                let day = parse_day(text)?;
                (Bound::Included(day), Bound::Excluded(day.saturating_add(NS_PER_DAY)))
            }
            Test::Text(text) | Test::Exact(text) => {
                (Bound::Included(time(text)?), Bound::Included(time(text)?))
            }
            Test::Texts(low, high) => {
                (transpose(low.as_ref().map(time))?, transpose(high.as_ref().map(time))?)
            }
            Test::Prefix(_) | Test::Numbers(..) | Test::Times(..) => return None,
        };
        Some(time_range(field, low, high))
    }
}

/// Documents with a time between the two; all that have one when both are open.
///
/// `date_nanos` begins in 1970, and refuses to be asked for anything before.
pub(super) fn time_range(field: &str, low: Bound<i64>, high: Bound<i64>) -> Value {
    let low = match low {
        Bound::Included(ns) | Bound::Excluded(ns) if ns < 0 => Bound::Unbounded,
        low => low,
    };
    if matches!(high, Bound::Included(ns) if ns < 0)
        || matches!(high, Bound::Excluded(ns) if ns <= 0)
    {
        return none();
    }
    if matches!((low, high), (Bound::Unbounded, Bound::Unbounded)) {
        return exists(field);
    }
    let text = |ns: i64| String::from_utf8_lossy(&format_rfc3339_ns(ns)).into_owned();
    let mut range = ends(low.map(text), high.map(text));
    range.insert("format".to_owned(), "strict_date_optional_time".into());
    json!({"range": {field: range}})
}

/// The last word of the first phrase that ends with a prefix: what a refusal for too many words is about.
pub(super) fn phrase_prefix(query: &Query) -> Option<String> {
    match query {
        Query::And(parts) | Query::Or(parts) => parts.iter().find_map(phrase_prefix),
        Query::Not(inner) => phrase_prefix(inner),
        Query::Field(_, Test::Prefix(text)) => {
            let mut asked = asked(text, true);
            (asked.words.len() > 1 && asked.last_is_prefix).then(|| asked.words.pop()).flatten()
        }
        Query::Field(_, Test::Text(text)) => {
            let mut asked = asked(text, false);
            (asked.words.len() > 1 && asked.last_is_prefix).then(|| asked.words.pop()).flatten()
        }
        Query::All | Query::Exists(_) | Query::Field(..) => None,
    }
}

fn words_test(field: &str, test: &Test) -> Option<Value> {
    let asked = match test {
        Test::Text(text) => asked(text, false),
        Test::Prefix(text) => asked(text, true),
        // As in the store: such a field has words only.
        Test::Exact(_) | Test::Numbers(..) | Test::Texts(..) | Test::Times(..) => return None,
    };
    let last = asked.words.last()?;
    Some(match (asked.words.len(), asked.last_is_prefix) {
        (1, false) => json!({"term": {field: {"value": last}}}),
        (1, true) => json!({"prefix": {field: {"value": last}}}),
        // The words are split and in lower case already.
        (_, false) => json!({"match_phrase": {
            field: {"query": asked.words.join(" "), "analyzer": "whitespace"}
        }}),
        (count, true) => {
            let before = asked.words.iter().take(count - 1);
            let mut clauses: Vec<_> =
                before.map(|word| json!({"span_term": {field: {"value": word}}})).collect();
            // Unlike `match_phrase_prefix`, this refuses what it cannot expand to all words.
            clauses.push(json!({"span_multi": {"match": {"prefix": {field: {"value": last}}}}}));
            json!({"span_near": {"clauses": clauses, "slop": 0, "in_order": true}})
        }
    })
}

/// The words that are asked for, as the analyzer would keep them.
fn asked(text: &str, prefix: bool) -> AskedWords {
    let mut asked = words::of_asked_whole(text, prefix);
    for word in &mut asked.words {
        let mut units = 0;
        let end = word.char_indices().find(|(_, c)| {
            units += c.len_utf16();
            units > WORD_MAX_UNITS
        });
        if let Some((end, _)) = end {
            word.truncate(end);
        }
    }
    asked
}

/// Text of an analyzer that is not known: its own words, and the whole where that is kept.
fn text_test(field: &str, keyword: bool, test: &Test) -> Option<Value> {
    let whole = format!("{field}.keyword");
    let phrase = |text: &String| json!({"match_phrase": {field: {"query": text}}});
    let kept = keyword && field != LOG;
    match test {
        Test::Text(text) => Some(phrase(text)),
        Test::Exact(_) | Test::Texts(..) if kept => whole_text_test(&whole, test),
        Test::Exact(text) => Some(phrase(text)),
        Test::Prefix(text) => {
            let max = OTHER_PREFIX_MAX_WORDS;
            let mut ways = vec![json!({"match_phrase_prefix": {
                field: {"query": text, "max_expansions": max}
            }})];
            ways.extend(whole_text_test(&whole, test).filter(|_| kept));
            Some(any(ways))
        }
        Test::Texts(..) | Test::Numbers(..) | Test::Times(..) => None,
    }
}

fn keyword_test(field: &str, test: &Test) -> Option<Value> {
    let (text, prefix) = match test {
        Test::Text(text) => (text, false),
        Test::Prefix(text) => (text, true),
        test => return whole_text_test(field, test),
    };
    let mut ways: Vec<_> = whole_text_test(field, test).into_iter().collect();
    ways.extend(words_in_keyword(text, prefix).map(|pattern| {
        json!({"regexp": {field: {"value": pattern, "flags": "NONE", "case_insensitive": true}}})
    }));
    Some(any(ways))
}

/// What can be said of a value as a whole.
fn whole_text_test(field: &str, test: &Test) -> Option<Value> {
    match test {
        Test::Text(text) | Test::Exact(text) => Some(json!({"term": {field: {"value": text}}})),
        Test::Prefix(text) => Some(json!({"prefix": {field: {"value": text}}})),
        Test::Texts(low, high) => Some(json!({"range": {field: ends(low.clone(), high.clone())}})),
        Test::Numbers(..) | Test::Times(..) => None,
    }
}

fn whole_test(field: &str, (min, max): (i128, i128), test: &Test) -> Option<Value> {
    let (low, high) = match test {
        Test::Text(text) | Test::Exact(text) => {
            let whole = match Number::parse(text)? {
                Number::Whole(whole) => whole,
                Number::Double(double) if double.fract() == 0.0 => double as i128,
                Number::Double(_) => return None,
            };
            (whole, whole)
        }
        Test::Numbers(low, high) => (
            match low {
                Bound::Included(Number::Whole(low)) => *low,
                Bound::Excluded(Number::Whole(low)) => low + 1,
                Bound::Included(Number::Double(low)) => low.ceil() as i128,
                Bound::Excluded(Number::Double(low)) => (low.floor() as i128).saturating_add(1),
                Bound::Unbounded => min,
            },
            match high {
                Bound::Included(Number::Whole(high)) => *high,
                Bound::Excluded(Number::Whole(high)) => high - 1,
                Bound::Included(Number::Double(high)) => high.floor() as i128,
                Bound::Excluded(Number::Double(high)) => (high.ceil() as i128).saturating_sub(1),
                Bound::Unbounded => max,
            },
        ),
        Test::Prefix(_) | Test::Texts(..) | Test::Times(..) => return None,
    };
    let (low, high) = (low.max(min), high.min(max));
    let number =
        |whole: i128| i64::try_from(whole).map_or_else(|_| json!(whole as u64), Value::from);
    (low <= high).then(|| json!({"range": {field: {"gte": number(low), "lte": number(high)}}}))
}

fn double_test(field: &str, max: f64, test: &Test) -> Option<Value> {
    let double = |number: &Number| match *number {
        Number::Whole(whole) => whole as f64,
        Number::Double(double) => double,
    };
    let (low, high) = match test {
        Test::Text(text) | Test::Exact(text) => {
            let number = double(&Number::parse(text)?);
            (Bound::Included(number), Bound::Included(number))
        }
        Test::Numbers(low, high) => (low.as_ref().map(double), high.as_ref().map(double)),
        Test::Prefix(_) | Test::Texts(..) | Test::Times(..) => return None,
    };
    let above = matches!(low, Bound::Included(low) | Bound::Excluded(low) if low > max);
    let below = matches!(high, Bound::Included(high) | Bound::Excluded(high) if high < -max);
    if above || below {
        return None;
    }
    // Elasticsearch has minus zero before zero; to us they are one.
    let low = match low {
        Bound::Included(low) | Bound::Excluded(low) if low < -max => Bound::Unbounded,
        Bound::Included(0.0) => Bound::Included(-0.0),
        Bound::Excluded(0.0) => Bound::Excluded(0.0),
        low => low,
    };
    let high = match high {
        Bound::Included(high) | Bound::Excluded(high) if high > max => Bound::Unbounded,
        Bound::Included(0.0) => Bound::Included(0.0),
        Bound::Excluded(0.0) => Bound::Excluded(-0.0),
        high => high,
    };
    let range = ends(low, high);
    Some(if range.is_empty() { exists(field) } else { json!({"range": {field: range}}) })
}

/// A truth value is compared as the text that it is written as.
fn boolean_test(field: &str, test: &Test) -> Option<Value> {
    let holds = |value: &&str| match test {
        Test::Text(text) | Test::Exact(text) => text == value,
        Test::Prefix(start) => value.starts_with(start.as_str()),
        Test::Texts(low, high) => {
            let low = low.as_ref().map(String::as_str);
            (low, high.as_ref().map(String::as_str)).contains_text(value)
        }
        Test::Numbers(..) | Test::Times(..) => false,
    };
    let values: Vec<&str> = ["true", "false"].into_iter().filter(holds).collect();
    (!values.is_empty()).then(|| json!({"terms": {field: values}}))
}

/// Whether a text lies between two, which [`std::ops::RangeBounds`] cannot be asked of texts without a size.
trait ContainsText {
    fn contains_text(&self, text: &str) -> bool;
}

impl ContainsText for (Bound<&str>, Bound<&str>) {
    fn contains_text(&self, text: &str) -> bool {
        std::ops::RangeBounds::<&str>::contains(self, &text)
    }
}

fn id_query(test: &Test) -> Value {
    match test {
        Test::Exact(id) | Test::Text(id) => json!({"ids": {"values": [id]}}),
        Test::Prefix(_) | Test::Numbers(..) | Test::Texts(..) | Test::Times(..) => none(),
    }
}

fn index_query(test: &Test) -> Value {
    match test {
        Test::Exact(name) | Test::Text(name) => json!({"term": {"_index": {"value": name}}}),
        Test::Prefix(start) => json!({"prefix": {"_index": {"value": start}}}),
        Test::Numbers(..) | Test::Texts(..) | Test::Times(..) => none(),
    }
}

fn ends<T: Into<Value>>(low: Bound<T>, high: Bound<T>) -> serde_json::Map<String, Value> {
    let mut range = serde_json::Map::new();
    let mut put = |name: &str, value: T| range.insert(name.to_owned(), value.into());
    match low {
        Bound::Included(low) => put("gte", low),
        Bound::Excluded(low) => put("gt", low),
        Bound::Unbounded => None,
    };
    match high {
        Bound::Included(high) => put("lte", high),
        Bound::Excluded(high) => put("lt", high),
        Bound::Unbounded => None,
    };
    range
}

fn transpose<T>(bound: Bound<Option<T>>) -> Option<Bound<T>> {
    Some(match bound {
        Bound::Included(value) => Bound::Included(value?),
        Bound::Excluded(value) => Bound::Excluded(value?),
        Bound::Unbounded => Bound::Unbounded,
    })
}

fn exists(field: &str) -> Value {
    json!({"exists": {"field": field}})
}

fn none() -> Value {
    json!({"match_none": {}})
}

fn any(mut ways: Vec<Value>) -> Value {
    match ways.len() {
        0 => none(),
        1 => ways.remove(0),
        _ => json!({"bool": {"should": ways, "minimum_should_match": 1}}),
    }
}

#[cfg(test)]
mod tests;
