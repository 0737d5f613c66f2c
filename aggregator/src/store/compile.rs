//! From the query's tree to tantivy's queries.
//!
//! Pure but for tantivy's types. Each node has exactly the meaning that [`Query`] and [`Test`] say; what decides over a
//! whole index (its name) is decided here.

use std::ops::Bound;

use tantivy::query::{
    AllQuery, BooleanQuery, EmptyQuery, InvertedIndexRangeQuery, Occur, PhrasePrefixQuery,
    PhraseQuery, Query as TantivyQuery, RangeQuery, TermQuery,
};
use tantivy::schema::IndexRecordOption;
use tantivy::{DateTime, Searcher, TantivyError, Term};

use super::schema::{FIELDS, id_bytes};
use super::steady::Steady;
use super::terms::{Kind, keyword_term, term_prefix};
use crate::search::number::Number;
use crate::search::query::{ID, INDEX, LOG, Query, TIMESTAMP, Test};
use crate::search::time::TimeText;
use crate::search::words;

/// Words that the last one of a phrase may stand for, in one segment: each is read with its places.
const PREFIX_MAX_WORDS: usize = 2_000;

/// Why a query cannot be compiled.
#[derive(Debug)]
pub(super) enum CompileError {
    /// The last word of a phrase begins too many words.
    TooBroad(String),
    /// The index cannot be read.
    Index(TantivyError),
}

impl From<TantivyError> for CompileError {
    fn from(error: TantivyError) -> Self {
        Self::Index(error)
    }
}

type Compiled = Result<Box<dyn TantivyQuery>, CompileError>;

/// Compiles for one index.
pub(super) struct Compiler<'a> {
    /// The name of the index.
    pub(super) index: &'a str,
    /// What is searched.
    pub(super) searcher: &'a Searcher,
    /// What `now` is.
    pub(super) now_ns: i64,
}

impl Compiler<'_> {
    pub(super) fn compile(&self, query: &Query) -> Compiled {
        Ok(match query {
            Query::All => Box::new(AllQuery),
            Query::And(parts) => self.conjunction(parts)?,
            Query::Or(parts) => {
                let parts: Result<_, _> = parts.iter().map(|part| self.compile(part)).collect();
                any(parts?)
            }
            Query::Not(_) => self.conjunction(std::slice::from_ref(query))?,
            Query::Exists(field) if [ID, INDEX, TIMESTAMP].contains(&field.as_str()) => {
                Box::new(AllQuery)
            }
            Query::Exists(field) => term(&term_prefix(field, Kind::Exists)),
            Query::Field(field, test) => self.field(field, test)?,
        })
    }

    /// Negative parts have nothing to be taken from when they are alone, so all documents come first.
    fn conjunction(&self, parts: &[Query]) -> Compiled {
        let mut clauses: Vec<(Occur, Box<dyn TantivyQuery>)> = Vec::with_capacity(parts.len() + 1);
        for part in parts {
            clauses.push(match part {
                Query::Not(inner) => (Occur::MustNot, Box::new(Steady(self.compile(inner)?))),
                part => (Occur::Must, self.compile(part)?),
            });
        }
        if clauses.iter().all(|(occur, _)| *occur == Occur::MustNot) {
            clauses.push((Occur::Must, Box::new(AllQuery)));
        }
        Ok(Box::new(BooleanQuery::new(clauses)))
    }

    fn field(&self, field: &str, test: &Test) -> Compiled {
        match field {
            ID => return Ok(id_query(test)),
            INDEX => return Ok(self.index_query(test)),
            _ => {}
        }
        Ok(match test {
            Test::Text(text) => {
                let mut ways = exact_ways(field, text);
                ways.extend(self.words(field, text, false)?);
                any(ways)
            }
            Test::Prefix(text) => {
                let mut ways: Vec<Box<dyn TantivyQuery>> = Vec::new();
                ways.extend(self.words(field, text, true)?);
                if field != LOG {
                    ways.push(beginning(&(term_prefix(field, Kind::Keyword) + text)));
                }
                any(ways)
            }
            Test::Exact(text) => any(exact_ways(field, text)),
            Test::Numbers(low, high) => {
                let keys = |bound: &Bound<Number>| bound.map(|number| number.key());
                between(field, Kind::Number, &keys(low), &keys(high))
            }
            Test::Texts(low, high) => between(field, Kind::Keyword, low, high),
            Test::Times(low, high) => self.times(low, high),
        })
    }

    /// The words of a text in a row; nothing when there are none.
    fn words(
        &self,
        field: &str,
        text: &str,
        prefix: bool,
    ) -> Result<Option<Box<dyn TantivyQuery>>, CompileError> {
        let asked = words::of_asked(text, prefix);
        let start = term_prefix(field, Kind::Word);
        let mut terms: Vec<_> =
            asked.words.iter().map(|word| text_term(&format!("{start}{word}"))).collect();
        Ok(match (terms.len(), asked.last_is_prefix) {
            (0, _) => None,
            (1, false) => terms.pop().map(term_query),
            (1, true) => asked.words.first().map(|word| beginning(&(start + word))),
            (_, false) => Some(Box::new(PhraseQuery::new(terms))),
            (_, true) => {
                let last = asked.words.last().map(String::as_str).unwrap_or_default();
                let most = self.words_beginning(&(start + last))?;
                if most > PREFIX_MAX_WORDS {
                    return Err(CompileError::TooBroad(last.to_owned()));
                }
                // tantivy takes the first 50 only when it is not told, and reserves memory for as many as it is.
                let mut phrase = PhrasePrefixQuery::new(terms);
                phrase.set_max_expansions(PREFIX_MAX_WORDS as u32 + 1);
                Some(Box::new(phrase))
            }
        })
    }

    /// How many terms begin so in the segment that has most of them; counting ends above the limit.
    fn words_beginning(&self, start: &str) -> Result<usize, CompileError> {
        let mut most = 0;
        for segment in self.searcher.segment_readers() {
            let terms = segment.inverted_index(FIELDS.source)?;
            let mut range = terms.terms().range().ge(start);
            if let Some(end) = end_of_prefix(start.as_bytes()) {
                range = range.lt(&end);
            }
            let mut found = range.into_stream().map_err(TantivyError::from)?;
            let mut count = 0;
            while count <= PREFIX_MAX_WORDS && found.advance() {
                count += 1;
            }
            most = most.max(count);
        }
        Ok(most)
    }

    fn times(&self, low: &Bound<TimeText>, high: &Bound<TimeText>) -> Box<dyn TantivyQuery> {
        let term = |bound: &Bound<TimeText>| {
            bound.map(|time| {
                let time = DateTime::from_timestamp_nanos(time.resolve(self.now_ns));
                Term::from_field_date(FIELDS.time, time)
            })
        };
        Box::new(RangeQuery::new(term(low), term(high)))
    }

    fn index_query(&self, test: &Test) -> Box<dyn TantivyQuery> {
        let found = match test {
            Test::Exact(name) | Test::Text(name) => self.index == name,
            Test::Prefix(start) => self.index.starts_with(start),
            Test::Numbers(..) | Test::Texts(..) | Test::Times(..) => false,
        };
        if found { Box::new(AllQuery) } else { Box::new(EmptyQuery) }
    }
}

fn id_query(test: &Test) -> Box<dyn TantivyQuery> {
    let id = match test {
        Test::Exact(id) | Test::Text(id) => id_bytes(id),
        Test::Prefix(_) | Test::Numbers(..) | Test::Texts(..) | Test::Times(..) => None,
    };
    match id {
        Some(id) => term_query(Term::from_field_bytes(FIELDS.id, &id)),
        None => Box::new(EmptyQuery),
    }
}

/// A value is this text, or this number.
fn exact_ways(field: &str, text: &str) -> Vec<Box<dyn TantivyQuery>> {
    let mut ways = Vec::new();
    if field != LOG {
        ways.push(term(&keyword_term(field, text)));
    }
    if let Some(number) = Number::parse(text) {
        ways.push(term(&(term_prefix(field, Kind::Number) + &number.key())));
    }
    ways
}

fn any(mut ways: Vec<Box<dyn TantivyQuery>>) -> Box<dyn TantivyQuery> {
    match ways.pop() {
        None => Box::new(EmptyQuery),
        Some(only) if ways.is_empty() => only,
        Some(last) => {
            ways.push(last);
            Box::new(BooleanQuery::union(ways))
        }
    }
}

fn term(text: &str) -> Box<dyn TantivyQuery> {
    term_query(text_term(text))
}

fn term_query(term: Term) -> Box<dyn TantivyQuery> {
    Box::new(TermQuery::new(term, IndexRecordOption::Basic))
}

fn text_term(text: &str) -> Term {
    Term::from_field_text(FIELDS.source, text)
}

/// A term of bytes: the end of a range need not be text.
fn byte_term(bytes: &[u8]) -> Term {
    Term::from_field_bytes(FIELDS.source, bytes)
}

/// Terms that begin so.
fn beginning(start: &str) -> Box<dyn TantivyQuery> {
    let high = match end_of_prefix(start.as_bytes()) {
        Some(end) => Bound::Excluded(byte_term(&end)),
        None => Bound::Unbounded,
    };
    Box::new(InvertedIndexRangeQuery::new(Bound::Included(text_term(start)), high))
}

/// Terms of one path and kind between two values.
fn between(
    field: &str,
    kind: Kind,
    low: &Bound<String>,
    high: &Bound<String>,
) -> Box<dyn TantivyQuery> {
    let start = term_prefix(field, kind);
    let full = |text: &String| text_term(&format!("{start}{text}"));
    let low = match low {
        Bound::Unbounded => Bound::Included(text_term(&start)),
        Bound::Included(text) => Bound::Included(full(text)),
        Bound::Excluded(text) => Bound::Excluded(full(text)),
    };
    let high = match high {
        Bound::Unbounded => match end_of_prefix(start.as_bytes()) {
            Some(end) => Bound::Excluded(byte_term(&end)),
            None => Bound::Unbounded,
        },
        Bound::Included(text) => Bound::Included(full(text)),
        Bound::Excluded(text) => Bound::Excluded(full(text)),
    };
    Box::new(InvertedIndexRangeQuery::new(low, high))
}

/// The first bytes after all that begin so.
fn end_of_prefix(start: &[u8]) -> Option<Vec<u8>> {
    let keep = start.iter().rposition(|&byte| byte < u8::MAX)?;
    let mut end = start.get(..=keep)?.to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    Some(end)
}
