//! What a value means in a field: most take any test, a few only some.
//!
//! Pure; the second half of the parser.

use std::ops::Bound;

use super::number::Number;
use super::parse::{MAX_PREFIX_BYTES, QueryError, Reason};
use super::query::{ID, INDEX, LOG, Query, TIMESTAMP, Test};
use super::time::{NS_PER_DAY, TimeText, parse_day};
use super::words;

/// A value as it was written.
pub(super) struct Literal {
    /// Without quotes and backslashes.
    pub(super) text: String,
    /// Whether it stood in quotes.
    pub(super) quoted: bool,
    /// Where an unescaped `*` stands at its end.
    pub(super) star: Option<usize>,
    /// Where it begins.
    pub(super) position: usize,
}

impl Literal {
    /// Whether it is a `*` alone.
    pub(super) fn is_star(&self) -> bool {
        self.star.is_some() && self.text.is_empty()
    }

    fn number(&self) -> Option<Number> {
        Number::parse(&self.text).filter(|_| !self.quoted)
    }
}

/// `field:text` or `field:text*`.
pub(super) fn text_query(field: String, literal: Literal) -> Result<Query, QueryError> {
    let position = literal.position;
    let error = |reason| Err(QueryError { reason, position });
    if literal.star.is_some() && literal.text.len() > MAX_PREFIX_BYTES {
        return error(Reason::LongPrefix);
    }
    match (field.as_str(), literal.star) {
        (LOG, _) if !words::any(&literal.text) => return error(Reason::NoWords),
        (TIMESTAMP, None) => {
            let (low, high) = match parse_day(&literal.text) {
                Some(day) => (day, Bound::Excluded(TimeText::At(day + NS_PER_DAY))),
                None => return instant_query(field, &literal),
            };
            let test = Test::Times(Bound::Included(TimeText::At(low)), high);
            return Ok(Query::Field(field, test));
        }
        (TIMESTAMP, Some(_)) => {
            return error(Reason::Unsupported(TIMESTAMP, "a time or a range of times"));
        }
        (ID, Some(_)) => return error(Reason::Unsupported(ID, "a whole id")),
        (ID | INDEX, None) => return Ok(Query::Field(field, Test::Exact(literal.text))),
        _ => {}
    }
    let test = match literal.star {
        Some(_) => Test::Prefix(literal.text),
        None => Test::Text(literal.text),
    };
    Ok(Query::Field(field, test))
}

/// `field:=text`.
pub(super) fn exact_query(field: String, literal: Literal) -> Result<Query, QueryError> {
    if let Some(position) = literal.star {
        return Err(QueryError { reason: Reason::Star, position });
    }
    match field.as_str() {
        LOG => Err(QueryError {
            reason: Reason::Unsupported(LOG, "words and phrases"),
            position: literal.position,
        }),
        TIMESTAMP => instant_query(field, &literal),
        _ => Ok(Query::Field(field, Test::Exact(literal.text))),
    }
}

fn instant_query(field: String, literal: &Literal) -> Result<Query, QueryError> {
    let instant = time(literal)?;
    Ok(Query::Field(field, Test::Times(Bound::Included(instant), Bound::Included(instant))))
}

/// `field:[low TO high]`.
pub(super) fn range_query(
    field: String,
    low: Bound<Literal>,
    high: Bound<Literal>,
) -> Result<Query, QueryError> {
    let ends: Vec<_> = [&low, &high].into_iter().filter_map(literal).collect();
    let Some(first) = ends.first() else {
        return Ok(Query::Exists(field));
    };
    if let Some(position) = ends.iter().find_map(|literal| literal.star) {
        return Err(QueryError { reason: Reason::Star, position });
    }
    let position = first.position;
    let unsupported =
        |name, takes| Err(QueryError { reason: Reason::Unsupported(name, takes), position });
    let numbers = ends.iter().all(|end| end.number().is_some());
    let test = match field.as_str() {
        TIMESTAMP => Test::Times(try_map(low, |end| time(&end))?, try_map(high, |end| time(&end))?),
        LOG => return unsupported(LOG, "words and phrases"),
        ID => return unsupported(ID, "a whole id"),
        INDEX => return unsupported(INDEX, "a name or the beginning of one"),
        _ if numbers => {
            let number = |end: Literal| end.number().unwrap_or(Number::Whole(0));
            Test::Numbers(low.map(number), high.map(number))
        }
        _ => Test::Texts(low.map(|end| end.text), high.map(|end| end.text)),
    };
    Ok(Query::Field(field, test))
}

fn literal(bound: &Bound<Literal>) -> Option<&Literal> {
    match bound {
        Bound::Included(literal) | Bound::Excluded(literal) => Some(literal),
        Bound::Unbounded => None,
    }
}

fn try_map<T>(
    bound: Bound<Literal>,
    read: impl Fn(Literal) -> Result<T, QueryError>,
) -> Result<Bound<T>, QueryError> {
    Ok(match bound {
        Bound::Included(literal) => Bound::Included(read(literal)?),
        Bound::Excluded(literal) => Bound::Excluded(read(literal)?),
        Bound::Unbounded => Bound::Unbounded,
    })
}

fn time(literal: &Literal) -> Result<TimeText, QueryError> {
    TimeText::parse(&literal.text)
        .filter(|_| literal.star.is_none())
        .ok_or(QueryError { reason: Reason::Time, position: literal.position })
}
