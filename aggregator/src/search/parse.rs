//! The query language's parser: text in, a [`Query`] or a sentence with a position out.
//!
//! Written by hand, pure, total: it never panics, and what it accepts is bounded in length, depth and clauses.
//! The language is described in `docs/query-language.md`.

use std::ops::Bound;

use super::fields::{Literal, exact_query, range_query, text_query};
use super::query::{LOG, Query};

/// A query's length. Longer than anyone types; short enough to be a URL's part.
pub const MAX_QUERY_BYTES: usize = 8 * 1024;
/// Parentheses and negations inside each other: what recursion costs of the stack stays below 64 KiB.
pub const MAX_DEPTH: usize = 32;
/// Words, phrases and fields in one query: each costs the store a look at its terms.
pub const MAX_CLAUSES: usize = 256;
/// The beginning of a word or a value.
pub const MAX_PREFIX_BYTES: usize = 128;

/// Why a query was not understood, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct QueryError {
    /// A sentence.
    pub reason: Reason,
    /// The character at which it went wrong, counted from 0.
    pub position: usize,
}

/// The sentence of a [`QueryError`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the sentences say it")]
pub enum Reason {
    #[error("the query is empty; `*` finds every document")]
    Empty,
    #[error("the query is longer than {MAX_QUERY_BYTES} bytes")]
    TooLong,
    #[error("the query is nested more than {MAX_DEPTH} deep")]
    TooDeep,
    #[error("the query has more than {MAX_CLAUSES} words, phrases and fields")]
    TooManyClauses,
    #[error("something to search for is missing here")]
    Missing,
    #[error("`{0}` needs something to search for after it")]
    MissingAfter(&'static str),
    #[error(
        "the field `{0}` needs a value; to search for the text itself, put it in quotes or a \\ before the colon"
    )]
    MissingValue(String),
    #[error("this quote is not closed")]
    OpenQuote,
    #[error("this parenthesis is not closed")]
    OpenParenthesis,
    #[error("this parenthesis was not opened")]
    StrayParenthesis,
    #[error("a range is written `field:[1 TO 5]`, or with {{ and }} to leave out its ends")]
    Range,
    #[error("nothing follows the backslash")]
    Backslash,
    #[error(
        "`*` may stand alone or at the end of a word; to search for the character, put it in quotes"
    )]
    Star,
    #[error("what comes before `*` is longer than {MAX_PREFIX_BYTES} bytes")]
    LongPrefix,
    #[error("there is no letter or digit to search for here")]
    NoWords,
    #[error("a field inside the parentheses of the field `{0}`")]
    FieldInField(String),
    #[error(
        "this is not a time; write 2026-11-22T09:30:00Z, 2026-11-22, milliseconds since 1970 or now-15m"
    )]
    Time,
    #[error("`{0}` cannot be searched this way; it takes {1}")]
    Unsupported(&'static str, &'static str),
}

/// Reads a query.
///
/// # Errors
/// Returns the first thing that is wrong with it.
pub fn parse(text: &str) -> Result<Query, QueryError> {
    if text.len() > MAX_QUERY_BYTES {
        return Err(QueryError { reason: Reason::TooLong, position: MAX_QUERY_BYTES });
    }
    let mut parser = Parser { chars: text.chars().collect(), at: 0, depth: 0, clauses: 0 };
    parser.skip_space();
    if parser.peek().is_none() {
        return Err(parser.error(Reason::Empty));
    }
    let query = parser.alternatives(None)?;
    match parser.peek() {
        None => Ok(query),
        Some(_) => Err(parser.error(Reason::StrayParenthesis)),
    }
}

struct Parser {
    chars: Vec<char>,
    at: usize,
    depth: usize,
    clauses: usize,
}

impl Parser {
    fn alternatives(&mut self, field: Option<&str>) -> Result<Query, QueryError> {
        let mut parts = vec![self.conjunction(field)?];
        while self.take_operator("OR") {
            self.expect_operand("OR")?;
            parts.push(self.conjunction(field)?);
        }
        Ok(one_or(parts, Query::Or))
    }

    fn conjunction(&mut self, field: Option<&str>) -> Result<Query, QueryError> {
        let mut parts = vec![self.negation(field)?];
        loop {
            if self.take_operator("AND") {
                self.expect_operand("AND")?;
            } else if matches!(self.peek(), None | Some(')')) || self.at_operator("OR") {
                return Ok(one_or(parts, Query::And));
            }
            parts.push(self.negation(field)?);
        }
    }

    fn negation(&mut self, field: Option<&str>) -> Result<Query, QueryError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.error(Reason::TooDeep));
        }
        let sign = self.peek().filter(|c| "!-".contains(*c));
        let query = if self.take_operator("NOT") {
            self.expect_operand("NOT")?;
            Query::Not(Box::new(self.negation(field)?))
        } else if let (Some(_), Some(next)) = (sign, self.chars.get(self.at + 1))
            && !next.is_whitespace()
            && *next != ')'
        {
            self.at += 1;
            Query::Not(Box::new(self.negation(field)?))
        } else {
            self.clause(field)?
        };
        self.depth -= 1;
        self.skip_space();
        Ok(query)
    }

    fn clause(&mut self, field: Option<&str>) -> Result<Query, QueryError> {
        let start = self.at;
        match self.peek() {
            None => return Err(self.error(Reason::Missing)),
            Some(')') if self.depth == 1 => return Err(self.error(Reason::StrayParenthesis)),
            Some(')') => return Err(self.error(Reason::Missing)),
            Some('(') => return self.group(field),
            Some(_) => {}
        }
        if self.at_operator("AND") || self.at_operator("OR") {
            return Err(self.error(Reason::Missing));
        }
        self.clauses += 1;
        if self.clauses > MAX_CLAUSES {
            return Err(self.error(Reason::TooManyClauses));
        }
        if let Some(field) = field {
            return self.value(field.to_owned(), start, "():");
        }
        match self.field_name()? {
            Some(name) if matches!(self.peek(), Some('(')) => self.group(Some(&name)),
            Some(name) => self.value(name, start, "()"),
            None => self.bare(),
        }
    }

    fn group(&mut self, field: Option<&str>) -> Result<Query, QueryError> {
        let open = self.at;
        self.at += 1;
        self.skip_space();
        let query = self.alternatives(field)?;
        if self.peek() != Some(')') {
            return Err(QueryError { reason: Reason::OpenParenthesis, position: open });
        }
        self.at += 1;
        Ok(query)
    }

    /// Takes `name:` if a field's name begins here; else nothing.
    fn field_name(&mut self) -> Result<Option<String>, QueryError> {
        let start = self.at;
        if matches!(self.peek(), Some('"' | '0'..='9')) {
            return Ok(None);
        }
        let mut name = String::new();
        let mut star = None;
        while let Some(c) = self.peek() {
            match c {
                ':' if self.followed_by("//") => break,
                // `*:*` is what others write for every document.
                ':' if name == "*" && self.followed_by("*") => break,
                ':' if !name.is_empty() => {
                    if let Some(position) = star {
                        return Err(QueryError { reason: Reason::Star, position });
                    }
                    self.at += 1;
                    return Ok(Some(name));
                }
                '\\' => {
                    self.at += 1;
                    name.push(self.peek().ok_or_else(|| self.error(Reason::Backslash))?);
                }
                c if c.is_whitespace() || "()\"".contains(c) => break,
                c => {
                    star = star.or((c == '*').then_some(self.at));
                    name.push(c);
                }
            }
            self.at += 1;
        }
        self.at = start;
        Ok(None)
    }

    fn bare(&mut self) -> Result<Query, QueryError> {
        if self.chars.get(self.at..self.at + 3) == Some(&['*', ':', '*']) {
            self.at += 3;
            return Ok(Query::All);
        }
        let literal = self.literal("()")?;
        if literal.is_star() {
            return Ok(Query::All);
        }
        text_query(LOG.to_owned(), literal)
    }

    fn value(&mut self, field: String, start: usize, ends: &str) -> Result<Query, QueryError> {
        let missing = |parser: &Self| {
            matches!(parser.peek(), None | Some(')'))
                || parser.peek().is_some_and(char::is_whitespace)
        };
        if missing(self) {
            return Err(QueryError { reason: Reason::MissingValue(field), position: start });
        }
        match self.peek() {
            Some('[' | '{') => return self.range(field),
            Some('<' | '>') => return self.comparison(field, start),
            Some('=') => {
                self.at += 1;
                if missing(self) {
                    return Err(QueryError {
                        reason: Reason::MissingValue(field),
                        position: start,
                    });
                }
                let literal = self.literal(ends)?;
                return exact_query(field, literal);
            }
            _ => {}
        }
        let literal = self.literal(ends)?;
        if ends.contains(':') && self.peek() == Some(':') {
            return Err(self.error(Reason::FieldInField(field)));
        }
        if literal.is_star() {
            return Ok(Query::Exists(field));
        }
        text_query(field, literal)
    }

    fn comparison(&mut self, field: String, start: usize) -> Result<Query, QueryError> {
        let less = self.peek() == Some('<');
        self.at += 1;
        let inclusive = self.peek() == Some('=');
        if inclusive {
            self.at += 1;
        }
        self.skip_space();
        if matches!(self.peek(), None | Some(')')) {
            return Err(QueryError { reason: Reason::MissingValue(field), position: start });
        }
        let literal = self.literal("()")?;
        if literal.is_star() {
            return Err(QueryError { reason: Reason::Star, position: literal.position });
        }
        let bound = if inclusive { Bound::Included(literal) } else { Bound::Excluded(literal) };
        let (low, high) = if less { (Bound::Unbounded, bound) } else { (bound, Bound::Unbounded) };
        range_query(field, low, high)
    }

    fn range(&mut self, field: String) -> Result<Query, QueryError> {
        let open = self.at;
        let wrong = QueryError { reason: Reason::Range, position: open };
        let with_low = self.peek() == Some('[');
        self.at += 1;
        self.skip_space();
        let low = self.range_end()?;
        self.skip_space();
        if !self.take_operator("TO") {
            return Err(wrong);
        }
        let high = self.range_end()?;
        self.skip_space();
        let with_high = match self.peek() {
            Some(']') => true,
            Some('}') => false,
            _ => return Err(wrong),
        };
        self.at += 1;
        let bound = |literal: Literal, inclusive| match (literal.is_star(), inclusive) {
            (true, _) => Bound::Unbounded,
            (false, true) => Bound::Included(literal),
            (false, false) => Bound::Excluded(literal),
        };
        range_query(field, bound(low, with_low), bound(high, with_high))
    }

    fn range_end(&mut self) -> Result<Literal, QueryError> {
        if matches!(self.peek(), None | Some(']' | '}')) {
            return Err(self.error(Reason::Range));
        }
        self.literal("]}")
    }

    /// A phrase in quotes, or the characters up to a space or one of `ends`.
    fn literal(&mut self, ends: &str) -> Result<Literal, QueryError> {
        let position = self.at;
        if self.peek() == Some('"') {
            return self.phrase();
        }
        let mut literal = Literal { text: String::new(), quoted: false, star: None, position };
        while let Some(c) = self.peek() {
            if c.is_whitespace() || c == '"' || ends.contains(c) {
                break;
            }
            if let Some(star) = literal.star {
                return Err(QueryError { reason: Reason::Star, position: star });
            }
            match c {
                '*' => literal.star = Some(self.at),
                '\\' => {
                    self.at += 1;
                    literal.text.push(self.peek().ok_or_else(|| self.error(Reason::Backslash))?);
                }
                c => literal.text.push(c),
            }
            self.at += 1;
        }
        if literal.text.is_empty() && literal.star.is_none() {
            return Err(self.error(Reason::Missing));
        }
        Ok(literal)
    }

    fn phrase(&mut self) -> Result<Literal, QueryError> {
        let position = self.at;
        let mut text = String::new();
        loop {
            self.at += 1;
            match self.peek() {
                None => return Err(QueryError { reason: Reason::OpenQuote, position }),
                Some('"') => break,
                Some('\\') => {
                    self.at += 1;
                    text.extend(self.peek());
                }
                Some(c) => text.push(c),
            }
        }
        self.at += 1;
        if self.peek() == Some('*') {
            return Err(self.error(Reason::Star));
        }
        Ok(Literal { text, quoted: true, star: None, position })
    }

    fn expect_operand(&mut self, operator: &'static str) -> Result<(), QueryError> {
        let nothing = matches!(self.peek(), None | Some(')'))
            || self.at_operator("AND")
            || self.at_operator("OR");
        if nothing { Err(self.error(Reason::MissingAfter(operator))) } else { Ok(()) }
    }

    fn at_operator(&self, operator: &str) -> bool {
        let end = self.at + operator.len();
        self.followed_from(self.at, operator)
            && self.chars.get(end).is_none_or(|c| c.is_whitespace() || "()\"".contains(*c))
    }

    fn take_operator(&mut self, operator: &str) -> bool {
        let there = self.at_operator(operator);
        if there {
            self.at += operator.len();
            self.skip_space();
        }
        there
    }

    fn followed_by(&self, text: &str) -> bool {
        self.followed_from(self.at + 1, text)
    }

    fn followed_from(&self, at: usize, text: &str) -> bool {
        text.chars().enumerate().all(|(place, c)| self.chars.get(at + place) == Some(&c))
    }

    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while self.peek().is_some_and(char::is_whitespace) {
            self.at += 1;
        }
    }

    fn error(&self, reason: Reason) -> QueryError {
        QueryError { reason, position: self.at }
    }
}

fn one_or(mut parts: Vec<Query>, many: fn(Vec<Query>) -> Query) -> Query {
    match parts.pop() {
        Some(only) if parts.is_empty() => only,
        last => {
            parts.extend(last);
            many(parts)
        }
    }
}

#[cfg(test)]
mod tests;
