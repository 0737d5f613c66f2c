//! Letters are kept, numbered, tried again and gone for good.

use super::*;
use crate::queue::letter::Content;
use crate::queue::letter::tests::frame;

fn letter(offset: u64, len: usize) -> Letter {
    Letter {
        content: Content::Frame(Box::new(frame(offset, vec![b'x'; len].into()))),
        node: "node-1".into(),
        index: "logstash-2026.11.22".into(),
        document_id: "AAAAAAAAAAAAAAAAAAAA".into(),
        reason: "mapper_parsing_exception".into(),
        attempts: 2,
        first_ms: 1_795_363_200_000,
        last_ms: 1_795_363_200_900 + offset as i64,
    }
}

fn offsets(letters: &Letters) -> Vec<u64> {
    letters.iter().map(|(_, letter)| letter.position().1).collect()
}

fn at(sequence: u64, place: u16) -> LetterId {
    LetterId { sequence: Sequence(sequence), place }
}

#[test]
fn letters_are_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Letters::open(LettersConfig::new(dir.path(), 1 << 30)).unwrap();
    let letters = open();
    assert!(offsets(&letters).is_empty());
    letters.append(&letter(0, 100)).unwrap();
    letters.append(&letter(1, 900_000)).unwrap();
    let many: Vec<_> = (2..2100).map(|offset| letter(offset, 10)).collect();
    letters.append_all(&many).unwrap();
    assert_eq!(offsets(&letters), (0..2100).collect::<Vec<_>>());
    assert!(matches!(
        Letters::open(LettersConfig::new(dir.path(), 1 << 30)),
        Err(OpenError::Locked { .. })
    ));
    drop(letters);
    let letters = open();
    letters.append(&letter(2100, 1)).unwrap();
    assert_eq!(offsets(&letters), (0..2101).collect::<Vec<_>>());
    assert_eq!(letters.iter().nth(1), Some((at(2, 0), letter(1, 900_000))));
    assert_eq!(letters.get(at(3, 1023)), Some(letter(1025, 10)));
    assert_eq!((letters.get(at(1, 1)), letters.get(at(99, 0))), (None, None));
    assert_eq!(letters.stats().letters, 2101);
    assert!(letters.quarantined().is_empty());
}

#[test]
fn a_full_chain_refuses_and_drops_nothing_until_letters_go() {
    let dir = tempfile::tempdir().unwrap();
    let letters = Letters::open(LettersConfig::new(dir.path(), 1 << 20)).unwrap();
    let mut kept = 0;
    while letters.append(&letter(kept, 50_000)).is_ok() {
        kept += 1;
    }
    assert!(matches!(letters.append(&letter(kept, 50_000)), Err(LetterError::Full)));
    assert!((10..=20).contains(&kept), "{kept} letters of 50 kB in 1 MiB");
    assert_eq!(offsets(&letters), (0..kept).collect::<Vec<_>>());
    assert!(letters.stats().disk_bytes <= (1 << 20) + 100_000);
    let ids: Vec<_> = letters.iter().map(|(id, _)| id).collect();
    letters.settle(&ids).unwrap();
    assert_eq!(letters.stats(), LetterStats { letters: 0, disk_bytes: 0, expired: 0 });
    letters.append(&letter(1, 50_000)).unwrap();
}

#[test]
fn what_is_settled_or_tried_stays_so_over_a_restart_and_no_number_comes_twice() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Letters::open(LettersConfig::new(dir.path(), 1 << 30)).unwrap();
    let letters = open();
    let many: Vec<_> = (0..5).map(|offset| letter(offset, 10)).collect();
    letters.append_all(&many).unwrap();
    letters.append(&letter(5, 10)).unwrap();
    let again = |id, reason: &str| Tried { id, attempts: 3, at_ms: 7, reason: reason.to_owned() };
    letters.tried(&[again(at(1, 1), "first"), again(at(2, 0), "other")]).unwrap();
    letters.tried(&[again(at(1, 1), "second")]).unwrap();
    letters.settle(&[at(1, 0), at(1, 4), at(1, 0)]).unwrap();
    let check = |letters: &Letters| {
        assert_eq!(offsets(letters), [1, 2, 3, 5]);
        assert_eq!((letters.get(at(1, 0)), letters.stats().letters), (None, 4));
        let found = letters.get(at(1, 1)).unwrap();
        assert_eq!((found.attempts, found.reason.as_str(), found.last_ms), (8, "second", 7));
        assert_eq!(found.first_ms, 1_795_363_200_000);
    };
    check(&letters);
    drop(letters);
    let letters = open();
    check(&letters);
    // The first segment goes with its last letter; a new one has new numbers.
    letters.settle(&[at(1, 1), at(1, 2), at(1, 3), at(2, 0)]).unwrap();
    assert_eq!((letters.stats().letters, letters.stats().disk_bytes), (0, 0));
    drop(letters);
    let letters = open();
    assert_eq!(letters.append(&letter(9, 10)).unwrap(), Sequence(3));
    // One that is gone is not settled again.
    letters.settle(&[at(1, 1), at(2, 0)]).unwrap();
    assert_eq!(offsets(&letters), [9]);
}

#[test]
fn old_letters_go_when_it_is_asked() {
    let dir = tempfile::tempdir().unwrap();
    let letters = Letters::open(LettersConfig::new(dir.path(), 1 << 30)).unwrap();
    let now_ms = crate::clock::now_ms();
    let aged = |offset, age_ms| Letter { last_ms: now_ms - age_ms, ..letter(offset, 10) };
    letters.append_all(&[aged(0, 5000), aged(1, 1000)]).unwrap();
    letters.append(&aged(2, 9000)).unwrap();
    assert_eq!(letters.expire(now_ms - 3_600_000).unwrap(), 0);
    assert_eq!(offsets(&letters), [0, 1, 2]);
    // The segment began after that moment: its letters are not even looked at, and stay.
    assert_eq!(letters.expire(now_ms - 2000).unwrap(), 0);
    let later = now_ms + 60_000;
    let kept = Letter { last_ms: later + 1, ..letter(3, 10) };
    letters.append(&kept).unwrap();
    assert_eq!(letters.expire(later).unwrap(), 3);
    assert_eq!((offsets(&letters), letters.stats().expired), (vec![3], 3));
}
