//! What the parser takes and refuses, by tables and by hostile texts.

use proptest::prelude::*;

use super::*;

fn check(text: &str, printed: &str) {
    let query = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    assert_eq!(query.to_string(), printed, "{text}");
    assert_eq!(parse(printed), Ok(query), "{printed}");
}

fn fails(text: &str, position: usize, reason: Reason) {
    assert_eq!(parse(text), Err(QueryError { reason, position }), "{text}");
}

#[test]
fn reads_what_people_type() {
    check("*", "*");
    check(" *:* ", "*");
    check("error", r#""error""#);
    check("a b c", r#""a" AND "b" AND "c""#);
    check("a AND b OR c d", r#"("a" AND "b") OR ("c" AND "d")"#);
    check("a (b OR c)", r#""a" AND ("b" OR "c")"#);
    check("-a !b NOT c", r#"(NOT "a") AND (NOT "b") AND (NOT "c")"#);
    check("a and or not", r#""a" AND "and" AND "or" AND "not""#);
    check("time*", "time*");
    check(r#""a \"b\" \\ (c"d"#, r#""a \"b\" \\ (c" AND "d""#);
    check("level:error", r#"level:"error""#);
    check("level:(a OR -b*)", r#"level:"a" OR (NOT level:b*)"#);
    check(
        "kubernetes.labels.app.kubernetes.io/name:web-0",
        r#"kubernetes.labels.app.kubernetes.io/name:"web-0""#,
    );
    check("image:nginx:1.25", r#"image:"nginx:1.25""#);
    check("a:* AND NOT a:=b", r#"a:* AND (NOT a:="b")"#);
    check("a:>5 a:<=-1.5", "a:{5 TO *] AND a:[* TO -1.5]");
    check("a:> 5", "a:{5 TO *]");
    check("a:[1 TO 5} a:{* TO x]", r#"a:[1 TO 5} AND a:[* TO "x"]"#);
    check(r#"a:["1" TO 5]"#, r#"a:["1" TO "5"]"#);
    check("a:[* TO *]", "a:*");
    check("@timestamp:>=now-15m", "@timestamp:[now-900s TO *]");
    check(
        "@timestamp:2026-11-22",
        "@timestamp:[2026-11-22T00:00:00.000000000Z TO 2026-11-23T00:00:00.000000000Z}",
    );
    check("12:30:05 http://x/y", r#""12:30:05" AND "http://x/y""#);
    check(r"a\:b \-c x\*", r#""a:b" AND "-c" AND "x*""#);
    check(r"\5:a x\ y:b", r#"\5:"a" AND x\ y:"b""#);
    check("[ERROR] {x}", r#""[ERROR]" AND "{x}""#);
    check("주문 완료", r#""주문" AND "완료""#);
    check("_index:logstash-2026*", r"_index:logstash\-2026*");
    check(r#"a"b"(c)d"#, r#""a" AND "b" AND "c" AND "d""#);
}

#[test]
fn says_what_is_wrong_and_where() {
    fails("", 0, Reason::Empty);
    fails("  ", 2, Reason::Empty);
    fails("주문 (완료", 3, Reason::OpenParenthesis);
    fails("a) b", 1, Reason::StrayParenthesis);
    fails(")", 0, Reason::StrayParenthesis);
    fails("a ()", 3, Reason::Missing);
    fails("AND a", 0, Reason::Missing);
    fails("a AND", 5, Reason::MissingAfter("AND"));
    fails("a OR OR b", 5, Reason::MissingAfter("OR"));
    fails("(a NOT)", 6, Reason::MissingAfter("NOT"));
    fails("x error: timeout", 2, Reason::MissingValue("error".to_owned()));
    fails("a:", 0, Reason::MissingValue("a".to_owned()));
    fails("a \"b", 2, Reason::OpenQuote);
    fails("a\\", 2, Reason::Backslash);
    fails("a*b", 1, Reason::Star);
    fails("*a", 0, Reason::Star);
    fails("a*:b", 1, Reason::Star);
    fails("\"a b\"*", 5, Reason::Star);
    fails("a --- b", 4, Reason::NoWords);
    fails("a:[1 5]", 2, Reason::Range);
    fails("a:[1 TO 5", 2, Reason::Range);
    fails("a:(b c:d)", 6, Reason::FieldInField("a".to_owned()));
    fails("@timestamp:>soon", 12, Reason::Time);
    fails("log:>5", 5, Reason::Unsupported("log", "words and phrases"));
    fails(&format!("{}*", "a".repeat(129)), 0, Reason::LongPrefix);
    fails(&"(".repeat(33), 32, Reason::TooDeep);
    fails(&"!".repeat(100), 32, Reason::TooDeep);
    fails(&"a ".repeat(257), 512, Reason::TooManyClauses);
    fails(&"a".repeat(MAX_QUERY_BYTES + 1), MAX_QUERY_BYTES, Reason::TooLong);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn any_text_is_read_or_refused(
        parts in prop::collection::vec(
            prop_oneof![
                prop::sample::select(&["(", ")", "\"", "\\", "*", ":", "-", "!", "AND ", " OR ", "NOT ", "[", "]", "{",
                    "}", " TO ", ">", "<=", "=", "a", "5", "@timestamp", "log", "_id", "now-1h", " ", "주", "\0"][..])
                    .prop_map(str::to_owned),
                any::<char>().prop_map(String::from),
            ],
            0..24,
        )
    ) {
        let text = parts.concat();
        match parse(&text) {
            Ok(query) => prop_assert_eq!(parse(&query.to_string()), Ok(query)),
            Err(error) => {
                prop_assert!(error.position <= text.chars().count());
                prop_assert!(!error.to_string().is_empty());
            }
        }
    }
}
