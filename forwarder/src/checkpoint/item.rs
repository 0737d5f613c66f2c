//! The bytes of a log: a header, then items that each can be found and checked without the ones before. Pure.
//!
//! ```text
//! log  = "naru.chkpt\n" version:u8 crc32c(the 12 bytes before):u32 item*
//! item = F5 'N' 'I' FA  length:u32  crc32c(length payload):u32  payload          (little-endian)
//! ```

use std::ops::Range;

const MAGIC: &[u8; 11] = b"naru.chkpt\n";
const MARKER: [u8; 4] = [0xF5, b'N', b'I', 0xFA];
const ITEM_HEADER_BYTES: usize = 12;
/// Written by this version, which reads no newer one.
const VERSION: u8 = 1;
/// Longer is damage: a source of 1,000 files with a record of 1,024 lines held twice has a tenth of it.
const ITEM_MAX_BYTES: usize = 4 << 20;

/// The length of [`file_header`].
pub(super) const FILE_HEADER_BYTES: usize = 16;

/// What a log begins with.
pub(super) fn file_header() -> [u8; FILE_HEADER_BYTES] {
    let mut header = [0; FILE_HEADER_BYTES];
    header[..11].copy_from_slice(MAGIC);
    header[11] = VERSION;
    let crc = crc32c::crc32c(&header[..12]);
    header[12..].copy_from_slice(&crc.to_le_bytes());
    header
}

/// The version of a log, if its header is whole and this version does not read it.
pub(super) fn newer_version(log: &[u8]) -> Option<u8> {
    let (checked, crc) = log.get(..FILE_HEADER_BYTES)?.split_at_checked(12)?;
    let version = *checked.strip_prefix(MAGIC)?.first()?;
    (crc == crc32c::crc32c(checked).to_le_bytes() && version > VERSION).then_some(version)
}

/// An item of a payload.
pub(super) fn frame(payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_le_bytes();
    let crc = crc32c::crc32c_append(crc32c::crc32c(&length), payload);
    [&MARKER, &length[..], &crc.to_le_bytes(), payload].concat()
}

/// Of an item that [`frame`] made.
pub(super) fn payload(item: &[u8]) -> Option<&[u8]> {
    item.get(ITEM_HEADER_BYTES..)
}

/// What a log holds: the payloads of whole items, and what lies between them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Scan<'a> {
    pub(super) payloads: Vec<&'a [u8]>,
    /// Neither header nor whole items; none is empty.
    pub(super) damaged: Vec<Range<usize>>,
    /// The end of the last whole item, or of the header.
    pub(super) sound_end: usize,
}

/// Reads a log of any content.
pub(super) fn scan(log: &[u8]) -> Scan<'_> {
    let mut found = Scan::default();
    if log.starts_with(&file_header()) {
        found.sound_end = FILE_HEADER_BYTES;
    }
    let mut at = found.sound_end;
    while let Some(rest) = log.get(at..).filter(|rest| !rest.is_empty()) {
        if let Some(payload) = first_item(rest) {
            if at > found.sound_end {
                found.damaged.push(found.sound_end..at);
            }
            found.payloads.push(payload);
            at += ITEM_HEADER_BYTES + payload.len();
            found.sound_end = at;
        } else {
            at += 1;
            let next = log.get(at..).and_then(|rest| memchr::memmem::find(rest, &MARKER));
            at = next.map_or(log.len(), |next| at + next);
        }
    }
    if log.len() > found.sound_end {
        found.damaged.push(found.sound_end..log.len());
    }
    found
}

/// The payload of the item that some bytes begin with, if it is whole.
fn first_item(bytes: &[u8]) -> Option<&[u8]> {
    let rest = bytes.strip_prefix(&MARKER)?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (crc, rest) = rest.split_first_chunk::<4>()?;
    let payload = rest.get(..u32::from_le_bytes(*length) as usize)?;
    let sound = payload.len() <= ITEM_MAX_BYTES
        && crc32c::crc32c_append(crc32c::crc32c(length), payload) == u32::from_le_bytes(*crc);
    sound.then_some(payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(payloads: &[&[u8]]) -> Vec<u8> {
        let mut log = file_header().to_vec();
        payloads.iter().for_each(|payload| log.extend(frame(payload)));
        log
    }

    fn check(log: &[u8], payloads: &[&[u8]], damaged: &[(usize, usize)]) {
        let found = scan(log);
        assert_eq!(found.payloads, payloads);
        let ranges: Vec<_> = found.damaged.iter().map(|range| (range.start, range.end)).collect();
        assert_eq!(ranges, damaged);
        let sound_end = match damaged.last() {
            Some((start, end)) if *end == log.len() => *start,
            _ => log.len(),
        };
        assert_eq!(found.sound_end, sound_end);
    }

    #[test]
    fn reads_what_it_writes() {
        check(&log(&[]), &[], &[]);
        check(&log(&[b"one", b"", b"three"]), &[b"one", b"", b"three"], &[]);
    }

    #[test]
    fn reads_around_damage() {
        let sound = log(&[b"one", b"two", b"three"]);
        let mut middle = sound.clone();
        middle[16 + 15 + 12] ^= 1;
        check(&middle, &[b"one", b"three"], &[(31, 46)]);
        let mut length = sound.clone();
        length[16 + 15 + 7] ^= 0x80;
        check(&length, &[b"one", b"three"], &[(31, 46)]);
        check(&sound[..sound.len() - 1], &[b"one", b"two"], &[(46, 62)]);
        check(&sound[3..], &[b"one", b"two", b"three"], &[(0, 13)]);
        check(&[&sound[..], &[0; 9]].concat(), &[b"one", b"two", b"three"], &[(63, 72)]);
        check(&[&log(&[]), &b"x"[..], &frame(b"y")].concat(), &[b"y"], &[(16, 17)]);
        check(b"not a log", &[], &[(0, 9)]);
        check(b"", &[], &[]);
        // A payload may contain an item: it is not one as long as the outer one is whole.
        let inner = frame(b"inner");
        check(&log(&[&inner, b"x"]), &[&inner, b"x"], &[]);
    }

    #[test]
    fn knows_a_newer_version_from_a_damaged_one() {
        let mut header = file_header();
        assert_eq!(newer_version(&header), None);
        header[11] = 9;
        assert_eq!(newer_version(&header), None, "the checksum says that this is damage");
        let crc = crc32c::crc32c(&header[..12]);
        header[12..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(newer_version(&header), Some(9));
        assert_eq!(newer_version(b"naru"), None);
    }
}
