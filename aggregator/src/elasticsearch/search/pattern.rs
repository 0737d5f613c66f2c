//! Words inside a `keyword` value: a regular expression of Lucene that holds for the values which have them in a row.
//!
//! A keyword is one term, so its words are looked for in the text of the term. Pure. What is a letter is told by the
//! blocks of Unicode, which errs for a few symbols that stand among letters; what is written in ASCII, Latin, Greek,
//! Cyrillic, Chinese, Japanese and Korean is told apart exactly.

use crate::search::words::{Run, runs};

/// Letters and digits but for [`CJK`].
const WORD: &str = "0-9A-Za-zª²³µ¹º¼-¾À-ÖØ-öø-ˤͰ-\u{10ff}\u{1200}-\u{1fff}⁰-ⁿ₀-ₜℂ-ↈ①-⓿❶-➓Ⰰ-\u{2dff}々-〇〡-〩〱-〵〸-〼\
ㄅ-ㄯ㆒-㆕ㆠ-ㆿ㈠-㊿\u{a000}-\u{a95f}\u{a980}-\u{abff}\u{fb00}-\u{fdfb}\u{fe70}-\u{fefc}０-９Ａ-Ｚａ-ｚ\u{ffa0}-\u{ffdc}\u{10000}-\u{1efff}";
/// As `search::words::is_cjk` has it.
const CJK: &str = "\u{1100}-\u{11ff}ぁ-ゖゝ-ゟァ-ヺー-ヿㄱ-ㆎㇰ-ㇿ\u{3400}-\u{4dbf}\u{4e00}-\u{9fff}\u{a960}-\u{a97c}\u{ac00}-\u{d7fb}\
\u{f900}-\u{faff}\u{ff66}-\u{ff9f}\u{20000}-\u{3fffd}";

/// The expression, without regard to ASCII case; none when there are no words. With `prefix` the last one may go on.
pub(super) fn words_in_keyword(text: &str, prefix: bool) -> Option<String> {
    let mut pattern = String::new();
    let mut before: Option<Run<'_>> = None;
    for run in runs(text) {
        pattern.push_str(&match (&before, &run) {
            (None, Run::Word(_)) => format!("(.*[^{WORD}])?"),
            (None, Run::Cjk(_)) => ".*".to_owned(),
            (Some(Run::Word(_)), Run::Word(_)) | (Some(Run::Cjk(_)), Run::Cjk(_)) => {
                format!("[^{WORD}{CJK}]+")
            }
            (Some(_), _) => format!("[^{WORD}{CJK}]*"),
        });
        let (Run::Word(word) | Run::Cjk(word)) = run;
        word.chars().flat_map(char::to_lowercase).for_each(|c| push_any_case(&mut pattern, c));
        before = Some(run);
    }
    match before? {
        Run::Word(word) if !(prefix && text.ends_with(word)) => {
            pattern.push_str(&format!("([^{WORD}].*)?"));
        }
        Run::Word(_) | Run::Cjk(_) => pattern.push_str(".*"),
    }
    Some(pattern)
}

/// Lucene knows the cases of ASCII alone.
fn push_any_case(pattern: &mut String, lower: char) {
    let mut upper = lower.to_uppercase();
    match (upper.next(), upper.next()) {
        (Some(upper), None) if !lower.is_ascii() && upper != lower => {
            pattern.extend(['[', lower, upper, ']']);
        }
        // A mark that lower case adds to a letter, as to İ; it is no letter by itself.
        _ if !lower.is_alphanumeric() => pattern.extend(['\\', lower]),
        _ => pattern.push(lower),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::words::is_cjk;

    fn check(text: &str, prefix: bool, expected: Option<&str>) {
        let found = words_in_keyword(text, prefix);
        let short = found.map(|p| p.replace(CJK, "C").replace(WORD, "W"));
        assert_eq!(short.as_deref(), expected, "{text}");
    }

    #[test]
    fn words_stand_between_what_is_no_letter() {
        check("Web", false, Some("(.*[^W])?web([^W].*)?"));
        check("web-0", false, Some("(.*[^W])?web[^WC]+0([^W].*)?"));
        check("web-0", true, Some("(.*[^W])?web[^WC]+0.*"));
        check("web-", true, Some("(.*[^W])?web([^W].*)?"));
        check("주문", false, Some(".*주문.*"));
        check("v2주문 a", false, Some("(.*[^W])?v2[^WC]*주문[^WC]*a([^W].*)?"));
        check("주문 완", true, Some(".*주문[^WC]+완.*"));
        check("é", false, Some("(.*[^W])?[éÉ]([^W].*)?"));
        check("-- ", false, None);
    }

    fn holds(class: &str, c: char) -> bool {
        let chars: Vec<char> = class.chars().collect();
        let mut at = 0;
        while let Some(&low) = chars.get(at) {
            let range = chars.get(at + 1) == Some(&'-');
            let high = if range { chars[at + 2] } else { low };
            if (low..=high).contains(&c) {
                return true;
            }
            at += if range { 3 } else { 1 };
        }
        false
    }

    #[test]
    fn the_classes_are_those_of_words_where_it_matters() {
        let all = || ('\0'..='\u{ffff}').filter(|&c| c < '\u{250}' || c.is_alphanumeric());
        let wrong: Vec<char> = all()
            .filter(|&c| {
                let word = c.is_alphanumeric() && !is_cjk(c);
                holds(WORD, c) != word || holds(CJK, c) != is_cjk(c)
            })
            .collect();

        let told = ['_', '.', ':', '/', '·', '×', '÷', '、', '。', '「', '・', '－', '！', ' '];
        assert!(told.iter().all(|&c| !holds(WORD, c) && !holds(CJK, c)));
        let scripts = ['a', 'Z', '9', 'é', 'ß', 'Ω', 'ж', 'א', 'ع', 'अ', 'ก', '々', '５'];
        assert!(scripts.iter().all(|&c| holds(WORD, c) && !holds(CJK, c)));
        let cjk = ['주', 'ㄱ', 'か', 'カ', 'ー', '漢', 'ｶ', '𠀀'];
        assert!(cjk.iter().all(|&c| holds(CJK, c) && !holds(WORD, c)));
        assert!(wrong.len() < 500, "{} {:?}", wrong.len(), wrong.get(..100));
    }
}
