//! Some records of a frame as a frame of its own. Pure.
//!
//! What the documents of the records say does not change: neither their place nor their envelope, so that they have the
//! same ids, the same index and the same fields wherever they go.

use std::ops::Range;

use super::{Ends, Extent, Frame};

impl Frame {
    /// The records of a range, counted from 0. None when the frame does not have all of them, or they are none.
    ///
    /// The bytes are shared, not copied. What is said of the first or the last record alone (`line_start` and `continued`,
    /// `incomplete`) stays with the part that has it; all else is said of every record.
    #[must_use]
    pub fn part(&self, records: Range<usize>) -> Option<Self> {
        let bytes = self.bytes_of(&records)?;
        let (has_first, has_last) = (records.start == 0, bytes.end == self.bytes.len());
        let ends = match &self.ends {
            Ends::Lines => Ends::Lines,
            Ends::One => Ends::One,
            Ends::Lengths(lengths) => Ends::Lengths(lengths.get(records)?.to_vec()),
        };
        let mut flags = self.flags;
        flags.continued &= has_first;
        flags.incomplete &= has_last;
        Some(Self {
            source: self.source.clone(),
            format: self.format,
            extents: self.extents_of(&bytes),
            ends,
            id_time_ns: self.id_time_ns,
            read_time_ns: self.read_time_ns,
            iostream: self.iostream,
            line_start: self.line_start.filter(|_| has_first),
            container_id: self.container_id.clone(),
            flags,
            bytes: self.bytes.slice(bytes),
        })
    }

    /// Where the records of a range are in the bytes.
    fn bytes_of(&self, records: &Range<usize>) -> Option<Range<usize>> {
        let before = records.start;
        let count = records.end.checked_sub(before).filter(|count| *count > 0)?;
        let mut all = self.records();
        let start: usize = all.by_ref().take(before).map(|record| record.raw.len()).sum();
        let mut taken = 0;
        let mut end = start;
        for record in all.take(count) {
            taken += 1;
            end += record.raw.len();
        }
        (taken == count).then_some(start..end)
    }

    /// The extents of a range of the bytes.
    fn extents_of(&self, bytes: &Range<usize>) -> Vec<Extent> {
        let mut at = 0;
        let mut within = Vec::new();
        for extent in &self.extents {
            let (begin, end) = (at, at + extent.length as usize);
            at = end;
            let (from, to) = (begin.max(bytes.start), end.min(bytes.end));
            if from < to {
                within.push(Extent {
                    file: extent.file,
                    start: extent.start + (from - begin) as u64,
                    length: (to - from) as u64,
                });
            }
        }
        within
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::frame::{Flags, Format, IoStream, Source, Writer};
    use crate::ids::FileId;
    use crate::wire;

    /// Any valid frame: its bytes lie in one to four extents, cut anywhere unless its records are lines.
    fn frames() -> impl Strategy<Value = Frame> {
        let record = prop_oneof![Just("\n".to_owned()), "[a-c]{0,9}\n", "[a-c]{1,4}\n[a-c]{0,4}\n"];
        let records = proptest::collection::vec(record, 1..12);
        let cuts = proptest::collection::vec(any::<proptest::sample::Index>(), 0..4);
        (0..3_u8, records, cuts, any::<[bool; 5]>()).prop_map(|(kind, records, cuts, bits)| {
            let text: String = records.concat();
            let ends = match kind {
                0 => Ends::Lines,
                1 => Ends::One,
                _ => Ends::Lengths(records.iter().map(|record| record.len() as u32).collect()),
            };
            let may_end = |at: usize| ends != Ends::Lines || text.as_bytes()[at - 1] == b'\n';
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len())).collect();
            cuts.retain(|at| *at > 0 && may_end(*at));
            cuts.push(text.len());
            cuts.sort_unstable();
            cuts.dedup();
            let mut start = 0;
            let mut extents = Vec::new();
            for (number, end) in cuts.into_iter().enumerate() {
                let file = FileId([number as u8 / 2; 12]);
                let length = (end - start) as u64;
                extents.push(Extent { file, start: 1000 * number as u64 + 7, length });
                start = end;
            }
            let [known_time, inside, incomplete, continued, malformed] = bits;
            Frame {
                source: Source { node: "n".into(), writer: Writer::HostFile { path: "/v".into() } },
                format: Format::Plain,
                extents,
                ends,
                id_time_ns: known_time.then_some(5),
                read_time_ns: Some(7),
                iostream: inside.then_some(IoStream::Stderr),
                line_start: inside.then_some(3),
                container_id: "c0ffee".into(),
                flags: Flags { incomplete, continued, malformed },
                bytes: Bytes::from(text),
            }
        })
    }

    /// What a frame says of a record: its place, its bytes, whether it is incomplete, continued, inside a line.
    fn said(frame: &Frame) -> Vec<(FileId, u64, Vec<u8>, [bool; 3])> {
        let last = frame.record_count() - 1;
        let said = |(number, record): (usize, crate::frame::Record<'_>)| {
            let marks = [
                frame.flags.incomplete && number == last,
                frame.flags.continued && record.first,
                frame.line_start.is_some() && record.first,
            ];
            (record.file, record.offset, record.raw.to_vec(), marks)
        };
        frame.records().enumerate().map(said).collect()
    }

    proptest! {
        #[test]
        fn parts_say_what_the_whole_says(
            frame in frames(),
            cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..4),
        ) {
            let count = frame.record_count();
            let mut ends: Vec<usize> = cuts.iter().map(|cut| 1 + cut.index(count)).collect();
            ends.push(count);
            ends.sort_unstable();
            ends.dedup();
            let mut start = 0;
            let mut all = Vec::new();
            for end in ends {
                let part = frame.part(start..end).unwrap();
                prop_assert_eq!(part.record_count(), end - start);
                all.extend(said(&part));
                let again = Frame::try_from(wire::Frame::from(part.clone()));
                prop_assert_eq!(again, Ok(part), "not a frame that another end takes");
                start = end;
            }
            prop_assert_eq!(all, said(&frame));
            prop_assert_eq!(frame.part(0..count), Some(frame.clone()));
            prop_assert_eq!(frame.part(0..count + 1), None);
            prop_assert_eq!(frame.part(count..count), None);
        }
    }

    /// A record that began in one file and ended in the next takes its extents of both with it.
    #[test]
    fn a_record_over_two_files_keeps_both() {
        let extent = |file, start, length| Extent { file: FileId([file; 12]), start, length };
        let frame = Frame {
            source: Source { node: "n".into(), writer: Writer::HostFile { path: "/v".into() } },
            format: Format::Plain,
            extents: vec![extent(1, 10, 4), extent(2, 0, 4)],
            ends: Ends::Lengths(vec![2, 4, 2]),
            id_time_ns: None,
            read_time_ns: None,
            iostream: None,
            line_start: None,
            container_id: String::new(),
            flags: Flags::default(),
            bytes: Bytes::from_static(b"a\nbbb\nc\n"),
        };
        let middle = frame.part(1..2).unwrap();
        assert_eq!(middle.extents, [extent(1, 12, 2), extent(2, 0, 2)]);
        assert_eq!((middle.ends, &middle.bytes[..]), (Ends::Lengths(vec![4]), &b"bbb\n"[..]));
        assert_eq!(frame.part(2..3).unwrap().extents, [extent(2, 2, 2)]);
    }
}
