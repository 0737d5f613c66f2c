//! `naru-aggregator queue verify`.

use std::path::Path;
use std::process::ExitCode;

use super::super::client;
use super::super::report::SegmentReport;
use super::{CommandError, escaped, json_line, print};

/// Prints each segment as soon as it is read, and what all come to.
pub(super) fn run(data_dir: &Path, json: bool) -> Result<ExitCode, CommandError> {
    let mut all = Sums::default();
    client::verify(data_dir, |segment| {
        all.add(&segment);
        print(if json { json_line(&segment) } else { line(&segment) }.as_bytes());
    })?;
    if !json {
        print(all.line().as_bytes());
    }
    if all.damaged > 0 {
        let Sums { damaged, lost, .. } = all;
        return Err(CommandError::Damaged(format!(
            "{damaged} segments are damaged, {lost} entries lost"
        )));
    }
    Ok(ExitCode::SUCCESS)
}

#[derive(Default)]
struct Sums {
    segments: u64,
    entries: u64,
    bytes: u64,
    damaged: u64,
    lost: u64,
}

impl Sums {
    fn add(&mut self, segment: &SegmentReport) {
        self.segments += 1;
        self.entries += segment.entries;
        self.bytes += segment.bytes;
        self.damaged += u64::from(segment.is_damaged());
        self.lost += segment.lost.iter().map(|(first, last)| last - first + 1).sum::<u64>();
    }

    fn line(&self) -> String {
        let Self { segments, entries, bytes, .. } = self;
        format!("{segments} segments: {entries} entries of {bytes} bytes are intact\n")
    }
}

pub(super) fn line(segment: &SegmentReport) -> String {
    let SegmentReport { path, first, last, entries, batches, bytes, torn_bytes, .. } = segment;
    let last = last.map_or_else(|| "none".to_owned(), |last| last.to_string());
    let mut out = format!(
        "{}: entries {first} to {last}: {entries} intact, with {batches} batches or letters of {bytes} bytes",
        escaped(path)
    );
    if *torn_bytes > 0 {
        out.push_str(&format!(
            "; {torn_bytes} bytes after them are no entry: being written, or cut off by a crash"
        ));
    }
    for (first, last) in &segment.lost {
        out.push_str(&match first == last {
            true => format!("; LOST: entry {first}"),
            false => format!("; LOST: entries {first} to {last}"),
        });
    }
    for damage in &segment.damage {
        out.push_str(&format!("; DAMAGED: {}", escaped(damage)));
    }
    out + "\n"
}
