//! What the commands print, of what pods wrote too.

use bytes::Bytes;

use super::super::report::{newest, numbered};
use super::*;
use crate::queue::{Inspection, Letter, Segments, Sequence};

const HOSTILE: &str = "a\u{1b}[2J\tb\n\u{202e}c\u{9b}1m\u{7f} 주문";

fn letter() -> Letter {
    Letter {
        record: Bytes::from_static(HOSTILE.as_bytes()),
        node: "node-1".to_owned(),
        file_id: [7; 12],
        offset: 42,
        index: "logstash-2026.11.22\u{1b}".to_owned(),
        document_id: "AAAAAAAAAAAAAAAAAAAA".to_owned(),
        reason: "failed to parse\u{7}".to_owned(),
        attempts: 2,
        first_ms: 1_795_363_200_000,
        last_ms: 1_795_363_200_900,
    }
}

/// That a terminal obeys nothing in it.
fn check_tame(printed: &str) {
    let hostile = |c: char| c != '\n' && crate::search::print::is_hostile(c);
    assert!(!printed.chars().any(hostile), "{printed:?}");
}

#[test]
fn a_letter_is_a_line() {
    let list = newest([letter(), letter()].into_iter(), 1);
    let printed = lines(&list);
    assert_eq!(
        printed,
        "2  2026-11-22T16:00:00.900000000Z  node-1  070707070707070707070707:42  \
         logstash-2026.11.22\\u{1b}  AAAAAAAAAAAAAAAAAAAA  2x  failed to parse\\u{7}  \
         a\\u{1b}[2J\\tb\\n\\u{202e}c\\u{9b}1m\\u{7f} 주문\n(1 older; --limit shows more)\n"
    );
    check_tame(&printed);
    let json = json_line(&list.letters[0]);
    check_tame(&json);
    assert_eq!(serde_json::from_str::<LetterRow>(&json).unwrap(), list.letters[0]);
}

#[test]
fn a_letter_is_shown_escaped_or_as_it_was() {
    let found = numbered([letter()].into_iter(), 1).unwrap();
    let record = found.record().unwrap();
    assert_eq!(record, HOSTILE.as_bytes());
    let printed = whole(&found, &record);
    check_tame(&printed);
    for part in ["reason       failed to parse\\u{7}", "offset       42", "bytes        24"] {
        assert!(printed.contains(part), "{printed}");
    }
    check_tame(&json_line(&found));
}

#[test]
fn a_long_record_shows_its_beginning() {
    let long = Letter { record: "가".repeat(1000).into(), ..letter() };
    let list = newest([long].into_iter(), 10);
    assert_eq!(list.letters[0].text.chars().count(), 80);
    assert!(!list.letters[0].text.contains('\u{fffd}'));
    assert_eq!(list.letters[0].record_bytes, 3000);
}

#[test]
fn a_status_is_a_table() {
    let found = Inspection {
        entries: 3,
        batches: 4,
        disk_bytes: 1000,
        oldest_ms: Some(1_795_363_200_000),
        head: Sequence(9),
        delivered: Sequence(6),
        segments: Segments { open: 1, sealed: 2, quarantine: 1 },
        quarantined: vec!["/data/queue/quarantine/1".into()],
    };
    let mut report = QueueReport::of_files(&found);
    let expected = "\
aggregator        not running
waiting           3 entries; about 4 batches
delivered         through entry 6 of 9
oldest            2026-11-22T16:00:00.000000000Z (1h 1m 1s ago)
disk              1000 bytes
segments          1 open, 2 sealed, 1 in quarantine
quarantine        /data/queue/quarantine/1: damaged
";
    assert_eq!(status(&report, 1_795_363_200_000 + 3_661_000), expected);
    report.running = true;
    report.delivery_trouble = Some("es:9200: refused \u{1b}[2J".to_owned());
    let printed = status(&report, 0);
    check_tame(&printed);
    assert!(printed.contains("delivery          es:9200: refused \\u{1b}[2J\n"), "{printed}");
    assert!(printed.contains("intake            open\n"), "{printed}");
}
