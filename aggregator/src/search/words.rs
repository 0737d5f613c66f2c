//! Words: what a text is found by, the same when it is indexed and when it is asked for.
//!
//! A word is a run of letters and digits, in lower case. Chinese, Japanese and Korean are written without spaces or with
//! endings stuck to the words, so a run of those characters becomes its pairs (주문이 → 주문 문이) and its last character
//! alone: any part of two characters is a pair, and any single one begins a pair or is the last. Pure; it promises that
//! a text contains each of its own parts, and it knows nothing of stemming, synonyms or Unicode normalisation.

use std::fmt::Write as _;
use std::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher24};

/// A longer word is indexed by its beginning and a hash. Above any real word; far below tantivy's 65,530 bytes a term.
pub const WORD_MAX_BYTES: usize = 128;
/// How much of a shortened text stays readable, so that a prefix up to this length still finds it.
pub const SHORTENED_PREFIX_BYTES: usize = 48;

/// The words of something asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AskedWords {
    /// One after the other, at places without gaps.
    pub words: Vec<String>,
    /// Whether the last of them is the beginning of a word only.
    pub last_is_prefix: bool,
}

/// Calls `emit` with each word of a text that is indexed, and its place; returns the place after the last.
pub fn of_indexed(text: &str, mut emit: impl FnMut(u32, &str)) -> u32 {
    let mut place = 0;
    let mut word = String::new();
    for run in runs(text) {
        match run {
            Run::Word(run) => {
                lower(run, &mut word);
                shorten(&mut word, 0, WORD_MAX_BYTES);
                emit(place, &word);
                place += 1;
            }
            Run::Cjk(run) => {
                for_pairs(run, |pair| {
                    emit(place, pair);
                    place += 1;
                });
                emit(place, last_character(run));
                place += 1;
            }
        }
    }
    place
}

/// The words of a text that is asked for, shortened as indexed ones are; with `prefix`, the last word may go on.
#[must_use]
pub fn of_asked(text: &str, prefix: bool) -> AskedWords {
    let mut asked = of_asked_whole(text, prefix);
    for word in &mut asked.words {
        shorten(word, 0, WORD_MAX_BYTES);
    }
    asked
}

/// As [`of_asked`], with long words as they are.
#[must_use]
pub fn of_asked_whole(text: &str, prefix: bool) -> AskedWords {
    let mut asked = AskedWords::default();
    // A run's last character, which stands there alone only if the run of the text ends with it as well.
    let mut run_end: Option<&str> = None;
    let mut word = String::new();
    for run in runs(text) {
        asked.words.extend(run_end.take().map(str::to_owned));
        match run {
            Run::Word(run) => {
                lower(run, &mut word);
                asked.words.push(word.clone());
                asked.last_is_prefix = prefix && text.ends_with(run);
            }
            Run::Cjk(run) => {
                let before = asked.words.len();
                for_pairs(run, |pair| asked.words.push(pair.to_owned()));
                let single = asked.words.len() == before;
                if single {
                    asked.words.push(run.to_owned());
                } else {
                    run_end = Some(last_character(run));
                }
                asked.last_is_prefix = single;
            }
        }
    }
    asked
}

/// Whether a text has any word.
#[must_use]
pub fn any(text: &str) -> bool {
    runs(text).next().is_some()
}

/// A text that is at most `max_bytes` long is itself; a longer one its first [`SHORTENED_PREFIX_BYTES`] and a hash.
pub fn shorten(text: &mut String, from: usize, max_bytes: usize) {
    let Some(whole) = text.get(from..).filter(|whole| whole.len() > max_bytes) else {
        return;
    };
    let mut hasher = SipHasher24::new_with_key(b"naru.shorten.v1.");
    hasher.write(whole.as_bytes());
    let hash = hasher.finish128().as_u128();
    let end = floor_char_boundary(whole, SHORTENED_PREFIX_BYTES);
    text.truncate(from + end);
    // Writing to a String cannot fail.
    write!(text, "{hash:032x}").ok();
}

/// The largest place not after `at` where a character begins.
#[must_use]
pub fn floor_char_boundary(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0)
}

/// Whether a character is written without spaces around its words (and is two columns wide).
#[must_use]
pub fn is_cjk(c: char) -> bool {
    matches!(c,
        '\u{1100}'..='\u{11ff}' | '\u{3040}'..='\u{30ff}' | '\u{3130}'..='\u{318f}' | '\u{31f0}'..='\u{31ff}'
        | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{a960}'..='\u{a97f}' | '\u{ac00}'..='\u{d7ff}'
        | '\u{f900}'..='\u{faff}' | '\u{ff66}'..='\u{ff9f}' | '\u{20000}'..='\u{3ffff}')
        && c.is_alphanumeric()
}

/// Letters and digits of one kind, as they were written.
pub enum Run<'a> {
    /// A word.
    Word(&'a str),
    /// Characters that are written without spaces around their words.
    Cjk(&'a str),
}

/// The runs of a text.
pub fn runs(text: &str) -> impl Iterator<Item = Run<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let start = rest.find(char::is_alphanumeric)?;
        let from = rest.get(start..)?;
        let cjk = from.starts_with(is_cjk);
        let length =
            from.find(|c: char| !c.is_alphanumeric() || is_cjk(c) != cjk).unwrap_or(from.len());
        let (run, after) = from.split_at_checked(length)?;
        rest = after;
        Some(if cjk { Run::Cjk(run) } else { Run::Word(run) })
    })
}

fn last_character(run: &str) -> &str {
    let at = run.char_indices().next_back().map_or(0, |(at, _)| at);
    run.get(at..).unwrap_or_default()
}

/// Each two neighbouring characters.
fn for_pairs<'a>(run: &'a str, mut pair: impl FnMut(&'a str)) {
    let mut starts = run.char_indices().map(|(at, _)| at).chain([run.len()]);
    let (mut first, mut second) = (starts.next(), starts.next());
    for third in starts {
        if let (Some(start), Some(_)) = (first, second) {
            pair(run.get(start..third).unwrap_or_default());
        }
        (first, second) = (second, Some(third));
    }
}

fn lower(run: &str, word: &mut String) {
    word.clear();
    if run.is_ascii() {
        word.push_str(run);
        word.make_ascii_lowercase();
    } else {
        word.extend(run.chars().flat_map(char::to_lowercase));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn indexed(text: &str) -> String {
        let mut words = Vec::new();
        of_indexed(text, |place, word| words.push(format!("{place}{word}")));
        words.join(" ")
    }

    fn asked(text: &str, prefix: bool) -> String {
        let asked = of_asked(text, prefix);
        asked.words.join(" ") + if asked.last_is_prefix { "*" } else { "" }
    }

    #[test]
    fn words_are_runs_in_lower_case() {
        assert_eq!(indexed("GET /api/v1 HTTP_2"), "0get 1api 2v1 3http 42");
        assert_eq!(indexed("ÄÖ éa"), "0äö 1éa");
        assert_eq!(indexed(" --- !"), "");
        assert_eq!(asked("Time-Out", false), "time out");
        assert_eq!(asked("Time-Ou", true), "time ou*");
        assert_eq!(asked("time-", true), "time");
    }

    #[test]
    fn korean_is_found_by_any_part() {
        assert_eq!(indexed("주문이 완료"), "0주문 1문이 2이 3완료 4료");
        assert_eq!(indexed("v2주문 끝"), "0v2 1주문 2문 3끝");
        assert_eq!(asked("주문이 완료", false), "주문 문이 이 완료");
        assert_eq!(asked("주문", false), "주문");
        assert_eq!(asked("주", false), "주*");
        assert_eq!(asked("그 주문", false), "그 주문");
        assert_eq!(asked("주문 완", false), "주문 문 완*");
    }

    #[test]
    fn long_words_keep_their_beginning() {
        let long = "x".repeat(1 << 20);
        let mut words = Vec::new();
        of_indexed(&long, |_, word| words.push(word.to_owned()));
        assert_eq!(words.len(), 1);
        assert_eq!(words[0].len(), SHORTENED_PREFIX_BYTES + 32);
        assert!(words[0].starts_with(&"x".repeat(SHORTENED_PREFIX_BYTES)));
        assert_eq!(of_asked(&long, false).words[0], words[0]);
        let other = "x".repeat((1 << 20) - 1);
        assert_ne!(of_asked(&other, false).words[0], words[0]);
    }
}
