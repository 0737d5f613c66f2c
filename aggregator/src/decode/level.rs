//! Levels: how serious a record says it is, in one vocabulary. Pure, cheap, and a guess only where the form is a known one.

/// How serious a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Finer than debug.
    Trace,
    /// For developers.
    Debug,
    /// Normal; syslog's notice too.
    Info,
    /// Unexpected.
    Warn,
    /// Failed.
    Error,
    /// The program ends, or cannot go on; syslog's critical and above.
    Fatal,
}

impl Level {
    /// As it stands in a document.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
            Self::Fatal => "fatal",
        }
    }
}

/// The longest word of [`word`].
const WORD_MAX_BYTES: usize = 13;

/// The level that a word names, in any case.
#[must_use]
pub fn word(word: &[u8]) -> Option<Level> {
    if !(3..=WORD_MAX_BYTES).contains(&word.len()) {
        return None;
    }
    let mut lower = [0; WORD_MAX_BYTES];
    for (to, from) in lower.iter_mut().zip(word) {
        *to = from.to_ascii_lowercase();
    }
    match lower.get(..word.len())? {
        b"trace" | b"trc" | b"verbose" | b"finest" => Some(Level::Trace),
        b"debug" | b"dbg" | b"fine" => Some(Level::Debug),
        b"info" | b"inf" | b"information" | b"informational" | b"notice" => Some(Level::Info),
        b"warn" | b"warning" | b"wrn" => Some(Level::Warn),
        b"error" | b"err" | b"severe" => Some(Level::Error),
        b"fatal" | b"ftl" | b"critical" | b"crit" | b"panic" | b"dpanic" | b"alert" | b"emerg"
        | b"emergency" => Some(Level::Fatal),
        _ => None,
    }
}

/// The level that a number names in pino's and bunyan's logs.
#[must_use]
pub fn number(number: u64) -> Option<Level> {
    match number {
        10 => Some(Level::Trace),
        20 => Some(Level::Debug),
        30 => Some(Level::Info),
        40 => Some(Level::Warn),
        50 => Some(Level::Error),
        60 => Some(Level::Fatal),
        _ => None,
    }
}

/// Whether a JSON key at the root holds the level.
#[must_use]
pub fn is_key(key: &str) -> bool {
    matches!(key, "level" | "severity" | "lvl" | "log.level")
}

/// A line says its level in its first words or not at all: date, time, thread, level is the longest form known.
const TOKENS_MAX: usize = 5;
/// Beyond it nothing is looked at: five words of the longest form fit.
const HEAD_MAX_BYTES: usize = 96;

/// The level that a line of text begins with.
///
/// Known forms: klog's (`E1122 09:30:00.1 …`), logfmt's (`time=… level=warn …`), and a level after nothing but times and
/// bracketed words: bare in capitals, or in any case when bracketed or followed by a colon.
#[must_use]
pub fn text(text: &str) -> Option<Level> {
    let bytes = text.as_bytes();
    let head = bytes.get(..HEAD_MAX_BYTES).unwrap_or(bytes);
    if let Some(level) = klog(head) {
        return Some(level);
    }
    for token in head.split(u8::is_ascii_whitespace).filter(|t| !t.is_empty()).take(TOKENS_MAX) {
        match token_level(token) {
            Token::Level(level) => return Some(level),
            Token::Skip => {}
            Token::Text => return None,
        }
    }
    None
}

enum Token {
    Level(Level),
    /// A time, a thread, another field: the level may come after it.
    Skip,
    /// The message has begun.
    Text,
}

fn token_level(token: &[u8]) -> Token {
    if let Some(equals) = memchr::memchr(b'=', token) {
        let (key, value) = token.split_at_checked(equals).unwrap_or_default();
        let value = value.strip_prefix(b"=").unwrap_or_default();
        return match key {
            b"level" | b"lvl" | b"severity" => {
                word(unquoted(value)).map_or(Token::Text, Token::Level)
            }
            b"time" | b"ts" | b"t" | b"timestamp" | b"caller" | b"source" => Token::Skip,
            _ => Token::Text,
        };
    }
    let (inner, marked) = unmarked(token);
    let is_level = marked || inner.iter().all(u8::is_ascii_uppercase);
    if let Some(level) = word(inner).filter(|_| is_level) {
        return Token::Level(level);
    }
    let bracketed = token.starts_with(b"[") && token.ends_with(b"]");
    let number = token.iter().find(|b| **b != b'[').is_some_and(u8::is_ascii_digit);
    if bracketed || number || token == b"-" { Token::Skip } else { Token::Text }
}

/// A token without its brackets or colon, and whether it had any.
fn unmarked(token: &[u8]) -> (&[u8], bool) {
    let bare = token.strip_suffix(b":").unwrap_or(token);
    for (open, close) in [(b'[', b']'), (b'<', b'>'), (b'(', b')')] {
        if let [first, inner @ .., last] = bare
            && (*first, *last) == (open, close)
        {
            return (inner.trim_ascii(), true);
        }
    }
    (bare, bare.len() < token.len())
}

fn unquoted(value: &[u8]) -> &[u8] {
    match value {
        [b'"', inner @ .., b'"'] => inner,
        _ => value,
    }
}

/// `Lmmdd hh:mm:ss.uuuuuu` (k8s.io/klog/v2, `formatHeader`).
fn klog(head: &[u8]) -> Option<Level> {
    let [letter, m1, m2, d1, d2, b' ', h1, h2, b':', ..] = head else {
        return None;
    };
    if ![m1, m2, d1, d2, h1, h2].into_iter().all(u8::is_ascii_digit) {
        return None;
    }
    match letter {
        b'I' => Some(Level::Info),
        b'W' => Some(Level::Warn),
        b'E' => Some(Level::Error),
        b'F' => Some(Level::Fatal),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: Option<Level>) {
        assert_eq!(text(line), expected, "{line:?}");
    }

    #[test]
    fn finds_levels_where_lines_carry_them() {
        use Level::{Debug, Error, Fatal, Info, Trace, Warn};
        check("I1122 09:30:00.123456       1 main.go:12] up", Some(Info));
        check("W1122 09:30:00.123456       1 main.go:12] hm", Some(Warn));
        check("ERROR out of cheese", Some(Error));
        check("[warn] hm", Some(Warn));
        check("[ERROR]: hm", Some(Error));
        check("error: no such file", Some(Error));
        check("2026-11-22 09:30:00,123 INFO [main] up", Some(Info));
        check("2026-11-22T09:30:00.123Z  WARN 1 --- [main] x.Y : hm", Some(Warn));
        check("2026-11-22 09:30:00.123 [http-1] DEBUG x.Y - in", Some(Debug));
        check("[2026-11-22T09:30:00,123][INFO ][o.e.n.Node] [x] started", None);
        check("[2026-11-22 09:30:00] [critical] gone", Some(Fatal));
        check("time=\"2026-11-22T09:30:00Z\" level=warning msg=hm", Some(Warn));
        check("ts=2026-11-22T09:30:00Z caller=a.go:1 level=\"debug\" msg=x", Some(Debug));
        check("level=trace", Some(Trace));
        check("09:30:00 - FATAL - gone", Some(Fatal));
    }

    #[test]
    fn does_not_guess() {
        for line in [
            "",
            " ",
            "information is power",
            "error in the middle",
            "Found an ERROR",
            "GET /error 200",
            "I1122 is a number",
            "level=",
            "msg=x level=error",
            "10.0.0.1 - - [22/Nov/2026:09:30:00 +0900] \"GET /INFO HTTP/1.1\" 200",
            "1 2 3 4 5 ERROR",
            "=",
            "[]",
            "주문 ERROR",
        ] {
            check(line, None);
        }
        let far = format!("{} ERROR", "1".repeat(HEAD_MAX_BYTES));
        check(&far, None);
    }

    #[test]
    fn words_and_numbers_in_any_case() {
        assert_eq!(word(b"Warning"), Some(Level::Warn));
        assert_eq!(word(b"INFORMATIONAL"), Some(Level::Info));
        assert_eq!(word(b"informationally"), None);
        assert_eq!(word(b""), None);
        assert_eq!(number(50), Some(Level::Error));
        assert_eq!(number(3), None);
    }
}
