//! The bytes of every release: what an older Naru wrote is read.

use super::*;
use crate::queue::done::Done;
use crate::queue::entry::Entry;
use crate::queue::manifest::{Identity, Summary};
use crate::queue::part::{self, Header, Kind};

fn golden(name: &str, bytes: &[u8]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/queue").join(name);
    if std::env::var_os("UPDATE").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
    }
    let stored = fs::read(&path).unwrap();
    assert!(stored == bytes, "{name} differs from what this release writes");
}

fn entry() -> Entry {
    let metadata = vec![
        Metadata { kind: 1, bytes: Bytes::from_static(b"{\"app\":\"order\"}") },
        Metadata { kind: 65_535, bytes: Bytes::from_static(b"a kind that nobody knows") },
    ];
    let batches = vec![
        StoredBatch {
            node: "node-1".into(),
            received_ms: 1_795_363_200_123,
            records: 1000,
            raw_bytes: 284_000,
            crc32c: 0xdead_beef,
            body: Bytes::from_static(b"not really zstd"),
        },
        StoredBatch {
            node: String::new(),
            received_ms: -1,
            records: 0,
            raw_bytes: 0,
            crc32c: 0,
            body: Bytes::new(),
        },
    ];
    Entry { metadata, batches }
}

#[test]
fn entry_in_two_parts() {
    let mut body = Vec::new();
    entry().encode(&mut body);
    let mut stored = Vec::new();
    for (number, half) in body.chunks(body.len().div_ceil(2)).enumerate() {
        let header = Header {
            kind: Kind::Batches,
            batches: 2,
            salt: 0x1122_3344_5566_7788,
            sequence: Sequence(42),
            committed_ms: 1_795_363_200_456,
            key: 7 + number as u32,
            part: number as u16,
            parts: 2,
        };
        part::encode(&header, half, &mut stored);
    }
    golden("entry-v1.bin", &stored);

    let (first, payload) = part::decode(&stored).unwrap();
    let (second, rest) = part::decode(&stored[part::HEADER_BYTES + payload.len()..]).unwrap();
    assert_eq!((first.part, second.part, second.key), (0, 1, 8));
    let read = Entry::decode(&[payload, rest].concat().into()).unwrap();
    assert_eq!(read, entry());
}

#[test]
fn letter() {
    let bytes = Bytes::from_static(b"2026-11-22T16:00:00Z stdout F {\"user\": 1}\n");
    let old = Content::Bytes { bytes: bytes.clone(), file_id: *b"file-id-12-b", offset: 1_234_567 };
    let letter = Letter {
        content: old,
        node: "node-1".into(),
        index: "logstash-2026.11.22".into(),
        document_id: "AZq9zQAAAAAAAAAAAAAA".into(),
        reason: "mapper_parsing_exception: 주문".into(),
        attempts: 2,
        first_ms: 1_795_363_200_456,
        last_ms: 1_795_363_201_000,
    };
    // Nobody writes it any more.
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/queue/letter-v1.bin");
    let body = Bytes::from(fs::read(path).unwrap());
    assert_eq!(Letter::decode_all(Kind::LettersV1, &body), Some(vec![letter.clone()]));
    let whole = Content::Frame(Box::new(letter::tests::frame(1_234_567, bytes)));
    let letters = vec![letter.clone(), Letter { content: whole, ..letter }];
    let mut body = Vec::new();
    letters.iter().for_each(|letter| letter.encode(&mut body));
    golden("letter-v2.bin", &body);
    assert_eq!(Letter::decode_all(Kind::Letters, &body.into()), Some(letters));
}

#[test]
fn small_files() {
    let dir = tempfile::tempdir().unwrap();
    let identity =
        Identity { first: Sequence(42), salt: 0x1122_3344_5566_7788, sled_segment_bytes: 1 << 19 };
    identity.save(dir.path()).unwrap();
    golden("identity-v1.bin", &fs::read(dir.path().join("identity")).unwrap());
    let summary = Summary {
        first: Sequence(42),
        last: Sequence(99),
        batches: 1234,
        oldest_ms: 1_795_363_200_456,
    };
    summary.save(dir.path()).unwrap();
    golden("summary-v1.bin", &fs::read(dir.path().join("summary")).unwrap());
}

#[test]
fn cursors() {
    let dir = tempfile::tempdir().unwrap();
    let mut cursor = Cursor::open(dir.path()).unwrap();
    cursor.save(Done::through(Sequence(41))).unwrap();
    cursor.save(Done::through(Sequence(57))).unwrap();
    golden("cursor-v1.bin", &fs::read(dir.path().join("cursor")).unwrap());
    let ranges = vec![(Sequence(60), Sequence(60)), (Sequence(62), Sequence(1_000_000))];
    let with_ranges = Done { ranges, ..Done::through(Sequence(58)) };
    cursor.save(with_ranges.clone()).unwrap();
    golden("cursor-v2.bin", &fs::read(dir.path().join("cursor")).unwrap());
    for (name, expected) in
        [("cursor-v1.bin", Done::through(Sequence(57))), ("cursor-v2.bin", with_ranges)]
    {
        let stored = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/queue").join(name);
        fs::copy(stored, dir.path().join("cursor")).unwrap();
        assert_eq!(Cursor::open(dir.path()).unwrap().done(), &expected, "{name}");
    }
}
