//! `naru-forwarder files`: what is tailed, and how far.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use naru_proto::frame::{Container, Source, Writer};
use serde::{Deserialize, Serialize};

use crate::checkpoint::{Binding, Checkpoint, SourceState};
use crate::config::Config;

/// One file, as the command prints it. The names of its fields are those of `files --json` and stay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRow {
    /// `namespace/pod/container/restart`, or a host path.
    pub source: String,
    /// Its name in its directory.
    pub name: String,
    /// Its id, hexadecimal; empty while its first line is not complete.
    pub file: String,
    /// Where it is in its life.
    pub state: FileStateName,
    /// Uncompressed bytes, as far as they were seen.
    pub size: u64,
    /// Bytes that were cut into records.
    pub read: u64,
    /// Bytes that the aggregator made durable.
    pub acknowledged: u64,
    /// `size` less `acknowledged`.
    pub lag: u64,
    /// For how long at least the oldest byte that is not acknowledged has been there.
    pub behind_seconds: u64,
    /// Bytes that wait for the end of their record.
    pub held: u64,
    /// When the kubelet will delete it unread, at the rate at which its container writes now; absent where it will not.
    pub loss_in_seconds: Option<u64>,
    /// Where its first record begins that the aggregator says it will never take: it is tried every minute, and nothing of
    /// the source is acknowledged beyond it.
    pub refused_at: Option<u64>,
    /// Why it cannot be read, or why a record of it is refused for ever.
    pub error: Option<String>,
}

/// Where a file is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileStateName {
    /// Being written to, and read.
    Live,
    /// Renamed by a rotation, not yet read to its end.
    Rotated,
    /// Compressed, not yet read to its end.
    Compressed,
    /// Deleted, held open until it is read.
    Deleted,
    /// Its first line is not complete: nothing of it is sent before.
    NoLine,
    /// After a start: its source waits for files that are not found yet.
    Resuming,
    /// Known, and not open now.
    Closed,
    /// Read to its end, not all of it acknowledged.
    Sent,
    /// Read to its end and acknowledged.
    Read,
    /// Left out by the configuration or by the aggregator's policy.
    Excluded,
    /// It cannot be opened or read; `error` says why.
    Unreadable,
}

impl FileStateName {
    /// Every state.
    pub const ALL: [Self; 11] = [
        Self::Live,
        Self::Rotated,
        Self::Compressed,
        Self::Deleted,
        Self::NoLine,
        Self::Resuming,
        Self::Closed,
        Self::Sent,
        Self::Read,
        Self::Excluded,
        Self::Unreadable,
    ];

    /// As it is printed.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Rotated => "rotated",
            Self::Compressed => "compressed",
            Self::Deleted => "deleted",
            Self::NoLine => "no_line",
            Self::Resuming => "resuming",
            Self::Closed => "closed",
            Self::Sent => "sent",
            Self::Read => "read",
            Self::Excluded => "excluded",
            Self::Unreadable => "unreadable",
        }
    }
}

impl FileRow {
    /// What cannot be read, by its path.
    #[must_use]
    pub fn unreadable(path: &str, error: &str) -> Self {
        Self {
            source: path.to_owned(),
            name: String::new(),
            file: String::new(),
            state: FileStateName::Unreadable,
            size: 0,
            read: 0,
            acknowledged: 0,
            lag: 0,
            behind_seconds: 0,
            held: 0,
            loss_in_seconds: None,
            refused_at: None,
            error: Some(error.to_owned()),
        }
    }
}

/// Where a running forwarder answers.
#[must_use]
pub fn socket_path(data_dir: &Path) -> std::path::PathBuf {
    data_dir.join("forwarder.sock")
}

/// Asks the running forwarder of a data directory; None when none runs.
///
/// # Errors
/// Something answers, and not with files.
pub fn ask(data_dir: &Path) -> std::io::Result<Option<Vec<FileRow>>> {
    let Ok(mut stream) = UnixStream::connect(socket_path(data_dir)) else { return Ok(None) };
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(b"GET /files HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok(Some(serde_json::from_str(body)?))
}

/// What the checkpoint of a forwarder that does not run says.
///
/// # Errors
/// There is none.
pub fn of_checkpoint(config: &Config) -> std::io::Result<Vec<FileRow>> {
    let directory = config.data_dir.join("checkpoint");
    std::fs::metadata(&directory)?;
    let binding = Binding { cluster: config.cluster.clone(), node: config.node.clone() };
    let (_, loaded) = Checkpoint::open(&directory, binding)?;
    let mut rows: Vec<FileRow> = loaded.sources.values().flat_map(rows_of).collect();
    rows.sort_by(|a, b| (&a.source, &a.name).cmp(&(&b.source, &b.name)));
    Ok(rows)
}

/// The rows of a source that is as the checkpoint has it.
pub(crate) fn rows_of(state: &SourceState) -> impl Iterator<Item = FileRow> + '_ {
    state.files.iter().map(|file| FileRow {
        source: source_name(&state.source),
        name: file.name.display().to_string(),
        file: file.id.to_string(),
        size: file.size,
        read: file.acknowledged,
        acknowledged: file.acknowledged,
        lag: file.size.saturating_sub(file.acknowledged),
        state: if file.finished { FileStateName::Read } else { FileStateName::Closed },
        behind_seconds: 0,
        held: 0,
        loss_in_seconds: None,
        refused_at: None,
        error: None,
    })
}

/// `namespace/pod/container/restart`, or a host path.
#[must_use]
pub fn source_name(source: &Source) -> String {
    writer_name(&source.writer)
}

/// See [`source_name`].
#[must_use]
pub fn writer_name(writer: &Writer) -> String {
    match writer {
        Writer::Container(Container { namespace, pod, container, restart, .. }) => {
            format!("{namespace}/{pod}/{container}/{restart}")
        }
        Writer::HostFile { path } => path.clone(),
    }
}

const COLUMNS: [&str; 12] = [
    "SOURCE", "FILE", "ID", "STATE", "SIZE", "READ", "ACKED", "LAG", "BEHIND", "HELD", "LOSS IN",
    "ERROR",
];
/// The columns of numbers.
const NUMBERS: std::ops::RangeInclusive<usize> = 4..=10;

/// Prints the rows as a table.
#[must_use]
pub fn table(rows: &[FileRow]) -> String {
    let mut lines = vec![COLUMNS.map(str::to_owned)];
    lines.extend(rows.iter().map(|row| {
        [
            printable(&row.source),
            printable(&row.name),
            row.file.clone(),
            row.state.as_str().to_owned(),
            row.size.to_string(),
            row.read.to_string(),
            row.acknowledged.to_string(),
            row.lag.to_string(),
            format!("{}s", row.behind_seconds),
            row.held.to_string(),
            row.loss_in_seconds.map_or_else(|| "-".to_owned(), |seconds| format!("{seconds}s")),
            row.error.as_deref().map(printable).unwrap_or_default(),
        ]
    }));
    let mut widths = [0; COLUMNS.len()];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for line in &lines {
        for (place, (cell, width)) in line.iter().zip(widths).enumerate() {
            let padded = match place {
                place if NUMBERS.contains(&place) => format!("{cell:>width$}  "),
                _ => format!("{cell:<width$}  "),
            };
            text.push_str(&padded);
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

/// Names are made by whoever runs on the node: none of them may speak to the terminal.
fn printable(name: &str) -> String {
    name.chars()
        .flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_aligned() {
        let row = FileRow {
            source: "shop/web-0/web/0".into(),
            name: "0.log".into(),
            file: "00".into(),
            state: FileStateName::Live,
            size: 120,
            read: 120,
            acknowledged: 20,
            lag: 100,
            behind_seconds: 7,
            held: 0,
            loss_in_seconds: None,
            refused_at: None,
            error: None,
        };
        let broken = FileRow::unreadable("shop_web-0_7c1f/web/1.log", "permission denied");
        let expected = "\
SOURCE                     FILE   ID  STATE       SIZE  READ  ACKED  LAG  BEHIND  HELD  LOSS IN  ERROR
shop/web-0/web/0           0.log  00  live         120   120     20  100      7s     0        -
shop_web-0_7c1f/web/1.log             unreadable     0     0      0    0      0s     0        -  permission denied
";
        assert_eq!(table(&[row, broken]), expected);
    }

    #[test]
    fn b8_a_name_does_not_speak_to_the_terminal() {
        let row = FileRow::unreadable("/var/log/\x1b[2J\n주문.log", "no\x07");
        let table = table(&[row]);
        assert_eq!(table.lines().count(), 2);
        assert!(
            table.contains(r"/var/log/\u{1b}[2J\n주문.log") && table.contains(r"no\u{7}"),
            "{table}"
        );
    }

    #[test]
    fn b28_states_and_columns_keep_their_names() {
        let row = FileRow::unreadable("/var/log/x", "no");
        let json = serde_json::to_string(&row).unwrap();
        assert_eq!(
            json,
            r#"{"source":"/var/log/x","name":"","file":"","state":"unreadable","size":0,"read":0,"acknowledged":0,"#
                .to_owned()
                + r#""lag":0,"behind_seconds":0,"held":0,"loss_in_seconds":null,"refused_at":null,"error":"no"}"#
        );
        for state in FileStateName::ALL {
            assert_eq!(serde_json::to_string(&state).unwrap(), format!("{:?}", state.as_str()));
        }
    }
}
