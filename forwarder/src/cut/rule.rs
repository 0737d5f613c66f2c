//! Multi-line rules: which lines continue a record. Pure.
//!
//! A rule is a small machine: the first line of a record gives it a state, and each further line either continues the
//! record, with a state again, or begins another. Lines are told apart by regular expressions over their first
//! [`MATCHED_MAX_BYTES`], compiled once into tables that need no memory to search: a hostile line costs one pass.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use regex_automata::dfa::{Automaton, StartKind, dense};
use regex_automata::nfa::thompson;
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input};

use super::presets::{self, Preset};

/// What a line begins with decides; what comes later in a long one is text.
pub(super) const MATCHED_MAX_BYTES: usize = 4096;
/// A longer pattern is a mistake.
const PATTERN_MAX_BYTES: usize = 2048;
/// Of a compiled pattern: dates, levels and names need some KiB.
const TABLE_MAX_BYTES: usize = 1 << 20;

/// Which lines continue a record. Compiled once and shared.
pub struct Rule {
    name: String,
    first: Patterns<u8>,
    states: Vec<State>,
}

struct State {
    steps: Patterns<Option<u8>>,
    /// For a line that no step matches.
    otherwise: Option<u8>,
}

/// Expressions, each with what its match means; an earlier one goes before a later one.
struct Patterns<T> {
    table: Option<dense::DFA<Vec<u32>>>,
    meaning: Vec<T>,
}

/// Why a pattern is none: one sentence.
#[derive(Debug, PartialEq, Eq)]
pub struct PatternError(String);

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for PatternError {}

impl Rule {
    /// A built-in rule by its name, the same one each time.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn preset(name: &str) -> Result<Arc<Self>, PatternError> {
        let preset = presets::ALL.iter().find(|preset| preset.name == name).ok_or_else(|| {
            let names: Vec<_> = presets::ALL.iter().map(|preset| preset.name).collect();
            PatternError(format!("there is no preset {name:?}; there are {}", names.join(", ")))
        })?;
        static COMPILED: Mutex<BTreeMap<&str, Arc<Rule>>> = Mutex::new(BTreeMap::new());
        let mut compiled = COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(rule) = compiled.get(preset.name) {
            return Ok(Arc::clone(rule));
        }
        let rule = Arc::new(Self::compiled(preset)?);
        compiled.insert(preset.name, Arc::clone(&rule));
        Ok(rule)
    }

    /// A line that matches begins a record, any other continues it.
    ///
    /// # Errors
    /// The pattern does not compile, or only into more than is reasonable.
    pub fn start_pattern(pattern: &str) -> Result<Self, PatternError> {
        let steps = Patterns::new(&[(pattern, None)])?;
        let states = vec![State { steps, otherwise: Some(0) }];
        Ok(Self { name: format!("start_pattern {pattern}"), first: Patterns::new(&[])?, states })
    }

    /// What it is called, for people.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    fn compiled(preset: &Preset) -> Result<Self, PatternError> {
        let state = |state: &presets::State| {
            let steps = Patterns::new(state.steps)?;
            Ok(State { steps, otherwise: state.otherwise })
        };
        Ok(Self {
            name: preset.name.to_owned(),
            first: Patterns::new(preset.first)?,
            states: preset.states.iter().map(state).collect::<Result<_, _>>()?,
        })
    }

    /// The state of a record that begins with this text.
    pub(super) fn first(&self, text: &[u8]) -> u8 {
        self.first.matching(text).copied().unwrap_or_default()
    }

    /// The state of a record that this text continues; None: it begins another.
    pub(super) fn next(&self, state: u8, text: &[u8]) -> Option<u8> {
        // A state of another version of the rule continues nothing.
        let state = self.states.get(usize::from(state))?;
        state.steps.matching(text).copied().unwrap_or(state.otherwise)
    }
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Rule").field(&self.name).finish()
    }
}

impl<T: Copy> Patterns<T> {
    fn new(patterns: &[(&str, T)]) -> Result<Self, PatternError> {
        let meaning = patterns.iter().map(|(_, meaning)| *meaning).collect();
        let texts: Vec<&str> = patterns.iter().map(|(pattern, _)| *pattern).collect();
        let table = if texts.is_empty() { None } else { Some(compile(&texts)?) };
        Ok(Self { table, meaning })
    }

    fn matching(&self, text: &[u8]) -> Option<&T> {
        let text = text.get(..MATCHED_MAX_BYTES).unwrap_or(text);
        let input = Input::new(text).anchored(Anchored::No);
        // Without Unicode classes there is no byte at which a search gives up.
        let found = self.table.as_ref()?.try_search_fwd(&input).ok()??;
        self.meaning.get(found.pattern().as_usize())
    }
}

/// Bytes, not characters: a log may hold anything, and `\d`, `\s`, `\w` are ASCII's.
fn compile(patterns: &[&str]) -> Result<dense::DFA<Vec<u32>>, PatternError> {
    if let Some(long) = patterns.iter().find(|pattern| pattern.len() > PATTERN_MAX_BYTES) {
        return Err(PatternError(format!("has {} bytes, not {PATTERN_MAX_BYTES}", long.len())));
    }
    dense::Builder::new()
        .configure(
            dense::Config::new()
                .start_kind(StartKind::Unanchored)
                .dfa_size_limit(Some(TABLE_MAX_BYTES))
                .determinize_size_limit(Some(4 * TABLE_MAX_BYTES)),
        )
        .syntax(syntax::Config::new().unicode(false).utf8(false).nest_limit(50))
        .thompson(thompson::Config::new().utf8(false).nfa_size_limit(Some(TABLE_MAX_BYTES)))
        .build_many(patterns)
        .map_err(|error| PatternError(reason(&error)))
}

/// The innermost cause, on one line.
fn reason(error: &dense::BuildError) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    let text = cause.to_string();
    let last = text.lines().last().unwrap_or_default().trim().trim_start_matches("error: ");
    if text.contains("limit") { "is too large".to_owned() } else { last.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_says_which_lines_begin_a_record() {
        let rule = Rule::start_pattern(r"^\S+\s+AUDIT:").unwrap();
        assert_eq!(rule.name(), r"start_pattern ^\S+\s+AUDIT:");
        let state = rule.first(b"anything");
        assert_eq!(rule.next(state, b"2026-11-22T00:30:00Z AUDIT: id=1"), None);
        assert_eq!(rule.next(state, b"  more of it"), Some(state));
        assert_eq!(rule.next(state, b""), Some(state));
        assert_eq!(rule.next(state, &[0xff, 0, b'\n']), Some(state));
        let unanchored = Rule::start_pattern("(?i)begin|주문").unwrap();
        assert_eq!(unanchored.next(0, b"\xff it BEGINs"), None);
        assert_eq!(unanchored.next(0, "새 주문 1".as_bytes()), None);
        let far = [&vec![b'x'; MATCHED_MAX_BYTES][..], b"begin"].concat();
        assert_eq!(unanchored.next(0, &far), Some(0), "too far in the line");
    }

    /// The documents show each preset by records: `>` begins one, `|` continues it.
    #[test]
    fn presets_join_what_the_documents_show() {
        let text = include_str!("../../../docs/configuration.md");
        let mut shown = Vec::new();
        for block in text.split("```text preset ").skip(1) {
            let block = block.split("```").next().unwrap();
            let (name, lines) = block.split_once('\n').unwrap();
            let rule = Rule::preset(name).unwrap();
            let mut state = None;
            for line in lines.lines() {
                let (mark, text) = line.split_at_checked(2).unwrap_or((line, ""));
                let text = text.as_bytes();
                let next = state.and_then(|state| rule.next(state, text));
                let expected = if next.is_some() { "|" } else { ">" };
                assert_eq!(mark.trim_end(), expected, "{name}: {line}");
                state = Some(next.unwrap_or_else(|| rule.first(text)));
            }
            shown.push(name);
        }
        let all: Vec<_> = presets::ALL.iter().map(|preset| preset.name).collect();
        assert_eq!(shown, all, "every preset is shown");
    }

    #[test]
    fn a_pattern_that_does_not_compile_says_why() {
        let reason = |pattern: &str| Rule::start_pattern(pattern).unwrap_err().to_string();
        assert_eq!(reason("^(a"), "unclosed group");
        assert_eq!(reason("a{2000}{2000}"), "is too large");
        assert_eq!(reason(r"(a|b)*a(a|b){20}"), "is too large");
        assert_eq!(reason(&"a".repeat(3000)), "has 3000 bytes, not 2048");
        assert!(reason(r"(?=look)").contains("look-around"), "{}", reason(r"(?=look)"));
        let unknown = Rule::preset("cobol").unwrap_err().to_string();
        assert!(unknown.starts_with("there is no preset \"cobol\"; there are java, "), "{unknown}");
    }
}
