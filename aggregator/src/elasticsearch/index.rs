//! Which index a document goes to: a pattern, filled in with the document's id-time in UTC and, if the pattern asks for it,
//! with its namespace.
//!
//! [`IndexPattern`] is pure: the same line has the same index wherever and whenever it is delivered, since its id is unique
//! within one index only. How many namespaces have indices of their own is bounded: see [`super::namespaces`].

use naru_proto::frame::Writer;
use naru_proto::ids::IdTime;
use naru_proto::time::civil_date;

use super::namespaces::{NAMESPACE_MAX_BYTES, Namespaces, Place};

/// Elasticsearch's limit for a name.
const NAME_MAX_BYTES: usize = 255;
/// What stands for the date of what has no time.
const UNPLACED: &str = "unplaced";
/// What stands for the namespace of a file on the host, which has none.
const HOST: &str = "_host";
/// What stands for the namespace of all those that have no index of their own. No namespace has a `_` in its name.
const OVERFLOW: &str = "_overflow";
const HOUR_NS: i64 = 3_600_000_000_000;
/// 2026-11-22T00:30:00Z.
const EXAMPLE_NS: i64 = 1_795_307_400_000_000_000;

/// How indices are named, `logstash-%Y.%m.%d` for example.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexPattern {
    text: String,
    pieces: Vec<Piece>,
    every: Every,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Namespace,
    /// What is between the first and the last number of the date belongs to it.
    Date(Vec<Part>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Year,
    Month,
    Day,
    Hour,
}

/// How much time one index holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Every {
    Month,
    Day,
    Hour,
}

/// One index. Names are made of it by [`Indices::name`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Index {
    period: Period,
    place: Place,
}

/// The time that an index holds; what the pattern does not tell apart is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Period {
    Unplaced,
    From { year: u16, month: u8, day: u8, hour: u8 },
}

impl Index {
    /// Of what has no time and no namespace.
    pub const UNPLACED: Self = Self { period: Period::Unplaced, place: Place::Any };
}

impl Default for IndexPattern {
    /// One index a day, `logstash-%Y.%m.%d`.
    fn default() -> Self {
        let text = |text: &str| Part::Text(text.to_owned());
        let date = vec![Part::Year, text("."), Part::Month, text("."), Part::Day];
        Self {
            text: "logstash-%Y.%m.%d".to_owned(),
            pieces: vec![Piece::Text("logstash-".to_owned()), Piece::Date(date)],
            every: Every::Day,
        }
    }
}

impl IndexPattern {
    /// Reads a pattern; the error says what is wrong with it.
    ///
    /// # Errors
    /// It is no name of an index, has no date, or one that is coarser than a month, or asks for what is not known.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(first) = rest.bytes().next() {
            let (piece, after) = match first {
                b'%' => date(rest)?,
                b'{' => placeholder(rest)?,
                _ => {
                    let end = rest.find(['%', '{']).unwrap_or(rest.len());
                    let (literal, after) = rest.split_at(end);
                    (Piece::Text(checked(literal)?.to_owned()), after)
                }
            };
            if !matches!(piece, Piece::Text(_)) && pieces.iter().any(|known| same(known, &piece)) {
                return Err(match piece {
                    Piece::Namespace => "names {namespace} twice".to_owned(),
                    _ => "has two dates: its numbers stand together".to_owned(),
                });
            }
            pieces.push(piece);
            rest = after;
        }
        let begins = |piece: &Piece| matches!(piece, Piece::Text(text) if text.starts_with(|c: char| c.is_ascii_alphanumeric()));
        if !pieces.first().is_some_and(begins) {
            return Err("has to begin with a letter or a digit".to_owned());
        }
        let date = pieces.iter().find_map(|piece| match piece {
            Piece::Date(parts) => Some(parts),
            Piece::Text(_) | Piece::Namespace => None,
        });
        let every = every(date.ok_or(
            "has no date: give %Y.%m, %Y.%m.%d or %Y.%m.%d.%H, by which old indices can be deleted",
        )?)?;
        let pattern = Self { text: text.to_owned(), pieces, every };
        if pattern.name_max_bytes() > NAME_MAX_BYTES {
            return Err(format!("can become longer than {NAME_MAX_BYTES} bytes"));
        }
        Ok(pattern)
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether namespaces have indices of their own.
    #[must_use]
    pub fn is_by_namespace(&self) -> bool {
        self.pieces.contains(&Piece::Namespace)
    }

    /// What matches all of its indices in a URL or a template: `logstash-*`.
    #[must_use]
    pub fn wildcard(&self) -> String {
        let part = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Namespace | Piece::Date(_) => "*".to_owned(),
        };
        self.pieces.iter().map(part).collect()
    }

    /// The name of one of its indices.
    #[must_use]
    pub fn example(&self) -> String {
        self.name(self.period(IdTime::new(Some(EXAMPLE_NS))), "default")
    }

    fn period(&self, id_time: IdTime) -> Period {
        let Some(ns) = id_time.ns() else { return Period::Unplaced };
        let (year, month, day) = civil_date(ns);
        let hour = ns.div_euclid(HOUR_NS).rem_euclid(24);
        Period::From {
            // Id-times are between 2000 and 2100.
            year: year as u16,
            month: month as u8,
            day: if self.every >= Every::Day { day as u8 } else { 0 },
            hour: if self.every >= Every::Hour { hour as u8 } else { 0 },
        }
    }

    fn name(&self, period: Period, namespace: &str) -> String {
        let mut name = String::with_capacity(self.text.len() + namespace.len());
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => name.push_str(text),
                Piece::Namespace => name.push_str(namespace),
                Piece::Date(parts) => push_date(&mut name, parts, period),
            }
        }
        name
    }

    fn name_max_bytes(&self) -> usize {
        let namespaces = if self.is_by_namespace() { NAMESPACE_MAX_BYTES } else { 0 };
        // A year has two bytes more than `%Y`.
        self.text.len() + namespaces + UNPLACED.len()
    }
}

/// From `%` to the last number of the date.
fn date(rest: &str) -> Result<(Piece, &str), String> {
    let mut parts = Vec::new();
    let mut rest = rest;
    while let Some(after) = rest.strip_prefix('%') {
        let (part, after) = match after.chars().next() {
            Some('Y') => (Part::Year, after),
            Some('m') => (Part::Month, after),
            Some('d') => (Part::Day, after),
            Some('H') => (Part::Hour, after),
            other => {
                let other = other.map(String::from).unwrap_or_default();
                return Err(format!("has %{other}: %Y, %m, %d and %H are known"));
            }
        };
        parts.push(part);
        rest = after.get(1..).unwrap_or_default();
        // A separator is part of the date if a number follows it.
        let Some(next) = rest.find(['%', '{']) else { break };
        let (separator, after) = rest.split_at(next);
        if !after.starts_with('%') {
            break;
        }
        if !separator.is_empty() {
            parts.push(Part::Text(checked(separator)?.to_owned()));
        }
        rest = after;
    }
    Ok((Piece::Date(parts), rest))
}

fn placeholder(rest: &str) -> Result<(Piece, &str), String> {
    let (name, after) = rest
        .strip_prefix('{')
        .and_then(|rest| rest.split_once('}'))
        .ok_or("has a { without a }")?;
    match name {
        "namespace" => Ok((Piece::Namespace, after)),
        label if label.starts_with("label:") => Err(format!(
            "asks for {{{label}}}: labels are not known to the aggregator yet; {{namespace}} is"
        )),
        other => Err(format!("asks for {{{other}}}: only {{namespace}} is known")),
    }
}

fn same(left: &Piece, right: &Piece) -> bool {
    std::mem::discriminant(left) == std::mem::discriminant(right)
}

/// What Elasticsearch takes in a name.
fn checked(text: &str) -> Result<&str, String> {
    let allowed =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
    if text.bytes().all(allowed) {
        Ok(text)
    } else {
        Err(format!("has {text:?}: only a-z, 0-9, - _ and . are in names of indices"))
    }
}

/// Coarse numbers first, none left out: names sort by time then, and each time has one name.
fn every(parts: &[Part]) -> Result<Every, String> {
    let numbers: Vec<&Part> = parts.iter().filter(|part| !matches!(part, Part::Text(_))).collect();
    match numbers.as_slice() {
        [Part::Year, Part::Month] => Ok(Every::Month),
        [Part::Year, Part::Month, Part::Day] => Ok(Every::Day),
        [Part::Year, Part::Month, Part::Day, Part::Hour] => Ok(Every::Hour),
        _ => Err("has a date that is not %Y %m, %Y %m %d or %Y %m %d %H in this order".to_owned()),
    }
}

fn push_date(name: &mut String, parts: &[Part], period: Period) {
    let Period::From { year, month, day, hour } = period else {
        name.push_str(UNPLACED);
        return;
    };
    for part in parts {
        match part {
            Part::Text(text) => name.push_str(text),
            Part::Year => name.push_str(&format!("{year:04}")),
            Part::Month => name.push_str(&format!("{month:02}")),
            Part::Day => name.push_str(&format!("{day:02}")),
            Part::Hour => name.push_str(&format!("{hour:02}")),
        }
    }
}

/// A pattern and the namespaces that have indices of their own. A clone is the same one.
#[derive(Debug, Clone)]
pub struct Indices {
    pattern: IndexPattern,
    namespaces: Namespaces,
}

impl Indices {
    /// Of a pattern; without `{namespace}` in it `namespaces` is not used.
    #[must_use]
    pub fn new(pattern: IndexPattern, namespaces: Namespaces) -> Self {
        Self { pattern, namespaces }
    }

    /// Where documents of a writer go.
    #[must_use]
    pub fn place(&self, writer: &Writer) -> Place {
        match writer {
            _ if !self.pattern.is_by_namespace() => Place::Any,
            Writer::Container(container) => self.namespaces.place(&container.namespace),
            Writer::HostFile { .. } => Place::Host,
        }
    }

    /// The index of an id-time there.
    #[must_use]
    pub fn index(&self, place: Place, id_time: IdTime) -> Index {
        Index { period: self.pattern.period(id_time), place }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self, index: Index) -> String {
        let namespace = match index.place {
            Place::Any => String::new(),
            Place::Host => HOST.to_owned(),
            Place::Overflow => OVERFLOW.to_owned(),
            Place::Own(number) => self.namespaces.name(number),
        };
        self.pattern.name(index.period, &namespace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use naru_proto::frame::Container;
    use naru_proto::time::parse_rfc3339_ns;

    fn at(text: &str) -> IdTime {
        IdTime::new(parse_rfc3339_ns(text.as_bytes()))
    }

    fn container(namespace: &str) -> Writer {
        Writer::Container(Container {
            namespace: namespace.to_owned(),
            pod: "web-0".to_owned(),
            pod_uid: "0f0e".to_owned(),
            container: "web".to_owned(),
            restart: 0,
        })
    }

    #[test]
    fn names_are_of_the_id_time_in_utc() {
        let check = |pattern: &str, time: &str, expected: &str| {
            let pattern = IndexPattern::parse(pattern).unwrap();
            assert_eq!(pattern.name(pattern.period(at(time)), "shop"), expected);
        };
        let time = "2026-11-22T08:59:59.999999999+09:00";
        check("logstash-%Y.%m.%d", time, "logstash-2026.11.21");
        check("logstash-%Y.%m.%d", "2026-11-22T09:00:00+09:00", "logstash-2026.11.22");
        check("shop_logs-%Y-%m", time, "shop_logs-2026-11");
        check("logs.%Y%m%d%H", time, "logs.2026112123");
        check("l-%Y.%m.%d.%H-raw", time, "l-2026.11.21.23-raw");
        check("logstash-{namespace}-%Y.%m.%d", time, "logstash-shop-2026.11.21");
        check("logstash-%Y.%m.%d-{namespace}", time, "logstash-2026.11.21-shop");
        check("logstash-%Y.%m.%d", "1999-12-31T23:59:59Z", "logstash-unplaced");
        check("a-{namespace}-%Y.%m-b", "1999-12-31T23:59:59Z", "a-shop-unplaced-b");
        let default = IndexPattern::default();
        assert_eq!(IndexPattern::parse(default.as_str()), Ok(default));
    }

    #[test]
    fn what_is_no_pattern() {
        let check = |text: &str, part: &str| {
            let error = IndexPattern::parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        };
        check("", "begin with a letter");
        check("-%Y.%m.%d", "begin with a letter");
        check("%Y.%m.%d", "begin with a letter");
        check("{namespace}-%Y.%m.%d", "begin with a letter");
        check("logs", "has no date");
        check("logs-{namespace}", "has no date");
        check("logs-%Y", "has a date that is not");
        check("logs-%m.%Y", "has a date that is not");
        check("logs-%Y.%m.%d.%d", "has a date that is not");
        check("logs-%Y.%d", "has a date that is not");
        check("logs-%Y.%m.%d-%j", "has %j");
        check("logs-%Y.%m.%", "has %:");
        check("logs-%Y-{namespace}-%m", "has two dates");
        check("Logs-%Y.%m.%d", "has \"Logs-\"");
        check("a,b-%Y.%m.%d", "has \"a,b-\"");
        check("a-%Y/%m", "has \"/\"");
        check("a-{namespace}{namespace}-%Y.%m", "twice");
        check("a-{label:app}-%Y.%m", "labels are not known to the aggregator yet");
        check("a-{pod}-%Y.%m", "asks for {pod}: only {namespace}");
        check("a-{namespace-%Y.%m", "without a }");
        check(&format!("{}-%Y.%m", "a".repeat(250)), "longer than 255");
        check(&format!("{}-{{namespace}}-%Y.%m", "a".repeat(180)), "longer than 255");
    }

    #[test]
    fn one_wildcard_matches_every_name() {
        let check = |text: &str, expected: &str| {
            assert_eq!(IndexPattern::parse(text).unwrap().wildcard(), expected);
        };
        check("logstash-%Y.%m.%d", "logstash-*");
        check("logstash-{namespace}-%Y.%m.%d", "logstash-*-*");
        check("a-%Y%m%d%H-b", "a-*-b");
    }

    #[test]
    fn what_no_namespace_can_be_called_stands_for_hosts_and_the_rest() {
        let pattern = IndexPattern::parse("l-{namespace}-%Y.%m.%d").unwrap();
        let indices = Indices::new(pattern, Namespaces::new(1));
        let name = |namespace: Option<&str>| {
            let writer = match namespace {
                Some(namespace) => container(namespace),
                None => Writer::HostFile { path: "/var/log/syslog".to_owned() },
            };
            let index = indices.index(indices.place(&writer), at("2026-11-22T00:00:00Z"));
            indices.name(index)
        };
        assert_eq!(name(Some("shop")), "l-shop-2026.11.22");
        assert_eq!(name(Some("pay")), "l-_overflow-2026.11.22");
        assert_eq!(name(Some("shop")), "l-shop-2026.11.22");
        assert_eq!(name(None), "l-_host-2026.11.22");
        let plain = Indices::new(IndexPattern::default(), Namespaces::new(1));
        assert_eq!(plain.place(&container("shop")), Place::Any);
        assert_eq!(plain.name(Index::UNPLACED), "logstash-unplaced");
    }
}
