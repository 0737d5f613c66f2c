//! Numbered lines: each says in its text who wrote it, so that a document names the line that it came from.

use std::fmt;

use naru_proto::frame::IoStream;

/// Names one logical line for ever: the ledger's number of the container, the iostream, the number in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LineKey {
    /// What [`crate::ledger::Ledger::register`] gave.
    pub container: u32,
    /// Stdout or stderr.
    pub iostream: IoStream,
    /// Counted from 0 in each iostream.
    pub number: u64,
}

/// The iostream's name in an envelope and in a document.
#[must_use]
pub fn iostream_name(iostream: IoStream) -> &'static str {
    match iostream {
        IoStream::Stdout => "stdout",
        IoStream::Stderr => "stderr",
        IoStream::Unspecified => "unspecified",
    }
}

impl LineKey {
    /// The first key in a text.
    #[must_use]
    pub fn find(text: &str) -> Option<Self> {
        let (_, rest) = text.split_once("[[")?;
        let (inside, _) = rest.split_once("]]")?;
        let mut words = inside.split(' ');
        let container = words.next()?.parse().ok()?;
        let iostream = match words.next()? {
            "stdout" => IoStream::Stdout,
            "stderr" => IoStream::Stderr,
            _ => return None,
        };
        let number = words.next()?.parse().ok()?;
        words.next().is_none().then_some(Self { container, iostream, number })
    }
}

impl fmt::Display for LineKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[[{} {} {}]]", self.container, iostream_name(self.iostream), self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_names_its_line() {
        let key = LineKey { container: 3, iostream: IoStream::Stderr, number: 17 };
        assert_eq!(key.to_string(), "[[3 stderr 17]]");
        let check = |text: &str, expected| assert_eq!(LineKey::find(text), expected, "{text}");
        check("[[3 stderr 17]]", Some(key));
        check("torn stdout [[3 stderr 17]] rest [[4 stdout 1]]", Some(key));
        check("[[3 stdin 17]]", None);
        check("[[3 stderr 17", None);
        check("[[3 stderr 17 x]]", None);
        check("3 stderr 17", None);
    }
}
