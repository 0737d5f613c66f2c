//! What the commands print, of what pods wrote too.

use bytes::Bytes;

use super::super::filter::LetterFilter;
use super::super::report::{LetterRow, SegmentReport, newest, whole};
use super::letters::{lines, shown};
use super::*;
use crate::queue::{Content, Inspection, Letter, Segments, Sequence};

const HOSTILE: &str = "a\u{1b}[2J\tb\n\u{202e}c\u{9b}1m\u{7f} 주문";

fn letter() -> Letter {
    Letter {
        content: Content::Bytes {
            bytes: Bytes::from_static(HOSTILE.as_bytes()),
            file_id: [7; 12],
            offset: 42,
        },
        node: "node-1".to_owned(),
        index: "logstash-2026.11.22\u{1b}".to_owned(),
        document_id: "AAAAAAAAAAAAAAAAAAAA".to_owned(),
        reason: "failed to parse\u{7}".to_owned(),
        attempts: 2,
        first_ms: 1_795_363_200_000,
        last_ms: 1_795_363_200_900,
    }
}

fn id(place: u16) -> LetterId {
    LetterId { sequence: Sequence(3), place }
}

fn all() -> LetterFilter {
    LetterFilter::default()
}

/// That a terminal obeys nothing in it.
fn check_tame(printed: &str) {
    let hostile = |c: char| c != '\n' && crate::search::print::is_hostile(c);
    assert!(!printed.chars().any(hostile), "{printed:?}");
}

#[test]
fn a_letter_is_a_line() {
    let list = newest([(id(0), letter()), (id(1), letter())].into_iter(), &all(), 1);
    let printed = lines(&list);
    assert_eq!(
        printed,
        "3.1  2026-11-22T16:00:00.900000000Z  node-1  070707070707070707070707:42  \
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
    let found = whole(id(0), &letter());
    let record = found.record().unwrap();
    assert_eq!(record, HOSTILE.as_bytes());
    let printed = shown(&found, &record);
    check_tame(&printed);
    for part in ["reason       failed to parse\\u{7}", "offset       42", "bytes        24"] {
        assert!(printed.contains(part), "{printed}");
    }
    check_tame(&json_line(&found));
}

#[test]
fn a_long_record_shows_its_beginning() {
    let bytes = "가".repeat(1000).into();
    let long =
        Letter { content: Content::Bytes { bytes, file_id: [7; 12], offset: 42 }, ..letter() };
    let list = newest([(id(0), long)].into_iter(), &all(), 10);
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
        segments: Segments { open: 1, sealed: 2, quarantine: 1, retained: 5 },
        retained_bytes: 77,
        quarantined: vec!["/data/queue/quarantine/1".into()],
    };
    let parked = Inspection { entries: 7, batches: 8, disk_bytes: 500, ..Inspection::default() };
    let mut report = QueueReport::of_files(&found, &[("logstash-2026.11.22".to_owned(), parked)]);
    let expected = "\
aggregator        not running
waiting           3 entries; about 4 batches
delivered         through entry 6 of 9
oldest            2026-11-22T16:00:00.000000000Z (1h 1m 1s ago)
disk              1000 bytes
segments          1 open, 2 sealed, 1 in quarantine
retained          5 delivered segments, 77 bytes
parked            logstash-2026.11.22: 7 entries, 500 bytes
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

#[test]
fn a_verified_segment_is_a_line() {
    let whole = SegmentReport {
        path: "/d/queue/sealed/7".to_owned(),
        state: "sealed".to_owned(),
        first: 7,
        last: Some(9),
        entries: 3,
        batches: 5,
        bytes: 1000,
        disk_bytes: 4096,
        lost: Vec::new(),
        torn_bytes: 0,
        damage: Vec::new(),
    };
    assert_eq!(
        verify::line(&whole),
        "/d/queue/sealed/7: entries 7 to 9: 3 intact, with 5 batches or letters of 1000 bytes\n"
    );
    let lost = vec![(7, 7), (9, 12)];
    let damaged = SegmentReport { lost, damage: vec!["a\u{7}b".to_owned()], ..whole };
    let printed = verify::line(&damaged);
    check_tame(&printed);
    assert!(
        printed.ends_with("; LOST: entry 7; LOST: entries 9 to 12; DAMAGED: a\\u{7}b\n"),
        "{printed}"
    );
}
