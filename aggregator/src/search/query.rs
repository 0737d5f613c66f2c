//! What is asked for: a tree that any store can be compiled to, and its text.
//!
//! Pure. Printing a tree and parsing the text gives the same tree. The meaning of each node is said here once; every
//! implementation of the search answers by it.

use std::fmt::{self, Display};
use std::ops::Bound;

use super::number::Number;
use super::time::TimeText;

/// The field that words without a field are searched in: the text of a log line.
pub const LOG: &str = "log";
/// The time of a document.
pub const TIMESTAMP: &str = "@timestamp";
/// The id of a document.
pub const ID: &str = "_id";
/// The index of a document.
pub const INDEX: &str = "_index";

/// A query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Query {
    /// Every document.
    All,
    /// All of at least two.
    And(Vec<Query>),
    /// One of at least two.
    Or(Vec<Query>),
    /// Every document that the query does not match.
    Not(Box<Query>),
    /// Documents that have a value in a field, or in one below it. `null` is no value.
    Exists(String),
    /// Documents with a value in a field (a path of names joined by dots) for which the test holds.
    Field(String, Test),
}

/// A test of one value of a field. An array has each of its elements as a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Test {
    /// The value has these words one after the other ([`super::words`]), or is this very text, number or truth value.
    Text(String),
    /// As `Text`, but the last word may go on, or the value begins with this very text.
    Prefix(String),
    /// The value is this very text, number or truth value.
    Exact(String),
    /// The value is a number between the two.
    Numbers(Bound<Number>, Bound<Number>),
    /// The value is a text between the two, by its bytes.
    Texts(Bound<String>, Bound<String>),
    /// The time is between the two; only for [`TIMESTAMP`].
    Times(Bound<TimeText>, Bound<TimeText>),
}

impl Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("*"),
            Self::And(parts) => join(f, parts, " AND "),
            Self::Or(parts) => join(f, parts, " OR "),
            Self::Not(inner) => {
                f.write_str("NOT ")?;
                nested(f, inner)
            }
            Self::Exists(field) => write!(f, "{}:*", Name(field)),
            Self::Field(field, test) => {
                let bare = field == LOG && matches!(test, Test::Text(_) | Test::Prefix(_));
                if !bare {
                    write!(f, "{}:", Name(field))?;
                }
                test.fmt(f)
            }
        }
    }
}

impl Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => Quoted(text).fmt(f),
            Self::Prefix(text) => write!(f, "{}*", Escaped(text)),
            Self::Exact(text) => write!(f, "={}", Quoted(text)),
            Self::Numbers(low, high) => range(f, low, high),
            Self::Texts(low, high) => range(f, &as_quoted(low), &as_quoted(high)),
            Self::Times(low, high) => range(f, low, high),
        }
    }
}

fn join(f: &mut fmt::Formatter<'_>, parts: &[Query], between: &str) -> fmt::Result {
    for (place, part) in parts.iter().enumerate() {
        if place > 0 {
            f.write_str(between)?;
        }
        nested(f, part)?;
    }
    Ok(())
}

fn nested(f: &mut fmt::Formatter<'_>, query: &Query) -> fmt::Result {
    match query {
        Query::And(_) | Query::Or(_) | Query::Not(_) => write!(f, "({query})"),
        _ => query.fmt(f),
    }
}

fn range(
    f: &mut fmt::Formatter<'_>,
    low: &Bound<impl Display>,
    high: &Bound<impl Display>,
) -> fmt::Result {
    match low {
        Bound::Included(low) => write!(f, "[{low}"),
        Bound::Excluded(low) => write!(f, "{{{low}"),
        Bound::Unbounded => f.write_str("[*"),
    }?;
    match high {
        Bound::Included(high) => write!(f, " TO {high}]"),
        Bound::Excluded(high) => write!(f, " TO {high}}}"),
        Bound::Unbounded => f.write_str(" TO *]"),
    }
}

fn as_quoted(bound: &Bound<String>) -> Bound<Quoted<'_>> {
    match bound {
        Bound::Included(text) => Bound::Included(Quoted(text)),
        Bound::Excluded(text) => Bound::Excluded(Quoted(text)),
        Bound::Unbounded => Bound::Unbounded,
    }
}

struct Quoted<'a>(&'a str);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        for c in self.0.chars() {
            if c == '"' || c == '\\' {
                f.write_str("\\")?;
            }
            write!(f, "{c}")?;
        }
        f.write_str("\"")
    }
}

/// Each character that is not a letter or digit has a backslash, and a first one also where it is a digit.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, c) in self.0.chars().enumerate() {
            if !c.is_alphanumeric() || (place == 0 && c.is_ascii_digit()) {
                f.write_str("\\")?;
            }
            write!(f, "{c}")?;
        }
        Ok(())
    }
}

/// A field's name, with no more backslashes than it needs.
struct Name<'a>(&'a str);

impl Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, c) in self.0.chars().enumerate() {
            let plain = c.is_alphabetic()
                || c == '_'
                || c == '@'
                || (place > 0 && (c.is_numeric() || "./-".contains(c)));
            if !plain {
                f.write_str("\\")?;
            }
            write!(f, "{c}")?;
        }
        Ok(())
    }
}
