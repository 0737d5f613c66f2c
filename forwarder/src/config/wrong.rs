//! A value of the file with its place, so that what is wrong with it can be found.

use serde_saphyr::Spanned;

/// What is wrong with a value.
#[derive(Debug)]
pub(super) struct Wrong {
    key: &'static str,
    /// None where no line of the file says it.
    line: Option<u64>,
    reason: String,
}

impl Wrong {
    pub(super) fn new<T>(key: &'static str, at: &Spanned<T>, reason: impl Into<String>) -> Self {
        Self { key, line: line(at), reason: reason.into() }
    }

    /// `file:line: key: reason`.
    pub(super) fn sentence(&self, file: &str) -> String {
        let Self { key, line, reason } = self;
        match line {
            Some(line) => format!("{file}:{line}: {key}: {reason}"),
            None => format!("{file}: {key}: {reason}"),
        }
    }
}

/// A text, and where it was read: a key and a line of the file, or a variable of the environment.
#[derive(Debug)]
pub(super) struct Text {
    pub(super) key: &'static str,
    pub(super) line: Option<u64>,
    pub(super) value: String,
}

impl Text {
    pub(super) fn new(key: &'static str, found: Spanned<String>) -> Self {
        Self { key, line: line(&found), value: found.value }
    }

    pub(super) fn default_of(key: &'static str, value: &str) -> Self {
        Self { key, line: None, value: value.to_owned() }
    }

    pub(super) fn wrong(&self, reason: impl Into<String>) -> Wrong {
        Wrong { key: self.key, line: self.line, reason: reason.into() }
    }
}

fn line<T>(at: &Spanned<T>) -> Option<u64> {
    Some(at.referenced.line()).filter(|line| *line > 0)
}
