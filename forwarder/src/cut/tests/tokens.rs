//! Pieces of log files as they occur, and as they should not.

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::Format;

/// A piece of a file.
#[derive(Debug, Clone)]
pub(super) enum Token {
    Line {
        stderr: bool,
        partial: bool,
        second: u8,
        text: String,
    },
    /// What a crash or a full disk leaves: a line without its end.
    Torn {
        stderr: bool,
        partial: bool,
        keep: u8,
    },
    Bytes(Vec<u8>),
}

/// Any.
pub(super) fn token() -> impl Strategy<Value = Token> {
    token_within(60)
}

/// A line's time is within so many seconds.
pub(super) fn token_within(seconds: u8) -> impl Strategy<Value = Token> {
    let text = prop_oneof![4 => "[a-z주é🦀]{0,8}", 1 => "[a-z주é🦀]{0,90}"];
    prop_oneof![
        6 => (any::<bool>(), any::<bool>(), 0..seconds, text).prop_map(
            |(stderr, partial, second, text)| Token::Line { stderr, partial, second, text }
        ),
        1 => (any::<bool>(), any::<bool>(), 0..40_u8)
            .prop_map(|(stderr, partial, keep)| Token::Torn { stderr, partial, keep }),
        1 => vec(prop_oneof![Just(b'\n'), Just(b' '), any::<u8>()], 0..12).prop_map(Token::Bytes),
        1 => vec(any::<u8>(), 0..120).prop_map(Token::Bytes),
    ]
}

/// Their bytes.
pub(super) fn render(format: Format, tokens: &[Token]) -> Vec<u8> {
    let line = |stderr, partial, second: u8, text: &str| {
        let stream = if stderr { "stderr" } else { "stdout" };
        let time = format!("2026-11-22T00:30:{second:02}Z");
        match format {
            Format::JsonFile => {
                let end = if partial { "" } else { "\\n" };
                format!("{{\"log\":\"{text}{end}\",\"stream\":\"{stream}\",\"time\":\"{time}\"}}\n")
            }
            Format::Cri | Format::Plain => {
                format!("{time} {stream} {} {text}\n", if partial { "P" } else { "F" })
            }
        }
        .into_bytes()
    };
    let mut bytes = Vec::new();
    for token in tokens {
        match token {
            Token::Line { stderr, partial, second, text } => {
                bytes.extend(line(*stderr, *partial, *second, text));
            }
            Token::Torn { stderr, partial, keep } => {
                let whole = line(*stderr, *partial, 59, "torn");
                bytes.extend(&whole[..usize::from(*keep).min(whole.len() - 1)]);
            }
            Token::Bytes(more) => bytes.extend(more),
        }
    }
    bytes
}
