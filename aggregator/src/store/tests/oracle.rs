//! What a query finds, against what its definition says: documents and queries from a seed, and a reader that knows
//! nothing of indices, terms or tantivy.

use std::collections::BTreeSet;
use std::ops::Bound;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use serde_json::Value;
use tempfile::TempDir;

use super::*;
use crate::search::number::Number;
use crate::search::parse::parse;
use crate::search::query::{Query, Test};
use crate::search::time::TimeText;
use crate::search::words;

pub(super) struct Doc {
    pub(super) id: String,
    pub(super) index: String,
    pub(super) time_ns: i64,
    pub(super) source: Value,
}

/// Whether a document is found, by the words of `search/query.rs`.
pub(super) fn matches(query: &Query, doc: &Doc) -> bool {
    match query {
        Query::All => true,
        Query::And(parts) => parts.iter().all(|part| matches(part, doc)),
        Query::Or(parts) => parts.iter().any(|part| matches(part, doc)),
        Query::Not(inner) => !matches(inner, doc),
        Query::Exists(field) => {
            ["_id", "_index", "@timestamp"].contains(&field.as_str())
                || exists(&doc.source, "", field)
        }
        Query::Field(field, test) => match (field.as_str(), test) {
            ("_id", Test::Exact(id)) => doc.id == *id,
            ("_index", Test::Exact(name)) => doc.index == *name,
            ("_index", Test::Prefix(start)) => doc.index.starts_with(start),
            ("@timestamp", Test::Times(low, high)) => {
                let resolve = |bound: &Bound<TimeText>| bound.map(|time| time.resolve(TIME_NS));
                within(&doc.time_ns, &resolve(low), &resolve(high))
            }
            _ => {
                let found = values(&doc.source, "", &mut Vec::new());
                found
                    .iter()
                    .any(|(path, value)| path == field && holds(test, value, field == "log"))
            }
        },
    }
}

fn within<T: Ord>(value: &T, low: &Bound<T>, high: &Bound<T>) -> bool {
    (match low {
        Bound::Included(low) => value >= low,
        Bound::Excluded(low) => value > low,
        Bound::Unbounded => true,
    }) && match high {
        Bound::Included(high) => value <= high,
        Bound::Excluded(high) => value < high,
        Bound::Unbounded => true,
    }
}

fn holds(test: &Test, value: &Value, is_log: bool) -> bool {
    let text = match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(truth) => Some(truth.to_string()),
        _ => None,
    };
    let number = match value {
        Value::Number(number) => Number::parse(&number.to_string()),
        _ => None,
    };
    // `log` has words only.
    let keyword = text.clone().filter(|_| !is_log || value.is_boolean());
    let in_words =
        |asked: &str, prefix| value.as_str().is_some_and(|text| has_words(text, asked, prefix));
    let exactly = |asked: &String| {
        keyword.as_ref().filter(|_| !is_log) == Some(asked)
            || (number.is_some() && number == Number::parse(asked))
    };
    match test {
        Test::Text(asked) => exactly(asked) || in_words(asked, false),
        Test::Prefix(asked) => {
            in_words(asked, true) || keyword.is_some_and(|text| !is_log && text.starts_with(asked))
        }
        Test::Exact(asked) => exactly(asked),
        Test::Numbers(low, high) => number.is_some_and(|number| within(&number, low, high)),
        Test::Texts(low, high) => keyword.is_some_and(|text| within(&text, low, high)),
        Test::Times(..) => false,
    }
}

/// Whether the characters of what is asked stand in the text as whole words, or as parts of Korean ones, in a row.
///
/// Written without `words::of_indexed`: both texts become words split at all that is no letter or digit, and where the
/// script changes; then each way of laying one over the other is tried.
fn has_words(text: &str, asked: &str, prefix: bool) -> bool {
    let goes_on = prefix && asked.ends_with(char::is_alphanumeric);
    let (text, asked) = (split(text), split(asked));
    if asked.is_empty() || asked.len() > text.len() {
        return false;
    }
    text.windows(asked.len()).any(|window| {
        let last = asked.len() - 1;
        window.iter().zip(&asked).enumerate().all(|(place, (word, asked))| {
            let cjk = asked.chars().all(words::is_cjk);
            match (cjk, place == 0, place == last) {
                (true, true, true) => word.contains(asked.as_str()),
                (true, true, false) => word.ends_with(asked.as_str()),
                (true, false, true) => word.starts_with(asked.as_str()),
                (false, _, true) if goes_on => word.starts_with(asked.as_str()),
                _ => word == asked,
            }
        })
    })
}

fn split(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut before = None;
    for c in text.chars() {
        let kind = c.is_alphanumeric().then(|| words::is_cjk(c));
        if let Some(kind) = kind {
            if before != Some(Some(kind)) {
                words.push(String::new());
            }
            words.last_mut().unwrap().extend(c.to_lowercase());
        }
        before = Some(kind);
    }
    words
}

/// Each value that is not null, and its path.
fn values<'a>(
    value: &'a Value,
    path: &str,
    found: &mut Vec<(String, &'a Value)>,
) -> Vec<(String, &'a Value)> {
    let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match value {
        Value::Null => {}
        Value::Array(elements) => {
            for element in elements {
                values(element, path, found);
            }
        }
        Value::Object(entries) => {
            for (key, value) in entries {
                values(value, &below(key), found);
            }
        }
        leaf => found.push((path.to_owned(), leaf)),
    }
    found.clone()
}

/// Whether a path ends where a key ends, and something is there.
fn exists(value: &Value, path: &str, wanted: &str) -> bool {
    match value {
        Value::Array(elements) => elements.iter().any(|element| exists(element, path, wanted)),
        Value::Object(entries) => entries.iter().any(|(key, value)| {
            let below = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            (below == wanted && !values(value, "", &mut Vec::new()).is_empty())
                || exists(value, &below, wanted)
        }),
        _ => false,
    }
}

const WORDS: [&str; 16] = [
    "error",
    "Error-42",
    "time",
    "timeout",
    "time out",
    "주문",
    "주문이",
    "주문 완료",
    "완료",
    "이",
    "v2주문",
    "a",
    "b",
    "",
    "--",
    "true",
];

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => prop::collection::vec(prop::sample::select(&WORDS[..]), 0..5).prop_map(|words| words.join(" ")),
        1 => prop::sample::select(&WORDS[..]).prop_map(str::to_owned),
        1 => "[a-bA-B주문이 .:/\\\\\"*-]{0,8}",
    ]
}

fn number() -> impl Strategy<Value = Value> {
    prop_oneof![
        (-3_i64..4).prop_map(Value::from),
        (-6_i32..7).prop_map(|n| Value::from(f64::from(n) / 2.0)),
        (i64::MAX - 2..=i64::MAX).prop_map(Value::from),
        (u64::MAX - 2..=u64::MAX).prop_map(Value::from),
    ]
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        4 => text().prop_map(Value::from),
        2 => number(),
        1 => any::<bool>().prop_map(Value::from),
        1 => Just(Value::Null),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map(key(), inner, 0..3).prop_map(|entries| Value::from(
                entries.into_iter().collect::<serde_json::Map<_, _>>()
            )),
        ]
    })
}

fn key() -> impl Strategy<Value = String> {
    prop::sample::select(&["a", "b", "c", "a.b", "log", "5", "x y"][..]).prop_map(str::to_owned)
}

fn source() -> impl Strategy<Value = Value> {
    (text(), prop::collection::btree_map(key(), json(), 0..4)).prop_map(|(log, rest)| {
        let mut source: serde_json::Map<_, _> = rest.into_iter().collect();
        source.insert("log".to_owned(), log.into());
        source.into()
    })
}

fn field() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => prop::sample::select(&["a", "b", "a.b", "a.b.c", "a.a", "log.a", "5", "x y", "nothing"][..])
            .prop_map(str::to_owned),
        1 => (key(), key()).prop_map(|(above, below)| format!("{above}.{below}")),
    ]
}

fn bound<T: std::fmt::Debug + Clone>(
    value: impl Strategy<Value = T>,
) -> impl Strategy<Value = Bound<T>> {
    (value, 0..5).prop_map(|(value, kind)| match kind {
        0 => Bound::Unbounded,
        1 | 2 => Bound::Included(value),
        _ => Bound::Excluded(value),
    })
}

fn bounds<T: std::fmt::Debug + Clone>(
    value: impl Strategy<Value = T> + Clone,
) -> impl Strategy<Value = (Bound<T>, Bound<T>)> {
    (bound(value.clone()), bound(value)).prop_filter("one end at least", |(low, high)| {
        !matches!((low, high), (Bound::Unbounded, Bound::Unbounded))
    })
}

/// Any query that the parser can give.
fn query() -> impl Strategy<Value = Query> {
    let numbers =
        number().prop_filter_map("a number", |value| Number::parse(&value.to_string())).boxed();
    let times = prop_oneof![
        (-3_i64..40).prop_map(|step| TimeText::At(TIME_NS + step)),
        (-2_i64..3).prop_map(|days| TimeText::Now(days * DAY_NS)),
    ]
    .boxed();
    let worded = text().prop_filter("words", |text| words::any(text));
    let starts = "[a-b주문이e]{1,3}|tim|err|error-4|\"주|주문 완|a \\*";
    let leaf = prop_oneof![
        1 => Just(Query::All),
        4 => worded.prop_map(|text| Query::Field("log".to_owned(), Test::Text(text))),
        2 => starts.prop_map(|text| Query::Field("log".to_owned(), Test::Prefix(text))),
        4 => (field(), text()).prop_map(|(field, text)| Query::Field(field, Test::Text(text))),
        2 => (field(), starts).prop_map(|(field, text)| Query::Field(field, Test::Prefix(text))),
        2 => (field(), text()).prop_map(|(field, text)| Query::Field(field, Test::Exact(text))),
        2 => (field(), number()).prop_map(|(field, n)| Query::Field(field, Test::Text(n.to_string()))),
        2 => field().prop_map(Query::Exists),
        3 => (field(), bounds(numbers)).prop_map(|(field, (low, high))| Query::Field(field, Test::Numbers(low, high))),
        2 => (field(), bounds(text().boxed())).prop_map(|(field, (low, high))| Query::Field(field, Test::Texts(low, high))),
        2 => bounds(times).prop_map(|(low, high)| Query::Field("@timestamp".to_owned(), Test::Times(low, high))),
        1 => prop::sample::select(&["logstash-2026.11.22", "logstash-2026.11.23", "x"][..])
            .prop_map(|name| Query::Field("_index".to_owned(), Test::Exact(name.to_owned()))),
    ];
    leaf.prop_recursive(3, 10, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 2..4).prop_map(Query::And),
            prop::collection::vec(inner.clone(), 2..4).prop_map(Query::Or),
            inner.prop_map(|inner| Query::Not(Box::new(inner))),
        ]
    })
}

#[test]
fn what_is_printed_is_parsed_the_same() {
    TestRunner::new(Config::with_cases(2_000))
        .run(&query(), |query| {
            prop_assert_eq!(parse(&query.to_string()), Ok(query));
            Ok(())
        })
        .unwrap();
}

/// What a query finds but should not, or the other way round; and whether it tells the documents apart.
fn compare(store: &Store, docs: &[Doc], query: &Query) -> bool {
    let text = query.to_string();
    let found: BTreeSet<_> = all(store, &text, 17).into_iter().map(|hit| hit.id).collect();
    let mut expected = 0;
    for doc in docs {
        let matches = matches(query, doc);
        expected += usize::from(matches);
        assert_eq!(found.contains(&doc.id), matches, "{text}\nover {}", doc.source);
    }
    expected > 0 && expected < docs.len()
}

/// Two indices of several segments.
fn filled(store: &Store, sources: &[Value]) -> Vec<Doc> {
    let mut docs = Vec::new();
    for (chunk, sources) in sources.chunks(13).enumerate() {
        let mut documents = Documents::default();
        for (place, source) in sources.iter().enumerate() {
            let number = (chunk * 13 + place) as i64;
            let time_ns = TIME_NS + number / 2 + number % 2 * DAY_NS;
            push(&mut documents, time_ns, number as u64, &source.to_string());
        }
        docs.extend(documents.iter().map(|document| Doc {
            id: document.id.to_string(),
            index: document.index().to_string(),
            time_ns: document.timestamp_ns,
            source: serde_json::from_slice(document.source).unwrap(),
        }));
        add(store, &documents);
    }
    docs
}

#[test]
fn a_search_finds_exactly_what_the_query_says() {
    let seed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos() as u64;
    let seed = std::env::var("SEED").map_or(seed, |seed| seed.parse().unwrap());
    println!("SEED={seed}");
    let config = Config { rng_seed: RngSeed::Fixed(seed), ..Config::default() };
    let mut runner = TestRunner::new(config);
    let (mut asked, mut telling) = (0, 0);
    for _ in 0..5 {
        let sources = prop::collection::vec(source(), 30..80).new_tree(&mut runner).unwrap();
        let dir = TempDir::new().unwrap();
        let store = open(&dir);
        let docs = filled(&store, &sources.current());
        for _ in 0..400 {
            let query = query().new_tree(&mut runner).unwrap().current();
            telling += usize::from(compare(&store, &docs, &query));
            asked += 1;
        }
    }
    assert!(telling * 4 > asked, "only {telling} of {asked} queries told documents apart");
}
