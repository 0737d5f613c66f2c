//! Frames there and back, and what is refused.

use super::*;

fn wire_frame(bytes: &'static [u8], ends: wire::Ends, extents: &[(u8, u64, u64)]) -> wire::Frame {
    let source = Source { node: "n".into(), writer: Writer::HostFile { path: "/v".into() } };
    wire::Frame {
        source: Some(source.into()),
        format: Format::Plain.into(),
        ends: ends.into(),
        extents: extents
            .iter()
            .map(|&(id, start, length)| wire::Extent {
                file_id: vec![id; 12].into(),
                start,
                length,
            })
            .collect(),
        bytes: Bytes::from_static(bytes),
        ..wire::Frame::default()
    }
}

fn check(wire: wire::Frame, expected: Result<Vec<(u8, u64, &str)>, FrameError>) {
    let frame = Frame::try_from(wire);
    let found = frame.as_ref().map(|frame| {
        assert_eq!(frame.record_count(), frame.records().count());
        let texts = frame.records().map(|r| (r.file.0[0], r.offset, r.raw));
        texts.map(|(f, o, raw)| (f, o, std::str::from_utf8(raw).unwrap())).collect::<Vec<_>>()
    });
    assert_eq!(found, expected.as_ref().map(Clone::clone));
}

#[test]
fn records_know_their_place() {
    use wire::Ends::{Lengths, Lines, One};
    check(
        wire_frame(b"a\n\nbc\n", Lines, &[(1, 10, 6)]),
        Ok(vec![(1, 10, "a\n"), (1, 12, "\n"), (1, 13, "bc\n")]),
    );
    check(
        wire_frame(b"a\nbc\n", Lines, &[(1, 10, 2), (1, 40, 3)]),
        Ok(vec![(1, 10, "a\n"), (1, 40, "bc\n")]),
    );
    check(wire_frame(b"a\nbc\n", One, &[(1, 10, 2), (2, 0, 3)]), Ok(vec![(1, 10, "a\nbc\n")]));
    check(wire_frame(b"no newline", One, &[(1, 0, 10)]), Ok(vec![(1, 0, "no newline")]));
    let mut lengths = wire_frame(b"a\nbc\nd", Lengths, &[(1, 10, 4), (2, 0, 2)]);
    lengths.lengths = vec![2, 3, 1];
    check(lengths, Ok(vec![(1, 10, "a\n"), (1, 12, "bc\n"), (2, 1, "d")]));
}

#[test]
fn lies_are_refused() {
    use wire::Ends::{Lengths, Lines, One, Unspecified};
    check(wire_frame(b"a\nb", Lines, &[(1, 0, 3)]), Err(FrameError::BadEnds));
    check(wire_frame(b"a\nb\n", Lines, &[(1, 0, 1), (1, 9, 3)]), Err(FrameError::BadEnds));
    check(wire_frame(b"a\n", Lines, &[(1, 0, 3)]), Err(FrameError::BadExtents(2)));
    check(wire_frame(b"a\n", Lines, &[(1, 0, 1)]), Err(FrameError::BadExtents(2)));
    check(wire_frame(b"a\n", Lines, &[]), Err(FrameError::BadExtents(2)));
    check(wire_frame(b"a\n", One, &[(1, u64::MAX, 2)]), Err(FrameError::BadExtents(2)));
    check(wire_frame(b"a\n", One, &[(1, 0, 2), (1, 5, 0)]), Err(FrameError::BadExtents(2)));
    check(wire_frame(b"a\n", Unspecified, &[(1, 0, 2)]), Err(FrameError::UnknownEnds(0)));
    check(wire_frame(b"a\n", Lengths, &[(1, 0, 2)]), Err(FrameError::BadEnds));
    let mut bad = wire_frame(b"a\n", One, &[(1, 0, 2)]);
    bad.format = 9;
    check(bad, Err(FrameError::UnknownFormat(9)));
    let mut bad = wire_frame(b"a\n", One, &[(1, 0, 2)]);
    bad.extents[0].file_id = Bytes::from_static(b"short");
    check(bad, Err(FrameError::BadFileId(5)));
    let mut bad = wire_frame(b"a\n", One, &[(1, 0, 2)]);
    bad.source = None;
    check(bad, Err(FrameError::NoSource));
    let long: &'static [u8] = vec![b'x'; RECORD_MAX_BYTES + 1].leak();
    let too_large = FrameError::RecordTooLarge { bytes: RECORD_MAX_BYTES + 1, lines: 1 };
    check(wire_frame(long, One, &[(1, 0, long.len() as u64)]), Err(too_large));
    let lines: &'static [u8] = vec![b'\n'; RECORD_MAX_LINES + 1].leak();
    let too_many = FrameError::RecordTooLarge { bytes: lines.len(), lines: RECORD_MAX_LINES + 1 };
    check(wire_frame(lines, One, &[(1, 0, lines.len() as u64)]), Err(too_many));
}

#[test]
fn a_frame_survives_the_wire() {
    let mut wire = wire_frame(b"a\nbc\n", wire::Ends::One, &[(1, 10, 2), (2, 0, 3)]);
    wire.id_time_ns = Some(5);
    wire.line_start = Some(3);
    wire.iostream = IoStream::Stderr.into();
    wire.continued = true;
    let frame = Frame::try_from(wire.clone()).unwrap();
    assert_eq!(wire::Frame::from(frame), wire);
}
